"""Depthwise convolution: a row of output pixels at a time, whose sums never leave the cache.

    kernel rows of the image        interleaved, with the edge         sums of the row       result
    y      [width x channels]  \\
    y + 1  [width x channels]   >   [pixels x channels x 4]    ->   [columns x channels]  ->  [columns x channels]
    y + 2  [width x channels]  /         one dot instruction             the epilogue: scale, bias,
    beyond the edge: zero points         a kernel column                 ReLU, or codes again

A kernel of more than four rows does this in rounds of four; what is interleaved for a smaller one serves several rows.
`codegen.depthwise` says what is computed in registers.
"""

from typing import Any

import numpy as np

from ..codegen.depthwise import MOST_TAPS
from ..loops.blocking import ALONE, LONG
from ..loops.memory import aligned, ceil_div, fill, round_up
from ..loops.records import plan_at, product_at, qparams_at
from ..runtime.compiled import Array, inlined, task
from ..runtime.intrinsics import address_of, call, int64s_at, keep_alive, uint8s_at
from ..runtime.layout import ROW_BYTES
from ..runtime.records import fields, view_of
from ..runtime.threads import run
from .convolution import DOWN, RIGHT, axis_at, convolution_at, product_of, repeat_qparams, unpack_weights, way
from .matmul import DONE

# channels: of the result, and of the images once they are repeated. flip: what is xor-ed to all codes. edge: the code
# of 0.0, before that. qparams: 0, or where those of each image are: then they are v. The rest says how scratch is used,
# how many rows of the result make a task, and how many of them are made of the same interleaved rows.
DEPTHWISE = fields(
    "codes images height width channels window_rows window_columns down right far wide above left "
    "result rows columns pixel_bytes interleave taps flip edge weights panel_bytes start epilogue u v qparams "
    "scratch scratch_bytes edge_bytes round_bytes sums_bytes rounds together pixels block"
)
depthwise_at: Any = view_of(DEPTHWISE)
SLOWER = 16  # products of matrices that are done while one is done here, of each channel alone


@inlined
def fill_edges(job: Any, scratch: int, code: int) -> None:
    """The row that lies above and below every image, and what lies left and right of the interleaved rows."""
    fill(scratch, code, job.width * job.channels)
    pixel, flipped = job.channels * 4, code ^ job.flip
    before = min(job.left, job.pixels)
    after = before + inside(job)
    for r in range(job.rounds):
        rows = scratch + job.edge_bytes + r * job.round_bytes
        fill(rows, flipped, before * pixel)
        fill(rows + after * pixel, flipped, (job.pixels - after) * pixel)


@inlined
def inside(job: Any) -> int:
    """How many pixels of an image row the windows reach."""
    reached: int = max(0, min(job.width, job.pixels - job.left))
    return reached


@inlined
def image_row(job: Any, image: int, y: int, edge: int) -> int:
    """The address of row y of an image, or of the edge."""
    row: int = image + y * job.width * job.channels if 0 <= y < job.height else edge
    return row


@inlined
def interleave_rows(job: Any, image: int, y: int, edge: int) -> None:
    """All rows of the windows that begin at row y, four in a round; rows beyond them have no weight."""
    nbytes, to = inside(job) * job.channels, edge + job.edge_bytes + min(job.left, job.pixels) * job.channels * 4
    for r in range(job.rounds):
        first, left = y + 4 * r * job.far, job.window_rows + (job.together - 1) * job.down - 4 * r
        row0 = image_row(job, image, first, edge)
        row1 = image_row(job, image, first + job.far, edge) if left > 1 else row0
        row2 = image_row(job, image, first + 2 * job.far, edge) if left > 2 else row0
        row3 = image_row(job, image, first + 3 * job.far, edge) if left > 3 else row0
        call(job.interleave, (row0, row1, row2, row3, nbytes, to + r * job.round_bytes, job.flip))


@inlined
def add_products(job: Any, rows: int, shift: int, sums: int) -> None:
    """sums[columns, channels] = start[channels] + for each kernel column its products with the interleaved rows."""
    pixel, ld = job.channels * 4, round_up(job.channels, 16) * 4
    begin, ld_begin, weights = job.start, 0, job.weights
    for r in range(job.rounds):
        for first in range(0, job.window_columns, MOST_TAPS):
            count = min(MOST_TAPS, job.window_columns - first)
            x = rows + r * job.round_bytes + first * job.wide * pixel
            call(
                int64s_at(job.taps)[count - 1],
                (x, job.right * pixel, job.wide * pixel, weights, job.panel_bytes, shift, job.columns, job.channels,
                 sums, ld, begin, ld_begin),
            )  # fmt: skip
            begin, ld_begin, weights = sums, ld, weights + count * 64


