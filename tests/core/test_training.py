"""fit and evaluating, on a problem small enough to check and on the digits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinytorch.core import (
    GELU,
    SGD,
    Adam,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    MSELoss,
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


def test_evaluating_ends_even_when_the_block_fails() -> None:
    model = network(2, 2)
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training and not model(np.ones((1, 2))).requires_grad
        _ = 1 / 0
    assert model.training and model(np.ones((1, 2))).requires_grad


def test_a_regression_is_trained_by_squared_errors() -> None:
    """To the least squares solution, which NumPy finds by itself."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5]]) + 0.25 + 0.1 * rng.normal(size=(200, 1))).astype(np.float32)
    model = Sequential(Linear(3, 1, rng=rng))
    optimizer = Adam(model.parameters(), lr=0.05)
    losses = fit(model, x, y, 400, optimizer, batch_size=200, step=partial(train_step, loss=MSELoss()))
    best = np.linalg.lstsq(np.hstack([x, np.ones((200, 1), np.float32)]), y, rcond=None)[0].ravel()
    weight, bias = (p.data for p in model.parameters())
    assert np.allclose([*weight.ravel(), *bias], best, atol=1e-3) and losses[-1] < losses[0] / 50


def test_any_function_is_a_loss() -> None:
    model = Sequential(Linear(2, 1, bias=False))
    weight = model.parameters()[0]
    weight.data[:] = [[1, 1]]
    step = train_step(
        model, SGD([weight], lr=0.5), np.ones((4, 2), np.float32), np.zeros(4), loss=lambda out, y: out.mean()
    )
    assert step == 2 and weight.data.tolist() == [[0.5, 0.5]]


# What would train nothing, or break every weight


def copied(model: Sequential) -> Sequential:
    """Of the same structure, with Tensors of its own."""
    return network(2, 4, 2, seed=1)


def same_layer_replaced(model: Sequential) -> Sequential:
    model.replace("layers.0", Linear(2, 4))
    model.replace("layers.2", Linear(4, 2))
    return model


def weights_made_anew(model: Sequential) -> Sequential:
    for name, tensor in list(model.named_parameters()):
        layer, _, attribute = name.rpartition(".")
        setattr(model.get(layer), attribute, Tensor(tensor.data, requires_grad=True))
    return model


@pytest.mark.parametrize("other", [copied, same_layer_replaced, weights_made_anew], ids=lambda f: f.__name__)
def test_an_optimizer_of_another_models_parameters_is_refused(other: Callable[[Sequential], Sequential]) -> None:
    (x, y), model = rings(20), network(2, 4, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    trained = other(model)
    before = trained.state_dict()
    with pytest.raises(
        ValueError, match=r"the SGD holds none of the model's parameters.*of this model's parameters\(\)"
    ):
        fit(trained, x, y, 1, optimizer)
    with pytest.raises(ValueError, match="no parameter of the SGD has got a gradient"):
        train_step(trained, optimizer, x, y)
    assert optimizer.steps == 0 and all(np.array_equal(before[k], v) for k, v in trained.state_dict().items())


def test_an_optimizer_of_one_layer_trains_that_layer_and_nothing_is_said() -> None:
    (x, y), model = rings(20), network(2, 4, 2)
    before = model.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, x, y, 1, SGD(model.get("layers.2").parameters(), lr=0.1))
    changed = [name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])]
    assert changed == ["layers.2.weight", "layers.2.bias"]


