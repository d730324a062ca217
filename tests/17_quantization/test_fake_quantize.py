"""fake_quantize. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, returned, works
from numpy.typing import ArrayLike

from tito.testing.student_fixture import type_name

VALUES = "the values are those of dequantize(quantize(x.data, qparams), qparams)"
MASK = "the mask is on the rounded, unclipped integer: qmin <= rint(x / scale) + zero_point <= qmax"
PAST = "Tensor.from_op(values, (x,), lambda grad: (grad * inside,))"


def faked(student, x, p):
    with works("fake_quantize(x, qparams)", PAST):
        out = student.fake_quantize(x, p)
    returned("fake_quantize", out, "Tensor", PAST)
    return out


def slope(student, values, p, grad=None):
    """The gradient of x, for the gradient `grad` (ones) coming in."""
    x = student.Tensor(np.array(values, np.float32), True)
    out = faked(student, x, p)
    assert out.requires_grad, f"the result does not remember x, so no gradient can pass: {PAST}"
    with works("fake_quantize(x, qparams).backward()", PAST):
        out.backward(np.ones(x.shape, np.float32) if grad is None else grad)
    assert x.grad is not None, f"x got no gradient: {PAST}"
    return x.grad


def test_values_are_those_of_the_round_trip(student):
    x = [-1.0, 0.0, 0.6, 2.0, 9.0, -9.0]
    out = faked(student, student.Tensor(np.array(x, np.float32)), student.QParams(0.5, 1, student.IntType(4)))
    codes = [oracle.code(v, 0.5, 1, -8, 7) for v in x]
    slips: dict[str, ArrayLike] = {
        f"these are the codes: {VALUES}": codes,
        f"nothing was clipped: {VALUES}": [-1.0, 0.0, 0.5, 2.0, 9.0, -9.0],
        f"x came back as it was: {VALUES}": np.array(x, np.float32),
    }
    wanted = [oracle.real(q, 0.5, 1) for q in codes]
    check("fake_quantize([-1, 0, 0.6, 2, 9, -9]), 4 bits", out.data, wanted, VALUES, slips=slips, dtype="float32")
    assert type_name(out) == "Tensor", f"fake_quantize must return a Tensor, got {type_name(out)}"


def test_the_gradient_passes_where_the_code_fits(student):
    got = slope(student, [-1.0, 0.3, 0.5, 2.0], student.QParams(0.5, 1))
    slips = {
        "a staircase has slope 0 almost everywhere; the straight-through estimator passes the gradient on": np.zeros(4),
        "it passes unchanged: times 1, not times the scale": np.full(4, 0.5),
        "it passes unchanged: times 1, not divided by the scale": np.full(4, 2.0),
    }
    check("the gradient of [-1, 0.3, 0.5, 2]", got, np.ones(4), PAST, slips=slips)


def test_the_gradient_stops_where_the_code_was_clipped(student):
    got = slope(student, [200.0, 1.0, -200.0], student.QParams(1.0, 0))
    slips = {
        "it passed everywhere: where the code was clipped it must stop": [1.0, 1.0, 1.0],
        "it passed where it should stop, and stopped where it should pass": [1.0, 0.0, 1.0],
    }
    check("the gradient of [200, 1, -200]", got, [0.0, 1.0, 0.0], MASK, slips=slips)


def test_the_mask_is_on_the_rounded_integer(student):
    """Scale 0.5: 63.5 is code 127. 63.74 still rounds to it; 63.75 is a tie, and goes to 128."""
    values = [63.5, 63.74, 63.75, 64.0, -64.0, -64.25, -64.26]
    slips = {
        "the mask was on x itself (between the smallest and largest real in range); the integer decides": [
            1,
            0,
            0,
            0,
            1,
            0,
            0,
        ],
        "the mask was on the clipped integer, which always fits: do not clip it": [1, 1, 1, 1, 1, 1, 1],
        "the mask was on x / scale before rounding": [1, 0, 0, 0, 1, 0, 0],
        "the last codes themselves fit: <=, not <": [0, 0, 0, 0, 0, 0, 0],
        "a tie goes to the even integer (np.rint): 127.5 to 128, -128.5 to -128": [1, 1, 0, 0, 1, 0, 0],
    }
    got = slope(student, values, student.QParams(0.5, 0))
    check(f"the gradient of {values}", got, [1, 1, 0, 0, 1, 1, 0], MASK, slips=slips)


def test_the_zero_point_belongs_to_the_integer(student):
    values = [27.4, 28.0, -228.4, -229.0, 100.0, -130.0]
    missing = "the zero point is missing from the integer"
    slips = {missing: [1, 1, 0, 0, 1, 0]}
    got = slope(student, values, student.QParams(1.0, 100))
    check(f"the gradient of {values}, zero point 100", got, [1, 0, 1, 0, 0, 1], missing, slips=slips)


def test_the_gradient_that_comes_in_is_multiplied(student):
    grad = np.array([2.0, -3.0, 5.0], np.float32)
    got = slope(student, [1.0, 300.0, -7.0], student.QParams(1.0, 0), grad)
    replaced = "the mask itself was handed on: multiply, grad * inside"
    check("the gradient, for [2, -3, 5] coming in", got, [2.0, 0.0, 5.0], PAST, slips={replaced: [1.0, 0.0, 1.0]})


def test_each_row_has_its_own_scale(student):
    p = student.QParams(np.array([[1.0], [10.0]]), np.array([[0], [-100]]))
    got = slope(student, [[100.0, 130.0], [-290.0, 2000.0]], p)
    check("the gradient of two rows", got, [[1, 0], [0, 1]], "scale and zero point broadcast; keep their shapes")


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 2)])
def test_every_shape_is_kept(student, shape):
    got = slope(student, np.ones(shape), student.QParams(0.5, 0))
    check(f"the gradient for shape {shape}", got, np.ones(shape), PAST, dtype="float32")


@pytest.mark.parametrize(("zero_point", "bits"), [(0, 8), (-100, 8), (3, 4)])
def test_the_gradient_is_the_slope_seen_from_afar(student, zero_point, bits):
    """Central differences over whole steps, along which the staircase is a straight line: exact, at 0.25 a step."""
    scale, far = 0.25, 4
    p, half = student.QParams(scale, zero_point, student.IntType(bits)), 2 ** (bits - 1)
    steps = np.arange(-half - zero_point - 20, half - zero_point + 20) + 0.25
    inside = (steps - far > -half - zero_point) & (steps + far < half - 1 - zero_point)
    outside = (steps + far < -half - zero_point) | (steps - far > half - 1 - zero_point)
    away = steps[inside | outside] * scale

    def f(x):
        return faked(student, student.Tensor(x.astype(np.float32)), p).data

    measured = (f(away + far * scale) - f(away - far * scale)) / (2 * far * scale)
    assert 0 < measured.sum() < measured.size
    check("the gradient, against differences over 8 steps", slope(student, away, p), measured, MASK)


def test_a_result_without_gradient_stays_plain(student):
    out = faked(student, student.Tensor(np.array([0.3, 400.0], np.float32)), student.QParams(0.5, 0))
    assert not out.requires_grad, "a plain x needs no gradient: let Tensor.from_op decide"


def test_the_zero_point_is_added_after_rounding(student):
    """126.5 is a tie and rounds to 126; with zero point 1 that is the last code, where 127.5 would round beyond it."""
    after = "rint(x / scale) + zero_point: the zero point is added after rounding"
    check("the gradient of 126.5, zero point 1", slope(student, [126.5], student.QParams(1.0, 1)), [1.0], after)


def test_a_number_on_the_edge_is_divided_by_the_scale(student):
    """In float32 -3.855 / 0.03 is -128.5, which rounds to a code; -3.855 * (1 / 0.03) lies beyond it."""
    x, scale = np.float32(-128.5) * np.float32(0.03), float(np.float32(0.03))
    twice = "x / scale rounds once; x * (1 / scale) rounds twice"
    check("the gradient of -3.855, scale 0.03", slope(student, [x], student.QParams(scale, 0)), [1.0], twice)


@pytest.mark.parametrize("shape", [(0, 3), (1,), (1, 1), ()])
def test_any_shape_is_kept(student, shape):
    out = faked(student, student.Tensor(np.full(shape, 0.26, np.float32)), student.QParams(0.5, 0))
    check(f"fake_quantize of shape {shape}", out.data, np.full(shape, 0.5), VALUES, dtype="float32")


def test_values_far_outside_are_the_last_code_s(student):
    out = faked(student, student.Tensor(np.array([1e8, -1e8], np.float32)), student.QParams(1.0, 0))
    added = "x + (x_hat - x) rounds where x is large: return x_hat itself, and let backward say what the gradient is"
    check("fake_quantize([1e8, -1e8], scale 1)", out.data, [127.0, -128.0], added)


def test_each_result_remembers_its_own_mask(student):
    """Two layers: the second is quantized before the gradient of the first is asked for."""
    first, second = (student.Tensor(np.array(v, np.float32), True) for v in ([1.0, 300.0], [300.0, 1.0]))
    results = [faked(student, x, student.QParams(1.0, 0)) for x in (first, second)]
    for result in results:
        result.backward(np.ones(2, np.float32))
    own = "each result needs the mask of its own call: keep it in a local variable, not in one that all calls share"
    check("the gradient of the first of two results", first.grad, [1.0, 0.0], own)
    check("the gradient of the second", second.grad, [0.0, 1.0], own)


def test_a_code_fits_no_narrow_integer_before_it_is_masked(student):
    got = slope(student, [-204.0, 51.0, 52.0, -205.0], student.QParams(1.0, 204, student.IntType(8, False)))
    beyond = "204 is a code of UINT8, but int8 ends at 127: leave the zero point's dtype as it is"
    check("the gradient of [-204, 51, 52, -205], zero point 204", got, [1, 1, 0, 0], beyond)
    got = slope(student, [65_540.0, 1.0], student.QParams(1.0, 0))
    check("the gradient of [65540, 1]", got, [0, 1], "the code 65540 wraps around in int16: leave codes in float")
