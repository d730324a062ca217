"""The drivers of the elementwise passes: quantize and dequantize, a ruler for all or for each row."""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, Entry, compiled, inlined, task
from ..runtime.intrinsics import address_of, atomic_add, call, keep_alive, prefetch
from ..runtime.threads import EVERYBODY, run
from .gemm import CHUNK, MANY, NONE, up

ZEROS = "Array(int32, 1, 'C', readonly=True)"
TYPES = {"b": "int8", "B": "uint8", "f": "float32"}  # by NumPy's characters
PASSES = [("f", "b"), ("f", "B"), ("b", "f"), ("B", "f")]  # from, to
STREAM, FUNCTION, RULER = range(3)  # of the words of `all_by_one`: addresses
PIECE = 512  # elements, small beside a page
REALS, CODES = "Array(float32, 1, 'C', readonly=True)", "Array(uint8, 1, 'C', readonly=True)"


@inlined
def walk(function: int, x: int, y: int, n: int, x_size: int, y_size: int, u: int, v: int, far: bool) -> int:
    """A pass over n elements that lie side by side. far: they come from beyond the second cache. There the processor
    fetches ahead too, but stops at each page's end; so the next piece of both arrays is asked for before this one."""
    piece, seen = PIECE if far else n, 0
    for first in range(0, n, max(piece, 1)):
        if far:
            for line in range(0, piece * x_size, 64):
                prefetch(x + (first + piece) * x_size + line)
            for line in range(0, piece * y_size, 64):
                prefetch(y + (first + piece) * y_size + line)
        seen += call(function, (x + first * x_size, 0, 1, min(piece, n - first), y + first * y_size, 0, u, v))
    return seen


@task
def stream_task(w: Any, index: int, thread: int) -> None:
    """A chunk of a pass. NaNs met are counted in w[9]."""
    function, x, y, n, x_size, y_size, far, first = w[0], w[1], w[2], w[3], w[4], w[5], w[8] != 0, index * CHUNK
    seen = walk(
        function, x + first * x_size, y + first * y_size, min(CHUNK, n - first), x_size, y_size, w[6], w[7], far
    )
    if seen != 0:
        atomic_add(address_of(w) + 72, seen)


@inlined
def elementwise(
    pool: int, stream: int, function: int, x: int, y: int, n: int, x_size: int, y_size: int, u: int, v: int,
) -> int:  # fmt: skip
    """A pass over n elements that lie side by side. The first few go alone, so that on the side of the reals all others
    begin with a cache line: a vector across two costs double. stream: the address of `stream_task`."""
    head = min(n, -(x if x_size == 4 else y) % 64 // 4)
    seen: int = call(function, (x, 0, 1, head, y, 0, u, v))
    x, y, n, far = x + head * x_size, y + head * y_size, n - head, n >= MANY
    if pool == 0 or n < 2 * CHUNK:
        return seen + walk(function, x, y, n, x_size, y_size, u, v, far)
    w = np.empty(10, np.int64)
    w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9] = function, x, y, n, x_size, y_size, u, v, far, seen
    run(pool, stream, address_of(w), up(n, CHUNK) // CHUNK, EVERYBODY, far)
    seen = w[9]  # also what keeps w alive until here
    return seen


def _all_by_one(pool: int, plan: Array, x: Array, y: Array) -> int:
    """x through a pass into y, by one ruler. Returns not 0 for NaN. Each argument takes as long as 500 elements."""
    stream, function, ruler = plan[STREAM], plan[FUNCTION], plan[RULER]
    seen: int = elementwise(
        pool, stream, function, address_of(x), address_of(y), x.size, x.itemsize, y.itemsize, ruler, ruler + 16
    )
    return seen


all_by_one = {
    (x, y): Entry(_all_by_one, f"int64(int64, int64[::1], Array({TYPES[x]}, 1, 'C', readonly=True), {TYPES[y]}[::1])")
    for x, y in PASSES
}


@inlined
def quantize_piece(
    pool: int, stream: int, function: int, x: int, n: int, scale: float, zero: int, lo: int, hi: int, q: int
) -> int:
    """Codes of n numbers by one ruler. Returns not 0 for NaN."""
    ruler, plain = np.empty(4, np.float32), np.zeros(1, np.uint8)
    ruler[0], ruler[1], ruler[2], ruler[3] = zero, lo, hi, scale
    seen: int = elementwise(pool, stream, function, x, q, n, 4, 1, address_of(ruler), address_of(plain))
    keep_alive(ruler)
    keep_alive(plain)
    return seen


@compiled(f"int64(int64, int64, int64, {REALS}, {REALS}, {ZEROS}, int64, int64, uint8[::1])")
def quantize_rows(
    pool: int, stream: int, function: int, x: Array, scales: Array, zeros: Array, lo: int, hi: int, q: Array
) -> int:
    """Codes of x by a ruler for each row: as many rows as scales, side by side in x. Returns not 0 for NaN."""
    columns, seen = x.size // scales.size, 0
    for r in range(scales.size):
        place = r * columns
        seen += quantize_piece(
            pool,
            stream,
            function,
            address_of(x) + place * 4,
            columns,
            scales[r],
            zeros[r % zeros.size],
            lo,
            hi,
            address_of(q) + place,
        )
    return seen


@inlined
def dequantize_piece(pool: int, stream: int, function: int, q: int, n: int, scale: float, zero: int, x: int) -> None:
    """Reals that n codes stand for, by one ruler."""
    ruler = np.empty(4, np.float32)
    ruler[0], ruler[3] = zero, scale
    elementwise(pool, stream, function, q, x, n, 1, 4, address_of(ruler), NONE)
    keep_alive(ruler)


@compiled(f"void(int64, int64, int64, {CODES}, {REALS}, {ZEROS}, float32[::1])")
def dequantize_rows(pool: int, stream: int, function: int, q: Array, scales: Array, zeros: Array, x: Array) -> None:
    """Reals that codes stand for, by a ruler for each row."""
    columns = q.size // scales.size
    for r in range(scales.size):
        place = r * columns
        dequantize_piece(
            pool,
            stream,
            function,
            address_of(q) + place,
            columns,
            scales[r],
            zeros[r % zeros.size],
            address_of(x) + place * 4,
        )
