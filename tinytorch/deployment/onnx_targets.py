"""What engines that cannot run here say they take: written rules, and a file held against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinytorch.deployment.extras import library

__all__ = ["tensorrt_faults"]


def tensorrt_faults(model: Any) -> list[str]:
    """What TensorRT would refuse in an ONNX model, as sentences that begin with the fault; [] if nothing.

    Its rules, by NVIDIA's "Working with Quantized Types" and the operators of its ONNX parser: opset 13 or later, codes
    of int8 alone, zero points of 0, scales of weights one for all or along axis 0, no quantized bias, and operators
    that compute in float between DequantizeLinear and QuantizeLinear.
    """
    return list(_faults(model))


def _faults(model: Any) -> Iterator[str]:
    onnx = library("onnx")
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    opset = next((o.version for o in model.opset_import if not o.domain), 0)
    if opset < 13:
        yield f"opset {opset}: it needs 13 or later"
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from _faults_of_pair(node, arrays)
        elif node.op_type in INTEGER_OPERATORS or node.domain:
            yield f"{node.op_type} at {node.output[0]}: it computes between DequantizeLinear and QuantizeLinear alone"
    for t in model.graph.initializer:
        if t.data_type == onnx.TensorProto.UINT8:
            yield f"uint8, of which {t.name} is: its codes are int8"


INTEGER_OPERATORS = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")


def _faults_of_pair(node: Any, arrays: dict[str, Any]) -> Iterator[str]:
    x, scale = node.input[:2]
    zero_point = arrays.get(node.input[2]) if len(node.input) > 2 else None
    axis = {a.name: a.i for a in node.attribute}.get("axis", 1)
    if zero_point is not None and zero_point.dtype == np.int32:
        yield f"quantized bias, as {x} is: it wants biases in float"
    elif zero_point is not None and np.any(zero_point):
        yield f"zero point but 0, as {node.output[0]} has: quantize with symmetric activations"
    if arrays.get(scale) is not None and arrays[scale].ndim and axis != 0:
        yield f"scales along axis {axis}, as {x} has: it wants them along axis 0"
