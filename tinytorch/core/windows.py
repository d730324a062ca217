"""Windows that slide over images: the one view of them that convolution and pooling share.

The pixels at place (i, j) of every window are one strided slice of the image, a view that costs nothing. So each of
the operations is a short loop over kh * kw views, whatever the size of the image:

>>> x = np.arange(16.0).reshape(1, 1, 4, 4)
>>> np.maximum.reduce(list(window_views(x, (2, 2), 2)))  # max pooling
array([[[[ 5.,  7.],
         [13., 15.]]]])
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from .tensor import Array


def count_windows(size: int, kernel: int, stride: int) -> int:
    """How many windows of `kernel` pixels, `stride` apart, fit side by side into `size` pixels."""
    return (size - kernel) // stride + 1


def window_views(x: Array, kernel: tuple[int, int], stride: int = 1) -> Iterator[Array]:
    """x [N, C, H, W], windows (kh, kw) -> kh * kw views [N, C, rows of windows, columns of windows], row by row.

    View (i, j) holds, for each window, its pixel i down and j right. Writing into it writes into x.
    """
    rows, columns = (count_windows(n, k, stride) for n, k in zip(x.shape[2:], kernel, strict=True))
    for i, j in product(*map(range, kernel)):
        yield x[:, :, i : i + rows * stride : stride, j : j + columns * stride : stride]


def padded(x: Array, padding: int, value: float = 0) -> Array:
    """x [N, C, H, W] with `padding` pixels of `value` on all four sides; x itself if there is nothing to add."""
    if padding == 0:
        return x
    n, c, h, w = x.shape
    out = np.full((n, c, h + 2 * padding, w + 2 * padding), value, x.dtype)
    out[:, :, padding:-padding, padding:-padding] = x
    return out


def patches(x: Array, kernel: tuple[int, int], stride: int = 1) -> Array:
    """x [N, C, H, W] -> [N, C, kh * kw, rows, columns]: the windows' pixels, copied ("im2col"). Any dtype.

    As matrices [N, C * kh * kw, rows * columns] it has a column for each window.
    """
    return np.stack(list(window_views(x, kernel, stride)), axis=2)


def add_patches(columns: Array, x: Array, kernel: tuple[int, int], stride: int = 1) -> None:
    """Add every pixel of `columns` to x [N, C, H, W] where `patches` took it from: the transpose of `patches`."""
    for k, view in enumerate(window_views(x, kernel, stride)):
        view += columns[:, :, k]
