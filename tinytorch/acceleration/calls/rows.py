"""Layers whose rows have a scale and zero point each: they are found and used where a row is quantized.

Where one scale serves a whole input, x is read twice: for its range, then to be quantized. A row's range is found
while the row goes to the first cache, so quantizing it by its own range costs no more. What is left is in the
epilogue: it takes a row's zero point times the sum of each column's weights from the sums, and multiplies two scales.

Each row has a QPARAMS record. Threads that need the same few rows find them at the same time, each for itself, and
write the same bits to the same places: so no place ever holds anything else.
"""

from typing import Any

import numpy as np

from ..loops.gemm import product
from ..loops.matrix import run_matrix
from ..loops.records import LEAST, MATRIX, plan_at, product_at, qparams_at
from ..runtime.compiled import Array, Entry, compiled, inlined, matrix_pass
from ..runtime.intrinsics import address_of, call, keep_alive
from ..runtime.layout import ROW_BYTES, ROW_FLOATS
from ..runtime.records import fields, view_of
from .layer import dynamic_qparams
from .matmul import DONE, INFINITE, INPUT, NAN, OTHER, new_product, set_operands, small_product, small_scratch

REALS = "Array(float32, 2, 'C', readonly=True)"
QUANTIZER = fields("extremes quantize flip")  # two functions, and the bits to flip in each code
quantizer_at = view_of(QUANTIZER)
FLIP: Any = np.int64(QUANTIZER.itemsize - 8)
INFINITE_ROW = 1 << 32  # what a row of an infinite range counts, more than all rows that hold a NaN


@matrix_pass
def quantize_rows(x: int, x_stride: int, rows: int, columns: int, y: int, y_stride: int, u: int, v: int) -> int:
    """Each row of reals by its own range: its codes to y, its QPARAMS to v. u: a QUANTIZER."""
    quantizer, seen = quantizer_at(u), 0
    for r in range(rows):
        row, place = x + r * x_stride, v + r * ROW_BYTES
        if call(quantizer.extremes, (row, 0, 1, columns, place + LEAST, 0, 0, 0)) != 0:
            seen += 1
            continue
        qparams: Any = qparams_at(place)
        if qparams.least == -np.inf or qparams.greatest == np.inf:
            seen += INFINITE_ROW
            continue
        scale, zero_point = dynamic_qparams(qparams.least, qparams.greatest)
        qparams.zero_point, qparams.lowest, qparams.highest, qparams.scale = zero_point, 0, 255, scale
        call(quantizer.quantize, (row, 0, 1, columns, y + r * y_stride, 0, place, u + FLIP))
    return seen


@inlined
def status_of(seen: int) -> int:
    """What became of rows, from what `quantize_rows` returned for all of them."""
    if seen % INFINITE_ROW != 0:
        return NAN
    return INFINITE if seen != 0 else DONE


@compiled(f"int64(int64, int64, int64, int64[::1], {REALS}, uint8[:, ::1], float32[:, ::1])")
def codes_of_rows(
    pool: int, kernel: int, function: int, quantizer: Array, x: Array, codes: Array, qparams: Array
) -> int:
    """Codes of x [M, K] and the QPARAMS of its rows, [M, 8]. function: where `quantize_rows` begins."""
    (m, k), record = x.shape, np.empty(1, MATRIX)
    matrix = record[0]
    matrix.function, matrix.rows, matrix.columns = function, m, k
    matrix.x, matrix.x_stride, matrix.y, matrix.y_stride = address_of(x), k * 4, address_of(codes), k
    matrix.u, matrix.v, matrix.row_v = address_of(quantizer), address_of(qparams), ROW_BYTES
    seen = run_matrix(pool, kernel, matrix)
    keep_alive(record)
    keep_alive(quantizer)
    return status_of(seen)


@inlined
def is_refused(plan: Any, x: Array) -> bool:
    """Whether the elements of a row of x lie apart."""
    return x.shape[1] != product_at(plan.product).k or x.strides[1] != x.itemsize


@inlined
def set_rows(p: Any, x: Array, out: Array, qparams: Array) -> None:
    """Operands of a layer whose rows write their QPARAMS to `qparams`, one after the other."""
    set_operands(p, x, out)
    p.prologue_v = p.epilogue_v = address_of(qparams)


def _small_layer(plan_words: Array, x: Array, out: Array) -> int:
    """Reals -> reals, where the product is small."""
    plan, m = plan_at(address_of(plan_words)), out.shape[0]
    if is_refused(plan, x):
        return OTHER
    block, address = new_product(plan, small_scratch(plan, m))
    qparams = np.empty((m, ROW_FLOATS), np.float32)
    set_rows(product_at(address), x, out, qparams)
    seen = small_product(product_at(address))
    keep_alive(block)
    keep_alive(qparams)
    return status_of(seen)


def _large_layer(pool: int, threads: int, plan_words: Array, x: Array, out: Array) -> int:
    """The same for any size."""
    plan, m = plan_at(address_of(plan_words)), out.shape[0]
    if is_refused(plan, x):
        return OTHER
    block, address = new_product(plan, 0)
    qparams = np.empty((m, ROW_FLOATS), np.float32)
    set_rows(product_at(address), x, out, qparams)
    seen = product(pool, threads, product_at(address))
    keep_alive(block)
    keep_alive(qparams)
    return status_of(seen)


SMALL = Entry(_small_layer, f"int64(int64[::1], {INPUT['f']}, float32[:, ::1])")
LARGE = Entry(_large_layer, f"int64(int64, int64, int64[::1], {INPUT['f']}, float32[:, ::1])")
