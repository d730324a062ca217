"""Requantizing as gemmlowp and TensorFlow Lite do it: ours against plain Python, and the three roundings compared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytorch.quantization import INT8, UINT8, QParams, quantize_multiplier, requantize

from . import gemmlowp
from .counting import Answer, Array, Count, count
from .sweeps import multipliers, sums

PEER = "gemmlowp, in plain Python"


def multiplier() -> Count:
    """(q31, exponent) of multipliers: 100 000 of all sizes below 2**30, every power of two, ties, the next exponent."""
    rng = np.random.default_rng(17)
    m = np.ldexp(rng.uniform(0.5, 1, 100_000), rng.integers(-40, 31, 100_000))
    powers = 2.0 ** np.arange(-1074, 30)
    ties = np.ldexp(2.0**31 - rng.integers(1, 400, 1000) / 2, rng.integers(-70, -2, 1000))  # or q31 becomes 2**31
    m = np.concatenate([m, powers, np.nextafter(powers, 0)[1:], np.nextafter(powers, np.inf), ties])
    theirs = np.array([gemmlowp.quantize_multiplier(v) for v in m.tolist()], np.int64)
    return count("quantize_multiplier", "float64", PEER, [("", np.stack(quantize_multiplier(m), -1), theirs)])


def requantized(rounding: str) -> Count:
    rng = np.random.default_rng(17)

    def answers() -> Iterator[Answer]:
        for i, m in enumerate(multipliers(250, rng).tolist()):
            int_type = (INT8, UINT8)[i % 2]
            qmin, qmax = int_type.qmin, int_type.qmax
            acc, zy = sums(m, 600, rng), int(rng.integers(qmin, qmax, endpoint=True))
            theirs = [gemmlowp.requantize(v, m, zy, qmin, qmax, rounding) for v in acc.tolist()]
            ours = requantize(acc, m, QParams(1.0, zy, int_type), rounding)
            yield f"m {m:g}, zero point {zy}", ours, np.array(theirs, int_type.storage)

    return count(f'requantize "{rounding}"', "INT8, UINT8", PEER, answers())


def layer_sums(exponent: int, size: int = 131_072) -> tuple[Array, Array]:
    """(acc int32 [size / 128, 128], m float64 [128]), 2**(exponent - 1) < m < 2**exponent: acc * m uniform in +-140."""
    rng = np.random.default_rng(17)
    m = 2 ** rng.uniform(exponent - 1, exponent, 128)
    return np.rint(rng.uniform(-140, 140, (size // m.size, m.size)) / m).astype(np.int32), m


def roundings(one: str, other: str, exponent: int) -> Count:
    """How often two roundings differ, with multipliers of one exponent."""
    acc, m = layer_sums(exponent)
    answers = [("", requantize(acc, m, QParams(1.0, 0), one), requantize(acc, m, QParams(1.0, 0), other))]
    return count(f'requantize "{one}", m below 2**{exponent}', "INT8", f'ours, "{other}"', answers)
