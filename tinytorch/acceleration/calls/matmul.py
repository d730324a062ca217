"""Calls of `int8_matmul`: what Python hands over becomes a PRODUCT, a small one of one block, or one for the threads.

A small product takes microseconds, of which each argument, check and array is a good part. So what does not change from
call to call lies ready in a PLAN, and all that a call needs besides is one block of scratch:

    | PRODUCT | QPARAMS | start, int32 a column | scales, float32 a column | sums of a tile | a tile's codes |
"""

from typing import Any

import numpy as np

from ..loops.blocking import ALONE, L1
from ..loops.gemm import block_by_rows, product, prologue_of_codes
from ..loops.memory import aligned, round_up
from ..loops.records import FLIP, PRODUCT_BYTES, PRODUCT_FIELDS, kernel_at, plan_at, product_at
from ..runtime.compiled import Array, Entry, always_inlined
from ..runtime.intrinsics import address_of, call, int32s_at, int64s_at, keep_alive

DONE, NAN, INFINITE, OTHER = 0, -1, -2, 1  # what became of a call; OTHER: nothing was done, go the general way
TYPES = {"b": "int8", "B": "uint8", "f": "float32"}  # of what comes in and goes out, by NumPy's characters
INPUT = {kind: f"Array({name}, 2, 'A', readonly=True)" for kind, name in TYPES.items()}
HEAD_BYTES: Any = np.int64(PRODUCT_BYTES + 64)  # and QPARAMS


def max_small_rows(k: int, n: int) -> int:
    """The largest number of rows of a small product: one thread does it soonest, and its rows fit the first cache."""
    return ALONE // max(k * n, 1) - 25 if 16 * k <= L1 else -1


@always_inlined
def small_scratch(plan: Any, m: int) -> int:
    """Bytes for the tile of a small product: its weights, if they are unpacked, its sums, and its rows as the prologue
    writes them."""
    p = product_at(plan.product)
    nbytes: int = p.weights_bytes + p.sums_bytes + min(m, kernel_at(p.kernel).tile_rows) * p.codes_stride
    return nbytes


@always_inlined
def new_product(plan: Any, tile_bytes: int) -> tuple[Array, int]:
    """(scratch, address of a PRODUCT in it) for one call: a copy of the plan's, with room for each column."""
    columns = round_up(product_at(plan.product).n, 16) * 4
    block, address = aligned(HEAD_BYTES + 2 * columns + tile_bytes)
    for i in range(PRODUCT_FIELDS):
        int64s_at(address)[i] = int64s_at(plan.product)[i]
    p = product_at(address)
    p.scratch = address + HEAD_BYTES + 2 * columns
    if p.start == 0:  # the call's own
        p.start, p.epilogue_u = address + HEAD_BYTES, address + HEAD_BYTES + columns
    return block, address


@always_inlined
def set_operands(p: Any, a: Array, out: Array) -> None:
    """Let C be `out`, and A be `a`."""
    p.a, p.a_stride, p.a_itemsize, p.m = address_of(a), a.strides[0], a.itemsize, out.shape[0]
    p.c, p.c_stride, p.c_itemsize = address_of(out), out.shape[1] * out.itemsize, out.itemsize


@always_inlined
def small_product(p: Any) -> int:
    """A PRODUCT that is one block. Returns not 0 if the prologue met a NaN."""
    seen: int = block_by_rows(p, 0, p.scratch + p.weights_bytes)
    call(kernel_at(p.kernel).release, (0,))
    return seen


@always_inlined
def is_refused(plan: Any, a: Array, zero_point: int) -> bool:
    """Whether the general way must look at a call: rows whose elements lie apart, or sums that might leave int32."""
    k: int = product_at(plan.product).k
    return a.shape[1] != k or a.strides[1] != 1 or not -plan.max_zero_point <= zero_point <= plan.max_zero_point


@always_inlined
def set_codes(plan: Any, p: Any, a: Array, zero_point: int, out: Array) -> None:
    """Operands of (a - zero_point) @ b: the zero point is taken off where each column's sums begin."""
    set_operands(p, a, out)
    p.prologue, p.prologue_u = prologue_of_codes(p, plan.flip), address_of(plan) + FLIP
    start, column_sums, zero = int32s_at(p.start), int64s_at(plan.column_sums), zero_point + plan.shift
    for j in range(p.n):
        start[j] = -zero * column_sums[j]


def _small_matmul(plan_words: Array, a: Array, zero_point: int, out: Array) -> int:
    """int32 (a - zero_point) @ b, where it is small."""
    plan = plan_at(address_of(plan_words))
    if is_refused(plan, a, zero_point):
        return OTHER
    block, address = new_product(plan, small_scratch(plan, out.shape[0]))
    set_codes(plan, product_at(address), a, zero_point, out)
    small_product(product_at(address))
    keep_alive(block)
    return DONE


def _large_matmul(pool: int, threads: int, plan_words: Array, a: Array, zero_point: int, out: Array) -> int:
    """The same for any size."""
    plan = plan_at(address_of(plan_words))
    if is_refused(plan, a, zero_point):
        return OTHER
    block, address = new_product(plan, 0)
    set_codes(plan, product_at(address), a, zero_point, out)
    product(pool, threads, product_at(address))
    keep_alive(block)
    return DONE


INTEGERS_ALONE = True  # nothing else is computed with: the floating-point mode does not matter
SMALL = {
    kind: Entry(_small_matmul, f"int64(int64[::1], {INPUT[kind]}, int64, int32[:, ::1])", INTEGERS_ALONE)
    for kind in "bB"
}
LARGE = {
    kind: Entry(_large_matmul, f"int64(int64, int64, int64[::1], {INPUT[kind]}, int64, int32[:, ::1])", INTEGERS_ALONE)
    for kind in "bB"
}
