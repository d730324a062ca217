"""What the right answers are, one number at a time, in plain Python: no NumPy, and nothing of the code under test.

Python floats are float64; `f32` rounds to float32 where the specification says so. A float32 quotient or product
computed in float64 and then rounded is the correctly rounded one, because 53 >= 2 * 24 + 2 bits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction

Matrix = Sequence[Sequence[int]]
TINY = 2.0**-126  # the smallest normal float32


def f32(x: float) -> float:
    """x rounded to the nearest float32, as a Python float; beyond the largest it is infinite."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def code(x: float, scale: float, zero_point: int, qmin: int, qmax: int) -> int:
    """clip(rint(x / scale) + zero_point): float32 division, ties to even, the zero point after rounding."""
    quotient = f32(f32(x) / f32(scale))
    if math.isinf(quotient):
        return qmax if quotient > 0 else qmin
    return min(max(round(quotient) + zero_point, qmin), qmax)


def real(q: int, scale: float, zero_point: int) -> float:
    """scale * (q - zero_point), rounded once, to float32."""
    return f32(f32(scale) * (q - zero_point))


def usable(step: float) -> float:
    """The float32 scale of a step; 1 where that is not a normal number."""
    return f32(step) if f32(step) >= TINY else 1.0


def qparams(lo: float, hi: float, qmin: int, qmax: int) -> tuple[float, int]:
    """(scale, zero_point) of the range [lo, hi], widened to hold 0."""
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = usable((hi - lo) / (qmax - qmin))
    return scale, min(max(round(qmin - lo / scale), qmin), qmax)


def symmetric_scale(lo: float, hi: float, qmax: int) -> float:
    return usable(max(abs(lo), abs(hi)) / qmax)


def from_tie(v: float) -> float:
    """How far v is from the nearest k + 1/2, where two correct roundings may part."""
    return abs(v - math.floor(v) - 0.5)


def error_parts(xs: Sequence[float], scale: float, zero_point: int, qmin: int, qmax: int) -> tuple[float, float]:
    """(rounding, clipping), each a sum of squared errors over the number of all elements."""
    parts = [0.0, 0.0]
    for x in xs:
        unclipped = round(f32(f32(x) / f32(scale))) + zero_point
        error = f32(x) - real(code(x, scale, zero_point, qmin, qmax), scale, zero_point)
        parts[not qmin <= unclipped <= qmax] += error * error
    return parts[0] / max(len(xs), 1), parts[1] / max(len(xs), 1)


def sqnr_db(xs: Sequence[float], x_hats: Sequence[float]) -> float:
    signal = math.fsum(x * x for x in xs)
    noise = math.fsum((x - h) ** 2 for x, h in zip(xs, x_hats, strict=True))
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def pack(codes: Sequence[int]) -> list[int]:
    """Two's complement nibbles, the first in the low half of its byte, an odd last one alone."""
    nibbles = [q % 16 for q in codes] + [0] * (len(codes) % 2)
    return [low + 16 * high for low, high in zip(nibbles[0::2], nibbles[1::2], strict=True)]


