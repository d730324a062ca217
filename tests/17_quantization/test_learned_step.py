"""learned_step_quantize. From simplest to hardest; the first that fails is the one you are shown."""

import math

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, returned, works
from numpy.typing import ArrayLike

VALUES = "x_hat = (clip(rint(x / scale) + zero_point) - zero_point) * scale"
OF_X = "x gets its gradient inside only, as in fake_quantize"
INSIDE = "inside, with the code fixed, the slope is (q - zero_point) - x / scale"
OUTSIDE = "below it is qmin - zero_point, above qmax - zero_point"
DAMPING = "times 1 / sqrt(count * (qmax - zero_point))"


def run(student, x, scale=(1.0,), zero_point=0, bits=2, count=None, grad=None):
    """(values, gradient of x, gradient of scale). count: such that the damping is 1, if not given."""
    x, scale = student.Tensor(np.array(x, np.float32), True), student.Tensor(np.array(scale, np.float32), True)
    int_type = student.IntType(bits)
    count = 1 / (int_type.qmax - zero_point) if count is None else count
    with works("learned_step_quantize(...)", "Tensor.from_op(values, (x, scale), lambda grad: (..., ...))"):
        out = student.learned_step_quantize(x, scale, zero_point, int_type, count)
    returned("learned_step_quantize", out, "Tensor")
    with works("learned_step_quantize(...).backward()", "return (gradient of x, gradient of scale), in x's shape"):
        out.backward(np.ones(x.shape, np.float32) if grad is None else grad)
    assert x.grad is not None, "x got no gradient: Tensor.from_op(values, (x, scale), ...)"
    assert scale.grad is not None, (
        "scale got no gradient: it is the second parent, Tensor.from_op(values, (x, scale), ...)"
    )
    return out.data, x.grad, scale.grad


def test_values_are_those_of_quantizing_and_dequantizing(student):
    x = [-1.0, 0.0, 0.6, 2.0, 9.0, -9.0]
    got, *_ = run(student, x, (0.5,), 1, 4)
    codes = [oracle.code(v, 0.5, 1, -8, 7) for v in x]
    slips: dict[str, ArrayLike] = {
        f"these are the codes: {VALUES}": codes,
        f"these are steps, without their scale: {VALUES}": [q - 1 for q in codes],
        f"nothing was clipped: {VALUES}": [-1.0, 0.0, 0.5, 2.0, 9.0, -9.0],
        f"the zero point was not taken off again: {VALUES}": [q * 0.5 for q in codes],
    }
    wanted = [oracle.real(q, 0.5, 1) for q in codes]
    check("the values of [-1, 0, 0.6, 2, 9, -9], 4 bits", got, wanted, VALUES, slips=slips, dtype="float32")


def test_x_gets_its_gradient_inside_only(student):
    _, got, _ = run(student, [0.3, 1.4, 1.5, -2.5, -2.6], grad=np.array([2, 3, 5, 7, 9], np.float32))
    slips = {
        "it passed everywhere": [2, 3, 5, 7, 9],
        "the mask was on x itself, or left out qmin and qmax: the rounded integer decides, both ends inside": [
            2,
            0,
            0,
            0,
            0,
        ],
        "the gradient that comes in must be multiplied": [1, 1, 0, 1, 0],
    }
    check("the gradient of x = [0.3, 1.4, 1.5, -2.5, -2.6], 2 bits", got, [2, 3, 0, 7, 0], OF_X, slips=slips)


@pytest.mark.parametrize("x", [0.3, -0.4, 0.8, -1.7])
def test_inside_the_slope_of_scale_is_the_rounding_error(student, x):
    *_, got = run(student, [x])
    error = round(x) - float(np.float32(x))
    slips = {
        "the sign is wrong: (q - zero_point) - x / scale": [-error],
        "- x / scale is missing: rounding moves with the scale, too": [round(x)],
        "q - zero_point is missing": [-x],
        "the gradient inside is missing": [0.0],
        f"the damping has qmax - qmin under the root: {DAMPING}": [error / math.sqrt(3)],
    }
    check(f"the gradient of scale for x = {x}", got, [error], INSIDE, slips=slips, within=2.0**-22)


