"""Embedding and SelfAttention: looked up and mixed by plain loops, with measured slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Embedding, SelfAttention, Sequential, Tensor

Check = Callable[..., None]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_an_embedding_is_the_tokens_row(dtype: Any) -> None:
    layer = Embedding(5, 3, rng=np.random.default_rng(0))
    tokens = np.array([[4, 0], [2, 2]])
    for got in (layer(tokens.astype(dtype)), Sequential(layer)(tokens.astype(dtype)), layer.forward(tokens)):
        assert got.shape == (2, 2, 3) and got.dtype == np.float32
        assert np.array_equal(got.data, np.stack([[layer.weight.data[t] for t in row] for row in tokens]))


def test_a_token_that_comes_twice_gets_both_gradients() -> None:
    layer = Embedding(4, 2)
    layer(np.array([1, 3, 1])).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]


@pytest.mark.parametrize(("tokens", "got"), [([0, 5], r"0 \.\. 5"), ([-1], r"-1 \.\. -1"), ([0.5], r"0.5 \.\. 0.5")])
def test_other_tokens_are_refused(tokens: Any, got: str) -> None:
    with pytest.raises(ValueError, match=rf"Embedding\(5, 3\) wants whole numbers in 0 \.\. 4, got {got}"):
        Embedding(5, 3)(np.array(tokens))


def attend(x: Any, layer: SelfAttention) -> Any:
    """One sample [tokens, width], a head, a query and a key at a time."""

    def project(linear: Any) -> Any:
        return x @ linear.weight.data.T.astype(float) + linear.bias.data

    query, key, value = project(layer.query), project(layer.key), project(layer.value)
    d = x.shape[1] // layer.heads
    mixed = np.zeros_like(x)
    for head in range(layer.heads):
        part = slice(head * d, (head + 1) * d)
        for i in range(len(x)):
            weights = [math.exp(float(query[i, part] @ key[j, part]) / math.sqrt(d)) for j in range(len(x))]
            for j, weight in enumerate(weights):
                mixed[i, part] += weight / sum(weights) * value[j, part]
    return mixed @ layer.out.weight.data.T.astype(float) + layer.out.bias.data  # type: ignore[union-attr]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_its_definition_for_every_sample(heads: int) -> None:
    layer, x = SelfAttention(4, heads, np.random.default_rng(0)), np.random.default_rng(1).normal(size=(3, 5, 4))
    got = layer(x).data
    for sample, expected in zip(got, x, strict=True):
        assert np.allclose(sample, attend(expected, layer), rtol=0, atol=1e-13)


def test_attention_gradients_reach_input_and_projections(check_gradients: Check) -> None:
    layer = SelfAttention(4, 2)

    def f(x: Tensor, *weights: Tensor) -> Any:
        for linear, weight in zip((layer.query, layer.key, layer.value, layer.out), weights, strict=True):
            linear.weight = weight
        return layer(x)

    check_gradients(f, *(np.random.default_rng(i).normal(size=s) for i, s in enumerate([(2, 3, 4)] + [(4, 4)] * 4)))


def test_attention_names_its_projections_and_refuses_other_shapes() -> None:
    layer = SelfAttention(4, heads=2)
    assert [name for name, _ in layer.named_modules()] == ["", "query", "key", "value", "out"]
    with pytest.raises(
        ValueError, match=r"SelfAttention\(4, heads=2\) wants input of shape \(N, tokens, 4\), got \(3, 4\)"
    ):
        layer(np.ones((3, 4)))
    with pytest.raises(ValueError, match="heads must divide width, got 3 for 4"):
        SelfAttention(4, heads=3)
    with pytest.raises(ValueError, match="Embedding needs n as one integer >= 1, got 0"):
        Embedding(0, 3)
