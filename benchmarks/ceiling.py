"""What the instruction itself can do, and what a product adds to that. One thread.

The ceiling is one tile from the first cache, again and again, for as many operations as the product has: each operand
is loaded as often as the registers (or AMX's eight tiles) force it, and every 256 steps of K sums begin and end. Its
operands are random, as a product's are: on zeros, which cost less power, TDPBUSD is faster than on any real data.

A product has to copy its rows, read its weights and write its result besides. `python -m benchmarks.ceiling` times each
of these alone, on arrays of the same size, in turns with the product, and says what they take one after the other.
"""

import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from benchmarks.contest import Contest, limit_threads, machine
from tinytorch.acceleration import int8_matmul, kernel, prepack_int8, set_num_threads
from tinytorch.acceleration.loops import jit
from tinytorch.acceleration.runtime.intrinsics import call

BYTES = 256  # of K: both operands of a tile fit the first cache
SHAPES = [(512, 512, 512), *((m, k, n) for k, n in [(1024, 1024), (768, 3072), (3072, 768), (4096, 4096), (1000, 1000)]
                             for m in (512, 1024))]  # fmt: skip


@numba.njit(nogil=True)
def repeat(times: int, tile: int, arguments: tuple[int, ...]) -> None:
    for _ in range(times):
        call(tile, arguments)


def ceiling(operations: int, zeros: bool = False) -> Callable[[], Any]:
    """A call that does this many operations with the largest tile of the kernel in use, one thread, nothing else."""
    compiled = jit.kernel(kernel())
    names = "tile_rows", "tile_panels", "step_bytes", "configure"
    high, wide, step, configure = (int(compiled.record[name][0]) for name in names)
    sizes = high * BYTES, wide * 16 * BYTES, high * wide * 64, wide * 64  # rows, weights, sums, what sums start from
    arrays = [np.zeros(size + 64, np.uint8) for size in sizes]
    if not zeros:
        for operand in arrays[:2]:
            operand[:] = np.random.default_rng(0).integers(0, 256, operand.size)
    at = [array.ctypes.data + -array.ctypes.data % 64 for array in arrays]
    tile = int(compiled.micro_kernels[high * wide - 1])
    arguments = (at[0], BYTES, at[1], 16 * BYTES, BYTES // step, at[2], wide * 64, at[3], 0, 0, 0)
    times = round(operations / (2 * high * wide * 16 * BYTES))

    def run() -> Any:
        repeat(1, configure, (high,))
        repeat(times, tile, arguments)
        return arrays

    return run


def main() -> int:
    limit_threads(1)
    set_num_threads(1)
    print(f"{machine()}; kernel {kernel()}, 1 thread")
    print(f"{'product':<18}{'us':>8}{'of the ceiling':>16}{'on zeros':>10}{'of ceiling, rows, weights and result':>38}")
    rng, contest = np.random.default_rng(0), Contest(burst=0.01, tell=lambda line: None)
    for m, k, n in SHAPES:
        a, b = rng.integers(0, 256, (m, k)).astype(np.uint8), rng.integers(-127, 128, (k, n)).astype(np.int8)
        packed, rows, result = prepack_int8(b), np.empty_like(a), np.empty((m, n), np.int32)
        words = packed.data.view(np.int64)
        parts = {
            "ceiling": ceiling(2 * m * k * n),
            "rows": lambda a=a, rows=rows: np.copyto(rows, a),
            "weights": lambda words=words: words.max(),
            "result": lambda result=result: result.fill(1),
            "on zeros": ceiling(2 * m * k * n, zeros=True),
        }
        name = f"{m}x{k}x{n}"
        contest.run(name, lambda a=a, p=packed: int8_matmul(a, p), parts, 2 * m * k * n)
        mine = [row for row in contest.rows if row.case == name]
        whole, *_, zeros = (row.ratio for row in mine)
        together = sum(row.ratio for row in mine if row.peer != "on zeros")
        print(f"{name:<18}{mine[0].ours * 1e6:>8.0f}{whole:>16.2f}{zeros:>10.2f}{together:>38.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
