"""Pools, sums and tables on arrays whose channels lie innermost in memory: the bits of the definitions.

max_pool   of codes: the bits of MaxPool2d on codes
mean_pool  of float32: the bits of AvgPool2d and GlobalAvgPool2d
Sum        of two paths: of codes, `quantized_add` or the sum of both dequantized; or of float32
Answers    a table: the answer for each code

What a shape, or a pair of quantization parameters, needs is found once and kept.

Arrays have the shape that the layers see, [N, channels, height, width], and come out with channels innermost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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

LAST, BACK = (0, 2, 3, 1), (0, 3, 1, 2)  # channels go innermost, and back
MOST_KEPT = 16  # shapes, or pairs of quantization parameters, for which a record is kept ready


def _order(x: NDArray[Any]) -> tuple[int, ...] | None:
    """The axes of x from the outermost in memory to the innermost, if it fills its memory; else None."""
    if x.flags.c_contiguous:
        return tuple(range(x.ndim))
    if x.ndim == 4 and x.transpose(LAST).flags.c_contiguous:
        return LAST
    axes = sorted(range(x.ndim), key=lambda axis: (-x.strides[axis], axis))
    return tuple(axes) if x.transpose(axes).flags.c_contiguous else None


def _back(order: tuple[int, ...]) -> tuple[int, ...]:
    """The order that undoes this one."""
    return BACK if order == LAST else tuple(order.index(axis) for axis in range(len(order)))


def in_one_order(*arrays: NDArray[Any]) -> tuple[list[NDArray[Any]], tuple[int, ...]]:
    """The arrays with their axes in the order in which all lie in memory, contiguous, and how to undo that. Where they
    lie in different orders it is that of C, as for NumPy: the result of a sum lies as NumPy's, and is added up so."""
    orders = {_order(each) for each in arrays}
    order = (orders.pop() if len(orders) == 1 else None) or tuple(range(arrays[0].ndim))
    return [np.ascontiguousarray(each.transpose(order)) for each in arrays], _back(order)


def in_memory_order(function: Callable[[NDArray[Any]], NDArray[Any]], x: NDArray[Any]) -> NDArray[Any]:
    """function(x), elementwise, for x as it lies in memory; the result lies as x does."""
    order = _order(x)
    return function(x) if order is None else function(x.transpose(order)).transpose(_back(order))


