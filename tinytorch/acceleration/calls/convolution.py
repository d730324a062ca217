"""Convolutions: what all their calls share, and the two ways whose rows are whole windows.

    images [N x height x width x channels], codes        result [N x rows x columns x filters], codes or float32

A CONVOLUTION says all that does not change from call to call. It is made once for each size of images and type of codes
(`operations.conv_plans`), is only read here, and may serve several threads at the same time. Its `way` is the address
of one function for the whole convolution, which compiled code calls so, with addresses of all arrays:

    call(convolution_at(record).way, (pool, threads, record, qparams, codes, result))   not 0: there was no memory

qparams: QPARAMS of the images, of which zero point and scale are read; one for all, or (by_image) one for each image.
`convolve` does this for Python. The ways, each a product of windows with filters:

    convolve_pixels              a kernel of 1 x 1 that looks at each pixel: pixels are the rows, as they lie
    convolve_windows             windows are copied whole, a block at a time, and meet the weights in the cache
    `overlapping.convolve_overlapping`   each pixel is copied once for each kernel column
    `depthwise.convolve_depthwise`       each channel has filters of its own

Where there are groups, the filters of each begin with a panel of their own: its columns are padded to 16.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..loops.blocking import ALONE, LONG
from ..loops.gemm import product, prologue_of_codes
from ..loops.memory import aligned, ceil_div, fill, round_up, row_bytes
from ..loops.records import (
    FLIP,
    NONE,
    PRODUCT_BYTES,
    PRODUCT_FIELDS,
    kernel_at,
    offset,
    plan_at,
    product_at,
    qparams_at,
)
from ..runtime.compiled import Array, Task, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, float32s_at, int64s_at, keep_alive
from ..runtime.layout import ROW_BYTES
from ..runtime.records import fields, view_of
from ..runtime.threads import run
from .layer import set_columns
from .matmul import DONE, new_product

AXIS = fields(  # down an image, or to the right
    "windows taps size "  # of the result, of the kernel, of the image
    "step apart before "  # stride, dilation, padding
    "pixel_bytes result_bytes"  # from a pixel to the next
)
CONVOLUTION = np.dtype(
    [
        *((name, np.int64) for name in ("way", "task", "plan")),  # addresses: functions, and the PLAN of the layer
        *((name, np.int64) for name in ("images", "groups", "channels", "filters")),  # the last two of a group
        *((name, np.int64) for name in ("by_image", "interleave", "taps")),  # the last two of `codegen.depthwise`
        *((name, AXIS) for name in ("down", "right")),
    ]
)
WINDOWS = fields("convolution product qparams codes result block row_bytes scratch thread_scratch")
convolution_at, axis_at, windows_at = map(view_of, (CONVOLUTION, AXIS, WINDOWS))
DOWN: Any = np.int64(offset(CONVOLUTION, "down"))
RIGHT: Any = np.int64(offset(CONVOLUTION, "right"))
NO_MEMORY = -1
NEAR = 96 << 10  # bytes of windows that stay in the second cache until all weights have met them


def way(function: Callable[[int, int, int, int, int, int], int]) -> Task:
    """`function(pool, threads, record, qparams, codes, result)`, which returns DONE, as a Task that returns NO_MEMORY
    where memory ends: what compiled code calls by address can raise nothing."""
    body = inlined(function)

    def guarded(pool: int, threads: int, record: int, qparams: int, codes: int, result: int) -> int:
        status = NO_MEMORY
        try:
            status = body(pool, threads, record, qparams, codes, result)
        except Exception:
            status = NO_MEMORY
        return status

    guarded.__module__, guarded.__qualname__ = function.__module__, function.__qualname__  # its name on disk
    return Task(guarded, f"int64({', '.join(['int64'] * 6)})")


@compiled(
    "void(int64, int64, int64[::1], Array(float32, 2, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), "
    "uint8[::1])"
)
def convolve(pool: int, threads: int, record: Array, qparams: Array, codes: Array, result: Array) -> None:
    """A whole convolution. record: a CONVOLUTION; qparams: [1 or N, 8]."""
    addresses = address_of(record), address_of(qparams), address_of(codes), address_of(result)
    if call(convolution_at(address_of(record)).way, (pool, threads, *addresses)) != DONE:
        raise MemoryError("no memory for a convolution: give it fewer images at once")


@inlined
def product_of(record: int, qparams: int) -> tuple[Array, int]:
    """(scratch, address of a PRODUCT in it): the layer's, with what its columns need for these images."""
    plan = plan_at(convolution_at(record).plan)
    block, address = new_product(plan, 0)
    p = product_at(address)
    if convolution_at(record).by_image == 0:
        set_columns(plan, p, qparams_at(qparams))
    p.prologue, p.a_itemsize, p.c_itemsize = NONE, 1, 1 if plan.to_codes != 0 else 4
    p.c_stride = axis_at(record + RIGHT).result_bytes
    return block, address


