"""GradScaler. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import pytest
from checks_17 import check, works

from tito.testing.student_fixture import may_change

STEP = "look at every gradient first; then divide each by the scale, in float32, and only then optimizer.step()"
UPDATE = (
    "skip: loss_scale * backoff_factor, count from 0; after growth_interval good steps: * growth_factor, count from 0"
)
LR = 0.5


def parameters(student, *values):
    """Tensors, and an optimizer of them whose first step is lr * g / (|g| + 1): it depends on the size of g."""
    params = [student.Tensor(np.array(v), True) for v in values]
    return params, student.Adam(params, lr=LR, eps=1.0)


def step(scaler, optimizer, *grads):
    """Give each parameter its gradient (None: none), then scaler.step(optimizer)."""
    optimizer.zero_grad()
    for p, grad in zip(optimizer.params, grads, strict=True):
        if grad is not None:
            p.backward(np.array(grad))
    with works("scaler.step(optimizer)", STEP):
        return scaler.step(may_change(optimizer))


def update(scaler):
    with works("scaler.update()", UPDATE):
        scaler.update()


def test_the_constants_are_those_of_pytorch(student):
    s = student.GradScaler()
    got = s.loss_scale, s.growth_factor, s.backoff_factor, s.growth_interval
    check("GradScaler's constants", got, (65536.0, 2.0, 0.5, 2000))


@pytest.mark.part("step")
def test_the_loss_and_its_gradient_grow_by_the_scale_and_step_takes_it_off(student):
    """The gradient of sum(w**2), scaled and divided again, is its slope by central differences, 2 w."""
    w = np.array([0.5, -3.0], np.float32)
    (p,), optimizer = parameters(student, w)
    scaler = student.GradScaler(init_scale=1024.0)
    loss = scaler.scale(p.__pow__(2).sum())
    check("scaler.scale(loss)", loss.data, 1024 * 9.25, "loss * self.loss_scale")
    loss.backward()
    with works("scaler.step(optimizer)", STEP):
        scaler.step(may_change(optimizer))
    h = 2.0**-6
    slopes = [(np.sum((w + h * e) ** 2) - np.sum((w - h * e) ** 2)) / (2 * h) for e in np.eye(2)]
    slips = {
        "the gradient was never divided by the scale": 1024 * np.array(slopes),
        "it was divided twice": np.array(slopes) / 1024,
    }
    check("the gradient of sum(w**2)", p.grad, slopes, STEP, slips=slips)


@pytest.mark.part("step")
def test_a_good_step_is_taken_with_the_divided_gradient(student):
    (p,), optimizer = parameters(student, np.zeros(2, np.float32))
    stepped = step(student.GradScaler(init_scale=8.0), optimizer, np.array([8.0, -24.0], np.float32))
    assert optimizer.steps == 1, f"the optimizer took {optimizer.steps} steps, wanted 1: call optimizer.step() once"
    slips = {
        "the step was taken before the gradients were divided: divide first": [-LR * 8 / 9, LR * 24 / 25],
        "the gradients were multiplied by the scale": [-LR * 64 / 65, LR * 192 / 193],
        "the gradients were lost before the step": [0.0, 0.0],
    }
    check("the parameter after a step", p.data, [-LR / 2, LR * 3 / 4], STEP, slips=slips, within=1e-6)
    check("the gradient after a step", p.grad, [1.0, -3.0], "p.grad = grad / scale stays for whoever wants to look")
    assert stepped, f"step must return True when it stepped, got {stepped!r}"


@pytest.mark.part("step")
def test_gradients_of_half_precision_are_divided_in_float32(student):
    """1024 * 2**-30, the smallest float16 number times 16, divided by 1024 is no float16 number."""
    (p,), optimizer = parameters(student, np.zeros(2, np.float16))
    step(student.GradScaler(init_scale=1024.0), optimizer, np.array([2.0**-20, 2.0**-24], np.float16))
    half = "the gradient was divided in half precision, where it vanishes again: grad.astype(np.float32) first"
    check("a float16 gradient, divided", p.grad, [2.0**-30, 2.0**-34], half, slips={half: [0.0, 0.0]}, dtype="float32")


@pytest.mark.part("step")
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_step_with_infinity_or_nan_is_skipped(student, bad):
    (p,), optimizer = parameters(student, np.ones(2, np.float32))
    scaler = student.GradScaler(init_scale=8.0)
    stepped = step(scaler, optimizer, np.array([bad, 8.0], np.float32))
    finite = "np.isfinite is False for infinity and for NaN; then leave everything as it is and return False"
    assert optimizer.steps == 0, f"a gradient holds {bad}, but the optimizer stepped: {finite}"
    check("the parameter after a skipped step", p.data, [1.0, 1.0], finite)
    assert stepped is not None and not stepped, f"step must return False when it skipped, got {stepped!r}"
    assert scaler.found_inf, f"found_inf must be True after a skipped step, got {scaler.found_inf!r}: update() asks it"
    assert p.grad is not None, "the gradients of a skipped step are gone: leave them as they are"
    check("the finite gradient after a skipped step", p.grad[1], 8.0, "it is left as it is")


@pytest.mark.part("step")
def test_every_gradient_is_looked_at_before_the_first_is_divided(student):
    (first, _), optimizer = parameters(student, np.ones(1, np.float32), np.ones(1, np.float32))
    step(student.GradScaler(init_scale=8.0), optimizer, np.full(1, 8, np.float32), np.full(1, np.inf, np.float32))
    assert optimizer.steps == 0, f"the second gradient is infinite, but the optimizer stepped: {STEP}"
    early = "the first gradient was divided before the second was looked at: nothing of a skipped step may be touched"
    check("the first gradient after a skipped step", first.grad, [8.0], early)


@pytest.mark.part("step")
def test_large_gradients_that_are_finite_are_no_reason_to_skip(student):
    """Their sum and their squares are infinite in float32."""
    (p,), optimizer = parameters(student, np.zeros(2, np.float32))
    stepped = step(student.GradScaler(init_scale=2.0**120), optimizer, np.full(2, 2.0**127, np.float32))
    each = "ask of each number whether it is finite (np.isfinite(grad).all()), not of a sum or norm, which may overflow"
    assert stepped and optimizer.steps == 1, f"both gradients, 2**127, are finite, but no step was taken: {each}"
    check("the gradients, divided by 2**120", p.grad, [128.0, 128.0], STEP)


@pytest.mark.part("step")
def test_what_one_optimizer_found_another_does_not_undo(student):
    _, first = parameters(student, np.zeros(1, np.float32))
    _, second = parameters(student, np.zeros(1, np.float32))
    scaler = student.GradScaler(init_scale=8.0)
    step(scaler, first, np.full(1, np.inf, np.float32))
    step(scaler, second, np.full(1, 8, np.float32))
    stays = "a good step of another optimizer must not set found_inf to False: in a round it only becomes True"
    assert scaler.found_inf, f"the first of two optimizers skipped its step, but found_inf is False: {stays}"


@pytest.mark.part("step")
def test_a_parameter_without_gradient_is_no_obstacle(student):
    (first, second), optimizer = parameters(student, np.zeros(1, np.float32), np.zeros(1, np.float32))
    stepped = step(student.GradScaler(init_scale=8.0), optimizer, None, np.full(1, 8, np.float32))
    assert stepped, f"one parameter has no gradient; the step must be taken all the same, got {stepped!r}"
    assert first.grad is None, f"the first parameter got the gradient {first.grad}, wanted None"
    check("the second gradient", second.grad, [1.0], "skip those whose grad is None")


def run(student, pattern, **options):
    """(loss scale after each update, the scaler): "." a good step, "x" one that overflows."""
    _, optimizer = parameters(student, np.zeros(1, np.float32))
    scaler, scales = student.GradScaler(**{"init_scale": 1024.0, "growth_interval": 3, **options}), []
    for what in pattern:
        step(scaler, optimizer, np.full(1, np.inf if what == "x" else 1, np.float32))
        update(scaler)
        scales.append(scaler.loss_scale)
    return scales, scaler


@pytest.mark.part("update")
def test_after_a_skipped_step_the_scale_is_halved(student):
    got, _ = run(student, ".xx")
    slips = {
        "the scale did not back off: found_inf was set, so loss_scale *= backoff_factor": [1024, 1024, 1024],
        "the scale grew where it should back off": [1024, 2048, 4096],
    }
    check("the scales of good, skipped, skipped", got, [1024, 512, 256], UPDATE, slips=slips)


@pytest.mark.part("update")
def test_the_scale_may_become_smaller_than_1(student):
    got, _ = run(student, "xxx", init_scale=2.0)
    free = "the scale is not held at 1 or above: loss_scale *= backoff_factor, and LOSS_SCALES are its only ends"
    check("the scales of three skipped steps from 2", got, [1.0, 0.5, 0.25], free)


@pytest.mark.part("update")
def test_after_a_whole_interval_of_good_steps_the_scale_doubles(student):
    got, _ = run(student, "....")
    slips = {
        "it grew one step too late: at growth_interval good steps, not one more": [1024, 1024, 1024, 2048],
        "it grew one step too early: growth_interval good steps are needed": [1024, 2048, 2048, 4096],
        "it never grew: count good steps": [1024] * 4,
        "it grew at every step": [2048, 4096, 8192, 16384],
        "after growing, the count must begin from 0": [1024, 1024, 2048, 4096],
    }
    check("the scales of four good steps, interval 3", got, [1024, 1024, 2048, 2048], UPDATE, slips=slips)


@pytest.mark.part("update")
def test_after_growing_the_count_begins_from_0(student):
    got, _ = run(student, "." * 9)
    wanted = [1024, 1024, 2048, 2048, 2048, 4096, 4096, 4096, 8192]
    slips = {
        "after growing, the count must begin from 0: it grew only once": [1024, 1024] + 7 * [2048],
        "after growing, the count must begin from 0: it grew at every step": [
            1024,
            1024,
            *(1024 * 2**k for k in range(1, 8)),
        ],
    }
    check(
        "the scales of nine good steps, interval 3",
        got,
        wanted,
        "after growing, the count must begin from 0",
        slips=slips,
    )


@pytest.mark.part("update")
def test_a_skipped_step_sets_the_count_back(student):
    got, _ = run(student, "..x...")
    slips = {
        "good steps must be *in a row*: a skipped step sets the count to 0": [1024, 1024, 512, 1024, 1024, 1024],
        "a skipped step is not a good one, it must not be counted": [1024, 1024, 512, 512, 512, 512],
    }
    check(
        "the scales of good, good, skipped, good, good, good",
        got,
        [1024, 1024, 512, 512, 512, 1024],
        UPDATE,
        slips=slips,
    )


@pytest.mark.part("update")
def test_the_log_tells_every_change(student):
    _, scaler = run(student, "...xx....", init_scale=64.0, growth_factor=4.0, backoff_factor=0.5)
    wanted = [(3, "grow", 256.0), (4, "skip", 128.0), (5, "skip", 64.0), (8, "grow", 256.0)]
    got = [tuple(event) for event in scaler.events]
    log = 'append (self.updates, "skip" or "grow", the new self.loss_scale) when the scale changes'
    assert got == wanted, f"events: expected {wanted}, got {got}: {log}"


@pytest.mark.part("update")
@pytest.mark.parametrize("seed", range(4))
def test_any_run_is_the_rule_s(student, seed):
    pattern = "".join(np.random.default_rng(seed).choice([".", ".", ".", "x"], 40))
    scale, good, wanted = 1024.0, 0, []
    for what in pattern:
        good = good + 1 if what == "." else 0
        scale *= 0.5 if what == "x" else 2.0 if good == 3 else 1.0
        good %= 3
        wanted.append(scale)
    got, _ = run(student, pattern)
    check(f"the scales of {pattern}", got, wanted, UPDATE)


@pytest.mark.part("step")
def test_gradients_of_single_precision_keep_their_bits(student):
    (p,), optimizer = parameters(student, np.zeros(2, np.float32))
    grad = np.array([0.1, 1e-9], np.float32)
    step(student.GradScaler(init_scale=8.0), optimizer, grad)
    check("a float32 gradient, divided by 8", p.grad, grad / 8, "grad.astype(np.float32) / scale", dtype="float32")