def test_a_layer_replaced_after_the_optimizer_was_made_is_said() -> None:
    (x, y), model = rings(20), network(2, 4, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    model.replace("layers.2", Linear(4, 2))
    with pytest.warns(
        UserWarning, match="fit leaves 2 of the model's 4 parameters as they are: the SGD holds 2 Tensors"
    ):
        fit(model, x, y, 1, optimizer)


def test_a_model_without_parameters_is_not_trained() -> None:
    x, y = rings(20)
    for optimizer in (None, SGD(network(2, 2).parameters(), lr=0.1)):
        with pytest.raises(ValueError, match="the model has no parameters to train"):
            fit(Sequential(ReLU()), x, y, 1, optimizer)


@pytest.mark.parametrize(
    "optimizer", [Adam, "adam", network(2, 2), [Tensor([1.0], True)]], ids=lambda v: type(v).__name__
)
def test_what_is_no_optimizer_is_named(optimizer: Any) -> None:
    x, y = rings(20)
    for train in (lambda: fit(network(2, 2), x, y, 1, optimizer), lambda: train_step(network(2, 2), optimizer, x, y)):
        with pytest.raises(TypeError, match=r"wanted an optimizer, such as Adam\(model.parameters\(\)\), got (a|the) "):
            train()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite_are_refused_before_anything_is_changed(value: float) -> None:
    x, y = rings(20)
    x[7, 1] = value
    model = Sequential(BatchNorm1d(2), Linear(2, 2))
    before = model.state_dict()
    with pytest.raises(ValueError, match=f"x must be finite, got {value} in row 7: leave such rows out, or fill them"):
        fit(model, x, y, epochs=1)
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())


def test_a_loss_that_is_not_finite_is_told_by_epoch_and_batch_and_the_step_is_not_made() -> None:
    """The third batch of each epoch divides by zero, from the second epoch on."""
    (x, y), model, calls = rings(40), network(2, 4, 2), list[dict[str, Any]]()

    def loss(out: Tensor, labels: Any) -> Tensor:
        calls.append(model.state_dict())
        return out.mean() / (0.0 if len(calls) == 8 else 1.0)

    with (
        np.errstate(divide="ignore"),
        pytest.raises(FloatingPointError, match="epoch 1, batch 2: the loss became -?inf"),
    ):
        fit(model, x, y, 3, batch_size=8, step=partial(train_step, loss=loss))
    assert len(calls) == 8 and all(np.array_equal(calls[-1][k], v) for k, v in model.state_dict().items())


def test_too_large_steps_end_in_a_sentence_not_in_weights_of_nan() -> None:
    x, y = rings(40)
    for lr in (1e25, 1e38):
        model = network(2, 8, 8, 2)
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"epoch \d, batch \d: .*smaller lr"):
            fit(model, x * 1e3, y, 4, SGD(model.parameters(), lr=lr), batch_size=8)


def test_a_step_of_ones_own_that_breaks_a_weight_is_told_with_the_weights_name() -> None:
    (x, y), model = rings(40), network(2, 4, 2)

    def step(model: Module, optimizer: Optimizer, x: Any, y: Any) -> float:
        loss = train_step(model, optimizer, x, y)
        model.get("layers.2").bias.data[0] = np.nan  # type: ignore[attr-defined]
        return loss

    with pytest.raises(
        FloatingPointError, match=r"epoch 0, batch \d: (layers\.2\.bias is not finite|the loss became nan)"
    ):
        fit(model, x, y, 2, batch_size=8, step=step)


def test_a_loss_of_infinity_whose_step_was_left_out_is_no_accident() -> None:
    """As where a GradScaler finds an overflow and halves its scale."""
    (x, y), model = rings(20), network(2, 4, 2)
    assert fit(model, x, y, 1, step=lambda model, optimizer, x, y: np.inf) == [np.inf]


def test_weights_that_were_not_finite_before_are_named_not_the_data() -> None:
    (x, y), model = rings(20), network(2, 4, 2)
    model.get("layers.2").load_state_dict({"weight": np.full((2, 4), np.nan), "bias": np.zeros(2)})
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match=r"epoch 0, batch 0: layers\.2\.weight is not finite any more"):
        fit(model, x, y, 1, optimizer)
    assert optimizer.steps == 0


def test_a_loss_is_one_number_in_a_tensor() -> None:
    x, y = rings(20)
    losses: list[tuple[Any, type[Exception], str]] = [
        (lambda out, y: float(out.data.mean()), TypeError, r"a loss returns a Tensor of shape \(\), got a float"),
        (lambda out, y: np.mean(out.data), TypeError, "got a numpy.float32"),
        (lambda out, y: out * np.inf, RuntimeError, r"starts from one number, got shape \(20, 2\)"),
    ]
    for loss, error, said in losses:
        model = network(2, 2)
        with pytest.raises(error, match=said):
            train_step(model, SGD(model.parameters(), lr=0.1), x, y, loss)
