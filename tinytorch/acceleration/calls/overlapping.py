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

A kernel of one row has its strips along the rows instead: a strip is a row of the image, and each pixel is copied once.
With a dilation of d, kernel rows lie d lines apart, so lines y, y + d, y + 2 d, ... make a strip, and those from y + 1
on another: windows fall into `classes`. A long strip is cut into parts. Each group has strips of its channels alone.
"""

from math import gcd
from typing import Any, NamedTuple

import numpy as np

from ..loops.blocking import ALONE, LONG
from ..loops.memory import aligned, ceil_div, fill, round_up
from ..loops.records import FLIP, kernel_at, product_at, qparams_at
from ..runtime.compiled import inlined, task
from ..runtime.intrinsics import address_of, call, int64s_at, keep_alive
from ..runtime.layout import ROW_BYTES
from ..runtime.records import fields, view_of
from ..runtime.threads import run
from .convolution import DOWN, RIGHT, axis_at, convolution_at, product_of, repeat_qparams, unpack_weights, way
from .matmul import DONE

OVERLAPPING = fields(
    "convolution product qparams codes result "
    "along across "  # the AXIS of a strip's lines, and that of strips side by side
    "line_bytes "
    "classes step "  # which windows fall into one strip, and lines from one to the next
    "part parts positions lines "  # windows in a part of a strip, with those that run on, and its lines
    "block blocks "  # strips of a task
    "strips_bytes qparams_bytes scratch thread_scratch"
)
overlapping_at: Any = view_of(OVERLAPPING)
NEAR = 192 << 10  # bytes of strips that stay in the second cache
STRIP = 1 << 17  # bytes of a strip
SHORTEST = 64  # windows of a part that is cut off for another thread


class Part(NamedTuple):
    """Some strips: those from `first` on, in one part of one class of windows, of one group of one image."""

    image: int
    group: int
    window_class: int
    first_window: int
    first: int
    strips: int


@inlined
def part_of(job: Any, index: int) -> Part:
    """What task number `index` does; groups come one after the other, for they share cache lines."""
    c, across = convolution_at(job.convolution), axis_at(job.across)
    group, index = index % c.groups, index // c.groups
    first, index = index % job.blocks * job.block, index // job.blocks
    part, index = index % job.parts, index // job.parts
    count = min(job.block, across.windows - first)
    return Part(index // job.classes, group, index % job.classes, part * job.part, first, count)


@inlined
def windows_of(job: Any, part: Part) -> int:
    """How many windows each strip of a part has."""
    in_class = ceil_div(axis_at(job.along).windows - part.window_class, job.classes)
    windows: int = max(0, min(job.part, in_class - part.first_window))
    return windows


@inlined
def copy_strip(job: Any, part: Part, strip: int, edge: int, to: int) -> None:
    """A strip, with what lies beyond the edge."""
    c, along, across, line = convolution_at(job.convolution), axis_at(job.along), axis_at(job.across), job.line_bytes
    copy, flip = kernel_at(product_at(job.product).kernel).copy_codes, c.plan + FLIP
    down = axis_at(job.convolution + DOWN)
    y = part.window_class * along.step + part.first_window * job.step * along.apart - along.before
    x = (part.first + strip) * across.step - across.before
    first = min(max(0, ceil_div(-y, along.apart)), job.lines)  # the lines inside
    last = max(first, min(job.lines, (along.size - 1 - y) // along.apart + 1))
    if x < 0 or x + (across.taps - 1) * across.apart >= across.size:
        call(copy, (edge, 0, job.lines, line, to, line, flip, 0))
    else:
        call(copy, (edge, 0, first, line, to, line, flip, 0))
        call(copy, (edge, 0, job.lines - last, line, to + last * line, line, flip, 0))
    codes = job.codes + part.image * down.size * down.pixel_bytes + part.group * c.channels
    codes += (y + first * along.apart) * along.pixel_bytes
    together = across.taps if c.groups == 1 and across.apart == 1 else 1  # pixels that lie in one piece
    for tap in range(0, across.taps, together):
        pixel = x + tap * across.apart
        skipped, end = max(0, -pixel), min(together, across.size - pixel)
        if end > skipped and last > first:
            nbytes, stride = (end - skipped) * c.channels, along.apart * along.pixel_bytes
            place, rows = to + first * line + (tap + skipped) * c.channels, last - first
            if nbytes == line and stride == line:
                rows, nbytes = 1, rows * line
            call(copy, (codes + (pixel + skipped) * across.pixel_bytes, stride, rows, nbytes, place, line, flip, 0))


class Tile(NamedTuple):
    """Some rows of A, and the first panel of its group that they have met."""

    first: int
    rows: int
    panel: int


@inlined
def finish_tile(job: Any, part: Part, tile: Tile, sums: int) -> None:
    """The epilogue of a tile of sums, strip by strip, without the windows that run on."""
    c, p, along, across = (
        convolution_at(job.convolution),
        product_at(job.product),
        axis_at(job.along),
        axis_at(job.across),
    )
    stride, windows, down = kernel_at(p.kernel).tile_panels * 64, windows_of(job, part), axis_at(job.convolution + DOWN)
    column = part.group * round_up(c.filters, 16) + tile.panel * 16
    columns = min(kernel_at(p.kernel).tile_panels * 16, c.filters - tile.panel * 16)
    u, v = p.epilogue_u + column * p.column_u, p.epilogue_v + column * p.column_v
    if c.by_image != 0:
        v = sums - job.qparams_bytes
    image = job.result + part.image * down.windows * down.result_bytes + part.first * across.result_bytes
    image += (part.window_class + part.first_window * job.classes) * along.result_bytes
    image += (part.group * c.filters + tile.panel * 16) * p.c_itemsize
    below, j, end = job.classes * along.result_bytes, tile.first, tile.first + tile.rows
    while j < end:
        strip, window = j // job.positions, j % job.positions
        run_on, good = min(end - j, job.positions - window), min(end - j, windows - window)
        if good > 0:
            out, x = image + strip * across.result_bytes + window * below, sums + (j - tile.first) * stride
            call(p.epilogue, (x, stride, good, columns, out, below, u, v))
        j += run_on


@inlined
def multiply_strips(job: Any, part: Part, strips: int, sums: int) -> None:
    """C[the strips' positions x filters] = A @ B: a tile's rows at a time meet all weights in the first cache."""
    c, p = convolution_at(job.convolution), product_at(job.product)
    kernel, panels, configured = kernel_at(p.kernel), ceil_div(c.filters, 16), 0
    stride, m, of_group = job.step * job.line_bytes, part.strips * job.positions, part.group * panels
    for i in range(0, m, kernel.tile_rows):
        rows = min(kernel.tile_rows, m - i)
        if rows != configured:
            call(kernel.configure, (rows,))
            configured = rows
        # C[rows x 16 panels] = A[rows x K] @ B[K x 16 panels]
        for panel in range(0, panels, kernel.tile_panels):
            some, b = min(kernel.tile_panels, panels - panel), p.b + (of_group + panel) * p.panel_bytes
            micro_kernel = int64s_at(kernel.micro_kernels)[(rows - 1) * kernel.tile_panels + some - 1]
            a_and_b = strips + i * stride, stride, b, p.panel_bytes, p.k_steps
            call(micro_kernel, a_and_b + (sums, kernel.tile_panels * 64, p.start + (of_group + panel) * 64, 0, 0, 0))
            finish_tile(job, part, Tile(i, rows, panel), sums)
    call(kernel.release, (0,))


@task
def overlapping_task(v: Any, index: int, thread: int) -> None:
    """Some strips: copied, then multiplied."""
    job = overlapping_at(address_of(v))
    c, part, strips = convolution_at(job.convolution), part_of(job, index), job.scratch + thread * job.thread_scratch
    if windows_of(job, part) == 0:
        return
    edge, qparams = strips + job.strips_bytes, job.qparams + c.by_image * part.image * ROW_BYTES
    sums = edge + round_up(job.line_bytes, 64) + job.qparams_bytes
    fill(edge, int(qparams_at(qparams).zero_point), job.line_bytes)
    if c.by_image != 0:
        repeat_qparams(qparams, kernel_at(product_at(job.product).kernel).tile_rows, sums - job.qparams_bytes)
    for i in range(part.strips):
        copy_strip(job, part, i, edge, strips + i * job.lines * job.line_bytes)
    multiply_strips(job, part, strips, sums)


@inlined
def choose_strips(job: Any, room: int) -> int:
    """Cut the strips: into classes, parts, and blocks of them, for so many threads. Returns the number of tasks."""
    c, along, across = convolution_at(job.convolution), axis_at(job.along), axis_at(job.across)
    between = gcd(along.step, along.apart)
    job.step, job.classes = along.step // between, min(along.apart // between, along.windows)
    job.line_bytes = across.taps * c.channels
    windows, each, wanted = ceil_div(along.windows, job.classes), c.images * c.groups * job.classes, 4 * room
    longest = max(1, (STRIP // job.line_bytes - along.taps) // job.step + 1)
    if room > 1:
        longest = min(longest, max(SHORTEST, ceil_div(windows, ceil_div(wanted, each * across.windows))))
    job.parts = ceil_div(windows, longest)
    job.part = ceil_div(windows, job.parts)
    job.positions = ceil_div((job.part - 1) * job.step + along.taps, job.step)
    job.lines = job.positions * job.step
    share = ceil_div(across.windows, ceil_div(wanted, each * job.parts)) if room > 1 else across.windows
    job.block = max(1, min(share, NEAR // (job.lines * job.line_bytes)))
    job.blocks = ceil_div(across.windows, job.block)
    tasks: int = each * job.parts * job.blocks
    return tasks


@way
def convolve_overlapping(pool: int, threads: int, record: int, qparams: int, codes: int, result: int) -> int:
    """A whole convolution."""
    c, down, right = convolution_at(record), axis_at(record + DOWN), axis_at(record + RIGHT)
    block, address = product_of(record, qparams)
    p, words = product_at(address), np.empty(1, OVERLAPPING)
    weights, job = unpack_weights(p), words[0]
    job.convolution, job.product, job.qparams, job.codes, job.result = record, address, qparams, codes, result
    job.along, job.across = (record + RIGHT, record + DOWN) if down.taps == 1 else (record + DOWN, record + RIGHT)
    work = p.k * c.filters * c.groups * c.images * down.windows * right.windows
    if work < ALONE:
        pool = 0
    room = threads if pool != 0 else 1
    tasks = choose_strips(job, room)
    job.strips_bytes = round_up(job.block * job.lines * job.line_bytes + p.k + 64, 64)  # the last windows run on
    job.qparams_bytes = c.by_image * round_up(kernel_at(p.kernel).tile_rows * ROW_BYTES, 64)
    job.thread_scratch = job.strips_bytes + round_up(job.line_bytes, 64) + job.qparams_bytes + p.sums_bytes
    scratch, job.scratch = aligned(room * job.thread_scratch)
    run(pool, c.task, address_of(words), tasks, room, work >= LONG)
    keep_alive(scratch)
    keep_alive(words)
    keep_alive(weights)
    keep_alive(block)
    return DONE
