"""Requantization in integers, against plain Python after gemmlowp's and TensorFlow Lite's C."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tinytorch.quantization import INT8, QParams, requantize

from . import gemmlowp, rounding

INT32_MIN, INT32_MAX = gemmlowp.INT32_MIN, gemmlowp.INT32_MAX


def test_a_hundred_thousand_multipliers_split_into_the_same_integers() -> None:
    counted = rounding.multiplier()
    assert counted.mismatches == 0, f"{counted.mismatches} of {counted.compared} integers differ; {counted.first}"
    assert counted.compared >= 200_000  # two integers each


@pytest.mark.parametrize("name", gemmlowp.ROUNDINGS)
def test_a_hundred_thousand_sums_requantize_to_the_same_codes(name: str) -> None:
    counted = rounding.requantized(name)
    assert counted.mismatches == 0, f"{counted.mismatches} of {counted.compared} codes differ; {counted.first}"
    assert counted.compared >= 100_000


@pytest.mark.parametrize("name", gemmlowp.ROUNDINGS)
@pytest.mark.parametrize("exponent", range(-32, 31))
def test_the_ends_of_int32_requantize_to_the_same_codes_for_every_exponent(name: str, exponent: int) -> None:
    acc = [INT32_MIN, INT32_MIN + 1, -(2**30), -3, -2, -1, 0, 1, 2, 3, 2**30, INT32_MAX - 1, INT32_MAX]
    for fraction in (0.5, 0.5 + 2**-31, 0.75, 1 - 2**-31):
        m = float(np.ldexp(fraction, exponent))
        theirs = [gemmlowp.requantize(v, m, 3, -128, 127, name) for v in acc]
        assert requantize(np.array(acc, np.int32), m, QParams(1.0, 3), name).tolist() == theirs, f"m = {m!r}"


def test_a_tie_goes_to_even_or_up_or_away_from_zero() -> None:
    """0.5, 1.5, 2.5 and their opposites: m is 0.5 or 0.25, exact in every form."""
    acc = np.array([1, 3, 5, -1, -3, -5], np.int32)
    codes = {name: requantize(acc, 0.5, QParams(1.0, 0), name).tolist() for name in ("float", "gemmlowp", "single")}
    assert codes["float"] == [0, 2, 2, 0, -2, -2], "to the even integer"
    assert codes["single"] == [1, 2, 3, 0, -1, -2], "up"
    assert codes["gemmlowp"] == [1, 2, 3, 0, -1, -2], "up as well: q31 = 2**30, one rounding by the truncated nudge"
    quarter = requantize(np.array([2, 6, -2, -6], np.int32), 0.25, QParams(1.0, 0), "gemmlowp")
    assert quarter.tolist() == [1, 2, -1, -2], "away from zero, once the second rounding meets the tie"


@pytest.mark.parametrize("exponent", [0, -1, -4, -8, -12])
@pytest.mark.parametrize(("one", "other"), list(combinations(("float", "gemmlowp", "single"), 2)))
def test_two_roundings_part_by_one_code_and_no_farther_from_a_tie_than_the_first_rounding_moves(
    one: str, other: str, exponent: int
) -> None:
    """gemmlowp rounds twice: first to steps of 2**exponent, which moves a sum by half of that at most.

    float32 adds three relative errors of 2**-24 (sum, multiplier, product), q31 one of 2**-31.
    """
    acc, m = rounding.layer_sums(exponent)
    first, second = (requantize(acc, m, QParams(1.0, 0, INT8), name).astype(int) for name in (one, other))
    exact = acc * m
    moved = 2.0 ** (exponent - 1) * ("gemmlowp" in (one, other)) + np.abs(exact) * (3 * 2.0**-24 + 2.0**-31) * (
        1 + 1e-6
    )
    to_tie = np.abs(exact - np.floor(exact) - 0.5)
    part = first != second
    assert np.all(np.abs(first - second) <= 1)
    assert np.all(to_tie[part] <= moved[part])
