"""cast_to and MasterWeights. From simplest to hardest; the first that fails is the one you are shown."""

from contextlib import contextmanager

import numpy as np
import pytest
from checks_17 import check, returned, works

CAST = "Tensor.from_op(round_half(x.data, dtype), (x,), lambda grad: (grad,))"
MASTER = (
    "gradients in float32, or None, to the masters; the optimizer steps on those; each parameter is its master, rounded"
)


def cast(student, x, dtype="float16"):
    with works(f"cast_to(x, {dtype!r})", CAST):
        out = student.cast_to(x, dtype)
    returned("cast_to", out, "Tensor", CAST)
    return out


@pytest.mark.part("cast_to")
def test_values_are_rounded_to_half(student):
    x = np.array([1.0, 2049.0, 1e-8, 0.1], np.float32)
    out = cast(student, student.Tensor(x))
    slips = {"x came back in float32: round_half(x.data, dtype)": x}
    check(
        "cast_to([1, 2049, 1e-8, 0.1], 'float16')", out.data, x.astype(np.float16), CAST, slips=slips, dtype="float16"
    )


@pytest.mark.part("cast_to")
def test_bfloat16_is_held_in_float32(student):
    out = cast(student, student.Tensor(np.array([1.01, 1e-8, 1e5], np.float32)), "bfloat16")
    wanted = student.to_bfloat16(np.array([1.01, 1e-8, 1e5], np.float32))
    check("cast_to([1.01, 1e-8, 1e5], 'bfloat16')", out.data, wanted, "pass dtype on to round_half", dtype="float32")


@pytest.mark.part("cast_to")
def test_numbers_of_float16_are_rounded_to_bfloat16(student):
    out = cast(student, student.Tensor(np.array([1 + 2.0**-10, 300.0], np.float16)), "bfloat16")
    other = "float16 holds more digits than bfloat16: what is in half precision already may be in the other one"
    check("cast_to([1 + 2**-10, 300] in float16, 'bfloat16')", out.data, [1.0, 300.0], other, dtype="float32")


@pytest.mark.part("cast_to")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_gradient_passes_back_unchanged(student, dtype):
    x = student.Tensor(np.array([1.0, 2049.0, 0.1], np.float32), True)
    out = cast(student, x, dtype)
    assert out.requires_grad, f"the result does not remember x, so no gradient can pass: {CAST}"
    with works("cast_to(x, dtype).backward()", CAST):
        out.backward(np.array([2.0, -3.0, 0.5], np.float32))
    assert x.grad is not None, f"x got no gradient: {CAST}"
    slips = {
        "rounding is a staircase of slope 0, but the gradient must pass as if it were not there": np.zeros(3),
        "the gradient that comes in is handed on, not replaced by ones": np.ones(3),
    }
    check("the gradient of x", x.grad, [2.0, -3.0, 0.5], CAST, slips=slips, dtype="float32")


@pytest.mark.part("cast_to")
def test_the_gradient_is_not_rounded_to_half(student):
    """bfloat16 is held in float32, and so is its gradient: a third, and 1 + 2**-12, are no bfloat16 numbers."""
    x = student.Tensor(np.array([1.0, 2049.0, 0.1], np.float32), True)
    grad = np.array([1 / 3, 1 + 2**-12, 1e-10], np.float32)
    with works("cast_to(x, 'bfloat16').backward()", CAST):
        cast(student, x, "bfloat16").backward(grad)
    unchanged = "the gradient passes back as it came, not rounded to half: lambda grad: (grad,)"
    check("the gradient of x", x.grad, grad, unchanged, dtype="float32")


@pytest.mark.part("cast_to")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_gradient_is_the_slope_seen_from_afar(student, dtype):
    """Central differences over numbers that both halves hold: the staircase is a straight line there."""
    x, h = np.array([1.0, -3.0, 0.5, 40.0], np.float32), 0.25
    above, below = (cast(student, student.Tensor(x + by), dtype).data.astype(np.float64) for by in (h, -h))
    leaf = student.Tensor(x, True)
    cast(student, leaf, dtype).sum().backward()
    check("the gradient of x, against differences", leaf.grad, (above - below) / (2 * h), CAST)


@contextmanager
def autocasting(student, dtype):
    """The student's autocast, through the door."""
    block = student.autocast(dtype)
    block.__enter__()
    try:
        yield
    finally:
        block.__exit__(None, None, None)


@pytest.mark.part("cast_to")
def test_inside_autocast_a_product_is_half_and_its_weights_learn_in_float32(student):
    x, w = np.array([[1.0, 2049.0]], np.float32), np.array([[0.5, 1.0], [3.0, -1.0]], np.float32)
    weight = student.Tensor(w, True)
    with works("a product inside autocast('float16')", CAST), autocasting(student, "float16"):
        y = student.Tensor(x).__matmul__(weight)
    y.backward(np.array([[1.0, -2.0]], np.float16))
    check("x @ w inside autocast", y.data, [[6144.5, -2047.0]], CAST, within=1.0, dtype="float16")
    rounded = np.array([[1.0], [2048.0]])
    slips = {"x was not rounded to float16: its 2049 is still there": np.array([[1], [2049]]) * [[1.0, -2.0]]}
    check("the gradient of w", weight.grad, rounded * [[1.0, -2.0]], CAST, slips=slips, dtype="float32")


def masters(student, *values):
    """float16 parameters, and their MasterWeights; Adam's first steps, for a gradient that stays, are 1e-3 each."""
    params = [student.Tensor(np.array(v, np.float16), True) for v in values]
    return params, student.MasterWeights(params, student.Adam)


