"""Sequences of tokens: a vector for each, and vectors that look at each other."""

from __future__ import annotations

import math

import numpy as np

from .activations import softmax
from .checks import real_array, whole_number
from .layers import Linear, Module
from .tensor import Array, Tensor


class Embedding(Module):
    """A vector for each of n tokens: row t of the weight.

    weight  float32 [n, width], normal with variance 1
    rng     where the first weights come from; None: another start at every call
    """

    of_one_tensor = True

    def __init__(self, n: int, width: int, rng: np.random.Generator | None = None) -> None:
        n, width = whole_number("Embedding", "n", n), whole_number("Embedding", "width", width)
        weights = np.random.default_rng(rng).normal(size=(n, width)).astype(np.float32)
        self.weight = Tensor(weights, requires_grad=True)

    def forward(self, x: Tensor | Array) -> Tensor:
        """Whole numbers 0 .. n - 1, shape [...] -> [..., width]. ValueError for anything else.

        A module wraps an integer array in a float32 Tensor, which is exact up to 2**24.
        """
        values = real_array("tokens", x)
        n = len(self.weight)
        if not np.all((values >= 0) & (values < n) & (np.rint(values) == values)):  # NaN is none of these
            raise ValueError(f"{self!r} wants whole numbers in 0 .. {n - 1}, got {values.min():g} .. {values.max():g}")
        return self.weight[values.astype(np.int64)]

    def __repr__(self) -> str:
        return f"Embedding({', '.join(map(str, self.weight.shape))})"


class SelfAttention(Module):
    """Each token's mean of all tokens' values, weighted by how well its query fits their keys. Vaswani et al. 2017.

    softmax(queries @ keys.T / sqrt(d)) @ values, in `heads` parts of d = width / heads features each. The four
    projections are the Linear layers query, key, value and out.
    """

    of_one_tensor = True

    def __init__(self, width: int, heads: int = 1, rng: np.random.Generator | None = None) -> None:
        width, heads = whole_number("SelfAttention", "width", width), whole_number("SelfAttention", "heads", heads)
        if width % heads:
            raise ValueError(f"heads must divide width, got {heads} for {width}")
        rng = np.random.default_rng(rng)
        self.query, self.key, self.value, self.out = (Linear(width, width, rng=rng) for _ in range(4))
        self.width, self.heads = width, heads

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, width] -> [N, tokens, width]; ValueError for another shape."""
        width = self.width
        if x.ndim != 3 or x.shape[2] != width:
            raise ValueError(f"{self!r} wants input of shape (N, tokens, {width}), got {x.shape}")
        n, tokens, _ = x.shape
        query, key, value = (
            layer(x).reshape(n, tokens, self.heads, width // self.heads).transpose(0, 2, 1, 3)  # [N, heads, tokens, d]
            for layer in (self.query, self.key, self.value)
        )
        fit = query @ key.transpose(0, 1, 3, 2) / math.sqrt(width / self.heads)
        mixed: Tensor = softmax(fit) @ value
        y: Tensor = self.out(mixed.transpose(0, 2, 1, 3).reshape(n, tokens, width))
        return y

    def __repr__(self) -> str:
        return f"SelfAttention({self.width}, heads={self.heads})"
