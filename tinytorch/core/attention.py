"""Sequences of tokens: a vector for each, and vectors that look at each other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .activations import softmax
from .checks import check_fits, real_array, true_or_false, whole_number
from .layers import Linear, Module
from .tensor import Array, Tensor


def whole_tokens(layer: Module, x: Tensor | Array, n: int) -> NDArray[np.int64]:
    """x as integers. ValueError, naming the layer, unless they are whole numbers in 0 .. n - 1."""
    values = real_array("tokens", x)
    if not np.all((values >= 0) & (values < n) & (np.rint(values) == values)):  # NaN is none of these
        raise ValueError(f"{layer!r} wants whole numbers in 0 .. {n - 1}, got {values.min():g} .. {values.max():g}")
    return values.astype(np.int64)


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
        return self.weight[whole_tokens(self, x, len(self.weight))]

    def __repr__(self) -> str:
        return f"Embedding({', '.join(map(str, self.weight.shape))})"


class SelfAttention(Module):
    """Each token's mean of all tokens' values, weighted by how well its query fits their keys. Vaswani et al. 2017.

    softmax(queries @ keys.T / sqrt(d)) @ values, in `heads` parts of d = width / heads features each. The four
    projections are the Linear layers query, key, value and out. causal: each token looks at itself and those before it.
    """

    of_one_tensor = True

    def __init__(
        self, width: int, heads: int = 1, rng: np.random.Generator | None = None, causal: bool = False
    ) -> None:
        width, heads = whole_number("SelfAttention", "width", width), whole_number("SelfAttention", "heads", heads)
        if width % heads:
            raise ValueError(f"heads must divide width, got {heads} for {width}")
        rng = np.random.default_rng(rng)
        self.query, self.key, self.value, self.out = (Linear(width, width, rng=rng) for _ in range(4))
        self.width, self.heads, self.causal = width, heads, true_or_false("causal", causal)

    def forward(self, x: Tensor, mask: Tensor | Array | None = None) -> Tensor:
        """[N, tokens, width] -> [N, tokens, width]; ValueError for another shape.

        mask: True where the token of the row looks at the token of the column, of shape [tokens, tokens], [N, tokens,
        tokens], or, to leave out what fills up short samples, [N, 1, tokens]. PyTorch's MultiheadAttention wants the
        opposite, its scaled_dot_product_attention the same.
        """
        width = self.width
        if x.ndim != 3 or x.shape[2] != width:
            raise ValueError(f"{self!r} wants input of shape (N, tokens, {width}), got {x.shape}")
        n, tokens, _ = x.shape
        query, key, value = (
            layer(x).reshape(n, tokens, self.heads, width // self.heads).transpose(0, 2, 1, 3)  # [N, heads, tokens, d]
            for layer in (self.query, self.key, self.value)
        )
        fit = query @ key.transpose(0, 1, 3, 2) / math.sqrt(width / self.heads)
        seen = self._seen(mask, n, tokens)
        if not seen.all():
            fit = fit + np.where(seen, 0, -np.inf).astype(fit.dtype)[:, None]
        mixed: Tensor = softmax(fit) @ value
        y: Tensor = self.out(mixed.transpose(0, 2, 1, 3).reshape(n, tokens, width))
        return y

    def _seen(self, mask: Tensor | Array | None, n: int, tokens: int) -> NDArray[np.bool]:
        """Which token looks at which, [N or 1, tokens, tokens]. ValueError for a mask by which one looks at none."""
        seen = np.tri(tokens, dtype=bool)[None] if self.causal else np.ones((1, tokens, tokens), bool)
        if mask is not None:
            given = real_array("mask", mask)
            check_fits("mask", given.shape, (n, tokens, tokens))
            if not np.all((given == 0) | (given == 1)):
                raise ValueError("mask must be True where a token looks at another, else False, got other numbers")
            seen = seen & (given == 1)
            if not seen.any(axis=-1).all():
                raise ValueError(
                    "mask must let every token look at one at least: let those that fill up see themselves"
                )
        return seen

    def __repr__(self) -> str:
        return f"SelfAttention({self.width}, heads={self.heads}{', causal=True' if self.causal else ''})"
