"""erf, GELU, sigmoid, tanh, softmax: Python's math says what they are, measured slopes what their gradients are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import GELU, Sigmoid, Tanh, Tensor, softmax
from tinytorch.core.activations import erf

Check = Callable[..., None]


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2.5e-7), (np.float64, 1e-13)])
def test_erf_is_pythons_within_its_stated_error(dtype: Any, bound: float) -> None:
    edges = [0, 1e-30, 3.9999, 4, 4.0001, 5.9999, 6, 6.0001, 1e9, np.inf]
    x = np.concatenate([np.linspace(-7, 7, 20_001), edges, np.negative(edges)]).astype(dtype)
    got, expected = erf(x), np.array([math.erf(v) for v in x.tolist()])
    assert got.dtype == dtype
    assert np.abs(got - expected).max() <= bound
    assert np.array_equal(erf(-x), -got), "erf is odd"


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (GELU(), lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2))),
        (Sigmoid(), lambda v: 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))),
        (Tanh(), math.tanh),
    ],
)
def test_each_activation_is_its_formula_with_its_gradient(layer: Any, plain: Any, check_gradients: Check) -> None:
    x = np.append(np.linspace(-6, 6, 41), [-1000.0, 1000.0, -30.0])
    expected = np.array([plain(v) for v in x.tolist()])
    assert np.abs(layer(x).data - expected).max() <= 1e-12
    for dtype, bound in ((np.float32, 1e-6), (np.float16, 4e-3)):  # at most 6, where half an ulp is 2.4e-7 and 2e-3
        got = layer(x.astype(dtype))
        exact = np.array([plain(v) for v in x.astype(dtype).tolist()])
        assert got.dtype == dtype and np.all(np.isfinite(got.data))
        assert np.abs(got.data - exact).max() <= bound, f"{dtype.__name__}"
    check_gradients(layer, np.linspace(-4, 4, 24).reshape(4, 6))


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_sums_to_one_with_its_gradient(axis: int, check_gradients: Check) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    got = softmax(Tensor(x), axis).data
    assert np.allclose(got, np.exp(x) / np.exp(x).sum(axis, keepdims=True), rtol=1e-14, atol=0)
    check_gradients(lambda t: softmax(t, axis), x)


@pytest.mark.parametrize("axis", [None, True, 0.5, (0, 1)])
def test_softmax_runs_along_one_axis(axis: Any) -> None:
    with pytest.raises(TypeError, match="softmax runs along one axis|axis must be an integer"):
        softmax(Tensor(np.ones((2, 3))), axis)


def test_softmax_of_large_values_does_not_overflow() -> None:
    got = softmax(Tensor(np.array([60000, 60000, -60000], np.float16)))
    assert got.dtype == np.float16 and got.data.tolist() == [0.5, 0.5, 0]
