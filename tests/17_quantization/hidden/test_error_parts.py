"""The two parts of the error for any numbers, against a scalar specification."""

import math

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

REALS = st.floats(-1000, 1000, width=32)


@pytest.mark.part("error_parts")
@given(
    xs=st.lists(REALS, max_size=30),
    scale=st.floats(2.0**-7, 16, width=32),
    bits=st.integers(2, 8),
    signed=st.booleans(),
    place=st.floats(0, 1),
)
def test_both_parts_are_the_specification_s(student, xs, scale, bits, signed, place):
    int_type = student.IntType(bits, signed)
    zero_point = round(int_type.qmin + place * (int_type.qmax - int_type.qmin))
    got = student.error_parts(np.array(xs, np.float32), student.QParams(scale, zero_point, int_type))
    wanted = oracle.error_parts(xs, scale, zero_point, int_type.qmin, int_type.qmax)
    assert np.allclose(got, wanted, rtol=1e-6, atol=0), f"{xs} at scale {scale}, zero point {zero_point}"


@pytest.mark.part("error_parts")
@given(seed=st.integers(0, 10_000), bits=st.integers(2, 8))
def test_the_parts_sum_to_the_error_of_the_round_trip(student, seed, bits):
    rng = np.random.default_rng(seed)
    x = rng.standard_cauchy((4, 25)).astype(np.float32)
    p = student.QParams(rng.uniform(0.01, 1, (4, 1)), 0, student.IntType(bits))
    whole = np.mean((x.astype(np.float64) - student.dequantize(student.quantize(x, p), p)) ** 2)
    parts = student.error_parts(x, p)
    assert math.isclose(sum(parts), whole, rel_tol=1e-6)
    assert parts[0] <= np.max(p.scale) ** 2 / 4 * (1 + 1e-5), "rounding moves no number by more than half a step"


@pytest.mark.part("error_parts")
@given(xs=st.lists(st.floats(-60, 60, width=32), min_size=1), seed=st.integers(0, 99))
def test_order_does_not_matter_and_repeating_changes_nothing(student, xs, seed):
    x, p = np.array(xs, np.float32), student.QParams(0.5, 0, student.IntType(7))
    once = student.error_parts(x, p)
    again = student.error_parts(np.random.default_rng(seed).permutation(np.tile(x, 3)), p)
    assert np.allclose(once, again, rtol=1e-9)


@pytest.mark.part("error_parts")
@given(x=st.floats(-(2.0**90), 2.0**90, width=32), k=st.integers(-10, 10))
def test_the_unit_does_not_change_the_share(student, x, k):
    """In another unit, a power of two, both parts change by its square."""
    here = student.error_parts([x, x / 3], student.QParams(1.5, 10))
    unit = 2.0**k
    there = student.error_parts(
        np.array([x, np.float32(x / 3)], np.float32) * np.float32(unit), student.QParams(1.5 * unit, 10)
    )
    assert np.allclose(np.array(here) * unit**2, there, rtol=1e-6)


@pytest.mark.part("sqnr_db")
@given(xs=st.lists(st.integers(-999, 999).map(lambda n: n / 7), min_size=1, max_size=20), noise=st.floats(0.01, 10))
def test_decibels_are_the_specification_s(student, xs, noise):
    hats = [x + noise * (-1) ** i for i, x in enumerate(xs)]
    if any(xs):
        assert math.isclose(student.sqnr_db(xs, hats), oracle.sqnr_db(xs, hats), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.part("sqnr_db")
@given(seed=st.integers(0, 10_000))
def test_ten_times_less_noise_is_twenty_decibels_more(student, seed):
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, 3, 20))
    assert math.isclose(student.sqnr_db(x, x + noise / 10), student.sqnr_db(x, x + noise) + 20, rel_tol=1e-6)


@pytest.mark.part("sqnr_db")
def test_a_bit_is_worth_six_decibels_as_theory_says(student, rng):
    """A uniform signal that fills the range: 20 log10(2**b - 1), to the sampling error of 1e5 numbers."""
    x = rng.uniform(-1, 1, 100_000).astype(np.float32)
    for bits in (2, 3, 5, 8):
        int_type = student.IntType(bits, signed=False)
        levels = 2**bits - 1
        p = student.QParams(2 / levels, 2 ** (bits - 1), int_type)
        ends = np.float32(2 / levels) * (np.array([0, levels]) - 2 ** (bits - 1))
        inside = x[(x >= ends[0]) & (x <= ends[1])]
        x_hat = student.dequantize(student.quantize(inside, p), p)
        expected = 10 * math.log10(np.mean(inside.astype(np.float64) ** 2) / ((2 / levels) ** 2 / 12))
        assert abs(student.sqnr_db(inside, x_hat) - expected) < 0.06, f"{bits} bits"  # 5 standard errors


@pytest.mark.part("sqnr_db")
def test_an_exact_copy_is_infinitely_good_even_of_nothing(student):
    assert student.sqnr_db(np.zeros(3), np.zeros(3)) == math.inf
    assert student.sqnr_db(np.array([]), np.array([])) == math.inf