def unpack(packed: Sequence[int], size: int, signed: bool) -> list[int]:
    nibbles = [nibble for byte in packed for nibble in (byte % 16, byte // 16)][:size]
    return [n - 16 if signed and n >= 8 else n for n in nibbles]


def moving_average(batches: Iterable[float], momentum: float) -> float:
    """Of one end of the range: the first batch sets it, each later one pulls."""
    ends = iter(batches)
    end = next(ends)
    for new in ends:
        end = momentum * end + (1 - momentum) * new
    return end


def percentile_magnitude(xs: Iterable[float], percentile: float) -> float:
    """The smallest magnitude such that at least percentile % of all magnitudes do not exceed it."""
    magnitudes = sorted(abs(x) for x in xs)
    wanted = math.ceil(Fraction(percentile) * len(magnitudes) / 100)
    return magnitudes[max(wanted, 1) - 1]


def expected_mse(counts: Sequence[int], centers: Sequence[float], scale: float, zero_point: int, *ends: int) -> float:
    """ends: qmin, qmax."""
    errors = [c - real(code(c, scale, zero_point, *ends), scale, zero_point) for c in centers]
    return math.fsum(n * e * e for n, e in zip(counts, errors, strict=True)) / sum(counts)


def kl_divergence(counts: Sequence[int], codes: Sequence[int], clipped: Sequence[int]) -> float:
    """sum p ln(p / q): q spreads each code's count evenly over the occupied cells of that code, 1e-9 elsewhere."""
    total, occupied = dict[int, int](), dict[int, int]()
    for n, q in zip(counts, codes, strict=True):
        total[q] = total.get(q, 0) + n
        occupied[q] = occupied.get(q, 0) + (n > 0)
    divergence, everything, anything = 0.0, sum(counts), sum(clipped)
    for n, q, kept in zip(counts, codes, clipped, strict=True):
        p = kept / anything
        guess = total[q] / occupied[q] / everything if n > 0 else 0.0
        if p > 0:
            divergence += p * math.log(p / max(guess, 1e-9))
    return divergence


def matmul(a: Matrix, b: Matrix, za: Sequence[int], zb: Sequence[int]) -> list[list[int]]:
    """(a - za) @ (b - zb) in integers without an end; za one a row of a, zb one a column of b."""
    return [
        [sum((row[k] - za[m]) * (b[k][n] - zb[n]) for k in range(len(b))) for n in range(len(zb))]
        for m, row in enumerate(a)
    ]


def multiplier(m: float) -> tuple[int, int]:
    """(q31, exponent) with m ~ q31 * 2**(exponent - 31), a half rounded up."""
    fraction, exponent = math.frexp(m)
    q31 = math.floor(Fraction(fraction) * 2**31 + Fraction(1, 2))
    if q31 == 2**31:
        q31, exponent = 2**30, exponent + 1
    return (q31, exponent) if exponent >= -31 else (0, 0)


def half_away(v: Fraction) -> int:
    """v to the nearest integer, halves away from zero."""
    return math.floor(v + Fraction(1, 2)) if v >= 0 else -math.floor(-v + Fraction(1, 2))


def rounded(acc: int, m: float, rounding: str) -> int:
    """round(acc * m) by each of the three rules."""
    if rounding == "float":
        return round(f32(f32(acc) * f32(m)))
    q31, exponent = multiplier(m)
    if rounding == "single":  # one rounding, halves up
        return math.floor(Fraction(acc * q31) * Fraction(2) ** (exponent - 31) + Fraction(1, 2))
    shifted = min(max(acc * 2 ** max(exponent, 0), -(2**31)), 2**31 - 1)
    product = shifted * q31
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)  # C's division truncates
    return half_away(Fraction(high) / 2 ** max(-exponent, 0))


def requantized(acc: int, m: float, zero_point: int, qmin: int, qmax: int, rounding: str = "float") -> int:
    return min(max(rounded(acc, m, rounding) + zero_point, qmin), qmax)


def wilson(correct: int, total: int, z: float) -> tuple[float, float]:
    """The two solutions p of (share - p)**2 = z**2 p (1 - p) / total: Wilson's definition, not his formula."""
    share = correct / total
    a, b, c = 1 + z * z / total, -(2 * share + z * z / total), share * share
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def dynamic_qparams(xs: Iterable[float]) -> tuple[float, int]:
    """(scale, zero_point) of uint8 for these numbers by ONNX DynamicQuantizeLinear, all in float32."""
    xs = [f32(x) for x in xs]
    lo, hi = min(0.0, *xs), max(0.0, *xs)
    scale = f32(f32(hi - lo) / 255)
    return (scale, round(min(max(f32(-lo / scale), 0.0), 255.0))) if scale >= TINY else (1.0, 0)


def symmetric_rows(weight: Sequence[Sequence[float]], qmax: int = 127) -> tuple[list[float], list[list[int]]]:
    """A scale and the codes for each row."""
    scales = [symmetric_scale(min(row), max(row), qmax) for row in weight]
    return scales, [[code(w, s, 0, -qmax - 1, qmax) for w in row] for s, row in zip(scales, weight, strict=True)]


def sums(codes: Matrix, zero_point: int, weight_codes: Matrix) -> list[list[int]]:
    """[M, N] of (codes - zero_point) @ weight_codes.T, weight_codes [N, K]."""
    return [[sum((q - zero_point) * w for q, w in zip(row, out, strict=True)) for out in weight_codes] for row in codes]
