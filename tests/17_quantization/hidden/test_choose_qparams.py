"""Scale and zero point of any range, against exact fractions; and the given IntType and QParams."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

REALS = st.floats(-1e6, 1e6, width=32)
TYPES = st.tuples(st.integers(2, 8), st.sampled_from([(True, False), (True, True), (False, False)]))


def int_type(student, drawn):
    bits, (signed, narrow) = drawn
    return student.IntType(bits, signed, narrow)


@given(lo=REALS, hi=REALS, drawn=TYPES)
@example(lo=-1.0, hi=2.0, drawn=(8, (True, False)))
@example(lo=0.0, hi=0.0, drawn=(4, (True, True)))
def test_scale_and_zero_point_are_the_formula_s_to_float32(student, lo, hi, drawn):
    lo, hi, t = min(lo, hi), max(lo, hi), int_type(student, drawn)
    p = student.choose_qparams(lo, hi, t)
    low, high = Fraction(min(lo, 0)), Fraction(max(hi, 0))
    qmin, qmax = t.qmin, t.qmax
    step = (high - low) / (qmax - qmin)
    if float(step) < 1.2e-38:
        assert p.scale == 1, f"a range of {float(high - low)} must get scale 1, got {p.scale}"
        return
    scale = Fraction(float(p.scale))
    assert abs(scale - step) <= step / 2**23, f"[{lo}, {hi}] in {qmin}..{qmax}: scale {float(scale)}, not {float(step)}"
    exact = qmin - low / step
    slack = Fraction(255, 2**22)  # the zero point may be made from the float32 scale or from the step itself
    assert abs(int(p.zero_point) - exact) <= Fraction(1, 2) + slack, (
        f"zero point {p.zero_point}, not rint({float(exact)})"
    )
    assert qmin <= p.zero_point <= qmax


@given(lo=REALS, hi=REALS, drawn=TYPES)
def test_zero_has_a_code_and_both_ends_lie_within_half_a_step(student, lo, hi, drawn):
    lo, hi, t = min(lo, hi), max(lo, hi), int_type(student, drawn)
    assume(max(hi, 0) - min(lo, 0) > 1e-30)
    p = student.choose_qparams(lo, hi, t)
    scale, zero = float(p.scale), int(p.zero_point)
    assert scale * (zero - zero) == 0
    for end, code in ((min(lo, 0), t.qmin), (max(hi, 0), t.qmax)):
        reach = abs(scale * (code - zero) - end)
        assert reach <= scale * (0.5 + 255 / 2**22), f"the last code ends {reach / scale:.3f} steps from {end}"


@given(lo=REALS, hi=REALS, bits=st.integers(2, 8), narrow=st.booleans())
def test_symmetric_scales_reach_the_largest_magnitude_with_qmax(student, lo, hi, bits, narrow):
    lo, hi = min(lo, hi), max(lo, hi)
    largest = max(abs(lo), abs(hi))
    assume(largest > 1e-30)
    p = student.choose_qparams(lo, hi, student.IntType(bits, True, narrow), symmetric=True)
    qmax = 2 ** (bits - 1) - 1
    assert math.isclose(float(p.scale) * qmax, largest, rel_tol=2.0**-22)
    assert p.zero_point.shape == () and p.zero_point == 0


@given(rows=st.lists(st.tuples(REALS, REALS), min_size=1, max_size=6), symmetric=st.booleans(), shape=st.booleans())
def test_each_row_gets_the_qparams_it_would_get_alone(student, rows, symmetric, shape):
    lo, hi = (np.array([f(pair) for pair in rows]).reshape((-1, 1) if shape else (-1,)) for f in (min, max))
    together = student.choose_qparams(lo, hi, student.INT8, symmetric)
    assert together.scale.shape == lo.shape
    zeros = np.broadcast_to(together.zero_point, lo.shape)
    for i, (low, high) in enumerate(zip(lo.ravel(), hi.ravel(), strict=True)):
        alone = student.choose_qparams(low, high, student.INT8, symmetric)
        assert together.scale.flat[i] == alone.scale and zeros.flat[i] == alone.zero_point, f"row {i}: [{low}, {high}]"


@given(lo=REALS, hi=REALS, bits=st.integers(2, 8))
def test_turning_the_range_around_turns_the_zero_point_around(student, lo, hi, bits):
    lo, hi = min(lo, hi), max(lo, hi)
    assume(max(hi, 0) - min(lo, 0) > 1e-30)
    t = student.IntType(bits)
    here, there = student.choose_qparams(lo, hi, t), student.choose_qparams(-hi, -lo, t)
    assert here.scale == there.scale
    assert abs(int(here.zero_point) + int(there.zero_point) + 1) <= 1, "the codes are mirrored at -1/2, to one of a tie"


@pytest.mark.parametrize(("lo", "hi"), [(np.nan, 1), (0, np.inf), (-np.inf, np.inf), (2, 1)])
def test_what_is_no_range_is_refused(student, lo, hi):
    with pytest.raises(ValueError, match="range"):
        student.choose_qparams(lo, hi)


def test_symmetric_needs_a_signed_type(student):
    with pytest.raises(ValueError, match="signed"):
        student.choose_qparams(-1.0, 1.0, student.UINT8, symmetric=True)


@given(drawn=TYPES)
def test_an_integer_type_has_the_ends_of_two_s_complement(student, drawn):
    bits, (signed, narrow) = drawn
    t = int_type(student, drawn)
    codes = range(-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1)) if signed else range(2**bits)
    assert (t.qmin, t.qmax) == (codes[0], codes[-1])
    assert t.storage == ("int8" if signed else "uint8")
    for size in range(6):
        assert t.nbytes((size,)) == math.ceil(size * bits / 8)


@pytest.mark.parametrize("wrong", [(1,), (9,), (8, False, True)])
def test_integer_types_that_do_not_exist_are_refused(student, wrong):
    with pytest.raises(ValueError):
        student.IntType(*wrong)


@pytest.mark.parametrize(
    ("scale", "zero_point"),
    [
        (0.0, 0),
        (-1.0, 0),
        (np.nan, 0),
        (np.inf, 0),
        (1e-50, 0),
        (1.0, 128),
        (1.0, -129),
        (1.0, 0.5),
        ([1.0, 1.0], [0, 0, 0]),
    ],
)
def test_qparams_that_cannot_quantize_are_refused(student, scale, zero_point):
    with pytest.raises(ValueError, match=r"scale|zero_point"):
        student.QParams(np.array(scale), np.array(zero_point))


def test_qparams_keep_their_own_copy_in_the_right_types(student):
    scale, zero = np.array([[0.5], [0.25]]), np.array([[1], [2]])
    p = student.QParams(scale, zero)
    scale[:], zero[:] = 9, 9
    assert p.scale.dtype == np.float32 and p.zero_point.dtype == np.int32
    assert p.scale.ravel().tolist() == [0.5, 0.25] and p.zero_point.ravel().tolist() == [1, 2]
    assert p.nbytes == 16


def test_a_range_beyond_float32_is_refused_as_a_range(student):
    with pytest.raises(ValueError, match="a range must be finite"):
        student.choose_qparams(0.0, 1e300)
