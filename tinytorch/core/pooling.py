"""Images and signals made smaller: the largest or the mean of every window; and made flat."""

from __future__ import annotations

import numpy as np

from .checks import true_or_false, whole_number
from .layers import Module
from .products import wide_dtype
from .tensor import Array, Tensor
from .windows import Both, Pair, checked_pair, padded, shown, unpadded, window_views


def max_pool2d(x: Tensor, size: Pair, stride: Pair, padding: Pair = (0, 0)) -> Tensor:
    """[N, C, H, W] -> the largest value of each window; of equal ones the first, row by row, gets the gradient."""
    edged = padded(x.data, padding, -np.inf)
    views = list(window_views(edged, size, stride))
    out = views[0].copy()
    for view in views[1:]:
        np.maximum(out, view, out=out)
    overlap = stride[0] < size[0] or stride[1] < size[1]

    def backward(grad: Array) -> tuple[Array]:
        slope, waiting = np.zeros(edged.shape, grad.dtype), np.ones(out.shape, bool)
        for view, target in zip(views, window_views(slope, size, stride), strict=True):
            hit = (view == out) & waiting
            waiting ^= hit
            if overlap:  # a pixel lies in several windows
                target += grad * hit
            else:
                np.multiply(grad, hit, out=target)
        return (unpadded(slope, padding),)

    return Tensor.from_op(out, (x,), backward)


def avg_pool2d(x: Tensor, size: Pair, stride: Pair, padding: Pair = (0, 0), count_include_pad: bool = True) -> Tensor:
    """[N, C, H, W] -> the mean of each window, the zeros of the padding among its values, if count_include_pad."""
    edged = padded(x.data, padding)
    views = list(window_views(edged, size, stride))
    out = np.zeros(views[0].shape, wide_dtype(x.data))  # a float16 sum could overflow
    for view in views:
        out += view
    counts = np.full(out.shape[2:], len(views), out.dtype)
    if not count_include_pad:
        inside = padded(np.ones((1, 1, *x.shape[2:]), out.dtype), padding)
        counts = np.sum(list(window_views(inside, size, stride)), axis=0)[0, 0]
    out /= counts

    def backward(grad: Array) -> tuple[Array]:
        slope, share = np.zeros(edged.shape, grad.dtype), grad / counts.astype(grad.dtype)
        for target in window_views(slope, size, stride):
            target += share
        return (unpadded(slope, padding),)

    return Tensor.from_op(out.astype(x.dtype, copy=False), (x,), backward)


class Pool2d(Module):
    """Windows of `size` pixels, `stride` apart (None: side by side). What does not fill a window is left out.

    size, stride, padding: one integer, or two: down and right. padding: pixels around the image, at most half a window.
    """

    of_one_tensor = True

    def __init__(self, size: Both, stride: Both | None = None, padding: Both = 0) -> None:
        name = type(self).__name__
        self.size = checked_pair(name, "size", size)
        self.stride = self.size if stride is None else checked_pair(name, "stride", stride)
        self.padding = checked_pair(name, "padding", padding, 0)
        if any(2 * p > s for p, s in zip(self.padding, self.size, strict=True)):
            raise ValueError(f"{name} needs a padding of at most half its size {shown(self.size)}, got {padding}")

    def check(self, shape: tuple[int, ...]) -> None:
        """ValueError for what is no shape of images, or one of images smaller than a window."""
        sizes = zip(shape[2:], self.padding, self.size, strict=False)
        if len(shape) != 4 or any(n + 2 * p < s for n, p, s in sizes) or 0 in shape[2:]:
            wanted = f"(N, channels, height, width), at least {shown(self.size)} pixels high and wide"
            raise ValueError(f"{self!r} wants images of shape {wanted}, got {shape}")

    def __repr__(self) -> str:
        stride = "" if self.stride == self.size else f", stride={shown(self.stride)}"
        padding = "" if self.padding == (0, 0) else f", padding={shown(self.padding)}"
        return f"{type(self).__name__}({shown(self.size)}{stride}{padding})"


class MaxPool2d(Pool2d):
    """The largest value of each window. No padding is larger than a pixel."""

    def forward(self, x: Tensor) -> Tensor:
        self.check(x.shape)
        return max_pool2d(x, self.size, self.stride, self.padding)


class AvgPool2d(Pool2d):
    """The mean of each window, the padding counted as zeros, or (count_include_pad False) not at all."""

    def __init__(
        self, size: Both, stride: Both | None = None, padding: Both = 0, count_include_pad: bool = True
    ) -> None:
        super().__init__(size, stride, padding)
        self.count_include_pad = true_or_false("count_include_pad", count_include_pad)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x.shape)
        return avg_pool2d(x, self.size, self.stride, self.padding, self.count_include_pad)

    def __repr__(self) -> str:
        return (
            super().__repr__().removesuffix(")") + ("" if self.count_include_pad else ", count_include_pad=False") + ")"
        )


class Pool1d(Module):
    """Windows of `size` values of signals [N, channels, length], `stride` apart (None: side by side), as in Pool2d."""

    of_one_tensor = True

    def __init__(self, size: int, stride: int | None = None, padding: int = 0) -> None:
        name = type(self).__name__
        self.size = whole_number(name, "size", size)
        self.stride = self.size if stride is None else whole_number(name, "stride", stride)
        self.padding = whole_number(name, "padding", padding, 0)
        if 2 * self.padding > self.size:
            raise ValueError(f"{name} needs a padding of at most half its size {self.size}, got {padding}")

    @property
    def across(self) -> tuple[Pair, Pair, Pair]:
        """Size, stride and padding over images of one row."""
        return (1, self.size), (1, self.stride), (0, self.padding)

    def check(self, shape: tuple[int, ...]) -> None:
        """ValueError for what is no shape of signals, or one of signals shorter than a window."""
        if len(shape) != 3 or shape[2] == 0 or shape[2] + 2 * self.padding < self.size:
            wanted = f"(N, channels, length), at least {self.size} values long"
            raise ValueError(f"{self!r} wants signals of shape {wanted}, got {shape}")

    def images(self, x: Tensor) -> Tensor:
        """The signals as images of one row."""
        self.check(x.shape)
        return x.reshape(*x.shape[:2], 1, x.shape[2])

    def __repr__(self) -> str:
        stride = "" if self.stride == self.size else f", stride={self.stride}"
        return f"{type(self).__name__}({self.size}{stride}{f', padding={self.padding}' if self.padding else ''})"


class MaxPool1d(Pool1d):
    """The largest value of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(self.images(x), *self.across)[:, :, 0]


class AvgPool1d(Pool1d):
    """The mean of each window, the padding counted as zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(self.images(x), *self.across)[:, :, 0]


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
