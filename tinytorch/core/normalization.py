"""Values brought to mean 0 and variance 1: over the batch, channel by channel, or over each sample's features."""

from __future__ import annotations

import numpy as np

from .layers import Module
from .tensor import Array, Tensor


def _mean_product(a: Array, b: Array, axes: tuple[int, ...]) -> Array:
    """The mean of a * b over `axes`, kept, without an array of the products."""
    every = list(range(a.ndim))
    kept = [axis for axis in every if axis not in axes]
    shape = [n if axis in kept else 1 for axis, n in enumerate(a.shape)]
    total: Array = np.einsum(a, every, b, every, kept).reshape(shape)
    return total / (a.size // max(1, total.size))


def standardize(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Array, Array]:
    """(x - mean) / sqrt(variance + eps) over `axes`; and that mean and that variance (biased), axes kept.

    All three are computed in float32 at least; the first is returned in x's dtype.
    """
    wide = x.data.astype(np.result_type(x.dtype, np.float32), copy=False)
    mean = wide.mean(axes, keepdims=True)
    out = wide - mean
    variance = _mean_product(out, out, axes)
    slope = 1 / np.sqrt(variance + eps)
    out *= slope

    def backward(grad: Array) -> tuple[Array]:
        """The part of grad that moves neither mean nor variance, which are taken out again."""
        along = _mean_product(grad, out, axes)
        result = grad - grad.mean(axes, keepdims=True)
        result -= out * along
        result *= slope
        return (result,)

    return Tensor.from_op(out.astype(x.dtype, copy=False), (x,), backward), mean, variance


class BatchNorm2d(Module):
    """Each channel of images [N, n, height, width] standardized, then times weight, plus bias. Ioffe, Szegedy 2015.

    In training over the batch and all pixels, while running_mean and running_var follow the batches' statistics:
    running += momentum * (batch's - running), the variance unbiased. In eval mode these two are used instead.

    weight, bias               float32 [n], from 1 and 0
    running_mean, running_var  float32 [n], from 0 and 1; state, but no parameters
    """

    def __init__(self, n: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        self.weight = Tensor(np.ones(n, np.float32), requires_grad=True)
        self.bias = Tensor(np.zeros(n, np.float32), requires_grad=True)
        self.running_mean, self.running_var = np.zeros(n, np.float32), np.ones(n, np.float32)
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Tensor) -> Tensor:
        """[N, n, H, W] -> the same shape. ValueError for another shape, or in training for one value a channel."""
        n = len(self.running_mean)
        if x.ndim != 4 or x.shape[1] != n:
            raise ValueError(f"{self!r} wants images of shape (N, {n}, height, width), got {x.shape}")
        weight, bias = self.weight.reshape(1, n, 1, 1), self.bias.reshape(1, n, 1, 1)
        if self.training:
            return self._standardized(x) * weight + bias
        deviation: Array = np.sqrt(self.running_var + self.eps).reshape(1, n, 1, 1)
        scale = weight / deviation
        return x * scale + (bias - scale * self.running_mean.reshape(1, n, 1, 1))

    def _standardized(self, x: Tensor) -> Tensor:
        count = x.data.size // len(self.running_mean)
        if count < 2:
            raise ValueError(f"{self!r} wants at least 2 values a channel to train, got {count}: use a larger batch")
        out, mean, variance = standardize(x, (0, 2, 3), self.eps)
        self.running_mean = self._follow(self.running_mean, mean)
        self.running_var = self._follow(self.running_var, variance * (count / (count - 1)))
        return out

    def _follow(self, running: Array, seen: Array) -> Array:
        """A new array: a copy of this module may still hold the old one."""
        moved: Array = running + self.momentum * (seen.ravel() - running)
        return moved.astype(running.dtype, copy=False)

    def __repr__(self) -> str:
        return f"BatchNorm2d({len(self.running_mean)})"


class LayerNorm(Module):
    """The last axis [..., n] standardized, then times weight, plus bias (float32 [n], from 1 and 0). Ba et al. 2016."""

    def __init__(self, n: int, eps: float = 1e-5) -> None:
        self.weight = Tensor(np.ones(n, np.float32), requires_grad=True)
        self.bias = Tensor(np.zeros(n, np.float32), requires_grad=True)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        n = len(self.weight)
        if x.ndim == 0 or x.shape[-1] != n:
            raise ValueError(f"{self!r} wants input of shape (..., {n}), got {x.shape}")
        return standardize(x, (x.ndim - 1,), self.eps)[0] * self.weight + self.bias

    def __repr__(self) -> str:
        return f"LayerNorm({len(self.weight)})"
