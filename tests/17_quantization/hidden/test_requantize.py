"""Multipliers and the three roundings, against exact fractions."""

from fractions import Fraction

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

MULTIPLIERS = st.floats(2.0**-45, 2.0**29) | st.floats(2.0**-12, 1.0)
SUMS = st.integers(-(2**31), 2**31 - 1) | st.integers(-5000, 5000)
ROUNDINGS = st.sampled_from(["float", "gemmlowp", "single"])


@pytest.mark.part("quantize_multiplier")
@given(m=MULTIPLIERS)
@example(m=1 - 2.0**-33)
@example(m=2.0**-32)
@example(m=2.0**-33)
@example(m=(2**30 + 0.5) / 2**31)
@example(m=(2**31 - 0.5) / 2**32)
def test_a_multiplier_is_the_specification_s(student, m):
    got = student.quantize_multiplier(m)
    assert tuple(int(v) for v in got) == oracle.multiplier(m)


@pytest.mark.part("quantize_multiplier")
@given(m=st.floats(2.0**-31, 2.0**29))
def test_a_multiplier_is_right_to_half_of_its_last_bit(student, m):
    q31, exponent = (int(v) for v in student.quantize_multiplier(m))
    assert 2**30 <= q31 < 2**31
    assert abs(Fraction(m) - q31 * Fraction(2) ** (exponent - 31)) <= Fraction(2) ** (exponent - 32)


@pytest.mark.part("quantize_multiplier")
@given(ms=st.lists(MULTIPLIERS, max_size=6), turned=st.booleans())
def test_each_multiplier_is_found_as_if_alone(student, ms, turned):
    array = np.array(ms).reshape((-1, 1) if turned else -1)
    q31, exponent = student.quantize_multiplier(array)
    assert q31.shape == exponent.shape == array.shape
    assert list(zip(q31.ravel().tolist(), exponent.ravel().tolist(), strict=True)) == [oracle.multiplier(m) for m in ms]


@pytest.mark.part("requantize")
@given(accs=st.lists(SUMS, max_size=8), m=MULTIPLIERS, rounding=ROUNDINGS, bits=st.integers(2, 8), signed=st.booleans())
def test_codes_are_the_specification_s(student, accs, m, rounding, bits, signed):
    t = student.IntType(bits, signed)
    qmin, qmax = t.qmin, t.qmax
    zero_point = qmin + 2 ** (bits - 2)
    got = student.requantize(np.array(accs, np.int32), m, student.QParams(0.3, zero_point, t), rounding)
    assert got.tolist() == [oracle.requantized(a, m, zero_point, qmin, qmax, rounding) for a in accs]
    assert got.dtype == (np.int8 if signed else np.uint8)


@pytest.mark.part("requantize")
@given(seed=st.integers(0, 9999), rounding=ROUNDINGS)
def test_sums_near_the_codes_are_the_specification_s(student, seed, rounding):
    rng = np.random.default_rng(seed)
    m = 2.0 ** -rng.uniform(1, 20)
    acc = np.rint(rng.uniform(-130, 130, 40) / m).astype(np.int32)
    got = student.requantize(acc, m, student.QParams(1.0, -3), rounding)
    assert got.tolist() == [oracle.requantized(a, m, -3, -128, 127, rounding) for a in acc.tolist()]


@pytest.mark.part("requantize")
@given(k=st.lists(st.integers(-127, 127), min_size=1), shift=st.integers(2, 16))
def test_exact_ties_part_the_three_rules(student, k, shift):
    """Every sum is (n + 1/2) * 2**shift: to even, away from zero, up. (At shift 1 gemmlowp goes up.)"""
    acc, p = (2 * np.array(k) + 1) << (shift - 1), student.QParams(1.0, 0)
    rules = {
        "float": [n + n % 2 for n in k],
        "gemmlowp": [n + 1 if n >= 0 else n for n in k],
        "single": [n + 1 for n in k],
    }
    for rounding, wanted in rules.items():
        got = student.requantize(acc.astype(np.int32), 2.0**-shift, p, rounding)
        assert got.tolist() == np.clip(wanted, -128, 127).tolist(), rounding


@pytest.mark.part("requantize")
@given(seed=st.integers(0, 9999), rounding=ROUNDINGS)
def test_channels_are_scaled_as_if_alone(student, seed, rounding):
    rng = np.random.default_rng(seed)
    acc, m = rng.integers(-(10**6), 10**6, (3, 5)).astype(np.int32), 2.0 ** -rng.uniform(5, 20, 5)
    together = student.requantize(acc, m, student.QParams(1.0, 9), rounding)
    for n in range(5):
        assert (together[:, n] == student.requantize(acc[:, n], m[n], student.QParams(1.0, 9), rounding)).all()


@pytest.mark.part("requantize")
@given(accs=st.lists(SUMS, min_size=2), m=MULTIPLIERS, rounding=ROUNDINGS)
def test_a_larger_sum_never_gets_a_smaller_code(student, accs, m, rounding):
    codes = student.requantize(np.array(sorted(accs), np.int32), m, student.QParams(1.0, 0), rounding)
    assert (np.diff(codes.astype(int)) >= 0).all()


@pytest.mark.part("requantize")
@given(accs=st.lists(st.integers(-(10**6), 10**6), min_size=1), m=st.floats(2.0**-20, 2.0**-8))
def test_the_three_rules_differ_by_one_code_at_most(student, accs, m):
    acc, p = np.array(accs, np.int32), student.QParams(1.0, 0)
    results = [student.requantize(acc, m, p, rounding).astype(int) for rounding in ("float", "gemmlowp", "single")]
    assert (np.ptp(results, axis=0) <= 1).all()


@pytest.mark.part("quantize_multiplier")
@pytest.mark.parametrize("m", [0.0, -0.5, 2.0**30, np.nan, np.inf])
def test_a_multiplier_out_of_range_is_refused(student, m):
    with pytest.raises(ValueError, match="multiplier"):
        student.quantize_multiplier(m)


@pytest.mark.part("requantize")
def test_an_unknown_rounding_is_refused(student):
    with pytest.raises(ValueError, match="rounding"):
        student.requantize(np.array([1], np.int32), 0.5, student.QParams(1.0, 0), "up")