@pytest.mark.parametrize(("x", "end"), [(5.0, 1.0), (-9.0, -2.0)])
def test_outside_the_slope_of_scale_is_the_last_code(student, x, end):
    *_, got = run(student, [x])
    slips = {
        "the gradient of the scale is missing outside: the last mark moves when the step grows": [0.0],
        "it is that of the inside formula with the clipped code: outside there is no - x / scale": [end - x],
        "it is that of the inside formula with the unclipped code": [round(x) - x],
        "below and above are swapped": [-1.0 - end],
    }
    check(f"the gradient of scale for x = {x}", got, [end], OUTSIDE, slips=slips)


def test_one_step_sums_over_all_numbers_it_serves(student):
    *_, got = run(student, [0.3, 5.0, -9.0], grad=np.array([10.0, 2.0, 1.0], np.float32))
    slips = {
        "the gradient that comes in must be multiplied, each by its own": [-1.3],
        "count is an argument, and here 1; the damping took the size of x": [-3 / math.sqrt(3)],
        "that is the mean; one step serves all three numbers, so its gradient is the sum": [-1.0],
    }
    check(
        "the gradient of scale for [0.3, 5, -9]", got, [-3.0 + 2 - 2], "grad * slope, summed", slips=slips, within=1e-6
    )


def test_the_gradient_of_scale_is_damped(student):
    *_, got = run(student, [9.0], bits=3, count=16)
    slips = {
        f"the damping is missing: {DAMPING}": [3.0],
        f"qmax is missing under the root: {DAMPING}": [3 / 4],
        f"count is missing under the root: {DAMPING}": [3 / math.sqrt(3)],
        f"the root is missing: {DAMPING}": [3 / 48],
        f"it was multiplied by the root, not divided: {DAMPING}": [3 * math.sqrt(48)],
    }
    check("the gradient of scale, count 16, 3 bits", got, [3 / math.sqrt(48)], DAMPING, slips=slips, within=1e-6)
    _, of_x, _ = run(student, [1.0], bits=3, count=16)
    check("the gradient of x, count 16", of_x, [1.0], "only the gradient of scale is damped")


def test_behind_a_relu_all_codes_are_positive(student):
    """Zero point -4 in 3 bits: codes for 0 to 7 steps."""
    values, of_x, of_scale = run(student, [[0.0, 3.4, 7.2, 9.0, -1.0]], [[1.0]], zero_point=-4, bits=3)
    check("the values", values, [[0, 3, 7, 7, 0]], VALUES)
    check("the gradient of x", of_x, [[1, 1, 1, 0, 0]], "the zero point belongs to the integer")
    shifted = "the zero point is missing outside: qmin - zero_point, qmax - zero_point"
    slips = {
        shifted: [[-0.6 + 3 - 4]],
        "the zero point is missing inside: (q - zero_point) - x / scale": [[-0.6 - 12 + 7]],
    }
    check("the gradient of scale", of_scale, [[-0.4 - 0.2 + 7 + 0]], shifted, slips=slips, within=1e-5)


def test_the_zero_point_counts_in_the_damping(student):
    *_, got = run(student, [9.0], zero_point=-4, bits=3, count=1)
    slips = {"the zero point is missing in the damping": [7 / math.sqrt(3)]}
    check("the gradient of scale, zero point -4", got, [7 / math.sqrt(7)], DAMPING, slips=slips, within=1e-6)


def test_each_row_learns_its_own_step(student):
    values, of_x, of_scale = run(student, [[0.5, 7.0], [40.0, -90.0]], [[1.0], [100.0]], bits=3)
    check("the values", values, [[0, 3], [0, -100]], VALUES)
    check("the gradient of x", of_x, [[1, 0], [1, 1]], OF_X)
    wanted = [[-0.5 + 3], [-0.4 - 0.1]]
    check(
        "the gradient of scale",
        of_scale,
        wanted,
        "return it in the shape of x; the core sums to that of scale",
        slips={f"/ scale is missing inside: {INSIDE}": [[2.5], [-50.0]]},
        within=1e-6,
    )