@inlined
def unpack_weights(p: Any) -> Array:
    """All weights of few bits as int8, once for all windows. Returns what must be kept as long as they are read."""
    panel_bytes, panels = p.panel_bytes * p.codes_per_byte, ceil_div(p.n, 16)
    memory, address = aligned(panels * panel_bytes if p.unpack != NONE else 0)
    if p.unpack != NONE:
        call(p.unpack, (p.b, panels * p.panel_bytes, address, p.b))
        p.b, p.panel_bytes, p.unpack, p.weights_bytes = address, panel_bytes, NONE, 0
    return memory


@inlined
def repeat_qparams(qparams: int, count: int, to: int) -> None:
    """An image's QPARAMS, for each of so many windows."""
    of_image = float32s_at(qparams)
    for i in range(count):
        of_window = float32s_at(to + i * ROW_BYTES)
        of_window[0], of_window[3] = of_image[0], of_image[3]


@way
def convolve_pixels(pool: int, threads: int, record: int, qparams: int, codes: int, result: int) -> int:
    """C[pixels x filters] = A[pixels x channels] @ B[channels x filters]."""
    c, down, right = convolution_at(record), axis_at(record + DOWN), axis_at(record + RIGHT)
    block, address = product_of(record, qparams)
    p = product_at(address)
    p.a, p.a_stride, p.m, p.c = codes, right.pixel_bytes, c.images * down.size * right.size, result
    p.prologue, p.prologue_u, p.prologue_v = prologue_of_codes(p, plan_at(c.plan).flip), c.plan + FLIP, 0
    product(pool, threads, p)
    keep_alive(block)
    return DONE


class Run(NamedTuple):
    """Windows side by side in a row of the result: those of columns `first` to `last` of an image, and where the first
    one is copied to. edge: the address of codes of 0.0."""

    image: int
    row: int
    first: int
    last: int
    to: int
    edge: int


