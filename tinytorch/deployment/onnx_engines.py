"""What runs ONNX models: ONNX Runtime, and the evaluator that comes with ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinytorch.deployment.extras import library
from tinytorch.deployment.steps import Predict, Trace


def as_onnx(file: Any) -> Any:
    """The model of a path, of bytes, or as it is."""
    onnx = library("onnx")
    if isinstance(file, bytes):
        return onnx.load_from_string(file)
    return onnx.load(file) if isinstance(file, (str, Path)) else file


def values_in(model: Any) -> set[str]:
    """The names of all arrays that its nodes give."""
    return {name for node in model.graph.node for name in node.output}


def showing(model: Any, names: list[str]) -> Any:
    """A copy of the model that gives these arrays, and computes nothing else: what comes after them may fail."""
    onnx = library("onnx")
    shown = type(model)()
    shown.CopyFrom(model)
    needed, nodes = set(names), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    del shown.graph.output[:], shown.graph.node[:]
    shown.graph.node.extend(reversed(nodes))
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return shown


def exact_options(model: Any) -> Any:
    """Options with which ONNX Runtime computes what the file says, on one thread.

    Its fastest products on x86 without VNNI add two products of uint8 and int8 in int16, which saturates; with
    "session.x64quantprecision" it takes others. Products of int8 alone, which are exact, it has without that option.
    And unless told otherwise it quantizes the inputs of products with 4-bit weights.
    """
    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1  # an error is raised as well
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    said = {entry.key: entry.value for entry in model.metadata_props}.get("quantization", "")
    if said.startswith("qdq") or said.endswith("uint8"):
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def in_onnxruntime(model: Any, steps: Trace, names: list[str]) -> Predict:
    """What gives the arrays of these names for a batch."""
    content = showing(model, names).SerializeToString()
    session = library("onnxruntime").InferenceSession(content, exact_options(model))
    return lambda x: list(session.run(names, {"input": x}))


def in_reference(model: Any, steps: Trace, names: list[str]) -> Predict:
    """The same by the evaluator of the standard, which knows DequantizeLinear from opset 19 on."""
    content = showing(model, names)
    content.opset_import[0].version = max(content.opset_import[0].version, 19)
    evaluator = library("onnx.reference").ReferenceEvaluator(content)
    return lambda x: list(evaluator.run(None, {"input": x}))
