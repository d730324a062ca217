"""Requantization as gemmlowp and TensorFlow Lite do it, in Python's unbounded integers: slow, plain, independent.

Told after gemmlowp's fixedpoint.h and TensorFlow Lite's common.h and quantization_util.cc. No function of tinytorch is
used here.
"""

from __future__ import annotations

import math

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(m: float) -> tuple[int, int]:
    """(q31, exponent) of a double m > 0, as QuantizeMultiplier: m ~ q31 * 2**(exponent - 31)."""
    fraction, exponent = math.frexp(m)
    scaled = fraction * 2**31  # exact: a double times a power of two
    q31 = math.floor(scaled)
    q31 += scaled - q31 >= 0.5  # TfLiteRound: halves away from zero, and m > 0
    if q31 == 2**31:
        q31, exponent = q31 // 2, exponent + 1
    return (0, 0) if exponent < -31 else (q31, exponent)


def truncated(numerator: int, denominator: int) -> int:
    """C's integer division: toward zero."""
    quotient = abs(numerator) // abs(denominator)
    return quotient if (numerator < 0) == (denominator < 0) else -quotient


def saturating_rounding_doubling_high_mul(a: int, b: int) -> int:
    if a == b == INT32_MIN:
        return INT32_MAX
    nudge = 2**30 if a * b >= 0 else 1 - 2**30
    return truncated(a * b + nudge, 2**31)


def rounding_divide_by_pot(x: int, exponent: int) -> int:
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if x & mask > threshold else 0)


def double_rounding(acc: int, q31: int, exponent: int) -> int:
    """MultiplyByQuantizedMultiplier. In C `acc << exponent` must fit int32; where it does not, it is clipped here."""
    left, right = max(exponent, 0), max(-exponent, 0)
    shifted = min(max(acc << left, INT32_MIN), INT32_MAX)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, q31), right)


def single_rounding(acc: int, q31: int, exponent: int) -> int:
    """MultiplyByQuantizedMultiplier with TFLITE_SINGLE_ROUNDING: one rounding of the whole product."""
    total_shift = 31 - exponent
    return (acc * q31 + (1 << (total_shift - 1))) >> total_shift


ROUNDINGS = {"gemmlowp": double_rounding, "single": single_rounding}


def requantize(acc: int, m: float, zero_point: int, qmin: int, qmax: int, rounding: str) -> int:
    """The code of one int32 sum."""
    return min(max(ROUNDINGS[rounding](acc, *quantize_multiplier(m)) + zero_point, qmin), qmax)
