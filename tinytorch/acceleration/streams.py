"""The drivers of the elementwise passes: quantize and dequantize, a ruler for all or for each row."""

from typing import Any

import numpy as np

from .compiled import Array, Entry, at, call, compiled, inlined, keep
from .gemm import CHUNK, NONE, QUANTIZE, sweep
from .small import words

ZEROS = "Array(int32, 1, 'C', readonly=True)"
TYPES = {"b": "int8", "B": "uint8", "f": "float32"}  # by NumPy's characters
PASSES = [("f", "b"), ("f", "B"), ("b", "f"), ("B", "f")]  # from, to
RUNG, FUNCTION, RULER = range(3)  # of the words of `all_by_one`: addresses
REALS, CODES = "Array(float32, 1, 'C', readonly=True)", "Array(uint8, 1, 'C', readonly=True)"


@inlined
def elementwise(
    pool: int, rung: Any, function: int, x: int, y: int, n: int, x_size: int, y_size: int, u: int, v: int,
) -> int:  # fmt: skip
    """A pass over n elements that lie side by side. The first few go alone, so that on the side of the reals all others
    begin with a cache line: a vector across two costs double."""
    head = min(n, -(x if x_size == 4 else y) % 64 // 4)
    seen: int = call(function, (x, 0, 1, head, y, 0, u, v))
    x, y, n = x + head * x_size, y + head * y_size, n - head
    rows = n // CHUNK if n >= 2 * CHUNK and pool != 0 else 0
    if rows > 0:
        seen += sweep(pool, rung, function, x, CHUNK * x_size, rows, CHUNK, y, CHUNK * y_size, u, v)
    done = rows * CHUNK
    seen += call(function, (x + done * x_size, 0, 1, n - done, y + done * y_size, 0, u, v))
    return seen


def _all_by_one(pool: int, way: Array, x: Array, y: Array) -> int:
    """x through a pass into y, by one ruler. Returns not 0 for NaN. Each argument takes as long as 500 elements."""
    ruler, function = way[RULER], way[FUNCTION]
    seen: int = elementwise(
        pool, words(way[RUNG]), function, at(x), at(y), x.size, x.itemsize, y.itemsize, ruler, ruler + 16
    )
    return seen


all_by_one = {
    (x, y): Entry(_all_by_one, f"int64(int64, int64[::1], Array({TYPES[x]}, 1, 'C', readonly=True), {TYPES[y]}[::1])")
    for x, y in PASSES
}


@inlined
def quantize_piece(pool: int, rung: Array, x: int, n: int, scale: float, zero: int, lo: int, hi: int, q: int) -> int:
    """Codes of n numbers by one ruler. Returns not 0 for NaN."""
    ruler, plain = np.empty(4, np.float32), np.zeros(1, np.uint8)
    ruler[0], ruler[1], ruler[2], ruler[3] = zero, lo, hi, scale
    seen: int = elementwise(pool, rung, rung[QUANTIZE], x, q, n, 4, 1, at(ruler), at(plain))
    keep(ruler)
    keep(plain)
    return seen


@compiled(f"int64(int64, int64[::1], {REALS}, {REALS}, {ZEROS}, int64, int64, uint8[::1])")
def quantize_rows(pool: int, rung: Array, x: Array, scales: Array, zeros: Array, lo: int, hi: int, q: Array) -> int:
    """Codes of x by a ruler for each row: as many rows as scales, side by side in x. Returns not 0 for NaN."""
    columns, seen = x.size // scales.size, 0
    for r in range(scales.size):
        place = r * columns
        seen += quantize_piece(
            pool, rung, at(x) + place * 4, columns, scales[r], zeros[r % zeros.size], lo, hi, at(q) + place
        )
    return seen


@inlined
def dequantize_piece(pool: int, rung: Array, function: int, q: int, n: int, scale: float, zero: int, x: int) -> None:
    """Reals that n codes stand for, by one ruler."""
    ruler = np.empty(4, np.float32)
    ruler[0], ruler[3] = zero, scale
    elementwise(pool, rung, function, q, x, n, 1, 4, at(ruler), NONE)
    keep(ruler)


@compiled(f"void(int64, int64[::1], int64, {CODES}, {REALS}, {ZEROS}, float32[::1])")
def dequantize_rows(pool: int, rung: Array, function: int, q: Array, scales: Array, zeros: Array, x: Array) -> None:
    """Reals that codes stand for, by a ruler for each row."""
    columns = q.size // scales.size
    for r in range(scales.size):
        place = r * columns
        dequantize_piece(
            pool, rung, function, at(q) + place, columns, scales[r], zeros[r % zeros.size], at(x) + place * 4
        )
