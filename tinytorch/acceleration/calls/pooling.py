"""What stands between the products of a network: pools, sums of two paths, tables of answers, ReLU of codes.

    max pool   y[n, r, s, c] = max over i, j of x[n, r * down + i - above, s * right + j - left, c]
    mean pool  the same with a sum in place of max, pixel by pixel as NumPy adds them up, divided by a count
    sum        y = clip(rint((a - zero_a) * step_a + (b - zero_b) * step_b) + zero, lowest, highest), or float32
    table      y = answers[x], of codes; ReLU of codes is one, too

Images lie as [N, height, width, channels], so that the innermost loop of a pool runs over channels, side by side, and
LLVM makes vectors of it. A job is a record; a task does one row of an image that comes out, or one chunk of elements.
"""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, float32s_at, int8s_at, keep_alive, uint8s_at
from ..runtime.records import fields, view_of
from ..runtime.threads import EVERYBODY, run

ELEMENTS = 1 << 14  # of one task of an elementwise job
SHARED = 1 << 18  # bytes from which threads share a job, and are woken for it

# height, width, channels: of images that go in; rows, columns: of those that come out; above, left: padding.
# is_signed: codes are int8; with_padding: a mean counts it. scratch: of codes, a row of an image for each thread.
POOL = fields(
    "x y height width channels rows columns window_rows window_columns down right above left is_signed with_padding "
    "scratch thread_scratch"
)
# a, b, y: n elements each. flip_*: 128 for int8 codes, whose sign bit is flipped to make them uint8. numbers: float32,
# step and zero point of a, the same of b, then zero point, lowest and highest of y, which of reals may be infinite.
SUM = fields("a b y n flip_a flip_b flip_y numbers")
# answers: 256 of them, by the byte that an element of x holds.
TABLE = fields("x y n answers")

pool_at, sum_at, table_at = view_of(POOL), view_of(SUM), view_of(TABLE)


@inlined
def largest_of_two(y: Any, to: int, a: Any, first: int, b: Any, second: int, n: int) -> None:
    """y[to : to + n] = max(a[first : first + n], b[second : second + n])."""
    for i in range(n):
        u, v = a[first + i], b[second + i]
        y[to + i] = u if u > v else v


@inlined
def max_pool_row(p: Any, index: int, x: Any, y: Any, line: Any) -> None:
    """Row `index` of all rows that come out: line[width x channels] is the largest of each window's rows, from which
    y[columns x channels] takes the largest of each window's columns."""
    c, top = p.channels, index % p.rows * p.down - p.above
    first, last, row = max(top, 0), min(top + p.window_rows, p.height), p.width * p.channels
    image = index // p.rows * p.height * row
    start = image + first * row
    largest_of_two(line, 0, x, start, x, start + row if last - first > 1 else start, row)
    for i in range(first + 2, last):
        largest_of_two(line, 0, line, 0, x, image + i * row, row)
    to = index * p.columns * c
    for s in range(p.columns):
        begin = s * p.right - p.left
        low, high = max(begin, 0), min(begin + p.window_columns, p.width)
        largest_of_two(y, to + s * c, line, low * c, line, (low + 1 if high - low > 1 else low) * c, c)
        for j in range(low + 2, high):
            largest_of_two(y, to + s * c, y, to + s * c, line, j * c, c)


@task
def max_pool_task(record: Any, index: int, thread: int) -> None:
    """A row of a POOL of codes."""
    p = pool_at(address_of(record))
    scratch = p.scratch + thread * p.thread_scratch
    if p.is_signed != 0:
        max_pool_row(p, index, int8s_at(p.x), int8s_at(p.y), int8s_at(scratch))
    else:
        max_pool_row(p, index, uint8s_at(p.x), uint8s_at(p.y), uint8s_at(scratch))


@inlined
def add_pixel(y: Any, to: int, x: Any, start: int, n: int) -> None:
    """y[to : to + n] += x[start : start + n]."""
    for i in range(n):
        y[to + i] += x[start + i]


@inlined
def mean_of_window(p: Any, to: int, image: int, y: Any, x: Any) -> None:
    """y[to : to + channels] = the mean of a window's pixels, of which the first is at (top, begin) of the image."""
    c, place = p.channels, to // p.channels
    top, begin = place // p.columns % p.rows * p.down - p.above, place % p.columns * p.right - p.left
    first, last = max(top, 0), min(top + p.window_rows, p.height)
    low, high = max(begin, 0), min(begin + p.window_columns, p.width)
    for i in range(c):
        y[to + i] = x[((image + first) * p.width + low) * c + i]
    for r in range(first, last):
        for s in range(low + 1 if r == first else low, high):
            add_pixel(y, to, x, ((image + r) * p.width + s) * c, c)
    inside, whole = (last - first) * (high - low), p.window_rows * p.window_columns
    count = np.float32(whole if p.with_padding != 0 else inside)
    for i in range(c):
        y[to + i] /= count


@task
def mean_pool_task(record: Any, index: int, thread: int) -> None:
    """A row of a POOL of float32: the pixels of a window are added up row by row, each from the left."""
    p = pool_at(address_of(record))
    for s in range(p.columns):
        to, image = (index * p.columns + s) * p.channels, index // p.rows * p.height
        mean_of_window(p, to, image, float32s_at(p.y), float32s_at(p.x))


