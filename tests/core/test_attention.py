"""Embedding and SelfAttention: looked up and mixed by plain loops, with measured slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Embedding, SelfAttention, Sequential, Tensor
from tinytorch.quantization import quantize_static, sqnr_db

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


def attend(x: Any, layer: SelfAttention, seen: Callable[[int, int], Any] = lambda i, j: True) -> Any:
    """One sample [tokens, width], a head, a query and a key at a time. seen: whether token i looks at token j."""

    def project(linear: Any) -> Any:
        return x @ linear.weight.data.T.astype(float) + linear.bias.data

    query, key, value = project(layer.query), project(layer.key), project(layer.value)
    d = x.shape[1] // layer.heads
    mixed = np.zeros_like(x)
    for head in range(layer.heads):
        part = slice(head * d, (head + 1) * d)
        for i in range(len(x)):
            weights = [
                math.exp(float(query[i, part] @ key[j, part]) / math.sqrt(d)) if seen(i, j) else 0.0
                for j in range(len(x))
            ]
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


# Masks

X = np.random.default_rng(1).normal(size=(3, 5, 4))


@pytest.mark.parametrize("heads", [1, 2])
def test_a_causal_token_looks_at_itself_and_those_before_it(heads: int) -> None:
    layer = SelfAttention(4, heads, np.random.default_rng(0), causal=True)
    free = SelfAttention(4, heads, np.random.default_rng(0))
    got, later = layer(X).data, X.copy()
    for sample, x in zip(got, X, strict=True):
        assert np.allclose(sample, attend(x, layer, lambda i, j: j <= i), rtol=0, atol=1e-13)
    assert np.array_equal(free(X, np.tri(5, dtype=bool)).data, got), "the same mask by hand"
    later[:, 3:] += 1
    assert np.array_equal(layer(later).data[:, :3], got[:, :3]) and not np.allclose(
        layer(later).data[:, 3:], got[:, 3:]
    )
    assert repr(layer) == f"SelfAttention(4, heads={heads}, causal=True)"


def test_masks_of_all_samples_of_each_and_of_what_fills_up() -> None:
    layer, rng = SelfAttention(4, 2, np.random.default_rng(0)), np.random.default_rng(2)
    for shape in ((5, 5), (3, 5, 5), (1, 5, 5), (3, 1, 5)):
        mask = rng.random(shape) < 0.5
        mask[..., 0] = True
        each = np.broadcast_to(mask, (3, 5, 5))
        for given in (mask, mask.astype(np.float32), Tensor(mask)):
            for sample, x, seen in zip(layer(X, given).data, X, each, strict=True):
                assert np.allclose(sample, attend(x, layer, partial(lambda seen, i, j: seen[i, j], seen)), atol=1e-13)
    lengths = np.array([5, 2, 3])
    short = layer(X, mask=np.arange(5) < lengths[:, None, None]).data
    assert np.allclose(short[1, :2], layer(X[1:2, :2]).data[0], rtol=0, atol=1e-13), "what fills up changes nothing"
    causal = SelfAttention(4, 2, np.random.default_rng(0), causal=True)
    both = causal(X, mask=np.arange(5) < lengths[:, None, None]).data
    assert np.allclose(both[1, :2], causal(X[1:2, :2]).data[0], rtol=0, atol=1e-13), "both hold"


def test_gradients_of_masked_attention_are_slopes(check_gradients: Check) -> None:
    layer = SelfAttention(4, 2, np.random.default_rng(0), causal=True)
    for linear in (layer.query, layer.key, layer.value, layer.out):
        for p in linear.parameters():
            p.data = p.data.astype(np.float64)
    check_gradients(
        lambda x: layer(x, np.array([[True, False, True], [True, True, True], [True, True, True]])), X[:, :3]
    )


@pytest.mark.parametrize(
    ("mask", "error", "said"),
    [
        (np.ones((5, 4), bool), ValueError, r"mask of shape \(5, 4\) does not fit an array of shape \(3, 5, 5\)"),
        (np.ones((3, 2, 5, 5), bool), ValueError, "does not fit"),
        (np.where(np.tri(5), 0, -np.inf), ValueError, "mask must be True where a token looks at another, else False"),
        (np.eye(5, k=1), ValueError, "must let every token look at one at least"),
        (np.array([["a"] * 5] * 5), TypeError, "real numbers"),
    ],
    ids=["columns", "heads", "added numbers", "a token that sees none", "text"],
)
def test_other_masks_are_refused(mask: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        SelfAttention(4, 2)(X, mask)
    with pytest.raises(TypeError, match="causal must be True or False, got 'yes'"):
        SelfAttention(4, causal="yes")  # type: ignore[arg-type]


def test_a_causal_attention_is_quantized_with_its_mask() -> None:
    layer = SelfAttention(4, 2, np.random.default_rng(0), causal=True)
    x, later = X.astype(np.float32), X.astype(np.float32)
    later[:, 3:] *= 0.5
    made = quantize_static(Sequential(layer), [x]).eval()
    assert np.array_equal(made(x).data[:, :3], made(later).data[:, :3]), "no later token is seen"
    assert sqnr_db(layer(x).data, made(x).data) > 25
