"""Small products: what one thread does in microseconds, where each argument, check and array is a good part of it.

What does not change from call to call lies ready in a *plan*: int64 words, in the order below.
"""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, Entry, at, call, inlined, ints, keep, peek, words
from .gemm import (
    ALONE,
    CONFIGURE,
    DIRECT,
    FINISH,
    FOUR,
    HIGH,
    L1,
    NONE,
    RELEASE,
    STEP,
    TILE,
    WIDE,
    aligned,
    entrance,
    product,
    row_bytes,
    up,
)

PANEL, K, N, FLIP, SHIFT, ZERO, AFTER = range(7)  # ZERO: a layer's zero point; else the farthest that fits int32
RUNG, DATA, SUMS = range(7, 10)  # arrays: the rung's addresses, and a pack's
SCALES, BIASES, INT_BIASES, RULER_IN, RULER_OUT = range(10, 15)  # a layer's; AFTER is the last of its passes
DONE, NAN, INFINITE, OTHER = 0, -1, -2, 1  # what became of a call; OTHER: nothing was done, go the general way
TYPES = {"b": "int8", "B": "uint8", "f": "float32"}  # of what comes in and goes out, by NumPy's characters


def most_rows(k: int, n: int) -> int:
    """How many rows make a small product: one thread does them soonest, and whole rows fit the first cache."""
    return ALONE // max(k * n, 1) - 25 if 16 * k <= L1 else -1


@inlined
def scratch(plan: Array, rung: Any, m: int) -> tuple[Array, int, int, int, int]:
    """One block for all that a call keeps by the way: (block, a row for all columns, another, a tile's codes, sums)."""
    rows, columns = min(m, rung[HIGH]), up(plan[N], 16) * 4
    codes = rows * row_bytes(up(max(plan[K], 1), rung[STEP]))
    block, start = aligned(2 * columns + codes + rows * rung[WIDE] * 64)
    return block, start, start + columns, start + 2 * columns, start + 2 * columns + codes


@inlined
def small_product(
    plan: Array, rung: Any, a: int, lda: int, before: int, before_u: int, before_v: int, m: int, c: int, size: int,
    start: int, finish: int, u: int, v: int, v_step: int, codes: int, sums: int, row_step: int,
) -> int:  # fmt: skip
    """`gemm.product` without blocks, tasks, and sums that wait."""
    u_step = 4 if row_step == 0 else 12
    k, n, b, panel = plan[K], plan[N], plan[DATA], plan[PANEL]
    high, wide, step, panels = rung[HIGH], rung[WIDE], rung[STEP], up(n, 16) // 16
    steps, seen, ldc = up(max(k, 1), step) // step, 0, n * size
    ld_codes, ld_sums = row_bytes(steps * step), wide * 64
    for i in range(0, m, high):
        rows, x, ldx = min(high, m - i), a + i * lda, lda
        if before != NONE:
            seen += call(before, (x, lda, rows, k, codes, ld_codes, before_u, before_v + i * row_step))
            x, ldx = codes, ld_codes
        call(rung[CONFIGURE], (rows,))
        for p in range(0, panels, wide):
            some, j = min(wide, panels - p), p * 16
            columns, out = min(some * 16, n - j), c + i * ldc + j * size
            to, ld = (out, ldc) if finish == DIRECT and columns == some * 16 else (sums, ld_sums)
            tile = peek(rung[TILE] + 8 * ((rows - 1) * wide + some - 1))
            call(tile, (x, ldx, b + p * panel, panel, steps, to, ld, start + j * 4, NONE, NONE, NONE))
            if to != out:
                last = rung[FINISH] if finish == DIRECT else finish
                call(last, (to, ld, rows, columns, out, ldc, u + j * u_step, v + j * v_step + i * row_step))
    call(rung[RELEASE], (0,))
    return seen


def _small_matmul(plan: Array, a: Array, zero_point: int, out: Array) -> int:
    """int32 (a - zero_point) @ b."""
    m, n = out.shape
    if a.shape[1] != plan[K] or a.strides[1] != 1 or not -plan[ZERO] <= zero_point <= plan[ZERO]:
        return OTHER
    rung, zero = words(plan[RUNG]), zero_point + plan[SHIFT]
    block, at_start, _, codes, sums = scratch(plan, rung, m)
    start, of_weights = ints(at_start), words(plan[SUMS])
    for j in range(n):
        start[j] = -zero * of_weights[j]
    before, flip = entrance(rung, a, plan[FLIP]), at(plan) + 8 * FLIP
    small_product(
        plan, rung, at(a), a.strides[0], before, flip, NONE, m, at(out), 4, at_start, DIRECT, NONE, NONE, NONE, codes,
        sums, NONE,
    )  # fmt: skip
    keep(block)
    return DONE


def _large_matmul(pool: int, threads: int, plan: Array, a: Array, zero_point: int, out: Array) -> int:
    """The same by `gemm.product`: what is not small profits too, if less, from all that lies ready."""
    m, n = out.shape
    if a.shape[1] != plan[K] or a.strides[1] != 1 or not -plan[ZERO] <= zero_point <= plan[ZERO]:
        return OTHER
    rung, zero = words(plan[RUNG]), zero_point + plan[SHIFT]
    start, of_weights = np.empty(up(n, 16), np.int32), words(plan[SUMS])
    for j in range(n):
        start[j] = -zero * of_weights[j]
    before, flip = entrance(rung, a, plan[FLIP]), at(plan) + 8 * FLIP
    product(
        pool, threads, rung, at(a), a.strides[0], 1, before, flip, NONE, plan[DATA], plan[PANEL], plan[K], m, n,
        at(out), n * 4, FOUR, at(start), DIRECT, NONE, NONE, NONE, NONE,
    )  # fmt: skip
    keep(start)
    return DONE


WHOLE = True  # these compute with integers alone
INPUT = {kind: f"Array({name}, 2, 'A', readonly=True)" for kind, name in TYPES.items()}
MATMUL = {kind: Entry(_small_matmul, f"int64(int64[::1], {INPUT[kind]}, int64, int32[:, ::1])", WHOLE) for kind in "bB"}
LARGE = {
    kind: Entry(_large_matmul, f"int64(int64, int64, int64[::1], {INPUT[kind]}, int64, int32[:, ::1])", WHOLE)
    for kind in "bB"
}
