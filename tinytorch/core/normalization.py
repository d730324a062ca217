"""Values brought to mean 0 and variance 1: over the batch, channel by channel, or over each sample's features."""

from __future__ import annotations

import numpy as np

from .checks import real_number, whole_number
from .layers import Module
from .products import widened
from .tensor import Array, Tensor


def _wide(x: Tensor) -> Tensor:
    """x in float32 at least: the squares of float16 values overflow."""
    return Tensor.from_op(widened(x.data), (x,), lambda grad: (grad,))


def _checked_eps(eps: float) -> float:
    """ValueError unless eps keeps the square root of a variance of 0 from being 0."""
    if not 0 < real_number("eps", eps) < np.inf:
        raise ValueError(f"eps must be > 0 and finite, got {eps}: a variance may be 0")
    return float(eps)


def _channel_sums(a: Array, b: Array) -> Array:
    """Sums of a * b, [N, C, H, W] -> [1, C, 1, 1], without an array of the products."""
    sums: Array = np.einsum("nchw,nchw->c", a, b)
    return sums.reshape(1, -1, 1, 1)


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Array, Array]:
    """x_hat * weight + bias, where x_hat = (x - mean) / sqrt(variance + eps); and that mean and (biased) variance.

    x is [N, C, H, W], all the others [1, C, 1, 1].
    """
    n = x.data.size // x.shape[1]
    mean = x.data.mean((0, 2, 3), keepdims=True)
    x_hat = x.data - mean
    variance = _channel_sums(x_hat, x_hat) / n
    rate = 1 / np.sqrt(variance + eps)
    x_hat *= rate
    out = x_hat * weight.data
    out += bias.data

    def backward(grad: Array) -> tuple[Array, Array, Array]:
        """What would only move mean or variance is taken out of grad: it has no effect."""
        to_bias = grad.sum((0, 2, 3), keepdims=True)
        to_weight = _channel_sums(grad, x_hat)
        slope = x_hat * (to_weight / -n)
        slope += to_bias / -n
        slope += grad
        slope *= rate * weight.data
        return slope, to_weight, to_bias

    return Tensor.from_op(out, (x, weight, bias), backward), mean, variance


class BatchNorm2d(Module):
    """Each channel of images [N, n, height, width] standardized, then times weight, plus bias. Ioffe, Szegedy 2015.

    In training over the batch and all pixels, while running_mean and running_var follow the batches' statistics:
    running += momentum * (batch's - running), the variance unbiased. In eval mode these two are used instead.

    weight, bias               float32 [n], from 1 and 0
    running_mean, running_var  float32 [n], from 0 and 1; state, but no parameters
    """

    of_one_tensor = True
    ignores = ("num_batches_tracked",)  # PyTorch's count, by which it averages where momentum is None

    def __init__(self, n: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        n = whole_number(type(self).__name__, "n", n)
        self.weight = Tensor(np.ones(n, np.float32), requires_grad=True)
        self.bias = Tensor(np.zeros(n, np.float32), requires_grad=True)
        self.running_mean, self.running_var = np.zeros(n, np.float32), np.ones(n, np.float32)
        self.momentum, self.eps = real_number("momentum", momentum), _checked_eps(eps)
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], got {momentum}: it is the weight of the new batch")

    def forward(self, x: Tensor) -> Tensor:
        """[N, n, H, W] -> the same shape. ValueError for another shape, or in training for one value a channel."""
        n = len(self.running_mean)
        if x.ndim != 4 or x.shape[1] != n:
            raise ValueError(f"{self!r} wants images of shape (N, {n}, height, width), got {x.shape}")
        weight, bias = self.weight.reshape(1, n, 1, 1), self.bias.reshape(1, n, 1, 1)
        if self.training:
            return self._normalized(_wide(x), weight, bias)
        deviation: Array = np.sqrt(self.running_var + self.eps).reshape(1, n, 1, 1)
        scale = weight / deviation
        return x * scale + (bias - scale * self.running_mean.reshape(1, n, 1, 1))

    def _normalized(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        count = x.data.size // len(self.running_mean)
        if count < 2:
            raise ValueError(f"{self!r} wants at least 2 values a channel to train, got {count}: use a larger batch")
        out, mean, variance = batch_norm(x, weight, bias, self.eps)
        self.running_mean = self._follow(self.running_mean, mean)
        self.running_var = self._follow(self.running_var, variance * (count / (count - 1)))
        return out

    def _follow(self, running: Array, seen: Array) -> Array:
        """A new array: a copy of this module may still hold the old one."""
        moved: Array = running + self.momentum * (seen.ravel() - running)
        return moved.astype(running.dtype, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.running_mean)})"


class BatchNorm1d(BatchNorm2d):
    """BatchNorm2d for rows [N, n] or signals [N, n, length], taken as images one row high."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, n] or [N, n, L] -> the same shape. ValueError for another, or in training for one value a channel."""
        n = len(self.running_mean)
        if x.ndim not in (2, 3) or x.shape[1] != n:
            raise ValueError(f"{self!r} wants input of shape (N, {n}) or (N, {n}, length), got {x.shape}")
        length = x.shape[2] if x.ndim == 3 else 1
        return super().forward(x.reshape(x.shape[0], n, 1, length)).reshape(x.shape)


class LayerNorm(Module):
    """The last axis [..., n] standardized, then times weight, plus bias (float32 [n], from 1 and 0). Ba et al. 2016."""

    of_one_tensor = True

    def __init__(self, n: int, eps: float = 1e-5) -> None:
        n = whole_number("LayerNorm", "n", n)
        self.weight = Tensor(np.ones(n, np.float32), requires_grad=True)
        self.bias = Tensor(np.zeros(n, np.float32), requires_grad=True)
        self.eps = _checked_eps(eps)

    def forward(self, x: Tensor) -> Tensor:
        n = len(self.weight)
        if x.ndim == 0 or x.shape[-1] != n:
            raise ValueError(f"{self!r} wants input of shape (..., {n}), got {x.shape}")
        x = _wide(x)
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        return centred / (variance + self.eps).sqrt() * self.weight + self.bias

    def __repr__(self) -> str:
        return f"LayerNorm({len(self.weight)})"
