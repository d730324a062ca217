"""What the instruction itself can do: one tile from the first cache, again and again, for as many operations.

That is a ceiling with what no product can do without: each operand is loaded as often as the registers (or AMX's eight
tiles) force it, and every 256 steps of K sums begin and end. What it leaves out is all that a product adds: the other
caches and memory, the packing of rows, the result. Without any loads TDPBUSD alone would do half as much again.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from tinytorch.acceleration import engine, kernel
from tinytorch.acceleration.compiled import call
from tinytorch.acceleration.gemm import CONFIGURE, HIGH, STEP, TILE, WIDE

BYTES = 256  # of K: both operands of a tile fit the first cache


@numba.njit(nogil=True)
def repeat(times: int, tile: int, arguments: tuple[int, ...]) -> None:
    for _ in range(times):
        call(tile, arguments)


def ceiling(operations: int) -> Callable[[], Any]:
    """A call that does this many operations with the largest tile of the rung in use, one thread, nothing else."""
    table = engine.rung(kernel()).addresses
    high, wide, step = (int(table[i]) for i in (HIGH, WIDE, STEP))
    a, b = np.zeros(high * BYTES + 64, np.uint8), np.zeros(wide * 16 * BYTES + 64, np.uint8)
    c, start = np.zeros(high * wide * 16 + 16, np.int32), np.zeros(wide * 16 + 16, np.int32)
    at = [array.ctypes.data + -array.ctypes.data % 64 for array in (a, b, c, start)]
    tile = int(np.ctypeslib.as_array((np.ctypeslib.ctypes.c_int64 * (high * wide)).from_address(int(table[TILE])))[-1])
    arguments = (at[0], BYTES, at[1], 16 * BYTES, BYTES // step, at[2], wide * 64, at[3], 0)
    times = round(operations / (2 * high * wide * 16 * BYTES))

    def run() -> Any:
        repeat(1, int(table[CONFIGURE]), (high,))
        repeat(times, tile, arguments)
        return (a, b, c, start)

    return run
