"""quantize and dequantize: a loop over elements that lie side by side, cut into tasks for the threads.

    x  | head |      task 0      |      task 1      | ... |
          |            |                   |                    function(elements of x, qparams) -> elements of y
    y  | head |      task 0      |      task 1      | ... |

The innermost loop is machine code that is called by its address (see `codegen`). Its vectors are as long as a cache
line, and one that lies on two lines costs double. So the head, the elements before the first whole line on the side of
the float32 numbers, goes alone. One scale and zero point serve all (WHOLE_TENSOR), or those of a row (BY_ROWS).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.compiled import Array, Entry, inlined, task
from ..runtime.intrinsics import address_of, call, float32s_at, keep_alive, prefetch
from ..runtime.records import atomic_add, fields, view_of
from ..runtime.threads import EVERYBODY, run

LOOP = fields(  # what does not change from call to call; made by `loop_of`
    "task function "  # addresses: of `elementwise_task`, and of the innermost loop
    "x_bytes y_bytes "  # of an element
    "qparams flip"  # addresses: zero point, lowest code, highest code, scale as float32; a byte that is xor-ed to codes
)
JOB = fields("loop x y count nan_count")  # what the tasks of a call share
loop_at, job_at = view_of(LOOP), view_of(JOB)
ZERO_POINT, SCALE = 0, 3  # among the float32 numbers at `qparams`

TASK = 1 << 14  # elements
FAR = 1 << 20  # elements that come from beyond the second cache, and for which a sleeping thread is woken
PIECE = 512  # elements that are prefetched together: small beside a page
TYPES = {"b": "int8", "B": "uint8", "f": "float32"}  # by NumPy's characters
CONVERSIONS = [("f", "b"), ("f", "B"), ("b", "f"), ("B", "f")]  # from, to


def loop_of(function: int, source: str, target: str, qparams: NDArray[np.float32]) -> NDArray[np.int64]:
    """A LOOP as an array of int64, which compiled code takes sooner than a structured one. qparams: zero point, lowest
    code, highest code, scale, and 0, as no bit of the codes is flipped; keep it as long as the LOOP."""
    sizes, address = (np.dtype(source).itemsize, np.dtype(target).itemsize), qparams.ctypes.data
    return np.array([(elementwise_task.address, function, *sizes, address, address + 16)], LOOP).view(np.int64)


@inlined
def run_near(loop: Any, x: int, y: int, count: int) -> int:
    """The loop over `count` elements from address x to address y. Returns not 0 if one was NaN."""
    seen: int = call(loop.function, (x, 0, 1, count, y, 0, loop.qparams, loop.flip))
    return seen


@inlined
def run_far(loop: Any, x: int, y: int, count: int) -> int:
    """The same for elements beyond the second cache: while a piece is converted, the next one is fetched. The processor
    fetches ahead by itself, too, but stops at each page's end."""
    seen = 0
    for first in range(0, count, PIECE):
        x_here, y_here = x + first * loop.x_bytes, y + first * loop.y_bytes
        for byte in range(PIECE * loop.x_bytes, 2 * PIECE * loop.x_bytes, 64):
            prefetch(x_here + byte)
        for byte in range(PIECE * loop.y_bytes, 2 * PIECE * loop.y_bytes, 64):
            prefetch(y_here + byte)
        seen += run_near(loop, x_here, y_here, min(PIECE, count - first))
    return seen


@task
def elementwise_task(record: Any, index: int, thread: int) -> None:
    """TASK elements of a JOB."""
    job = job_at(address_of(record))
    loop, first = loop_at(job.loop), index * TASK
    x, y, count = job.x + first * loop.x_bytes, job.y + first * loop.y_bytes, min(TASK, job.count - first)
    seen = run_far(loop, x, y, count) if job.count >= FAR else run_near(loop, x, y, count)
    if seen != 0:
        atomic_add(job, "nan_count", seen)


@inlined
def convert(pool: int, loop: Any, x: int, y: int, count: int) -> int:
    """`count` elements from address x to address y, with the pool's help. Returns not 0 if one was NaN."""
    head = min(count, -(x if loop.x_bytes == 4 else y) % 64 // 4)
    seen: int = run_near(loop, x, y, head)
    x, y, count = x + head * loop.x_bytes, y + head * loop.y_bytes, count - head
    if pool == 0 or count < 2 * TASK:
        seen += run_far(loop, x, y, count) if count >= FAR else run_near(loop, x, y, count)
        return seen
    block = np.zeros(1, JOB)
    job = block[0]
    job.loop, job.x, job.y, job.count, job.nan_count = address_of(loop), x, y, count, seen
    run(pool, loop.task, address_of(job), (count + TASK - 1) // TASK, EVERYBODY, count >= FAR)
    seen = job.nan_count
    keep_alive(block)
    return seen


def _whole_tensor(pool: int, loop: Array, x: Array, y: Array) -> int:
    """y = x quantized or dequantized, with one scale and zero point. Returns not 0 for NaN. loop: a LOOP.

    It has few parameters, as Numba takes as long for each of them as for 500 elements.
    """
    seen: int = convert(pool, loop_at(address_of(loop)), address_of(x), address_of(y), x.size)
    return seen


def _by_rows(pool: int, loop: Array, x: Array, scales: Array, zero_points: Array, y: Array) -> int:
    """The same with a scale for each row, and a zero point for each or for all: as many rows as scales, side by side in
    x. They are written, one row's after another's, to the LOOP's qparams."""
    this, columns, seen = loop_at(address_of(loop)), x.size // scales.size, 0
    qparams: Any = float32s_at(this.qparams)
    for r in range(scales.size):
        qparams[ZERO_POINT], qparams[SCALE] = zero_points[r % zero_points.size], scales[r]
        x_row, y_row = address_of(x) + r * columns * this.x_bytes, address_of(y) + r * columns * this.y_bytes
        seen += convert(pool, this, x_row, y_row, columns)
    return seen


SCALES, ZERO_POINTS = "Array(float32, 1, 'C', readonly=True)", "Array(int32, 1, 'C', readonly=True)"
WHOLE_TENSOR, BY_ROWS = (
    {
        (x, y): Entry(
            function, f"int64(int64, int64[::1], Array({TYPES[x]}, 1, 'C', readonly=True), {qparams}{TYPES[y]}[::1])"
        )
        for x, y in CONVERSIONS
    }
    for function, qparams in ((_whole_tensor, ""), (_by_rows, f"{SCALES}, {ZERO_POINTS}, "))
)
