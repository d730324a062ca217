"""The table: everything that is compared, once. The tests and `benchmarks.conformance` both take it from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tinytorch.quantization import INT4, INT8, UINT4, UINT8

from . import frozen, gemmlowp, network, operators, rounding, runtime
from .conventions import CONVENTIONS, convention
from .counting import Count

Row = Callable[[], Count]

PAIRS = [(UINT8, UINT8), (UINT8, INT8), (INT8, INT8), (INT8, UINT8)]
QLINEAR_PAIRS = PAIRS[:3]  # ONNX Runtime has no QLinearMatMul for INT8 by UINT8


def agreements() -> Iterator[Row]:
    """Where tinytorch and a peer must not differ in a single value."""
    yield from (partial(operators.onnx_operator, op) for op in operators.OPERATORS)
    yield runtime.calibration
    yield from (partial(runtime.quantize_linear, t) for t in (INT8, UINT8))
    yield from (partial(runtime.quantize_linear_axis, t) for t in (INT8, UINT8, INT4, UINT4))
    yield from (partial(runtime.dequantize_linear, t) for t in (INT8, UINT8, INT4, UINT4))
    yield from (partial(runtime.weight_only, t) for t in (INT8, INT4, UINT4))
    yield runtime.dynamic_quantize_linear
    yield from (partial(runtime.matmul_integer, a, b) for a, b in PAIRS)
    yield from (partial(runtime.qlinear_matmul, a, b) for a, b in QLINEAR_PAIRS)
    yield from (partial(runtime.requantize_float, t) for t in (INT8, UINT8))
    yield network.next_to_ties
    yield from (partial(f, axis) for f in (network.integer_network, network.fused_network) for axis in (0, None))
    yield rounding.multiplier
    yield from (partial(rounding.requantized, r) for r in gemmlowp.ROUNDINGS)
    yield from (partial(frozen.quantized, op, at_ties=False) for op in frozen.FORMULAS)


def differences() -> Iterator[Row]:
    """Where conventions part: how often is measured, and nothing is demanded."""
    yield from (partial(convention, name, INT8) for name in CONVENTIONS)
    yield from (partial(frozen.quantized, op, at_ties=True) for op in frozen.FORMULAS)
    yield from (partial(network.float_network, axis) for axis in (0, None))
    for one, other in (("float", "gemmlowp"), ("float", "single"), ("gemmlowp", "single")):
        yield from (partial(rounding.roundings, one, other, exponent) for exponent in (-4, -8, -12))
