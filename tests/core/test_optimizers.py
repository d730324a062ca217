"""SGD and Adam against the formulas of their papers, in plain Python, one number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import SGD, Adam, Linear, Optimizer, Tensor


def sgd_spec(w: float, grads: list[float], lr: float, momentum: float, weight_decay: float) -> float:
    velocity = 0.0
    for grad in grads:
        velocity = momentum * velocity + grad + weight_decay * w
        w = w - lr * velocity
    return w


def adam_spec(w: float, grads: list[float], lr: float, beta1: float, beta2: float, eps: float) -> float:
    """Kingma and Ba 2015, algorithm 1."""
    m = v = 0.0
    for t, grad in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad * grad
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        w = w - lr * m_hat / (v_hat**0.5 + eps)
    return w


def run(make: Callable[[list[Tensor]], Optimizer], start: np.ndarray, grads: np.ndarray) -> np.ndarray:
    """The parameter after a step with each of `grads` [steps, n]."""
    param = Tensor(start.copy(), requires_grad=True)
    optimizer = make([param])
    for grad in grads:
        param.grad = grad.copy()
        optimizer.step()
    return param.data


RNG = np.random.default_rng(0)
START, GRADS = RNG.normal(size=5), RNG.normal(size=(20, 5)) * 10.0 ** np.arange(-4, 1)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_is_its_formula(momentum: float, weight_decay: float) -> None:
    got = run(lambda p: SGD(p, 0.1, momentum, weight_decay), START, GRADS)
    for i in range(5):
        expected = sgd_spec(START[i], list(GRADS[:, i]), 0.1, momentum, weight_decay)
        assert got[i] == pytest.approx(expected, rel=1e-12), f"parameter {i} after 20 steps"


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)])
@pytest.mark.parametrize("eps", [1e-8, 0.1])
def test_adam_is_algorithm_1_of_its_paper(betas: tuple[float, float], eps: float) -> None:
    got = run(lambda p: Adam(p, 0.01, betas, eps), START, GRADS)
    for i in range(5):
        expected = adam_spec(START[i], list(GRADS[:, i]), 0.01, *betas, eps)
        assert got[i] == pytest.approx(expected, rel=1e-11), f"parameter {i} after 20 steps"


def test_adams_first_step_is_lr_whatever_the_gradients_size() -> None:
    got = run(lambda p: Adam(p, 0.01, eps=0.0), np.zeros(3), np.array([[1e-6, -1.0, 1e6]]))
    assert np.allclose(got, [-0.01, 0.01, -0.01], rtol=1e-12)


MAKERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": lambda params: SGD(params, 0.1, momentum=0.9),
    "Adam": lambda params: Adam(params, 0.1),
}


@pytest.mark.parametrize("name", MAKERS)
def test_steps_are_in_place_and_keep_the_dtype(name: str) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        param = Tensor(np.ones(3, dtype), requires_grad=True)
        data, optimizer = param.data, MAKERS[name]([param])
        param.grad = grad = np.ones(3, dtype)
        optimizer.step()
        assert param.data is data and data.dtype == dtype and (data < 1).all()
        assert (grad == 1).all(), "step() must not change the gradient: it may be used again"


@pytest.mark.parametrize("name", MAKERS)
def test_a_parameter_without_gradient_stays(name: str) -> None:
    used, unused = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimizer = MAKERS[name](iter([used, unused]))
    (used * 2).sum().backward()
    optimizer.step()
    assert (used.data < 1).all() and (unused.data == 1).all()


@pytest.mark.parametrize("name", MAKERS)
def test_zero_grad_forgets_so_that_batches_do_not_add_up(name: str) -> None:
    param = Tensor(np.ones(2), requires_grad=True)
    optimizer = MAKERS[name]([param])
    (param * 2).sum().backward()
    optimizer.zero_grad()
    assert param.grad is None


@pytest.mark.parametrize("name", MAKERS)
def test_the_bottom_of_a_bowl_is_found(name: str) -> None:
    param, target = Tensor(np.zeros(3), requires_grad=True), np.array([1.0, -2.0, 0.5])
    optimizer = MAKERS[name]([param])
    for _ in range(400):
        optimizer.zero_grad()
        ((param - target) ** 2).sum().backward()
        optimizer.step()
    assert np.abs(param.data - target).max() < 1e-3


def test_the_learning_rate_can_change_between_steps() -> None:
    param = Tensor(np.zeros(1), requires_grad=True)
    optimizer = SGD([param], lr=1.0)
    for optimizer.lr in (1.0, 0.1):
        param.grad = np.ones(1)
        optimizer.step()
    assert param.data[0] == pytest.approx(-1.1, rel=1e-15)


@pytest.mark.parametrize("make", [lambda p, lr: SGD(p, lr), lambda p, lr: Adam(p, lr)])
def test_no_parameters_and_impossible_rates_are_refused(make: Callable[..., Optimizer]) -> None:
    with pytest.raises(ValueError, match=r"at least one parameter, got none: pass model.parameters\(\)"):
        make([], 0.1)
    for lr in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="lr must be > 0"):
            make([Tensor(1.0, requires_grad=True)], lr)


def test_adam_refuses_a_gradient_whose_square_is_infinite() -> None:
    """1e30**2 is infinite in float32: the parameter would stand still, and be NaN a step later."""
    p = Tensor(np.ones(2, np.float32), requires_grad=True)
    optimizer = Adam([p])
    p.grad = np.array([1e30, 1], np.float32)
    with pytest.raises(OverflowError, match=r"a gradient of 1e\+30 is too large"):
        optimizer.step()
    assert p.data.tolist() == [1, 1]
    p.grad = np.array([1e18, 1], np.float32)
    optimizer.step()
    assert np.isfinite(p.data).all() and (p.data < 1).all()


@pytest.mark.parametrize("params", [None, 3, "weights", [np.ones(2)], [None]])
def test_what_is_no_tensor_is_not_optimized(params: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="an optimizer (changes Tensors|needs at least one parameter)"):
        Adam(params)


def test_a_parameter_is_not_changed_twice_a_step() -> None:
    layer = Linear(2, 2)
    for params in ([layer.weight, layer.weight], [*layer.parameters(), *layer.parameters()]):
        for make in (lambda p: SGD(p, 0.1), Adam):
            with pytest.raises(ValueError, match="would change a parameter twice"):
                make(params)
