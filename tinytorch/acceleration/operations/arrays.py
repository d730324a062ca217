"""Arrays as compiled code takes them: contiguous rows, aligned numbers, room for a result on cache lines."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import NDArray

from ..runtime.layout import ALIGN_FROM, ALIGNMENT
from ..runtime.once import load

INT32, FLOAT32 = np.dtype(np.int32), np.dtype(np.float32)  # ready made: np.int32 would be looked up at each call


def rows_of(a: NDArray[Any], k: int) -> NDArray[Any]:
    """a as [M, K] whose rows are contiguous."""
    rows = a if a.ndim == 2 else a.reshape(prod(a.shape[:-1]), k)
    return rows if rows.strides[1] == rows.itemsize else np.ascontiguousarray(rows)


def readable(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x, or a copy of it, in this processor's byte order and each number at an address that its size divides."""
    if type(x) is ndarray and x.dtype is FLOAT32 and x.flags.aligned:
        return x
    return np.require(x, np.float32, "A")


def empty_aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialized array; a large one begins on a cache line. Where something compiles."""
    nbytes = prod(shape) * dtype.itemsize
    if nbytes < ALIGN_FROM:
        return np.empty(shape, dtype)
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    return ndarray(shape, dtype, block, load("loops.memory").bytes_to_line(block))


def aligned(nbytes: int, make: Callable[..., NDArray[np.uint8]] = np.zeros) -> NDArray[np.uint8]:
    """Zeroed bytes (or whatever `make` makes) at an address that divides by 64."""
    block = make(nbytes + ALIGNMENT, np.uint8)
    skip = -block.ctypes.data % ALIGNMENT
    return block[skip : skip + nbytes]
