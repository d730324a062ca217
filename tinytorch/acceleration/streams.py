"""The drivers of the elementwise passes: quantize and dequantize, a ruler for all or for each row."""

import numpy as np

from .compiled import Array, at, call, compiled, inlined, keep
from .gemm import CHUNK, NONE, QUANTIZE, sweep

REALS, CODES = "Array(float32, 2, 'C', readonly=True)", "Array(uint8, 2, 'C', readonly=True)"
SCALES = "Array(float32, 1, 'C', readonly=True)"


@inlined
def elementwise(
    pool: int, rung: Array, function: int, x: int, y: int, n: int, x_size: int, y_size: int, u: int, v: int,
) -> int:  # fmt: skip
    """A pass over n elements that lie side by side."""
    rows = n // CHUNK
    nan = sweep(pool, rung, function, x, CHUNK * x_size, rows, CHUNK, y, CHUNK * y_size, u, v)
    done = rows * CHUNK
    seen: int = call(function, (x + done * x_size, 0, 1, n - done, y + done * y_size, 0, u, v))
    return nan + seen


@inlined
def ruler_of(zero: float, lo: float, hi: float, scale: float) -> Array:
    """The four numbers of a ruler, side by side."""
    ruler = np.empty(4, np.float32)
    ruler[0], ruler[1], ruler[2], ruler[3] = zero, lo, hi, scale
    return ruler


@compiled(f"int64(int64, int64[::1], {REALS}, {SCALES}, {SCALES}, int64, int64, uint8[:, ::1])")
def quantize_rows(pool: int, rung: Array, x: Array, scales: Array, zeros: Array, lo: int, hi: int, q: Array) -> int:
    """Codes of x, each row by its own scale and zero point, or all by one. Returns not 0 for NaN."""
    (rows, columns), plain, nan = x.shape, np.zeros(1, np.uint8), 0
    for r in range(rows):
        ruler = ruler_of(zeros[r % zeros.size], lo, hi, scales[r % scales.size])
        nan += elementwise(
            pool,
            rung,
            rung[QUANTIZE],
            at(x) + r * columns * 4,
            at(q) + r * columns,
            columns,
            4,
            1,
            at(ruler),
            at(plain),
        )
        keep(ruler)
    keep(plain)
    return nan


@compiled(f"void(int64, int64[::1], int64, {CODES}, {SCALES}, {SCALES}, float32[:, ::1])")
def dequantize_rows(pool: int, rung: Array, function: int, q: Array, scales: Array, zeros: Array, x: Array) -> None:
    """Reals that codes stand for."""
    rows, columns = q.shape
    for r in range(rows):
        ruler = ruler_of(zeros[r % zeros.size], 0, 0, scales[r % scales.size])
        elementwise(pool, rung, function, at(q) + r * columns, at(x) + r * columns * 4, columns, 1, 4, at(ruler), NONE)
        keep(ruler)