def step(weights, *grads):
    for p, grad in zip(weights.params, grads, strict=True):
        if grad is not None:
            p.backward(np.array(grad, np.float16))
    with works("weights.step()", MASTER):
        weights.step()


@pytest.mark.part("MasterWeights")
def test_the_masters_get_their_gradients_in_float32(student):
    _, weights = masters(student, [1.0, 2.0])
    step(weights, [0.5, -3.0])
    got = weights.masters[0].grad
    assert got is not None, "the master got no gradient: master.grad = p.grad.astype(np.float32)"
    check("the master's gradient", got, [0.5, -3.0], "master.grad = p.grad.astype(np.float32)", dtype="float32")


@pytest.mark.part("MasterWeights")
def test_the_optimizer_steps_on_the_masters(student):
    _, weights = masters(student, [1.0, 2.0])
    step(weights, [0.5, -3.0])
    assert weights.optimizer.steps == 1, (
        f"the optimizer took {weights.optimizer.steps} steps, wanted 1: self.optimizer.step()"
    )
    got = weights.masters[0].data
    check(
        "the master after a step",
        got,
        [0.999, 2.001],
        "self.optimizer.step() changes the masters",
        within=1e-6,
        dtype="float32",
    )


@pytest.mark.part("MasterWeights")
def test_the_parameters_are_the_masters_rounded(student):
    (p,), weights = masters(student, [1.0, 2.0])
    step(weights, [0.5, -3.0])
    slips = {"the parameter did not follow its master: p.data is master.data in the dtype that p has": [1.0, 2.0]}
    wanted = np.array([0.999, 2.001], np.float32).astype(np.float16)
    check("the parameter after a step", p.data, wanted, MASTER, slips=slips, within=2.0**-11, dtype="float16")
    check("the parameter, against its master", p.data, weights.masters[0].data.astype(np.float16), MASTER)


@pytest.mark.part("MasterWeights")
def test_small_steps_add_up_in_the_master(student):
    """Below 8, float16 numbers lie 2**-8 apart: a step of 0.001 is lost, twenty of them are not."""
    (p,), weights = masters(student, [8.0])
    for _ in range(20):
        weights.zero_grad()
        step(weights, [1.0])
    slips = {
        "the master was not used: the optimizer's small steps were rounded away, one by one": [8.0],
        "the master was made anew from the rounded parameter at every step, and small steps are lost": [7.999],
    }
    check(
        "the master after 20 steps of 0.001 from 8", weights.masters[0].data, [7.98], MASTER, slips=slips, within=2e-5
    )
    check(
        "the parameter after 20 steps of 0.001 from 8",
        p.data,
        np.array([7.98], np.float16),
        MASTER,
        slips=slips,
        within=2.0**-8,
    )


@pytest.mark.part("MasterWeights")
def test_a_parameter_without_gradient_stays(student):
    """Adam would move a master on with a gradient of the step before."""
    params, weights = masters(student, [1.0], [3.0])
    step(weights, [1.0], [1.0])
    student.Adam(params).zero_grad()  # of the parameters; the masters still hold theirs
    before = weights.masters[0].data
    step(weights, None, [1.0])
    stale = "its master kept the gradient of the step before: a parameter without gradient gives its master None"
    check("the master of a parameter without gradient", weights.masters[0].data, before, stale)
    check("the other master", weights.masters[1].data, [2.998], MASTER, within=1e-5)


@pytest.mark.part("MasterWeights")
def test_the_optimizer_stays_the_same_one(student):
    _, weights = masters(student, [1.0])
    for _ in range(2):
        step(weights, [1.0])
    same = "Adam remembers its gradients: self.optimizer is made once, in __init__, and steps once for all parameters"
    assert weights.optimizer.steps == 2, f"after two steps the optimizer has taken {weights.optimizer.steps}: {same}"


@pytest.mark.part("MasterWeights")
@np.errstate(all="ignore")
def test_the_masters_see_infinity_as_it_is(student):
    _, weights = masters(student, [1.0])
    step(weights, [np.inf])
    as_it_is = "infinity was replaced: who looks for it must find it; only .astype(np.float32)"
    check("the master's gradient", weights.masters[0].grad, [np.inf], as_it_is)


@pytest.mark.part("MasterWeights")
def test_infinity_in_a_gradient_is_not_hidden(student):
    """A scaler looks at the parameters' gradients: MasterWeights has params and step, as an optimizer has."""
    (p,), weights = masters(student, [1.0])
    p.backward(np.array([np.inf], np.float16))
    with works("GradScaler().step(weights)", MASTER):
        stepped = student.GradScaler().step(weights)
    assert not stepped and weights.optimizer.steps == 0, "a step with an infinite gradient must be skipped"


@pytest.mark.part("MasterWeights")
def test_every_parameter_follows_its_master(student):
    params, weights = masters(student, [1.0], [2.0], [0.5])
    step(weights, [1.0], [1.0], [-1.0])
    got = [float(p.data[0]) for p in params]
    wanted = [float(np.float16(v)) for v in (0.999, 1.999, 0.501)]
    check("three parameters after a step", got, wanted, f"all of them: {MASTER}")


@pytest.mark.part("cast_to")
@pytest.mark.parametrize("shape", [(), (1,), (0, 3)])
def test_any_shape_is_cast(student, shape):
    x = student.Tensor(np.full(shape, 0.1, np.float32))
    got = cast(student, x).data
    check(f"cast_to of shape {shape}", got, np.full(shape, np.float16(0.1)), CAST, dtype="float16")