@task
def sum_of_codes_task(record: Any, index: int, thread: int) -> None:
    """A chunk of a SUM: codes of codes."""
    p = sum_at(address_of(record))
    a, b, y, numbers = uint8s_at(p.a), uint8s_at(p.b), uint8s_at(p.y), float32s_at(p.numbers)
    flip_a, flip_b, flip_y = np.uint8(p.flip_a), np.uint8(p.flip_b), np.uint8(p.flip_y)
    step_a, zero_a, step_b, zero_b = numbers[0], numbers[1], numbers[2], numbers[3]
    zero, lowest, highest = numbers[4], numbers[5], numbers[6]
    for i in range(index * ELEMENTS, min((index + 1) * ELEMENTS, p.n)):
        u = (np.float32(np.int32(np.uint8(a[i] ^ flip_a))) - zero_a) * step_a
        v = (np.float32(np.int32(np.uint8(b[i] ^ flip_b))) - zero_b) * step_b
        q = np.rint(u + v) + zero
        q = q if q > lowest else lowest
        q = q if q < highest else highest
        y[i] = np.uint8(np.uint8(np.int32(q)) ^ flip_y)


@task
def reals_of_codes_task(record: Any, index: int, thread: int) -> None:
    """A chunk of a SUM: float32 of codes."""
    p = sum_at(address_of(record))
    a, b, y, numbers = uint8s_at(p.a), uint8s_at(p.b), float32s_at(p.y), float32s_at(p.numbers)
    flip_a, flip_b, lowest = np.uint8(p.flip_a), np.uint8(p.flip_b), numbers[5]
    step_a, zero_a, step_b, zero_b = numbers[0], numbers[1], numbers[2], numbers[3]
    for i in range(index * ELEMENTS, min((index + 1) * ELEMENTS, p.n)):
        u = (np.float32(np.int32(np.uint8(a[i] ^ flip_a))) - zero_a) * step_a
        v = (np.float32(np.int32(np.uint8(b[i] ^ flip_b))) - zero_b) * step_b
        y[i] = u + v if u + v > lowest else lowest


@task
def sum_of_reals_task(record: Any, index: int, thread: int) -> None:
    """A chunk of a SUM: float32 of float32."""
    p = sum_at(address_of(record))
    a, b, y, lowest = float32s_at(p.a), float32s_at(p.b), float32s_at(p.y), float32s_at(p.numbers)[5]
    for i in range(index * ELEMENTS, min((index + 1) * ELEMENTS, p.n)):
        v = a[i] + b[i]
        y[i] = lowest if v < lowest else v


@task
def code_table_task(record: Any, index: int, thread: int) -> None:
    """A chunk of a TABLE of bytes."""
    p = table_at(address_of(record))
    x, y, answers = uint8s_at(p.x), uint8s_at(p.y), uint8s_at(p.answers)
    for i in range(index * ELEMENTS, min((index + 1) * ELEMENTS, p.n)):
        y[i] = answers[x[i]]


@task
def real_table_task(record: Any, index: int, thread: int) -> None:
    """A chunk of a TABLE of float32."""
    p = table_at(address_of(record))
    x, y, answers = uint8s_at(p.x), float32s_at(p.y), float32s_at(p.answers)
    for i in range(index * ELEMENTS, min((index + 1) * ELEMENTS, p.n)):
        y[i] = answers[x[i]]


BYTES = "Array(uint8, 1, 'C', readonly=True)"


@compiled(f"void(int64, int64, int64, int64[::1], int64, {BYTES}, uint8[::1])")
def pool_images(pool: int, threads: int, function: int, record: Array, tasks: int, x: Array, y: Array) -> None:
    """A whole POOL. function: the address of its task. record: without addresses and scratch, and never written to."""
    job = record.copy()
    p, room = pool_at(address_of(job)), threads if pool != 0 and x.size >= SHARED else 1
    p.x, p.y, p.thread_scratch = address_of(x), address_of(y), p.width * p.channels + 64
    scratch = np.empty(room * p.thread_scratch, np.uint8)
    p.scratch = address_of(scratch)
    run(pool if room > 1 else 0, function, address_of(job), tasks, room, True)
    keep_alive(job)
    keep_alive(scratch)


@compiled(f"void(int64, int64, int64[::1], {BYTES}, {BYTES}, uint8[::1])")
def add_arrays(pool: int, function: int, record: Array, a: Array, b: Array, y: Array) -> None:
    """A whole SUM of arrays that lie in one order. record: without addresses, and never written to; its n is the number
    of bytes of an element of a."""
    job = record.copy()
    p = sum_at(address_of(job))
    p.a, p.b, p.y, p.n = address_of(a), address_of(b), address_of(y), a.size // p.n
    run(pool if y.size >= SHARED else 0, function, address_of(job), (p.n + ELEMENTS - 1) // ELEMENTS, EVERYBODY, True)
    keep_alive(job)


@compiled(f"void(int64, int64, {BYTES}, {BYTES}, uint8[::1])")
def look_up(pool: int, function: int, answers: Array, x: Array, y: Array) -> None:
    """A whole TABLE. function: the address of its task."""
    job = np.empty(4, np.int64)
    p = table_at(address_of(job))
    p.x, p.y, p.n, p.answers = address_of(x), address_of(y), x.size, address_of(answers)
    run(pool if y.size >= SHARED else 0, function, address_of(job), (p.n + ELEMENTS - 1) // ELEMENTS, EVERYBODY, True)
    keep_alive(job)
