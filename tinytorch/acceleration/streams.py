"""The drivers of the elementwise passes: quantize and dequantize, a ruler for all or for each row."""

import numpy as np

from .compiled import call, compiled, inlined, keep
from .gemm import CHUNK, QUANTIZE, sweep

REALS, CODES = "Array(float32, 2, 'C', readonly=True)", "Array(uint8, 2, 'C', readonly=True)"


@inlined
def elementwise(pool, rung, function, x, y, n, x_size, y_size, u, v):  # type: ignore[no-untyped-def]
    """A pass over n elements that lie side by side."""
    rows = n // CHUNK
    nan = sweep(pool, rung, function, x, CHUNK * x_size, rows, CHUNK, y, CHUNK * y_size, u, v)
    done = rows * CHUNK
    return nan + call(function, (x + done * x_size, 0, 1, n - done, y + done * y_size, 0, u, v))


@compiled(f"int64(int64, int64[::1], {REALS}, {REALS}, uint8[:, ::1])")
def quantize_rows(pool, rung, x, rulers, q):  # type: ignore[no-untyped-def]
    """Codes of x, each row by its ruler [rows, 4]: scale, zero point, lo, hi. Returns not 0 for NaN."""
    (rows, columns), plain, nan = x.shape, np.zeros(1, np.uint8), np.int64(0)
    for r in range(rows):
        nan += elementwise(
            pool, rung, rung[QUANTIZE], x.ctypes.data + r * columns * 4, q.ctypes.data + r * columns, columns, 4, 1,
            rulers.ctypes.data + r * rulers.strides[0], plain.ctypes.data,
        )  # fmt: skip
    keep(plain)
    return nan


@compiled(f"void(int64, int64[::1], int64, {CODES}, {REALS}, float32[:, ::1])")
def dequantize_rows(pool, rung, function, q, rulers, x):  # type: ignore[no-untyped-def]
    """Reals that codes stand for, each row by its ruler [rows, 4]."""
    rows, columns = q.shape
    for r in range(rows):
        elementwise(
            pool, rung, function, q.ctypes.data + r * columns, x.ctypes.data + r * columns * 4, columns, 1, 4,
            rulers.ctypes.data + r * rulers.strides[0], 0,
        )  # fmt: skip
