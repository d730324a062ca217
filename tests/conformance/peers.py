"""The other libraries: ONNX's own operator cases, and graphs of operators run by ONNX Runtime.

Both are imported where they are used, so that what needs neither runs without them.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.quantization import INT4, INT8, UINT4, UINT8, IntType, pack_int4

NAMES = {INT8: "INT8", UINT8: "UINT8", INT4: "INT4", UINT4: "UINT4"}


def int_type(name: str) -> IntType | None:
    """The codes that ONNX calls INT2 to INT8 and UINT2 to UINT8; None for any other type."""
    found = re.fullmatch(r"(U?)INT([2-8])", name)
    return IntType(int(found[2]), signed=not found[1]) if found else None


def codes_of(name: str) -> IntType:
    """The same, of a type that must have codes."""
    found = int_type(name)
    assert found is not None, f"{name} is not an integer type of 2 to 8 bits"
    return found


# the first versions to compare with, and what is wrong with those before
FIRST = {
    "onnx": ((1, 22), "its QLinearMatMul cases expect codes that wrapped around (onnx issue 7835)"),
    "onnxruntime": ((1, 24), "it does not multiply int8 by uint8"),
}


class MissingPeer(Exception):
    """A library to compare with is not installed, or too old."""


def require(name: str) -> Any:
    """The module `name`. MissingPeer, in one sentence, if its package is not installed or too old."""
    package = name.partition(".")[0]
    first, reason = FIRST[package]
    try:
        found = importlib.import_module(package).__version__
        if tuple(int(part) for part in found.split(".")[:2]) >= first:
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        raise MissingPeer(f'conformance needs {missing}, which is not installed: pip install -e ".[peers]"') from None
    wanted = ".".join(str(part) for part in first)
    raise MissingPeer(f"conformance needs {package} {wanted} or later, found {found}, and {reason}: update {package}")


def version(name: str) -> str:
    """`name 1.2.3`."""
    return f"{name} {require(name).__version__}"


# ONNX Runtime


@dataclass(frozen=True)
class Constant:
    """An initializer of a graph. 4-bit codes are stored as `pack_int4` packs them."""

    values: NDArray[Any]
    type: str


@dataclass(frozen=True)
class Node:
    """One operator of a graph: the names of its inputs ("" for one left out) and outputs."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any] | None = None
    domain: str = ""


def session(
    nodes: Sequence[Node],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    constants: Mapping[str, Constant] | None = None,
    optimize: bool = False,
) -> Callable[..., list[NDArray[Any]]]:
    """A graph, ready to run: called with one array an input, by name, it gives one array an output.

    inputs, outputs: ONNX type by name, e.g. {"x": "FLOAT"}. optimize: let ONNX Runtime rewrite the graph, as it does
    for its users.
    """
    onnx, runtime = require("onnx"), require("onnxruntime")
    helper, number = onnx.helper, onnx.TensorProto.DataType.Value
    graph = helper.make_graph(
        [helper.make_node(n.op, n.inputs, n.outputs, domain=n.domain, **(n.attributes or {})) for n in nodes],
        "graph",
        [helper.make_tensor_value_info(name, number(t), None) for name, t in inputs.items()],
        [helper.make_tensor_value_info(name, number(t), None) for name, t in outputs.items()],
        [_initializer(onnx, name, c) for name, c in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda **feed: made.run(list(outputs), {name: np.asarray(array) for name, array in feed.items()})


def operator(
    op: str, inputs: Mapping[str, str], outputs: Mapping[str, str], **attributes: Any
) -> Callable[..., list[NDArray[Any]]]:
    """A graph of one operator, whose inputs are fed in the order given."""
    return session([Node(op, list(inputs), list(outputs), attributes)], inputs, outputs)


def _initializer(onnx: Any, name: str, constant: Constant) -> Any:
    values = np.asarray(constant.values)
    raw = pack_int4(values) if constant.type in ("INT4", "UINT4") else values
    data_type = onnx.TensorProto.DataType.Value(constant.type)
    return onnx.TensorProto(name=name, data_type=data_type, dims=values.shape, raw_data=raw.tobytes())


# ONNX


@dataclass(frozen=True)
class OnnxCase:
    """One operator case of the onnx package: its inputs and the outputs they must give.

    inputs: arrays by position, None for one left out; codes of fewer than 8 bits are stored as int8 or uint8.
    input_types, output_types: ONNX type names.
    """

    name: str
    op: str
    attributes: dict[str, Any]
    inputs: list[Any]
    outputs: list[NDArray[Any]]
    input_types: list[str]
    output_types: list[str]


@cache
def onnx_cases(ops: tuple[str, ...]) -> tuple[OnnxCase, ...]:
    """The cases of the installed onnx package whose graph is one operator out of `ops`, sorted by name."""
    loader = require("onnx.backend.test.loader")
    with warnings.catch_warnings():  # older and newer packages compute some cases while they are imported
        warnings.simplefilter("ignore")
        return tuple(sorted(_load(loader.load_model_tests(kind="node"), ops), key=lambda case: case.name))


def _load(found: Sequence[Any], ops: tuple[str, ...]) -> Iterator[OnnxCase]:
    onnx = require("onnx")
    for case in found:
        model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
        graph = model.graph
        if len(graph.node) != 1 or graph.node[0].op_type not in ops:
            continue
        node, data = graph.node[0], case.data_sets or _read_data_sets(onnx, Path(case.model_dir))
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        input_types, output_types = _types(onnx, graph.input), _types(onnx, graph.output)
        for inputs, outputs in data:
            named = {v.name: _to_array(onnx, a, t) for v, a, t in zip(graph.input, inputs, input_types, strict=True)}
            yield OnnxCase(
                case.name,
                node.op_type,
                attributes,
                [named.get(name) for name in node.input],
                [_to_array(onnx, a, t) for a, t in zip(outputs, output_types, strict=True)],
                input_types,
                output_types,
            )


def _types(onnx: Any, values: Any) -> list[str]:
    return [onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type) for v in values]


def _to_array(onnx: Any, value: Any, type_name: str) -> NDArray[Any]:
    array = onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    codes = int_type(type_name)
    return array if codes is None else array.astype(codes.storage)


def _read_data_sets(onnx: Any, folder: Path) -> Iterator[tuple[list[Any], list[Any]]]:
    """The files `test_data_set_I/{input,output}_J.pb`, as onnx 1.17 to 1.19 keep them."""
    for data_set in sorted(folder.glob("test_data_set_*")):
        yield _read(onnx, data_set, "input"), _read(onnx, data_set, "output")


def _read(onnx: Any, folder: Path, kind: str) -> list[Any]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [onnx.load_tensor(folder / f"{kind}_{i}.pb") for i in range(count)]
