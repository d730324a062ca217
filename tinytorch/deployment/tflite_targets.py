"""What runtimes that cannot run here say they take of a TFLite file: written rules, and a file held against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinytorch.deployment.tflite_graph import schema

__all__ = ["edgetpu_faults", "micro_faults"]

# Of the operators that to_tflite writes, those that the Edge TPU compiler maps ("Edge TPU Compiler and supported
# operations", coral.ai), and those of which TFLite Micro has kernels (all_ops_resolver.cc).
EDGETPU_OPERATORS = {
    *("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAXIMUM", "MAX_POOL_2D", "MINIMUM"),
    *("PAD", "QUANTIZE", "RELU", "RESHAPE"),
}
MICRO_OPERATORS = EDGETPU_OPERATORS | {"CAST", "DEQUANTIZE", "GATHER", "PADV2"}


def edgetpu_faults(content: bytes) -> list[str]:
    """What the Edge TPU compiler would leave to the processor or refuse, as sentences; [] if nothing.

    Its rules: int8 in and out and between, sizes fixed, at most three axes above 1, and operators that it maps.
    """
    return [*_other_operators(content, EDGETPU_OPERATORS, "the Edge TPU"), *_edgetpu_tensors(content)]


def micro_faults(content: bytes) -> list[str]:
    """What TFLite Micro has no kernel for, as sentences; [] if nothing."""
    return [*_other_operators(content, MICRO_OPERATORS, "TFLite Micro"), *_grouped(content)]


def _read(content: bytes) -> tuple[Any, Any]:
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(content))
    return model, model.subgraphs[0]


def _names() -> dict[int, str]:
    operators = schema().BuiltinOperator
    return {code: name for name, code in vars(operators).items() if isinstance(code, int)}


def _operators(content: bytes) -> Iterator[tuple[str, Any, Any]]:
    """(name, operator, graph) of every operator."""
    model, graph = _read(content)
    names = _names()
    for operator in graph.operators:
        yield names[model.operatorCodes[operator.opcodeIndex].builtinCode], operator, graph


def _at(graph: Any, operator: Any) -> str:
    return str(graph.tensors[operator.outputs[0]].name.decode())


def _other_operators(content: bytes, known: set[str], where: str) -> Iterator[str]:
    for name, operator, graph in _operators(content):
        if name not in known:
            yield f"{name} at {_at(graph, operator)}: {where} has no such operator"


def _grouped(content: bytes) -> Iterator[str]:
    for name, operator, graph in _operators(content):
        if name == "CONV_2D":
            channels, of_filter = (graph.tensors[i].shape[3] for i in operator.inputs[:2])
            if channels != of_filter:
                where = _at(graph, operator)
                yield f"groups of channels at {where}: TFLite Micro convolves all channels, or each by itself"


def _edgetpu_tensors(content: bytes) -> Iterator[str]:
    types = {code: name for name, code in vars(schema().TensorType).items() if isinstance(code, int)}
    _, graph = _read(content)
    for index in [*graph.inputs, *graph.outputs]:
        if types[graph.tensors[index].type] not in ("INT8", "UINT8"):
            kind = types[graph.tensors[index].type].lower()
            yield f"{graph.tensors[index].name.decode()} is {kind}: codes go in and come out, write it with io='int8'"
    for tensor in graph.tensors:
        if tensor.shapeSignature is not None and -1 in tensor.shapeSignature:
            yield f"{tensor.name.decode()} has no fixed size: write it with the batch that will run"
        if sum(n > 1 for n in tensor.shape) > 3 and tensor.buffer == 0:
            yield f"{tensor.name.decode()} has four axes above 1: write it with batch=1"
