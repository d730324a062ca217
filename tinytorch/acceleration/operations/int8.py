"""The INT8 product. Everything is checked here, before an address is made; compiled code trusts what it gets.

int8_matmul(a, pack, zero_point)   a short call of a plain matrix: one look-up of a plan, one call of compiled code
  _matmul_of_any                   batches, strides, zero points of rows, large results, and every refusal
    plan.run_large                 compiled
    _exact                         NumPy in int64
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from ..runtime.features import kernel
from . import fallback
from .arrays import INT32, empty_aligned, rows_of
from .pack import PackedInt8
from .qparams import zero_point_of


def check(a: NDArray[Any], b: PackedInt8) -> None:
    """Refuse what is not [..., K] and a pack of [K, N]."""
    if type(b) is not PackedInt8:
        raise TypeError(f"weights must be packed, got {type(b).__name__}: prepack_int8(b) once, then use the pack")
    if a.shape[-1:] != b.shape[:1]:
        raise ValueError(f"wanted [..., {b.shape[0]}] for weights {list(b.shape)}, got shape {a.shape}")


def _as_int32(acc: NDArray[np.int64], k: int) -> NDArray[np.int32]:
    """The sums of K products as int32. OverflowError if one does not fit."""
    int32 = np.iinfo(np.int32)
    if acc.size and not (int32.min <= acc.min() and acc.max() <= int32.max):
        raise OverflowError(f"a sum of K = {k} products reaches {np.abs(acc).max()}, beyond int32: split K")
    return acc.astype(np.int32, copy=False)


def _exact(a: NDArray[Any], b: PackedInt8, zero_point: Any) -> NDArray[np.int32]:
    """The product by NumPy, in int64: for rows with zero points of their own, and where int32 might not do."""
    return _as_int32(fallback.matmul(a, b) - zero_point * b.column_sums, b.shape[0])


def int8_matmul(a: NDArray[np.int8 | np.uint8], b: PackedInt8, a_zero_point: ArrayLike = 0) -> NDArray[np.int32]:
    """(a - a_zero_point) @ b, exactly: int32 [..., M, N], the bits of `integer_matmul`, by the fastest kernel there is.

    a: int8 or uint8 codes [..., M, K], any strides. b: weights [K, N], packed once by `prepack_int8`. a_zero_point: an
    integer in [-128, 255], or one for each row, [M] or [M, 1]. TypeError or ValueError for anything else; OverflowError
    if a result does not fit int32, never a wrapped sum.

    >>> from tinytorch.acceleration import prepack_int8
    >>> int8_matmul(np.array([[1, 2]], np.uint8), prepack_int8(np.array([[3], [4]], np.int8)), 1).tolist()
    [[4]]
    """
    zero_point = a_zero_point
    of_two_axes = type(a) is ndarray and a.ndim == 2
    if of_two_axes and type(b) is PackedInt8 and type(zero_point) is int and -128 <= zero_point <= 255:
        name, kind, m = kernel(), a.dtype.char, len(a)
        few_rows = m <= b.few_rows
        plan = b.plans.get((name, kind, few_rows)) or b.find_plan(name, kind, few_rows)
        if plan is not None and 0 < m <= plan.max_rows_unaligned:
            out = np.empty((m, plan.columns), INT32)
            if m <= plan.max_small_rows:
                status = (plan.run or plan.compiled())(plan.words, a, zero_point, out)
            else:
                status = plan.run_large(plan.words, a, zero_point, out)
            if status == 0:
                return out
    return _matmul_of_any(np.asarray(a), b, zero_point)


def _matmul_of_any(a: NDArray[Any], b: PackedInt8, a_zero_point: Any) -> NDArray[np.int32]:
    """`int8_matmul` for every shape and stride, and for zero points of rows."""
    check(a, b)
    kind = a.dtype.char
    if kind not in "bB":
        raise TypeError(f"codes must be int8 or uint8, got {a.dtype}: quantize first")
    k, n = b.shape
    rows = rows_of(a, k)
    m, shape = rows.shape[0], a.shape[:-1] + b.shape[1:]
    zero_point, name = zero_point_of(a_zero_point, a.shape), kernel()
    if name == "numpy" or type(zero_point) is not int or (255 + abs(zero_point)) * b.max_abs_sum >= 2**31:
        fallback.tell_cost()
        return _exact(rows, b, zero_point).reshape(shape)
    if m * n * k == 0:
        return np.zeros(shape, np.int32)
    few_rows, out = m <= b.few_rows, empty_aligned((m, n), INT32)
    plan = b.plans.get((name, kind, few_rows)) or b.find_plan(name, kind, few_rows)
    plan.run_large(plan.words, rows, zero_point, out)
    return out.reshape(shape)
