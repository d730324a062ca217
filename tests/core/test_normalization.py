"""BatchNorm2d and LayerNorm: mean 0, variance 1, by NumPy in float64; running statistics; measured slopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import BatchNorm2d, LayerNorm, Tensor

Check = Callable[..., None]


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(loc=3, scale=2, size=shape)


def with_parameters(layer: Any, n: int) -> Any:
    layer.weight.data, layer.bias.data = normal(n, seed=1), normal(n, seed=2)
    return layer


def test_in_training_each_channel_is_standardized_over_the_batch() -> None:
    x, layer = normal(4, 3, 5, 6), with_parameters(BatchNorm2d(3), 3)
    got = layer(x).data
    for c in range(3):
        values = x[:, c].ravel()
        expected = (x[:, c] - values.mean()) / np.sqrt(values.var() + 1e-5) * layer.weight.data[c] + layer.bias.data[c]
        assert np.allclose(got[:, c], expected, rtol=0, atol=1e-13)


def test_running_statistics_follow_the_batches_with_the_unbiased_variance() -> None:
    layer, mean, variance = BatchNorm2d(2, momentum=0.25), np.zeros(2), np.ones(2)
    for seed in range(3):
        x = normal(2, 2, 1, 3, seed=seed)
        layer(x)
        mean += 0.25 * (x.mean(axis=(0, 2, 3)) - mean)
        variance += 0.25 * (x.var(axis=(0, 2, 3), ddof=1) - variance)
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    # Each of three updates rounds a value below 16 to float32, at most three times.
    assert np.allclose(layer.running_mean, mean, rtol=0, atol=9 * np.spacing(np.float32(8)) / 2)
    assert np.allclose(layer.running_var, variance, rtol=0, atol=9 * np.spacing(np.float32(8)) / 2)


def test_evaluation_uses_the_running_statistics_and_leaves_them() -> None:
    layer = with_parameters(BatchNorm2d(3), 3)
    layer.running_mean, layer.running_var = np.array([1, 2, 3], np.float32), np.array([0.5, 1, 4], np.float32)
    before, x = layer.state_dict(), normal(1, 3, 1, 1)
    got = layer.eval()(x).data[0, :, 0, 0]
    scale = layer.weight.data / np.sqrt(layer.running_var.astype(float) + 1e-5)
    assert np.allclose(got, (x[0, :, 0, 0] - layer.running_mean) * scale + layer.bias.data, rtol=1e-6, atol=0)
    assert all(np.array_equal(before[name], value) for name, value in layer.state_dict().items())


def test_an_update_does_not_reach_a_copy_that_shares_the_arrays() -> None:
    layer = BatchNorm2d(1)
    shared = layer.running_mean
    layer(normal(2, 1, 2, 2))
    assert shared.tolist() == [0] and layer.running_mean.tolist() != [0]


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_gradients(training: bool, check_gradients: Check) -> None:
    def f(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
        layer = BatchNorm2d(3).train(training)
        layer.weight, layer.bias = weight, bias
        return layer(x)

    check_gradients(f, normal(2, 3, 2, 3), normal(3, seed=1), normal(3, seed=2))


def test_layer_norm_standardizes_every_row_and_has_its_gradients(check_gradients: Check) -> None:
    x, layer = normal(2, 3, 5), with_parameters(LayerNorm(5), 5)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    assert np.allclose(layer(x).data, expected * layer.weight.data + layer.bias.data, rtol=0, atol=1e-13)

    def f(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
        layer.weight, layer.bias = weight, bias
        return layer(x)

    check_gradients(f, x, normal(5, seed=1), normal(5, seed=2))


@pytest.mark.parametrize(("layer", "shape"), [(BatchNorm2d(2), (4, 2, 8, 8)), (LayerNorm(64), (4, 64))])
def test_float16_is_standardized_in_float32(layer: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    x *= 1000  # its square does not exist in float16
    out = layer(Tensor(x, requires_grad=True))
    assert out.data.std() == pytest.approx(1, abs=1e-3)


def test_a_constant_channel_stays_finite() -> None:
    x = Tensor(np.full((2, 1, 2, 2), 7, np.float32), requires_grad=True)
    out = BatchNorm2d(1)(x)
    out.sum().backward()
    assert x.grad is not None and np.all(out.data == 0) and np.all(np.isfinite(x.grad))


def test_other_shapes_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"BatchNorm2d\(3\) wants images of shape \(N, 3, .*, got \(2, 3\)"):
        BatchNorm2d(3)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="at least 2 values a channel to train, got 1: use a larger batch"):
        BatchNorm2d(3)(np.ones((1, 3, 1, 1)))
    with pytest.raises(ValueError, match=r"LayerNorm\(3\) wants input of shape \(..., 3\), got \(3, 2\)"):
        LayerNorm(3)(np.ones((3, 2)))


@pytest.mark.parametrize("eps", [0, -1, np.nan, np.inf, "1", None, True])
def test_eps_is_a_positive_number(eps: Any) -> None:
    for make in (BatchNorm2d, LayerNorm):
        with pytest.raises((TypeError, ValueError), match="eps must be"):
            make(3, eps=eps)


@pytest.mark.parametrize("momentum", [-0.1, 5, np.nan, "0.1", None])
def test_a_momentum_is_a_share(momentum: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="momentum must be"):
        BatchNorm2d(3, momentum=momentum)
