"""ONNX's quantization operators, told in tinytorch's words.

`OPERATORS[op](case)` computes the outputs of an operator case of the onnx package; `beyond(case)` says why a case is
none of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tinytorch.quantization import (
    IntType,
    QParams,
    dequantize,
    dynamic_quantize,
    integer_matmul,
    quantize,
    requantize,
)

from .counting import Answer, Array, Count, count
from .peers import OnnxCase, codes_of, int_type, onnx_cases, version


def broadcast_qparams(
    scale: Array, zero_point: Array | None, int_type: IntType, shape: tuple[int, ...], axis: int, block_size: int
) -> QParams:
    """ONNX's scale and zero point, to broadcast against `shape`: per tensor, one a slice, or one a block."""

    def spread(values: Array) -> Array:
        if values.size == 1:
            return values.reshape(())
        if block_size:
            return np.repeat(values, block_size, axis).take(np.arange(shape[axis]), axis)
        return values.reshape([-1 if a == axis % len(shape) else 1 for a in range(len(shape))])

    return QParams(spread(scale), spread(np.zeros(1) if zero_point is None else zero_point), int_type)


def quantize_linear(case: OnnxCase) -> list[Array]:
    x, scale, zero_point = (*case.inputs, None)[:3]
    return [quantize(x, _qparams(case, scale, zero_point, case.output_types[0], x.shape))]


def dequantize_linear(case: OnnxCase) -> list[Array]:
    q, scale, zero_point = (*case.inputs, None)[:3]
    return [dequantize(q, _qparams(case, scale, zero_point, case.input_types[0], q.shape))]


def _qparams(case: OnnxCase, scale: Array, zero_point: Array | None, type_name: str, shape: tuple[int, ...]) -> QParams:
    axis, block_size = case.attributes.get("axis", 1), case.attributes.get("block_size", 0)
    return broadcast_qparams(scale, zero_point, codes_of(type_name), shape, axis, block_size)


def dynamic_quantize_linear(case: OnnxCase) -> list[Array]:
    codes, qparams = dynamic_quantize(case.inputs[0])
    return [codes, qparams.scale, qparams.zero_point.astype(np.uint8)]


def matmul_integer(case: OnnxCase) -> list[Array]:
    a, b, *zero_points = (v for v in case.inputs if v is not None)
    return [integer_matmul(a, b, *zero_points)]


def qlinear_matmul(case: OnnxCase) -> list[Array]:
    a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point = (np.asarray(v) for v in case.inputs)
    a_scale, b_scale, y_scale = (v.astype(np.float32) for v in (a_scale, b_scale, y_scale))
    y = QParams(1.0, y_zero_point.reshape(()), codes_of(case.output_types[0]))
    return [requantize(integer_matmul(a, b, a_zero_point, b_zero_point), a_scale * b_scale / y_scale, y)]


OPERATORS: dict[str, Callable[[OnnxCase], list[Array]]] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
}
KNOWN_ATTRIBUTES = {"axis", "block_size", "output_dtype", "saturate"}  # saturate: of 8-bit floats only


def beyond(case: OnnxCase) -> str | None:
    """Why a case is none of ours: the first type or attribute of it that we do not have; None if we have them all."""
    known = {"FLOAT", "INT32"} | ({"FLOAT16"} if case.op == "QLinearMatMul" else set())  # sums; scales of integer codes
    foreign = [t for t in (*case.input_types, *case.output_types) if t not in known and int_type(t) is None]
    foreign += [name for name in case.attributes if name not in KNOWN_ATTRIBUTES]
    return foreign[0] if foreign else None


def onnx_operator(op: str) -> Count:
    """Every case of one operator that is not beyond us."""

    cases = [case for case in onnx_cases(tuple(OPERATORS)) if case.op == op and beyond(case) is None]

    def answers() -> Iterator[Answer]:
        for case in cases:
            for ours, theirs in zip(OPERATORS[op](case), case.outputs, strict=True):
                yield case.name, ours, theirs

    return count(op, f"{len(cases)} operator cases", version("onnx"), answers())