@inlined
def copy_taps(job: Any, run: Run, line: int, to: int, first_window: int, last_window: int) -> None:
    """A kernel row of some windows, pixel by pixel. line: of the image, or beyond its edge; to: for the first one."""
    c, down, right = convolution_at(job.convolution), axis_at(job.convolution + DOWN), axis_at(job.convolution + RIGHT)
    copy, flip = kernel_at(product_at(job.product).kernel).copy_codes, c.plan + FLIP
    for tap in range(right.taps):
        away, first, last = right.before - tap * right.apart, last_window, last_window
        if 0 <= line < down.size:  # the windows whose pixel lies inside
            first = min(max(first_window, ceil_div(away, right.step)), last_window)
            last = max(first, min(last_window, (right.size - 1 + away) // right.step + 1))
        x = run.image + line * down.pixel_bytes + (first * right.step - away) * right.pixel_bytes
        y, stride = to + tap * c.channels, job.row_bytes
        inside, after = y + (first - first_window) * stride, y + (last - first_window) * stride
        if first > first_window:
            call(copy, (run.edge, 0, first - first_window, c.channels, y, stride, flip, 0))
        if last > first:
            call(copy, (x, right.step * right.pixel_bytes, last - first, c.channels, inside, stride, flip, 0))
        if last_window > last:
            call(copy, (run.edge, 0, last_window - last, c.channels, after, stride, flip, 0))


@inlined
def copy_run(job: Any, run: Run) -> None:
    """The windows of a run, kernel row by kernel row: in one piece if one lies so in the image."""
    c, down, right = convolution_at(job.convolution), axis_at(job.convolution + DOWN), axis_at(job.convolution + RIGHT)
    copy, piece = kernel_at(product_at(job.product).kernel).copy_codes, right.taps * c.channels
    is_piece = c.groups == 1 and right.apart == 1
    inner, end = ceil_div(right.before, right.step), (right.size - right.taps + right.before) // right.step + 1
    for tap in range(down.taps):
        line, first, last = run.row * down.step + tap * down.apart - down.before, run.last, run.last
        if is_piece and 0 <= line < down.size and min(run.last, end) > max(run.first, inner):
            first, last = max(run.first, inner), min(run.last, end)
            x = run.image + line * down.pixel_bytes + (first * right.step - right.before) * right.pixel_bytes
            to, stride = run.to + tap * piece + (first - run.first) * job.row_bytes, right.step * right.pixel_bytes
            call(copy, (x, stride, last - first, piece, to, job.row_bytes, c.plan + FLIP, 0))
        copy_taps(job, run, line, run.to + tap * piece, run.first, first)
        copy_taps(job, run, line, run.to + tap * piece + (last - run.first) * job.row_bytes, last, run.last)


@inlined
def copy_windows(job: Any, first: int, count: int, group: int, place: int) -> None:
    """Windows number `first` and on, as rows of A at `place`. Behind the PRODUCT follow their QPARAMS, and the edge."""
    c, down, right = convolution_at(job.convolution), axis_at(job.convolution + DOWN), axis_at(job.convolution + RIGHT)
    of_windows, i, image = place + job.block * job.row_bytes + PRODUCT_BYTES, 0, -1
    edge = of_windows + c.by_image * round_up(job.block * ROW_BYTES, 64)
    while i < count:
        n, window = (first + i) // (down.windows * right.windows), (first + i) % (down.windows * right.windows)
        row, column = window // right.windows, window % right.windows
        qparams, last = job.qparams + c.by_image * n * ROW_BYTES, min(right.windows, column + count - i)
        if image < 0 or (c.by_image != 0 and n != image):
            fill(edge, int(qparams_at(qparams).zero_point), c.channels)
            image = n
        x, to = job.codes + n * down.size * down.pixel_bytes + group * c.channels, place + i * job.row_bytes
        copy_run(job, Run(x, row, column, last, to, edge))
        if c.by_image != 0:
            repeat_qparams(qparams, last - column, of_windows + i * ROW_BYTES)
        i += last - column


@task
def windows_task(v: Any, index: int, thread: int) -> None:
    """A block of windows of one group: copied to where the product reads, then multiplied."""
    job = windows_at(address_of(v))
    c, down, right = convolution_at(job.convolution), axis_at(job.convolution + DOWN), axis_at(job.convolution + RIGHT)
    group, first, place = index % c.groups, index // c.groups * job.block, job.scratch + thread * job.thread_scratch
    count = min(job.block, c.images * down.windows * right.windows - first)
    copy_windows(job, first, count, group, place)
    address, column = place + job.block * job.row_bytes, group * round_up(c.filters, 16)
    for i in range(PRODUCT_FIELDS):
        int64s_at(address)[i] = int64s_at(job.product)[i]
    p = product_at(address)
    p.a, p.a_stride, p.m, p.n, p.c = place, job.row_bytes, count, c.filters, job.result + first * p.c_stride
    p.b, p.start, p.c = p.b + column // 16 * p.panel_bytes, p.start + column * 4, p.c + group * c.filters * p.c_itemsize
    p.epilogue_u, p.epilogue_v = p.epilogue_u + column * p.column_u, p.epilogue_v + column * p.column_v
    p.scratch = place + job.thread_scratch - p.sums_bytes
    if c.by_image != 0:
        p.epilogue_v = address + PRODUCT_BYTES
    call(kernel_at(p.kernel).product_task, (address, 0, 0))


@way
def convolve_windows(pool: int, threads: int, record: int, qparams: int, codes: int, result: int) -> int:
    """C[windows x filters] = A[windows x K] @ B[K x filters] for each group, a block of windows after the other."""
    c, down, right = convolution_at(record), axis_at(record + DOWN), axis_at(record + RIGHT)
    block, address = product_of(record, qparams)
    p, words = product_at(address), np.empty(1, WINDOWS)
    weights = unpack_weights(p)
    job, m = words[0], c.images * down.windows * right.windows
    job.convolution, job.product, job.qparams, job.codes, job.result = record, address, qparams, codes, result
    job.row_bytes, work = row_bytes(p.k), p.k * c.filters * c.groups * (m + 24)
    if work < ALONE:
        pool = 0
    room = threads if pool != 0 else 1
    share = ceil_div(m, ceil_div(4 * threads, c.groups)) if pool != 0 else m
    job.block = round_up(max(1, min(share, NEAR // job.row_bytes)), kernel_at(p.kernel).tile_rows)
    job.thread_scratch = job.block * job.row_bytes + PRODUCT_BYTES + round_up(c.channels, 64) + p.sums_bytes
    job.thread_scratch += c.by_image * round_up(job.block * ROW_BYTES, 64)
    scratch, job.scratch = aligned(room * job.thread_scratch)
    run(pool, c.task, address_of(words), ceil_div(m, job.block) * c.groups, room, work >= LONG)
    keep_alive(scratch)
    keep_alive(words)
    keep_alive(weights)
    keep_alive(block)
    return DONE
