"""The drivers of layers whose rows have a scale and zero point each: they are found and used where a row is quantized.

Where one scale serves a whole input, x is read twice: for its range, then to be quantized. A row's range is found
while the row goes to the first cache, so quantizing it by its own range costs no more. What is left is in the last
pass: it takes a row's zero point times the sum of each column's weights from the sums, and multiplies two scales.

A row's quantization parameters are ROW_BYTES bytes, as floats: zero point, lowest code, highest code, scale, then
its least and greatest number. Threads that need the same few rows find them at the same time, each for itself, and
write the same bits to the same places: so no place ever holds anything else.
"""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, Entry, at, call, compiled, inlined, keep, matrix_pass, reals, words
from ..runtime.layout import ROW_BYTES, ROW_FLOATS
from .fused import REALS, dynamic_ruler
from .gemm import FOUR, NONE, product, sweep
from .small import AFTER, DATA, DONE, INFINITE, INPUT, NAN, OTHER, PANEL, RUNG, ZERO, K, scratch, small_product

QUANTIZE_ROWS = ZERO  # of a plan of rows, which has no zero point: the address of `quantize_rows`
COLUMNS, START, QUANTIZER = range(10, 13)  # arrays: see `plans.of_rows`
EXTREMES, QUANTIZE, FLIP = range(3)  # words of a quantizer: two passes, and the bits to flip in each code
RANGE = 4  # where the smallest number of a row stands among its parameters
BEYOND = 1 << 32  # what a row of an infinite range counts, more than all rows that hold a NaN


@matrix_pass
def quantize_rows(x: int, ldx: int, rows: int, cols: int, y: int, ldy: int, u: int, v: int) -> int:
    """Each row of reals by its own range: its codes to y, its quantization parameters to v. u: a quantizer's words."""
    quantizer, seen = words(u), 0
    for r in range(rows):
        row, place = x + r * ldx, v + r * ROW_BYTES
        if call(quantizer[EXTREMES], (row, 0, 1, cols, place + 4 * RANGE, 0, 0, 0)) != 0:
            seen += 1
            continue
        qparams: Any = reals(place)
        lo, hi = qparams[RANGE], qparams[RANGE + 1]
        if lo == -np.inf or hi == np.inf:
            seen += BEYOND
            continue
        scale, zero_point = dynamic_ruler(lo, hi)
        qparams[0], qparams[1], qparams[2], qparams[3] = zero_point, 0, 255, scale
        call(quantizer[QUANTIZE], (row, 0, 1, cols, y + r * ldy, 0, place, u + 8 * FLIP))
    return seen


@inlined
def status_of(seen: int) -> int:
    """What became of rows, from what `quantize_rows` returned for all of them."""
    if seen % BEYOND != 0:
        return NAN
    return INFINITE if seen != 0 else DONE


@compiled(f"int64(int64, int64[::1], int64, int64[::1], {REALS}, uint8[:, ::1], float32[:, ::1])")
def codes_of_rows(
    pool: int, rung: Array, function: int, quantizer: Array, x: Array, codes: Array, qparams: Array
) -> int:
    """Codes of x [M, K] and the quantization parameters of its rows, [M, 8]. function: where `quantize_rows` begins."""
    m, k = x.shape
    seen = sweep(pool, rung, function, at(x), k * 4, m, k, at(codes), k, at(quantizer), at(qparams), ROW_BYTES)
    keep(quantizer)
    return status_of(seen)


def _small_layer(plan: Array, x: Array, out: Array) -> int:
    """A layer of few products: see `small`."""
    if x.shape[1] != plan[K] or x.strides[1] != x.itemsize:
        return OTHER
    rung, m = words(plan[RUNG]), out.shape[0]
    block, _, _, codes, sums = scratch(plan, rung, m)
    qparams = np.empty((m, ROW_FLOATS), np.float32)
    seen = small_product(
        plan, rung, at(x), x.strides[0], plan[QUANTIZE_ROWS], plan[QUANTIZER], at(qparams), m, at(out), 4, plan[START],
        plan[AFTER], plan[COLUMNS], at(qparams), 0, codes, sums, ROW_BYTES,
    )  # fmt: skip
    keep(block)
    keep(qparams)
    return status_of(seen)


def _large_layer(pool: int, threads: int, plan: Array, x: Array, out: Array) -> int:
    """The same by `product`, for any shape."""
    if x.shape[1] != plan[K] or x.strides[1] != x.itemsize:
        return OTHER
    rung, (m, n) = words(plan[RUNG]), out.shape
    qparams = np.empty((m, ROW_FLOATS), np.float32)
    seen = product(
        pool, threads, rung, at(x), x.strides[0], FOUR, plan[QUANTIZE_ROWS], plan[QUANTIZER], at(qparams), plan[DATA],
        plan[PANEL], plan[K], m, n, at(out), n * 4, FOUR, plan[START], plan[AFTER], plan[COLUMNS], at(qparams), NONE,
        ROW_BYTES,
    )  # fmt: skip
    keep(qparams)
    return status_of(seen)


SMALL = Entry(_small_layer, f"int64(int64[::1], {INPUT['f']}, float32[:, ::1])")
LARGE = Entry(_large_layer, f"int64(int64, int64, int64[::1], {INPUT['f']}, float32[:, ::1])")
