"""The drivers of the elementwise passes: quantize and dequantize, a ruler for all or for each row."""

import numpy as np

from .compiled import at, call, compiled, inlined, keep
from .gemm import CHUNK, NONE, QUANTIZE, sweep

REALS, CODES = "Array(float32, 2, 'C', readonly=True)", "Array(uint8, 2, 'C', readonly=True)"
SCALES = "Array(float32, 1, 'C', readonly=True)"


@inlined
def elementwise(pool, rung, function, x, y, n, x_size, y_size, u, v):  # type: ignore[no-untyped-def]
    """A pass over n elements that lie side by side."""
    rows = n // CHUNK
    nan = sweep(pool, rung, function, x, CHUNK * x_size, rows, CHUNK, y, CHUNK * y_size, u, v)
    done = rows * CHUNK
    return nan + call(function, (x + done * x_size, 0, 1, n - done, y + done * y_size, 0, u, v))


@inlined
def ruler_of(zero, lo, hi, scale):  # type: ignore[no-untyped-def]
    """The four numbers of a ruler, side by side."""
    ruler = np.empty(4, np.float32)
    ruler[0], ruler[1], ruler[2], ruler[3] = zero, lo, hi, scale
    return ruler


@compiled(f"int64(int64, int64[::1], {REALS}, {SCALES}, {SCALES}, int64, int64, uint8[:, ::1])")
def quantize_rows(pool, rung, x, scales, zeros, lo, hi, q):  # type: ignore[no-untyped-def]
    """Codes of x, each row by its own scale and zero point, or all by one. Returns not 0 for NaN."""
    (rows, columns), plain, nan = x.shape, np.zeros(1, np.uint8), np.int64(0)
    for r in range(rows):
        ruler = ruler_of(zeros[r % zeros.size], lo, hi, scales[r % scales.size])
        nan += elementwise(pool, rung, rung[QUANTIZE], at(x) + r * columns * 4, at(q) + r * columns, columns, 4, 1, at(ruler), at(plain))
        keep(ruler)
    keep(plain)
    return nan


@compiled(f"void(int64, int64[::1], int64, {CODES}, {SCALES}, {SCALES}, float32[:, ::1])")
def dequantize_rows(pool, rung, function, q, scales, zeros, x):  # type: ignore[no-untyped-def]
    """Reals that codes stand for."""
    rows, columns = q.shape
    for r in range(rows):
        ruler = ruler_of(zeros[r % zeros.size], 0, 0, scales[r % scales.size])
        elementwise(pool, rung, function, at(q) + r * columns, at(x) + r * columns * 4, columns, 1, 4, at(ruler), NONE)
        keep(ruler)
