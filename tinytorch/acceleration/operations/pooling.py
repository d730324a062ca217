"""Pools, sums and tables on arrays whose channels lie innermost in memory: the bits of the definitions.

max_pool   of codes, the bits of MaxPool2d on codes; mean_pool of float32, the bits of AvgPool2d and GlobalAvgPool2d
add_codes  the codes, or the numbers, of two paths: `quantized_add`, or the sum of both dequantized
add_reals  the sum of two paths in float32
look_up    the answer for each code

Arrays have the shape that the layers see, [N, channels, height, width], and come out with channels innermost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import Tensor
from ...core.pooling import avg_pool2d
from ...core.windows import Pair, count_both, padded, window_views
from ..runtime.features import kernel
from ..runtime.once import load
from .arrays import readable
from .qparams import QParamsLike

LONG = 1 << 18  # bytes: a job of so many wakes threads


def _order(x: NDArray[Any]) -> tuple[int, ...] | None:
    """The axes of x from the outermost in memory to the innermost, if it fills its memory; else None."""
    axes = sorted(range(x.ndim), key=lambda axis: (-x.strides[axis], axis))
    return tuple(axes) if x.transpose(axes).flags.c_contiguous else None


def same_order(x: NDArray[Any], *others: NDArray[Any]) -> list[NDArray[Any]]:
    """The arrays, copied where they must be for all to fill their memory in the order of the first."""
    order = _order(x)
    if order is None:
        x, order = np.ascontiguousarray(x), tuple(range(x.ndim))
    back = np.argsort(order)
    return [x, *(np.ascontiguousarray(other.transpose(order)).transpose(back) for other in others)]


def in_memory_order(function: Callable[[NDArray[Any]], NDArray[Any]], x: NDArray[Any]) -> NDArray[Any]:
    """function(x), elementwise, for x as it lies in memory; the result lies as x does."""
    order = _order(x)
    return function(x) if order is None else function(x.transpose(order)).transpose(np.argsort(order))


def empty_like(x: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """A new array of x's shape and of its order in memory."""
    return np.empty_like(x, dtype, order="K", subok=False)


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """Images [N, channels, height, width] as [N, height, width, channels], contiguous."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class Windows:
    """The windows of a pool: `size` pixels, `stride` apart, `padding` around the image; (down, right) each."""

    size: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def counts(self, shape: tuple[int, ...]) -> Pair:
        """(rows, columns) of windows in images [N, channels, height, width]."""
        (height, width), (above, left) = shape[2:], self.padding
        return count_both((height + 2 * above, width + 2 * left), self.size, self.stride)


def max_pool(q: NDArray[Any], windows: Windows) -> NDArray[Any]:
    """The largest code of each window; no padding is larger than a code."""
    if kernel() == "numpy" or q.size == 0:
        return _max_pool_plain(q, windows)
    return _pool(q, windows, "max_pool_task")


def mean_pool(x: NDArray[np.float32], windows: Windows, with_padding: bool = True) -> NDArray[np.float32]:
    """The mean of each window. with_padding: zeros of the padding count."""
    if kernel() == "numpy" or x.size == 0:
        return avg_pool2d(Tensor(x), windows.size, windows.stride, windows.padding, with_padding).data
    return _pool(readable(x), windows, "mean_pool_task", with_padding)


def _max_pool_plain(q: NDArray[Any], windows: Windows) -> NDArray[Any]:
    """The same in NumPy: rows first, then columns."""
    q = padded(q, windows.padding, int(np.iinfo(q.dtype).min))
    (rows, columns), (down, right) = windows.size, windows.stride
    for size, stride in (((rows, 1), (down, 1)), ((1, columns), (1, right))):
        views = list(window_views(q, size, stride))
        q = views[0]
        for view in views[1:]:
            q = np.maximum(q, view)
    return q


def _pool(x: NDArray[Any], windows: Windows, name: str, with_padding: bool = True) -> NDArray[Any]:
    loops, images, (rows, columns) = load("loops.pooling"), channels_last(x), windows.counts(x.shape)
    n, height, width, channels = images.shape
    y, job = np.empty((n, rows, columns, channels), x.dtype), np.zeros(1, loops.POOL)
    threads, line = load("runtime.threads").pool().threads, -(-width * channels // 64) * 64
    scratch = np.empty(threads * line if x.itemsize == 1 else 0, np.uint8)
    job[0] = (
        images.ctypes.data, y.ctypes.data, height, width, channels, rows, columns, *windows.size, *windows.stride,
        *windows.padding, x.dtype.char == "b", with_padding, scratch.ctypes.data, line,
    )  # fmt: skip
    _do(getattr(loops, name), job, n * rows, threads, images.nbytes)
    return y.transpose(0, 3, 1, 2)


def _do(task: Any, job: NDArray[Any], tasks: int, room: int, nbytes: int) -> None:
    """All tasks of a job."""
    address = load("runtime.threads").pool().address if nbytes >= LONG else 0
    load("loops.pooling").do_tasks(address, task.address, job.view(np.int64), tasks, room, nbytes >= LONG)


def _chunks(n: int) -> int:
    return -(-n // int(load("loops.pooling").ELEMENTS))


def add_codes(
    a: NDArray[Any],
    a_qparams: QParamsLike,
    b: NDArray[Any],
    b_qparams: QParamsLike,
    out: QParamsLike | None,
    relu: bool = False,
) -> NDArray[Any]:
    """a + b as codes of `out`, or, out None, as float32. relu: of the sum."""
    step = np.float32(1) if out is None else np.float32(out.scale)
    steps = [np.float32(p.scale) / step for p in (a_qparams, b_qparams)]
    if kernel() == "numpy" or a.size == 0:
        parts = (a, a_qparams, steps[0]), (b, b_qparams, steps[1])
        real = sum((q.astype(np.int32) - int(p.zero_point)).astype(np.float32) * s for q, p, s in parts)
        return _ended(real, out, relu)
    loops, (a, b) = load("loops.pooling"), same_order(a, b)
    y = empty_like(a, np.float32 if out is None else out.int_type.storage)
    flips = [128 if q.dtype.char == "b" else 0 for q in (a, b, y)]
    zeros = [int(p.zero_point) + flip for p, flip in zip((a_qparams, b_qparams), flips, strict=False)]
    numbers = np.array([steps[0], zeros[0], steps[1], zeros[1], *_limits(out, relu, flips[2])], np.float32)
    job = np.zeros(1, loops.SUM)
    job[0] = (a.ctypes.data, b.ctypes.data, y.ctypes.data, a.size, *flips, numbers.ctypes.data)
    task = loops.reals_of_codes_task if out is None else loops.sum_of_codes_task
    _do(task, job, _chunks(a.size), a.size, y.nbytes)
    return y


def _limits(out: QParamsLike | None, relu: bool, flip: int) -> tuple[float, float, float]:
    """(zero point, lowest, highest) of a sum; of codes `flip` higher, as they are uint8 while it is computed."""
    if out is None:
        return 0.0, 0.0 if relu else -np.inf, np.inf
    zero, qmin, qmax = (int(v) + flip for v in (out.zero_point, out.int_type.qmin, out.int_type.qmax))
    return zero, max(zero, qmin) if relu else qmin, qmax


def _ended(real: Any, out: QParamsLike | None, relu: bool) -> NDArray[Any]:
    """A sum in NumPy: float32 as it is, in steps of `out` as codes."""
    zero, lowest, highest = _limits(out, relu, 0)
    if out is None:
        return np.asarray(np.maximum(real, np.float32(lowest)))
    return np.asarray(np.clip(np.rint(real) + np.float32(zero), lowest, highest)).astype(out.int_type.storage)


def add_reals(a: NDArray[np.float32], b: NDArray[np.float32], relu: bool = False) -> NDArray[np.float32]:
    """a + b, float32. relu: of the sum."""
    if kernel() == "numpy" or a.size == 0:
        return _ended(a + b, None, relu)
    loops, (a, b) = load("loops.pooling"), same_order(readable(a), readable(b))
    y, job, numbers = empty_like(a, np.float32), np.zeros(1, loops.SUM), np.zeros(7, np.float32)
    numbers[4:] = _limits(None, relu, 0)
    job[0] = (a.ctypes.data, b.ctypes.data, y.ctypes.data, a.size, 0, 0, 0, numbers.ctypes.data)
    _do(loops.sum_of_reals_task, job, _chunks(a.size), a.size, y.nbytes)
    return y


@dataclass(frozen=True, eq=False)
class Answers:
    """An answer, a code or float32, for each of the 256 bytes that a code may be."""

    values: NDArray[Any]

    @classmethod
    def of(cls, values: NDArray[Any], qmin: int) -> Answers:
        """values: for the codes from qmin on; what is no such code gets any answer."""
        by_byte = np.zeros(256, values.dtype)
        by_byte[(np.arange(len(values)) + qmin) % 256] = values
        return cls(by_byte)

    def __call__(self, q: NDArray[Any]) -> NDArray[Any]:
        if kernel() == "numpy" or q.size == 0:
            return np.asarray(self.values[q.view(np.uint8)])
        loops, (q,) = load("loops.pooling"), same_order(q)
        y, job = empty_like(q, self.values.dtype), np.zeros(1, loops.TABLE)
        job[0] = (q.ctypes.data, y.ctypes.data, q.size, self.values.ctypes.data)
        task = loops.code_table_task if y.itemsize == 1 else loops.real_table_task
        _do(task, job, _chunks(q.size), q.size, y.nbytes)
        return y
