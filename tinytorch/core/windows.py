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
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .checks import said, whole_number
from .tensor import Array

Pair: TypeAlias = tuple[int, int]
Both: TypeAlias = int | Pair  # down and right, one integer where the two are equal


def as_pair(value: Both) -> Pair:
    """(down, right) of a value that may be one integer for both."""
    return value if isinstance(value, tuple) else (value, value)


def checked_pair(owner: str, name: str, value: Any, least: int = 1) -> Pair:
    """(down, right) of one integer, or of two in a tuple or list. ValueError for anything else, or below `least`."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{owner} needs {name} as one integer, or as two (down, right), got {said(value)}")
        return whole_number(owner, name, value[0], least), whole_number(owner, name, value[1], least)
    return as_pair(whole_number(owner, name, value, least))


def shown(pair: Pair) -> str:
    """The pair as a person would write it: one integer where the two are equal."""
    return str(pair[0] if pair[0] == pair[1] else pair)


def count_windows(size: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """How many windows of `kernel` pixels, `stride` apart, fit side by side into `size` pixels.

    The pixels of one window are `dilation` apart.
    """
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def count_both(shape: tuple[int, ...], kernel: Pair, stride: Both = 1, dilation: Both = 1) -> Pair:
    """(rows, columns) of windows in an image of shape [..., H, W]."""
    rows, columns = map(count_windows, shape[-2:], kernel, as_pair(stride), as_pair(dilation))
    return rows, columns


def window_views(x: Array, kernel: Pair, stride: Both = 1, dilation: Both = 1) -> Iterator[Array]:
    """x [N, C, H, W], windows (kh, kw) -> kh * kw views [N, C, rows of windows, columns of windows], row by row.

    View (i, j) holds, for each window, its pixel i down and j right. Writing into it writes into x.
    """
    (rows, columns), (down, right) = count_both(x.shape, kernel, stride, dilation), as_pair(stride)
    for i, j in product(*(range(0, k * d, d) for k, d in zip(kernel, as_pair(dilation), strict=True))):
        yield x[:, :, i : i + rows * down : down, j : j + columns * right : right]


def padded(x: Array, padding: Both, value: ArrayLike = 0) -> Array:
    """x [N, C, H, W] with `padding` pixels of `value` on all four sides; x itself if there is nothing to add.

    value: one for all, or one for each sample, [N, 1, 1, 1].
    """
    down, right = as_pair(padding)
    if down == right == 0:
        return x
    n, c, h, w = x.shape
    out = np.full((n, c, h + 2 * down, w + 2 * right), value, x.dtype)
    unpadded(out, padding)[...] = x
    return out


def unpadded(x: Array, padding: Both) -> Array:
    """The view of x [N, C, H, W] without `padding` pixels on all four sides: what `padded` put there."""
    down, right = as_pair(padding)
    return x[:, :, down : x.shape[2] - down, right : x.shape[3] - right]


def patches(x: Array, kernel: Pair, stride: Both = 1, dilation: Both = 1) -> Array:
    """x [N, C, H, W] -> [N, C, kh * kw, rows, columns]: the windows' pixels, copied ("im2col"). Any dtype.

    As matrices [N, C * kh * kw, rows * columns] it has a column for each window.
    """
    return np.stack(list(window_views(x, kernel, stride, dilation)), axis=2)


def add_patches(columns: Array, x: Array, kernel: Pair, stride: Both = 1, dilation: Both = 1) -> None:
    """Add every pixel of `columns` to x [N, C, H, W] where `patches` took it from: the transpose of `patches`."""
    for k, view in enumerate(window_views(x, kernel, stride, dilation)):
        view += columns[:, :, k]
