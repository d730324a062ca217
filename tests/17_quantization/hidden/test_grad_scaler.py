"""Any run of good and overflowing steps, with any constants, against the rule told in ten lines."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tito.testing.student_fixture import may_change


@pytest.mark.part("update")
@given(
    pattern=st.text("...x", max_size=35), interval=st.integers(1, 5),
    growth=st.sampled_from([2.0, 1.5, 4.0]), backoff=st.sampled_from([0.5, 0.25]),
)  # fmt: skip
@example(pattern="x.x......", interval=5, growth=2.0, backoff=0.5)
def test_the_scale_and_its_log_follow_the_rule(student, pattern, interval, growth, backoff):
    p = student.Tensor(np.zeros(1, np.float32), True)
    optimizer = student.Adam([p])
    scaler = student.GradScaler(2.0**40, growth, backoff, interval)
    scale, good, events, steps = 2.0**40, 0, [], 0
    for update, what in enumerate(pattern, 1):
        optimizer.zero_grad()
        p.backward(np.array([np.inf if what == "x" else 1.0], np.float32))
        stepped = scaler.step(may_change(optimizer))
        scaler.update()
        good, steps = (0, steps) if what == "x" else (good + 1, steps + 1)
        assert bool(stepped) == (what != "x") and optimizer.steps == steps
        if what == "x":
            scale *= backoff
            events.append((update, "skip", scale))
        elif good == interval:
            scale, good = scale * growth, 0
            events.append((update, "grow", scale))
        assert scaler.loss_scale == scale, f"after {pattern[:update]!r}, interval {interval}"
    assert [tuple(event) for event in scaler.events] == events


@pytest.mark.part("step")
@given(
    grads=st.lists(st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=4), min_size=1, max_size=4),
    exponent=st.integers(0, 24), half=st.booleans(),
)  # fmt: skip
def test_every_gradient_is_divided_exactly(student, grads, exponent, half):
    dtype = np.float16 if half else np.float32
    params = [student.Tensor(np.zeros(len(grad), dtype), True) for grad in grads]
    for p, grad in zip(params, grads, strict=True):
        p.backward(np.array(grad, dtype))
    assert student.GradScaler(2.0**exponent).step(may_change(student.Adam(params, eps=1.0)))
    for p, grad in zip(params, grads, strict=True):
        assert p.grad.dtype == np.float32
        assert p.grad.tolist() == [float(np.float32(g / 2.0**exponent)) for g in grad]


@pytest.mark.part("step")
@given(where=st.integers(0, 5), bad=st.sampled_from([np.inf, -np.inf, np.nan]))
def test_one_bad_number_anywhere_stops_everything(student, where, bad):
    params = [student.Tensor(np.ones(2, np.float32), True) for _ in range(3)]
    grads = np.ones(6, np.float32)
    grads[where] = bad
    for p, grad in zip(params, np.split(grads, 3), strict=True):
        p.backward(grad)
    assert not student.GradScaler().step(student.Adam(params, eps=1.0))
    for p, grad in zip(params, np.split(grads, 3), strict=True):
        assert p.data.tolist() == [1.0, 1.0] and np.array_equal(p.grad, grad, equal_nan=True)
