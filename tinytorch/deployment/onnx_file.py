"""A quantized network as an ONNX model: three forms of the same codes."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, get_args

import numpy as np

from tinytorch.core import Module
from tinytorch.deployment.extras import library
from tinytorch.deployment.onnx_codes import CODE_WRITERS
from tinytorch.deployment.onnx_floats import write_float_layer
from tinytorch.deployment.onnx_graph import MICROSOFT, Codes, Form, Graph
from tinytorch.deployment.onnx_targets import tensorrt_faults
from tinytorch.deployment.steps import FloatLayer, Trace, trace

__all__ = ["to_onnx"]

FORMS, CODES, TARGETS = get_args(Form), get_args(Codes), ("onnxruntime", "tensorrt")


def to_onnx(
    model: Module,
    input_shape: tuple[int, ...],
    form: Form = "qdq",
    codes: Codes = "uint8",
    target: str = "onnxruntime",
) -> Any:
    """The model as an `onnx.ModelProto`, of the lowest opset that has its operators; the batch may have any size.

    input_shape: of one sample. Input "input" and output "output" are float32; what a layer gives has the layer's name.

    form "qdq": float operators between DequantizeLinear and QuantizeLinear, which ONNX Runtime, TensorRT and others
    fuse into integer ones. "qoperator": the integer operators themselves, some of them ONNX Runtime's own. "standard":
    integer operators of the ONNX standard alone, which leaves nothing to an engine. codes: how activations are stored;
    "uint8" is the same codes 128 higher, which ONNX Runtime computes faster. target "tensorrt": form "qdq" with int8
    codes and biases in float, as TensorRT wants them, whatever form and codes are.

    ValueError for a form, codes or target that there are not, and for what breaks a rule of the target; TypeError for a
    layer that has no counterpart.
    """
    for name, given, known in (("form", form, FORMS), ("codes", codes, CODES), ("target", target, TARGETS)):
        if given not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {given!r}")
    tensorrt = target == "tensorrt"
    graph = Graph("qdq", "int8", float_bias=True) if tensorrt else Graph(form, codes)
    written = _written(graph, trace(model, np.zeros((1, *input_shape), np.float32)))
    if tensorrt and (faults := tensorrt_faults(written)):
        raise ValueError(f"TensorRT takes no {faults[0]}")
    return written


def _written(graph: Graph, steps: Trace) -> Any:
    """The whole model, checked by ONNX."""
    onnx = library("onnx")
    helper = onnx.helper
    for step in steps.steps:
        if isinstance(step, FloatLayer):
            write_float_layer(graph, step)
        else:
            CODE_WRITERS[type(step)](graph, step)
    if steps.y.name != "output":
        graph.node("Identity", [steps.y.name], "output")
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *value.shape])
        for name, value in (("input", steps.x), ("output", steps.y))
    ]
    whole = helper.make_graph(graph.nodes, "tinytorch", ends[:1], ends[1:], list(graph.constants.values()))
    opsets = [helper.make_opsetid("", graph.opset)]
    if any(node.domain == MICROSOFT for node in graph.nodes):
        opsets.append(helper.make_opsetid(MICROSOFT, 1))
    model = helper.make_model(
        whole,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets[:1]),
        producer_name="tinytorch",
        producer_version=version("tinytorch"),
    )
    helper.set_model_props(model, {"quantization": f"{graph.form}, activations stored as {graph.codes}"})
    onnx.checker.check_model(model, full_check=len(opsets) == 1)
    return model
