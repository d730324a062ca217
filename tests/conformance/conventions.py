"""The ways to quantize that are not ours: rounded otherwise, or computed in another order.

Ours, ONNX's, is `clip(rint(x / scale) + zero_point)`, the division in float32. Each formula here is somebody's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tinytorch.quantization import IntType, QParams, quantize

from .counting import Array, Count, count
from .peers import NAMES
from .sweeps import pairs, told

Formula = Callable[[NDArray[np.float32], QParams], Array]


def _codes(unclipped: Array, p: QParams) -> Array:
    return np.asarray(np.clip(unclipped, p.int_type.qmin, p.int_type.qmax).astype(p.int_type.storage))


def _inverse(p: QParams) -> NDArray[np.float32]:
    return np.float32(1) / p.scale


def half_away(x: NDArray[np.float32], p: QParams) -> Array:
    """round(x / scale) + zero_point, halves away from zero. TensorFlow Lite."""
    v = np.clip(x / p.scale, -1e6, 1e6)
    return _codes(np.trunc(v) + np.copysign(np.abs(v - np.trunc(v)) >= 0.5, v) + p.zero_point, p)


def inverse_after(x: NDArray[np.float32], p: QParams) -> Array:
    """rint(x * (1 / scale)) + zero_point. torch's fake_quantize, per tensor and per channel; torchao."""
    return _codes(np.rint(x * _inverse(p)) + p.zero_point, p)


def inverse_before(x: NDArray[np.float32], p: QParams) -> Array:
    """rint(x * (1 / scale) + zero_point), product and sum rounded to float32 one by one. torch.quantize_per_channel."""
    return _codes(np.rint(x * _inverse(p) + p.zero_point.astype(np.float32)), p)


def inverse_fused(x: NDArray[np.float32], p: QParams) -> Array:
    """The same, product and sum rounded to float32 together, by one FMA instruction. torch.quantize_per_tensor."""
    exact = x.astype(np.float64) * _inverse(p).astype(np.float64) + p.zero_point  # the product is exact in float64
    return _codes(np.rint(exact.astype(np.float32)), p)


def divided_before(x: NDArray[np.float32], p: QParams) -> Array:
    """rint(x / scale + zero_point). Brevitas, qwix."""
    return _codes(np.rint(x / p.scale + p.zero_point.astype(np.float32)), p)


def divided_in_float64(x: NDArray[np.float32], p: QParams) -> Array:
    """rint(x / scale) + zero_point, the division in float64."""
    return _codes(np.rint(x / p.scale.astype(np.float64)) + p.zero_point, p)


CONVENTIONS: dict[str, Formula] = {
    "halves away from zero": half_away,
    "x * (1 / scale)": inverse_after,
    "x * (1 / scale) + zero point, rounded": inverse_before,
    "the same by FMA": inverse_fused,
    "x / scale + zero point, rounded": divided_before,
    "division in float64": divided_in_float64,
}


@np.errstate(over="ignore")
def near_tie(x: NDArray[np.float32], p: QParams) -> NDArray[np.bool_]:
    """bool: where one of these formulas can differ from ours: next to a half-integer, within reach of the codes.

    One float32 operation has a relative error of 2**-24 at most. Ours is a division; theirs are three at most:
    1 / scale, a product, the sum with the zero point. Two codes differ only if a half-integer lies between the two
    values that were rounded, so it is no farther from x / scale than the sum of all errors. For `usual_scale`.
    """
    v = x.astype(np.float64) / p.scale
    error = 2.0**-24 * (3 * np.abs(v) + np.abs(v + p.zero_point)) * (1 + 2.0**-20)
    v = np.clip(v, -1024, 1024)  # beyond, every formula saturates
    return np.asarray((np.abs(v - np.floor(v) - 0.5) <= error) & (np.abs(v) < 1024))


def usual_scale(p: QParams) -> bool:
    """Whether 1 / scale is a float32 number with all its bits: far from overflow and from the subnormal numbers."""
    return bool(2.0**-100 < p.scale < 2.0**100)


@np.errstate(over="ignore", invalid="ignore")
def convention(name: str, int_type: IntType, away_from_ties: bool = False) -> Count:
    """How often a convention gives another code than ours: on the sweep's usual scales, or on those, away from ties."""
    answers = (
        (told(p), CONVENTIONS[name](x, p)[asked], quantize(x, p)[asked])
        for p, x in pairs(int_type)
        if usual_scale(p)
        for asked in [~near_tie(x, p) if away_from_ties else slice(None)]
    )
    return count(name + ", away from ties" * away_from_ties, NAMES[int_type], "ours", answers)
