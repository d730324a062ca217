"""fit and accuracy, on a problem small enough to check and on the digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    GELU,
    SGD,
    BatchNorm2d,
    Conv2d,
    Flatten,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    Optimizer,
    ReLU,
    Residual,
    SelfAttention,
    Sequential,
    Tensor,
    accuracy,
    evaluating,
    fit,
    load_digits,
    train_step,
)


def network(*widths: int, seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    layers: list[Module] = []
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layers += [Linear(n_in, n_out, rng=rng), ReLU()]
    return Sequential(*layers[:-1])


def rings(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """A disc inside a ring: no line parts them, a hidden layer does."""
    rng = np.random.default_rng(0)
    angle, y = rng.uniform(0, 2 * np.pi, n), rng.integers(0, 2, n)
    radius = np.where(y == 1, 2.0, 0.5) + rng.uniform(-0.3, 0.3, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), y


class Fixed(Module):
    """Answers with whatever it was given as its outputs."""

    def __init__(self, wrap: Any = Tensor) -> None:
        self.child, self.wrap, self.modes = ReLU(), wrap, list[bool]()

    def forward(self, x: Tensor) -> Any:
        self.modes.append(self.child.training or x.requires_grad)
        return self.wrap(x.data)


class Codes:
    def __init__(self, values: Any) -> None:
        self.values = values

    def dequantize(self) -> Any:
        return self.values


def test_fit_learns_what_a_line_cannot_part() -> None:
    x, y = rings()
    model = network(2, 16, 2)
    losses = fit(model, x, y, epochs=40, batch_size=32)
    assert len(losses) == 40 and losses[-1] < losses[0]
    assert accuracy(model, x, y) == 1.0


def test_the_digits_are_read_at_97_5_percent() -> None:
    digits = load_digits()
    model = network(64, 256, 256, 10)
    fit(model, digits.x_train, digits.y_train, epochs=20)
    assert accuracy(model, digits.x_test, digits.y_test) >= 0.975


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    x, y = rings()
    weights, losses = [], []
    for seed in (1, 1, 2):
        model = network(2, 8, 2)
        losses.append(fit(model, x, y, epochs=2, seed=seed))
        weights.append(model.state_dict()["layers.0.weight"])
    assert np.array_equal(weights[0], weights[1]) and losses[0] == losses[1]
    assert not np.array_equal(weights[0], weights[2])


def test_every_epoch_has_its_own_order() -> None:
    seen: list[np.ndarray] = []

    class Spy(Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.data.copy())
            return super().forward(x)

    x = np.arange(50, dtype=np.float32)[:, None]
    fit(Sequential(Spy(1, 2)), x, np.zeros(50, int), epochs=2, batch_size=50)
    assert not np.array_equal(seen[0], seen[1])


def test_the_loss_of_an_epoch_weighs_every_sample_alike() -> None:
    x, y = rings(10)
    model = network(2, 2)
    before = model.state_dict()

    still = SGD(model.parameters(), lr=1e-30)  # below an ulp of every weight: nothing moves
    whole = fit(model, x, y, 1, still, batch_size=10)
    parts = fit(model, x, y, 1, still, batch_size=4)  # 4 + 4 + 2
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)


def test_on_epoch_hears_every_epoch_with_its_loss() -> None:
    x, y = rings(20)
    heard: list[tuple[int, float]] = []
    losses = fit(network(2, 2), x, y, epochs=3, on_epoch=lambda epoch, loss: heard.append((epoch, loss)))
    assert heard == list(enumerate(losses))


def test_fit_steps_the_optimizer_it_is_given() -> None:
    x, y = rings(20)
    model = network(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    fit(model, x, y, epochs=3, optimizer=optimizer, batch_size=8)
    assert optimizer.steps == 3 * 3


def test_fit_trains_in_training_mode() -> None:
    x, y = rings(20)
    model = network(2, 2).eval()
    fit(model, x, y, epochs=1)
    assert model.training


def test_fit_leaves_no_gradients_in_memory() -> None:
    model, (x, y) = network(2, 8, 2), rings(20)
    fit(model, x, y, epochs=1)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_fit_takes_another_step_and_its_loss() -> None:
    x, y = rings(20)
    model, seen = network(2, 2), list[int]()

    def clipped(model: Module, optimizer: Optimizer, x: Any, y: Any) -> float:
        loss = train_step(model, optimizer, x, y)
        assert all(parameter.grad is not None for parameter in model.parameters()), "a step may look at them"
        seen.append(len(x))
        return min(loss, 0.25)

    assert fit(model, x, y, epochs=2, batch_size=8, step=clipped) == [0.25, 0.25]
    assert seen == [8, 8, 4] * 2


def test_images_of_digits_train_a_convolutional_network() -> None:
    digits, rng = load_digits().images(), np.random.default_rng(0)
    assert digits.x_train.shape == (1297, 1, 8, 8) and digits.x_test.shape == (500, 1, 8, 8)
    first = Conv2d(1, 8, 3, padding=1, rng=rng)
    model = Sequential(first, BatchNorm2d(8), ReLU(), MaxPool2d(2), Flatten(), Linear(128, 10, rng=rng))
    fit(model, digits.x_train, digits.y_train, epochs=8, batch_size=16)
    assert accuracy(model, digits.x_test, digits.y_test) >= 0.95


def test_a_small_attention_network_reads_the_rows_of_digits() -> None:
    digits, rng = load_digits(), np.random.default_rng(0)
    layers = [Linear(8, 32, rng=rng), Residual(SelfAttention(32, 2, rng)), LayerNorm(32), GELU(), Flatten()]
    model = Sequential(*layers, Linear(256, 10, rng=rng))
    fit(model, digits.x_train.reshape(-1, 8, 8), digits.y_train, epochs=5)
    assert accuracy(model, digits.x_test.reshape(-1, 8, 8), digits.y_test) >= 0.93


def test_no_samples_are_refused() -> None:
    empty = np.ones((0, 2), np.float32), np.ones(0, int)
    with pytest.raises(ValueError, match="at least one sample"):
        fit(network(2, 2), *empty, epochs=1)
    with pytest.raises(ValueError, match="at least one sample"):
        accuracy(network(2, 2), *empty)


@pytest.mark.parametrize("wrap", [Tensor, lambda v: v, Codes, lambda v: Codes(Tensor(v))])
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_accuracy_is_the_fraction_of_labels_with_the_largest_output(wrap: Any, batch_size: int) -> None:
    outputs = np.array([[0, 1], [1, 0], [3, 2], [-2, -1]], np.float32)
    assert accuracy(Fixed(wrap), outputs, np.array([1, 0, 1, 1]), batch_size) == 0.75


def test_accuracy_evaluates_and_puts_every_mode_back() -> None:
    model = Fixed()
    model.training = False  # a model half in training: both flags must come back
    accuracy(model, np.ones((2, 2), np.float32), np.zeros(2, int))
    assert model.modes == [False] and model.child.training and not model.training


def test_evaluating_ends_even_when_the_block_fails() -> None:
    model = network(2, 2)
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training and not model(np.ones((1, 2))).requires_grad
        _ = 1 / 0
    assert model.training and model(np.ones((1, 2))).requires_grad