@pytest.mark.parametrize(("zero_point", "bits", "scale"), [(0, 3, 0.37), (-4, 3, 0.8), (-128, 8, 0.01), (0, 4, 2.5)])
def test_the_gradients_are_measured_slopes(student, zero_point, bits, scale):
    """Beyond the range: slopes of the function itself. Inside it is a staircase, and the estimator is the slope of
    x + s * e, where e = rint(x / s) - x / s, the rounding error in steps, is held fixed."""
    rng = np.random.default_rng(bits)
    half = 2 ** (bits - 1)
    x = (rng.uniform(-1.5 * half - zero_point, 1.5 * half - zero_point, 60) * scale).astype(np.float32)
    steps = x / np.float32(scale)
    q = np.rint(steps.astype(np.float64)) + zero_point
    beyond, h = (q < -half) | (q > half - 1), scale / 1024
    e = np.rint(steps) - steps.astype(np.float64)

    def f(at):
        real, *_ = run(student, x, (at,), zero_point, bits)
        return np.where(beyond, real, x + at * e)

    slopes = (f(scale + h) - f(scale - h)) / (2 * h)
    *_, got = run(student, x, (scale,), zero_point, bits)
    within = 60 * 2.0**-24 * np.abs(x).max() / h + 60 * 2.0**-22 * 4 * half
    check("the gradient of scale, against differences", got, [slopes.sum()], f"{INSIDE}; {OUTSIDE}", within=within)


def test_each_result_remembers_its_own_gradients(student):
    """Two layers: the second is quantized before the gradient of the first is asked for."""
    pairs = [
        (student.Tensor(np.array(x, np.float32), True), student.Tensor(np.ones(1, np.float32), True))
        for x in ([0.25, 9.0], [9.0, 0.5])
    ]
    with works("learned_step_quantize(...)", VALUES):
        results = [student.learned_step_quantize(x, scale, 0, student.IntType(2), 1) for x, scale in pairs]
    for result in results:
        result.backward(np.array([1.0, 2.0], np.float32))
    own = "each result needs the mask and slope of its own call: keep them in local variables"
    check("the gradient of the first x", pairs[0][0].grad, [1.0, 0.0], own)
    check("the gradient of the first scale", pairs[0][1].grad, [-0.25 + 2.0], own, within=1e-6)


def test_a_converted_layer_keeps_the_learned_steps(student):
    x = np.array([[1.0, 0.25, 0.5], [-0.75, 0.375, 2.0]], np.float32)
    model = student.prepare_qat(student.Sequential(student.Linear(3, 2)), [x], student.IntType(4), learned=True)
    with works(
        "convert(prepare_qat(model, ..., learned=True))", "a LearnedStepSize has qparams, as a FakeQuantize has"
    ):
        got = student.convert(model).layers[0].weight.qparams.scale
    wanted = model.layers[0].weight.scale.data.ravel()
    check("the weight's scale, learned", got.ravel(), wanted, "m.weight.qparams holds the learned scale")


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_numbers_have_no_gradient(student, shape):
    values, of_x, of_scale = run(student, np.zeros(shape))
    check(f"the values of shape {shape}", values, np.zeros(shape), VALUES, dtype="float32")
    check(f"the gradient of x of shape {shape}", of_x, np.zeros(shape), OF_X)
    check("the gradient of scale", of_scale, [0.0], "a sum of nothing is 0")


def test_half_precision_stays_half_precision(student):
    x, scale = student.Tensor(np.array([0.3, 5.0], np.float16), True), student.Tensor(np.array([1.0], np.float32), True)
    with works("learned_step_quantize(float16)", VALUES):
        out = student.learned_step_quantize(x, scale, 0, student.IntType(2), 1)
    check("the values of [0.3, 5] in float16", out.data, [0.0, 1.0], "cast to x.dtype", dtype="float16")
