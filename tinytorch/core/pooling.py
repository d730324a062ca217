"""Images made smaller: the largest or the mean of every window; and images made flat."""

from __future__ import annotations

import numpy as np

from .checks import whole_number
from .layers import Module
from .products import wide_dtype
from .tensor import Array, Tensor
from .windows import window_views


def max_pool2d(x: Tensor, size: int, stride: int) -> Tensor:
    """[N, C, H, W] -> the largest value of each window; of equal ones the first, row by row, gets the gradient."""
    kernel = (size, size)
    views = list(window_views(x.data, kernel, stride))
    out = views[0].copy()
    for view in views[1:]:
        np.maximum(out, view, out=out)

    def backward(grad: Array) -> tuple[Array]:
        slope, waiting = np.zeros(x.shape, grad.dtype), np.ones(out.shape, bool)
        for view, target in zip(views, window_views(slope, kernel, stride), strict=True):
            hit = (view == out) & waiting
            waiting ^= hit
            if stride < size:  # a pixel lies in several windows
                target += grad * hit
            else:
                np.multiply(grad, hit, out=target)
        return (slope,)

    return Tensor.from_op(out, (x,), backward)


def avg_pool2d(x: Tensor, size: int, stride: int) -> Tensor:
    """[N, C, H, W] -> the mean of each window."""
    kernel = (size, size)
    views = list(window_views(x.data, kernel, stride))
    out = np.zeros(views[0].shape, wide_dtype(x.data))  # a float16 sum could overflow
    for view in views:
        out += view
    out /= len(views)

    def backward(grad: Array) -> tuple[Array]:
        slope, share = np.zeros(x.shape, grad.dtype), grad / len(views)
        for target in window_views(slope, kernel, stride):
            target += share
        return (slope,)

    return Tensor.from_op(out.astype(x.dtype, copy=False), (x,), backward)


class Pool2d(Module):
    """Windows of size x size pixels, `stride` apart (None: side by side). What does not fill a window is left out."""

    of_one_tensor = True

    def __init__(self, size: int, stride: int | None = None) -> None:
        name = type(self).__name__
        self.size = whole_number(name, "size", size)
        self.stride = self.size if stride is None else whole_number(name, "stride", stride)

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or min(x.shape[2:]) < self.size:
            wanted = f"(N, channels, height, width), at least {self.size} pixels high and wide"
            raise ValueError(f"{self!r} wants images of shape {wanted}, got {x.shape}")
        return x

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size}{'' if self.stride == self.size else f', stride={self.stride}'})"


class MaxPool2d(Pool2d):
    """The largest value of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(self._checked(x), self.size, self.stride)


class AvgPool2d(Pool2d):
    """The mean of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(self._checked(x), self.size, self.stride)


class GlobalAvgPool2d(Module):
    """The mean of each channel: [N, C, H, W] -> [N, C, 1, 1]."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or 0 in x.shape[2:]:
            raise ValueError(f"{self!r} wants images of shape (N, channels, height, width), got {x.shape}")
        return x.mean(axis=(2, 3), keepdims=True)


class Flatten(Module):
    """A row a sample: [N, ...] -> [N, values of a sample]."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 0:
            raise ValueError(f"{self!r} wants input of shape (N, ...), got one number")
        return x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