def flat(x: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of a contiguous array."""
    return x.reshape(-1).view(np.uint8)


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of a pool: `size` pixels, `stride` apart, `padding` around the image; (down, right) each."""

    size: Pair
    stride: Pair
    padding: Pair = (0, 0)
    plans: dict[Any, Plan] = field(init=False, repr=False, default_factory=dict)  # by what `_plan` takes

    def counts(self, shape: tuple[int, ...]) -> Pair:
        """(rows, columns) of windows in images [N, channels, height, width]."""
        (height, width), (above, left) = shape[2:], self.padding
        return count_both((height + 2 * above, width + 2 * left), self.size, self.stride)

    def plan_for(self, shape: tuple[int, ...], is_signed: bool, with_padding: bool) -> Plan:
        """What pools of images of this shape have in common. is_signed: of int8 codes."""
        key = shape, is_signed, with_padding
        plan: Plan = self.plans.get(key) or _kept(self.plans, key, _plan(self, *key))
        return plan


@dataclass(frozen=True, slots=True)
class Plan:
    """A pool of images of one shape: a POOL without addresses, and the shape that comes out, channels innermost."""

    record: NDArray[np.int64]
    shape: tuple[int, ...]


def _plan(windows: Windows, shape: tuple[int, ...], is_signed: bool, with_padding: bool) -> Plan:
    (rows, columns), (n, channels, height, width) = windows.counts(shape), shape
    record = np.zeros(1, load("calls.pooling").POOL)
    for name, value in {
        "height": height, "width": width, "channels": channels, "rows": rows, "columns": columns,
        "window_rows": windows.size[0], "window_columns": windows.size[1], "down": windows.stride[0],
        "right": windows.stride[1], "above": windows.padding[0], "left": windows.padding[1], "is_signed": is_signed,
        "with_padding": with_padding,
    }.items():  # fmt: skip
        record[name] = value
    return Plan(record.view(np.int64), (n, rows, columns, channels))


def _kept(made: dict[Any, Any], key: Any, value: Any) -> Any:
    """value, kept under its key."""
    if len(made) >= MOST_KEPT:
        made.clear()
    made[key] = value
    return value


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
    key = x.shape, x.dtype.char == "b", with_padding
    plan = windows.plan_for(*key)
    loops, pool, y = load("calls.pooling"), load("runtime.threads").pool(), np.empty(plan.shape, x.dtype)
    images, tasks = np.ascontiguousarray(x.transpose(LAST)), plan.shape[0] * plan.shape[1]
    function = getattr(loops, name).address
    loops.pool_images(pool.address, pool.threads, function, plan.record, tasks, flat(images), flat(y))
    return y.transpose(BACK)


@dataclass(frozen=True, eq=False)
class Sum:
    """a + b of two paths, as codes of `out`, or, out None, as float32; relu: of the sum.

    Call it with codes and their quantization parameters, or (None) with float32 arrays.
    """

    out: QParamsLike | None
    relu: bool = False
    records: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)

    def __call__(self, a: NDArray[Any], p: QParamsLike | None, b: NDArray[Any], r: QParamsLike | None) -> NDArray[Any]:
        if kernel() == "numpy" or a.size == 0:
            return self._plain(a, p, b, r)
        record, *_ = self.record_for(a.dtype, p, b.dtype, r)
        loops, ((first, second), back) = load("calls.pooling"), in_one_order(a, b)
        y = np.empty(first.shape, np.float32 if self.out is None else self.out.int_type.storage)
        task = loops.sum_of_reals_task if p is None else loops.reals_of_codes_task
        task = task if self.out is None else loops.sum_of_codes_task
        pool = load("runtime.threads").pool().address
        loops.add_arrays(pool, task.address, record, flat(first), flat(second), flat(y))
        return y.transpose(back)

    def __getstate__(self) -> dict[str, Any]:
        """Records hold addresses of this process: a copy or a pickle goes without."""
        return {**self.__dict__, "records": {}}

    def _steps(self, p: QParamsLike | None) -> np.float32:
        """What a code is worth, in steps of the result."""
        return (
            np.float32(1) if p is None else np.float32(p.scale) / np.float32(1 if self.out is None else self.out.scale)
        )

    def record_for(
        self, a: np.dtype[Any], p: QParamsLike | None, b: np.dtype[Any], r: QParamsLike | None
    ) -> tuple[Any, ...]:
        """A SUM without addresses of arrays, for codes of these types and quantization parameters, and all that it
        needs to be alive."""
        key = id(p), id(r), a.char, b.char
        made: tuple[Any, ...] = self.records.get(key) or _kept(self.records, key, self._record(a, p, b, r))
        return made

    def _record(
        self, a: np.dtype[Any], p: QParamsLike | None, b: np.dtype[Any], r: QParamsLike | None
    ) -> tuple[Any, ...]:
        dtypes = a, b, np.dtype(np.float32 if self.out is None else self.out.int_type.storage)
        flips = [128 if dtype.char == "b" else 0 for dtype in dtypes]
        numbers = np.zeros(7, np.float32)
        for i, qparams in enumerate((p, r)):
            zero_point = 0 if qparams is None else int(qparams.zero_point) + flips[i]
            numbers[2 * i : 2 * i + 2] = self._steps(qparams), zero_point
        numbers[4:] = self._limits(flips[2])
        job = np.zeros(1, load("calls.pooling").SUM)
        job[0] = (0, 0, 0, a.itemsize, *flips, numbers.ctypes.data)
        return job.view(np.int64), numbers, p, r

    def _limits(self, flip: int) -> tuple[float, float, float]:
        """(zero point, lowest, highest) of the result; of codes `flip` higher, as they are uint8 meanwhile."""
        if self.out is None:
            return 0.0, 0.0 if self.relu else -np.inf, np.inf
        t = self.out.int_type
        zero, qmin, qmax = (int(v) + flip for v in (self.out.zero_point, t.qmin, t.qmax))
        return zero, max(zero, qmin) if self.relu else qmin, qmax

    def _plain(self, a: NDArray[Any], p: QParamsLike | None, b: NDArray[Any], r: QParamsLike | None) -> NDArray[Any]:
        """The same in NumPy."""

        def units(q: NDArray[Any], qparams: QParamsLike | None) -> NDArray[np.float32]:
            if qparams is None:
                return q
            steps = (q.astype(np.int32) - int(qparams.zero_point)).astype(np.float32)
            return np.asarray(steps * self._steps(qparams))

        (zero, lowest, highest), real = self._limits(0), units(a, p) + units(b, r)
        if self.out is None:
            return np.asarray(np.maximum(real, np.float32(lowest)))
        return np.asarray(np.clip(np.rint(real) + np.float32(zero), lowest, highest)).astype(self.out.int_type.storage)


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
        loops, ((x,), back) = load("calls.pooling"), in_one_order(q)
        y, task = np.empty(x.shape, self.values.dtype), loops.code_table_task
        task = task if y.itemsize == 1 else loops.real_table_task
        pool = load("runtime.threads").pool().address
        loops.look_up(pool, task.address, self.values.view(np.uint8), flat(x), flat(y))
        return y.transpose(back)
