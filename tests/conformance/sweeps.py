"""What to ask: quantization parameters and real numbers on which conventions part, arrays for dynamic quantization,
codes to multiply, sums to requantize. Everything is seeded: the same values in every run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.quantization import IntType, QParams

from .counting import Array

TINY = np.finfo(np.float32).tiny
LARGEST_BITS = 0x7F800000  # positive float32 numbers are the bit patterns below: from here on infinity and NaN

# exact and awkward ones; the last three are subnormal
SCALES = np.array(
    [1, 0.5, 2**-10, 0.1, 1 / 3, 3 / 255, 1 / 127, 1e-3, 7, 1e30, 3e38, TINY, TINY / 3, 1e-42, 1e-45], np.float32
)


def scales(number: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """SCALES, filled up to `number` with random bit patterns of positive float32 numbers."""
    return np.append(SCALES, rng.integers(1, LARGEST_BITS, number - SCALES.size, dtype=np.int32).view(np.float32))


def each_qparams(int_type: IntType, rng: np.random.Generator) -> list[QParams]:
    """55 scales, each with zero points at the ends and in the middle, odd and even: 8 of them."""
    qmin, qmax = int_type.qmin, int_type.qmax
    middle = (qmin + qmax + 1) // 2
    zero_points = sorted({qmin, qmin + 1, middle - 1, middle, middle + 1, middle + 2, qmax - 1, qmax})
    return [QParams(scale, z, int_type) for scale in scales(55, rng) for z in zero_points]


@np.errstate(over="ignore", invalid="ignore")
def reals(scale: Array, rng: np.random.Generator) -> NDArray[np.float32]:
    """float32 [2800], without NaN: ties and both neighbours of each, whole steps, infinities, the smallest and largest
    numbers, random bit patterns, random numbers within reach of the codes."""
    infinity, steps = np.float32(np.inf), np.arange(-300, 300, dtype=np.float32)
    ends = np.array([0, -0.0, np.inf, -np.inf, 3.4e38, -3.4e38, TINY, -TINY, 1e-45, -1e-45], np.float32)
    ties = (steps + np.float32(0.5)) * scale
    near = rng.uniform(-300, 300, 400).astype(np.float32) * scale
    bits = rng.integers(0, 2**32, 600, dtype=np.uint32).view(np.float32)
    above, below = np.nextafter(ties, infinity), np.nextafter(ties, -infinity)
    x = np.concatenate([ends, ties, above, below, steps * scale, near, bits])
    return np.asarray(x[~np.isnan(x)][:2800])


def pairs(int_type: IntType, seed: int = 17) -> Iterator[tuple[QParams, NDArray[np.float32]]]:
    """Quantization parameters, each with its real numbers: 1.2 million questions."""
    rng = np.random.default_rng(seed)
    for qparams in each_qparams(int_type, rng):
        yield qparams, reals(qparams.scale, rng)


def told(p: QParams) -> str:
    """Quantization parameters (the first ones, of several) in words."""
    return f"{p.int_type}, scale {p.scale.flat[0]:g}, zero point {p.zero_point.flat[0]}"


def arrays(seed: int = 17, random: int = 10_000) -> Iterator[NDArray[np.float32]]:
    """Arrays that float32 can rule (the range is 0, or at least 255 * TINY and finite): edges, then random ones.

    Of five, one is made for ties of its numbers (a range of 510 over a power of two has a scale that is one too), and
    one so that its zero point is next to a tie, on whose side float32 and float64 may disagree.
    """
    edges: list[Any] = [[-253, 257], [253, -257], [0, 0, 0], [-0.0], [], [[]], 5, -5, [5, 5, 5], [-5, -5], [0, 1e-30]]
    edges += [[3.4e38], [-3.4e38], [2e38, -1.4e38], [255 * TINY], [-256 * TINY, 1e-45], [1, 1e-45], [1e30, -1e-30]]
    for edge in edges:
        yield np.array(edge, np.float32)
    rng = np.random.default_rng(seed)
    for i in range(random):
        shape, lo = tuple(rng.integers(1, 8, 1 + i % 3)), rng.integers(-510, 1)
        normal = rng.normal(size=shape) * 10.0 ** rng.integers(-30, 37)
        ties = np.append(rng.integers(lo, 511 + lo, shape), [lo, 510 + lo]) / 2.0 ** rng.integers(0, 6)
        scale = np.float32(2 ** rng.uniform(-90, 90))
        zero_point_tie = (np.array([0, 255]) - rng.integers(0, 255) - 0.5) * scale
        yield np.asarray([normal, np.abs(normal), -np.abs(normal), ties, zero_point_tie][i % 5], np.float32)


# (M, K, N), and the axes that lead in a and b
SHAPES = [(1, 1, 1), (1, 7, 1), (3, 5, 7), (17, 33, 9), (64, 64, 64), (31, 257, 65), (1, 512, 10), (128, 129, 130)]
SHAPES += [(5, 2000, 3)]
LEADING = [((), ()), ((2,), (2,)), ((2,), ()), ((3, 2), (3, 2)), ((3, 2), ())]


def operands(
    a: IntType, b: IntType, b_limits: tuple[int, int] | None = None, seed: int = 17
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """(a, b, a_zero_point, b_zero_point): random codes and the two extreme ones; b has one zero point or one a column.

    b_limits: lowest and highest code of b, if not all are wanted.
    """
    rng = np.random.default_rng(seed)
    lo, hi = b_limits or (b.qmin, b.qmax)

    def codes(lowest: int, highest: int, dtype: np.dtype[Any], shape: tuple[int, ...], extreme: bool) -> Array:
        if extreme:
            return np.where(rng.integers(0, 2, shape, bool), lowest, highest).astype(dtype)
        return np.asarray(rng.integers(lowest, highest, shape, dtype, endpoint=True))

    for m, k, n in SHAPES:
        for a_lead, b_lead in LEADING:
            column = (*b_lead, 1, n) if b_lead else (n,)
            for extreme, b_shape in [(False, ()), (True, ()), (False, column), (True, column)]:
                yield (
                    codes(a.qmin, a.qmax, a.storage, (*a_lead, m, k), extreme),
                    codes(lo, hi, b.storage, (*b_lead, k, n), extreme),
                    codes(a.qmin, a.qmax, a.storage, (), extreme),
                    codes(lo, hi, b.storage, b_shape, extreme),
                )


def multipliers(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """float64: the powers of two from 2**-31 to 64, on which sums make ties, filled up with random numbers between."""
    powers = 2.0 ** np.arange(-31, 7)
    return np.append(powers, 2 ** rng.uniform(-31, 6, number - powers.size))


def sums(m: float, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """int32 [size]: the ends, 0 and 2**24 with neighbours, sums for which acc * m is a tie or next to one, sums within
    reach of the codes, and sums from anywhere."""
    ends = [-(2**31), 2**31 - 1, -(2**31) + 1, 0, 1, -1, 2**24, 2**24 + 1, -(2**24) - 1]
    ties = np.rint((rng.integers(-280, 280, size // 4) + 0.5) / m)
    near = ties + rng.integers(-1, 2, ties.size)
    reach = np.rint(rng.uniform(-300, 300, size // 4) / m)
    anywhere = rng.integers(-(2**31), 2**31, size - len(ends) - 3 * (size // 4))
    chosen = np.concatenate([ends, ties, near, reach, anywhere])
    return np.asarray(np.clip(chosen, -(2**31), 2**31 - 1), np.int32)