@task
def depthwise_task(w: Any, index: int, thread: int) -> None:
    """Some rows of the result, of one image or of several."""
    job = depthwise_at(address_of(w))
    edge = job.scratch + thread * job.scratch_bytes
    sums = edge + job.edge_bytes + job.rounds * job.round_bytes
    v, before = job.v, -1
    i, end = index * job.block, min((index + 1) * job.block, job.images * job.rows)
    while i < end:
        n, row = i // job.rows, i % job.rows
        if n != before and (job.qparams != 0 or before == -1):
            code = job.edge
            if job.qparams != 0:
                v, qparams = sums + job.sums_bytes, job.qparams + n * ROW_BYTES
                code = int(qparams_at(qparams).zero_point)
                repeat_qparams(qparams, job.columns, v)
            fill_edges(job, edge, code)
            before = n
        image = job.codes + n * job.height * job.width * job.channels
        interleave_rows(job, image, row * job.down - job.above, edge)
        for k in range(min(job.together, job.rows - row, end - i)):
            add_products(job, edge + job.edge_bytes, 8 * k * job.down, sums)
            out = job.result + i * job.columns * job.pixel_bytes
            ld = round_up(job.channels, 16) * 4
            call(job.epilogue, (sums, ld, job.columns, job.channels, out, job.pixel_bytes, job.u, v))
            i += 1


@inlined
def repeated(codes: int, pixels: int, times: int) -> tuple[Array, int]:
    """(memory, address) of the codes of so many pixels of a channel, each so many times; of them themselves for one."""
    memory, address = aligned(pixels * times if times > 1 else 0)
    if times == 1:
        return memory, codes
    x, y = uint8s_at(codes), uint8s_at(address)
    for i in range(pixels):
        for j in range(times):
            y[i * times + j] = x[i]
    return memory, address


@inlined
def set_operands(job: Any, record: int, address: int, qparams: int) -> None:
    """What does not change from call to call, and what the columns of the result need. address: of a PRODUCT."""
    c, down, right, p = convolution_at(record), axis_at(record + DOWN), axis_at(record + RIGHT), product_at(address)
    job.images, job.height, job.width, job.channels = c.images, down.size, right.size, c.groups * c.filters
    job.window_rows, job.window_columns, job.rows, job.columns = down.taps, right.taps, down.windows, right.windows
    job.down, job.right, job.far, job.wide = down.step, right.step, down.apart, right.apart
    job.above, job.left, job.pixel_bytes = down.before, right.before, right.result_bytes
    job.interleave, job.taps, job.flip = c.interleave, c.taps, plan_at(c.plan).flip
    job.weights, job.panel_bytes, job.start = p.b, p.panel_bytes, p.start
    job.epilogue, job.u, job.v = p.epilogue, p.epilogue_u, p.epilogue_v
    job.edge, job.qparams = int(qparams_at(qparams).zero_point), qparams if c.by_image != 0 else 0


@inlined
def choose_scratch(job: Any, room: int) -> None:
    """How the rows of the result are cut for so many threads, and what one needs."""
    job.rounds = ceil_div(job.window_rows, 4)
    job.together = (4 - job.window_rows) // job.down + 1 if job.rounds == 1 and job.far == 1 else 1
    job.pixels = (job.columns - 1) * job.right + (job.window_columns - 1) * job.wide + 1
    job.edge_bytes = round_up(job.width * job.channels + 64, 64)
    job.round_bytes = round_up(job.pixels * job.channels * 4 + 64, 64)  # reads are 16 channels wide
    job.sums_bytes = job.columns * round_up(job.channels, 16) * 4
    job.scratch_bytes = job.edge_bytes + job.rounds * job.round_bytes + job.sums_bytes
    if job.qparams != 0:
        job.scratch_bytes += round_up(job.columns * ROW_BYTES, 64)
    parts = 4 * room if room > 1 else 1
    job.block = round_up(ceil_div(job.images * job.rows, parts), job.together)


@way
def convolve_depthwise(pool: int, threads: int, record: int, qparams: int, codes: int, result: int) -> int:
    """A whole convolution."""
    c, words = convolution_at(record), np.empty(1, DEPTHWISE)
    job, (block, address) = words[0], product_of(record, qparams)
    weights = unpack_weights(product_at(address))
    set_operands(job, record, address, qparams)
    of_images, job.codes = repeated(codes, job.images * job.height * job.width * c.groups, c.filters)
    job.result = result
    products = job.images * job.rows * job.columns * job.channels * job.window_rows * job.window_columns * SLOWER
    if products < ALONE:
        pool = 0
    room = threads if pool != 0 else 1
    choose_scratch(job, room)
    scratch, job.scratch = aligned(room * job.scratch_bytes)
    run(pool, c.task, address_of(words), ceil_div(job.images * job.rows, job.block), room, products >= LONG)
    keep_alive(scratch)
    keep_alive(of_images)
    keep_alive(words)
    keep_alive(weights)
    keep_alive(block)
    return DONE
