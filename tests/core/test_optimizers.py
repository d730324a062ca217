"""SGD and Adam against the formulas of their papers, in plain Python, one number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import SGD, Adam, AdamW, Linear, Optimizer, Sequential, Tensor, clip_grad_norm_, clip_grad_value_


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


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (Linear(2, 1), r"changes Tensors, got a tinytorch\.core\.layers\.Linear: pass model\.parameters\(\)"),
        (Sequential(Linear(2, 1)), r"got a tinytorch\.core\.layers\.(Linear|Sequential): pass"),
        (Tensor([1.0], requires_grad=True), r"got a tinytorch\.core\.tensor\.Tensor: pass"),
        (list(Linear(2, 1).named_parameters()), "got a tuple: pass"),
        (Linear(2, 1).state_dict(), "got a str: pass"),
        (Adam, "got the class Adam: pass"),
        ([Tensor([1.0], requires_grad=True), Tensor([1.0])], "parameter 1 of the optimizer would never get a gradient"),
        ([Tensor([1.0], requires_grad=True) * 2], "parameter 0 of the optimizer is computed from others"),
    ],
    ids=["a layer", "a model", "a Tensor", "names, too", "a state", "a class", "no gradient", "a result"],
)
@pytest.mark.parametrize("name", MAKERS)
def test_what_no_step_could_train_is_refused_in_a_sentence(name: str, params: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        MAKERS[name](params)


def test_a_parameter_is_not_changed_twice_a_step() -> None:
    layer = Linear(2, 2)
    for params in ([layer.weight, layer.weight], [*layer.parameters(), *layer.parameters()]):
        for make in (lambda p: SGD(p, 0.1), Adam):
            with pytest.raises(ValueError, match="would change a parameter twice"):
                make(params)


def test_an_optimizer_shows_its_settings_and_how_far_it_is() -> None:
    assert (
        repr(Adam([Tensor(np.ones(2), requires_grad=True)])) == "Adam(lr=0.001, steps=0, betas=(0.9, 0.999), eps=1e-08)"
    )


# Clipping


def with_gradients(*grads: Any) -> list[Any]:
    params = [Tensor(np.zeros(np.shape(g), np.float32), requires_grad=True) for g in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = np.array(grad, np.float32)
    return params


def test_a_norm_above_the_largest_is_brought_down_to_it_and_keeps_its_direction() -> None:
    params = with_gradients([3.0, 0.0], [[4.0]])
    params.append(Tensor(np.ones(2), requires_grad=True))  # without a gradient
    assert clip_grad_norm_(params, 1.0) == 5
    assert np.allclose(params[0].grad, [0.6, 0]) and np.allclose(params[1].grad, 0.8) and params[2].grad is None
    assert clip_grad_norm_(params, 2.0) == pytest.approx(1) and np.allclose(params[0].grad, [0.6, 0]), (
        "below, all stays"
    )


def test_a_norm_whose_squares_overflow_is_clipped_too() -> None:
    params = with_gradients([3e30, 4e30])
    assert clip_grad_norm_(params, 1.0) == pytest.approx(5e30)
    assert np.allclose(params[0].grad, [0.6, 0.8])


def test_gradients_that_are_not_finite_stay() -> None:
    for bad in (np.inf, np.nan):
        params = with_gradients([bad, 1.0])
        assert not np.isfinite(clip_grad_norm_(params, 0.5)) and params[0].grad[1] == 1


def test_values_are_clipped_one_by_one_and_types_stay() -> None:
    params = with_gradients([3.0, -0.5, -7.0])
    params[0].grad = params[0].grad.astype(np.float16)
    clip_grad_value_(params, 2.0)
    assert params[0].grad.tolist() == [2, -0.5, -2] and params[0].grad.dtype == np.float16
    clip_grad_norm_(params, 1.0)
    assert params[0].grad.dtype == np.float16


def test_no_norm_and_no_number_are_refused() -> None:
    for call in (clip_grad_norm_, clip_grad_value_):
        with pytest.raises(ValueError, match="must be > 0"):
            call(with_gradients([1.0]), 0)
        with pytest.raises(ValueError, match="must be > 0"):
            call(with_gradients([1.0]), float("nan"))
        with pytest.raises(TypeError, match="must be a number"):
            call(with_gradients([1.0]), "1")  # type: ignore[arg-type]


# Decoupled weight decay, and optimizers of one's own


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.5])
def test_adamw_is_adam_on_a_weight_that_decayed_first(decay: float) -> None:
    """One number at a time: w - lr * decay * w, then what Adam subtracts, whose means know nothing of it."""
    grads, lr, beta1, beta2, eps = [0.5, -2.0, 0.25, 3.0], 0.1, 0.9, 0.99, 1e-8
    w, m, v = 1.5, 0.0, 0.0
    p = Tensor(np.array([w]), requires_grad=True)
    optimizer = AdamW([p], lr, (beta1, beta2), eps, decay)
    for t, grad in enumerate(grads, start=1):
        p.grad = np.array([grad])
        optimizer.step()
        w -= lr * decay * w
        m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad * grad
        w -= lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)) ** 0.5 + eps)
        assert p.data[0] == pytest.approx(w, rel=1e-12)
    with pytest.raises(ValueError, match="weight_decay must be >= 0 and finite"):
        AdamW([p], weight_decay=-1)


def test_an_own_optimizer_defines_update_and_one_without_it_says_so() -> None:
    class Halving(Optimizer):
        def update(self, i: int, w: Any, grad: Any, scratch: Any) -> None:
            np.multiply(grad, self.lr / (i + self.steps), out=scratch)
            w -= scratch

    params = with_gradients([2.0, 4.0], [6.0])
    Halving(params, 0.5).step()
    assert params[0].data.tolist() == [-1, -2] and params[1].data.tolist() == [-1.5]

    class Unfinished(Optimizer):
        pass

    with pytest.raises(NotImplementedError, match=r"Unfinished must define update\(i, w, grad, scratch\)"):
        Unfinished(params, 0.1).step()
