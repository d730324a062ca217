"""Convolution by windows that overlap in memory: each pixel is copied once for each kernel column, not for each window.

    image                        strips: for each column of windows                       C, the result
    [height x width x channels]  [columns][height][kernel columns x channels]

       +---+---+---+---+             strip 0    strip 1    ...
       | a | b | c | d |             a b c      b c d             A window is what lies side by side in its strip,
       +---+---+---+---+     ->      e f g      f g h      ->     a b c e f g i j k: one row of A. The next window
       | e | f | g | h |             i j k      j k l             below begins one line later, e f g i j k ..., and so
       +---+---+---+---+             m n o      n o p             does each row of A: they have one distance.
       | i | j | k | l | ...

C[positions x filters] = A[positions x K] @ B[K x filters], tile by tile, each with its epilogue. Windows that begin in
the last lines of a strip run on into the next one: their sums are of no use, and the epilogue leaves them out.
"""

from typing import Any

from ..loops.blocking import ALONE, LONG
from ..loops.memory import aligned, ceil_div, round_up
from ..loops.records import kernel_at
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, int64s_at, keep_alive
from ..runtime.records import fields, view_of
from ..runtime.threads import run

# images: codes [images, height, width, pixel_bytes]; those of the result are [images, rows, columns, filters].
# edge: a line of a strip that holds codes of 0.0. flip: the address of a
# byte that is xor-ed to all codes. start, u, v: what each column needs, see `records.PRODUCT`.
# The rest is filled in here. line_bytes: of a strip; lines, positions: in a strip, and windows that begin in it.
OVERLAPPING = fields(
    "kernel codes images height width pixel_bytes window_rows window_columns down right above left "
    "result rows columns filters itemsize edge flip weights panel_bytes start "
    "epilogue u u_step v v_step "
    "line_bytes lines positions k_steps block blocks strips_bytes sums_bytes scratch thread_scratch"
)
overlapping_at: Any = view_of(OVERLAPPING)
NEAR = 192 << 10  # bytes of strips that stay in the second cache


@inlined
def copy_strip(job: Any, image: int, edge: int, column: int, to: int) -> None:
    """The strip of one column of windows, with what lies beyond the edge."""
    copy, line, width = kernel_at(job.kernel).copy_codes, job.line_bytes, job.pixel_bytes
    left = column * job.right - job.left
    first, last = max(0, -left), min(job.window_columns, job.width - left)
    height = max(0, min(job.height, job.lines - job.above))
    inside = min(job.above, job.lines)
    if first > 0 or last < job.window_columns or height == 0:
        call(copy, (edge, 0, job.lines, line, to, line, job.flip, 0))
    else:
        below = inside + height
        call(copy, (edge, 0, inside, line, to, line, job.flip, 0))
        call(copy, (edge, 0, job.lines - below, line, to + below * line, line, job.flip, 0))
    if last > first and height > 0:
        x, y = image + (left + first) * width, to + inside * line + first * width
        call(copy, (x, job.width * width, height, (last - first) * width, y, line, job.flip, 0))


@inlined
def finish_tile(job: Any, sums: int, first: int, count: int, panel: int, c: int) -> None:
    """The epilogue of a tile of sums, strip by strip, without the windows that run on. c: of the strips' result."""
    kernel = kernel_at(job.kernel)
    stride, pixel, j = kernel.tile_panels * 64, job.filters * job.itemsize, first
    columns, u, v = min(kernel.tile_panels * 16, job.filters - panel * 16), job.u + panel * 16 * job.u_step, job.v
    while j < first + count:
        strip, line = j // job.positions, j % job.positions
        run_on, good = min(first + count - j, job.positions - line), min(first + count - j, job.rows - line)
        if good > 0:
            out = c + (line * job.columns + strip) * pixel + panel * 16 * job.itemsize
            x = sums + (j - first) * stride
            call(job.epilogue, (x, stride, good, columns, out, job.columns * pixel, u, v + panel * 16 * job.v_step))
        j += run_on


@inlined
def multiply_strips(job: Any, strips: int, count: int, sums: int, c: int) -> None:
    """C[the strips' positions x filters] = A @ B: a tile's rows at a time meet all weights in the first cache."""
    kernel, panels, configured = kernel_at(job.kernel), ceil_div(job.filters, 16), 0
    stride, m = job.down * job.line_bytes, count * job.positions
    for i in range(0, m, kernel.tile_rows):
        rows = min(kernel.tile_rows, m - i)
        if rows != configured:
            call(kernel.configure, (rows,))
            configured = rows
        # C[rows x 16 panels] = A[rows x K] @ B[K x 16 panels]
        for panel in range(0, panels, kernel.tile_panels):
            some = min(kernel.tile_panels, panels - panel)
            micro_kernel = int64s_at(kernel.micro_kernels)[(rows - 1) * kernel.tile_panels + some - 1]
            from_a = strips + i * stride, stride, job.weights + panel * job.panel_bytes, job.panel_bytes, job.k_steps
            call(micro_kernel, from_a + (sums, kernel.tile_panels * 64, job.start + panel * 64, 0, 0, 0))
            finish_tile(job, sums, i, rows, panel, c)
    call(kernel.release, (0,))


@task
def overlapping_task(w: Any, index: int, thread: int) -> None:
    """Some columns of windows of an image."""
    job = overlapping_at(address_of(w))
    n, first = index // job.blocks, index % job.blocks * job.block
    count, strips = min(job.block, job.columns - first), job.scratch + thread * job.thread_scratch
    sums = strips + job.strips_bytes
    image = job.codes + n * job.height * job.width * job.pixel_bytes
    for i in range(count):
        to = strips + i * job.lines * job.line_bytes
        copy_strip(job, image, job.edge, first + i, to)
    c = job.result + (n * job.rows * job.columns + first) * job.filters * job.itemsize
    multiply_strips(job, strips, count, sums, c)


@compiled("void(int64, int64, int64, int64[::1], Array(uint8, 1, 'C', readonly=True), uint8[::1])")
def overlapping(pool: int, threads: int, function: int, words: Array, codes: Array, result: Array) -> None:
    """A whole convolution. function: the address of `overlapping_task`; words: an OVERLAPPING record."""
    job = overlapping_at(address_of(words))
    kernel = kernel_at(job.kernel)
    job.codes, job.result = address_of(codes), address_of(result)
    job.line_bytes = job.window_columns * job.pixel_bytes
    job.positions = ceil_div((job.rows - 1) * job.down + job.window_rows, job.down)
    job.lines = job.positions * job.down
    k = job.window_rows * job.line_bytes
    job.k_steps = ceil_div(k, kernel.step_bytes)
    work = k * job.filters * job.images * job.rows * job.columns
    if work < ALONE:
        pool = 0
    room = threads if pool != 0 else 1
    share = ceil_div(job.columns, ceil_div(4 * room, job.images)) if pool != 0 else job.columns
    job.block = max(1, min(share, NEAR // (job.lines * job.line_bytes)))
    job.blocks = ceil_div(job.columns, job.block)
    job.strips_bytes = round_up(job.block * job.lines * job.line_bytes + k + 64, 64)  # the last windows run on
    job.sums_bytes = kernel.tile_rows * kernel.tile_panels * 64
    job.thread_scratch = job.strips_bytes + job.sums_bytes
    scratch, job.scratch = aligned(room * job.thread_scratch)
    run(pool, function, address_of(words), job.images * job.blocks, room, work >= LONG)
    keep_alive(scratch)
