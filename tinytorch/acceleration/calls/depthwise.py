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

from ..codegen.depthwise import MOST_TAPS
from ..loops.blocking import ALONE, LONG
from ..loops.memory import aligned, ceil_div, round_up
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, atomic_load, call, float32s_at, int32s_at, keep_alive
from ..runtime.layout import ROW_BYTES
from ..runtime.records import fields, view_of
from ..runtime.threads import run

# images: codes [images, height, width, channels]; those of the result are [images, rows, columns, channels].
# interleave, taps: addresses of the functions of `codegen.depthwise`; of taps a table.
# flip: what they are to xor to the codes. edge: the code of 0.0, before that.
# start, u, v: for each channel where its sums start, and what the epilogue needs, whose address is `finish`; v is the
# same for all if v_step is 0. qparams: 0, or where those of each image are, ROW_BYTES bytes each: then they are v.
# The rest is filled in here: bytes of scratch for a thread, and how it is used; rows of the result in a
# task, and how many of them are made of the same interleaved rows.
DEPTHWISE = fields(
    "codes images height width channels window_rows window_columns down right far wide above left "
    "result rows columns pixel_bytes interleave taps flip edge weights panel start finish u v qparams "
    "scratch scratch_bytes edge_bytes round_bytes sums_bytes rounds together pixels block"
)
depthwise_at: Any = view_of(DEPTHWISE)
SLOWER = 16  # products of matrices that are done while one is done here, of each channel alone


@inlined
def fill(address: int, code: int, nbytes: int) -> None:
    """Fill bytes with a code, four at a time, and up to three more."""
    numbers, four = int32s_at(address), (code & 255) * 0x01010101
    for i in range((nbytes + 3) // 4):
        numbers[i] = four


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
                atomic_load(job.taps + 8 * (count - 1)),
                (x, job.right * pixel, job.wide * pixel, weights, job.panel, shift, job.columns, job.channels,
                 sums, ld, begin, ld_begin),
            )  # fmt: skip
            begin, ld_begin, weights = sums, ld, weights + count * 64


@inlined
def repeat_qparams(job: Any, image: int, to: int) -> int:
    """The quantization parameters of an image, for each pixel of a row; returns the code of its 0.0."""
    qparams = float32s_at(job.qparams + image * ROW_BYTES)
    for j in range(job.columns):
        of_pixel = float32s_at(to + j * ROW_BYTES)
        of_pixel[0], of_pixel[3] = qparams[0], qparams[3]
    return int(qparams[0])


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
                v = sums + job.sums_bytes
                code = repeat_qparams(job, n, v)
            fill_edges(job, edge, code)
            before = n
        image = job.codes + n * job.height * job.width * job.channels
        interleave_rows(job, image, row * job.down - job.above, edge)
        for k in range(min(job.together, job.rows - row, end - i)):
            add_products(job, edge + job.edge_bytes, 8 * k * job.down, sums)
            out = job.result + i * job.columns * job.pixel_bytes
            ld = round_up(job.channels, 16) * 4
            call(job.finish, (sums, ld, job.columns, job.channels, out, job.pixel_bytes, job.u, v))
            i += 1


@compiled("void(int64, int64, int64, int64[::1], Array(uint8, 1, 'C', readonly=True), uint8[::1])")
def depthwise(pool: int, threads: int, function: int, words: Array, codes: Array, result: Array) -> None:
    """A whole convolution. function: the address of `depthwise_task`; words: a DEPTHWISE record, which it fills in."""
    job = depthwise_at(address_of(words))
    job.codes, job.result = address_of(codes), address_of(result)
    products = job.images * job.rows * job.columns * job.channels * job.window_rows * job.window_columns * SLOWER
    if products < ALONE:
        pool = 0
    room = threads if pool != 0 else 1
    job.rounds = ceil_div(job.window_rows, 4)
    job.together = (4 - job.window_rows) // job.down + 1 if job.rounds == 1 and job.far == 1 else 1
    job.pixels = (job.columns - 1) * job.right + (job.window_columns - 1) * job.wide + 1
    job.edge_bytes = round_up(job.width * job.channels + 64, 64)
    job.round_bytes = round_up(job.pixels * job.channels * 4 + 64, 64)  # reads are 16 channels wide
    job.sums_bytes = job.columns * round_up(job.channels, 16) * 4
    job.scratch_bytes = job.edge_bytes + job.rounds * job.round_bytes + job.sums_bytes
    if job.qparams != 0:
        job.scratch_bytes += round_up(job.columns * ROW_BYTES, 64)
    lines, parts = job.images * job.rows, 4 * room if pool != 0 else 1
    job.block = round_up(ceil_div(lines, parts), job.together)
    scratch, job.scratch = aligned(room * job.scratch_bytes)
    run(pool, function, address_of(words), ceil_div(lines, job.block), room, products >= LONG)
    keep_alive(scratch)
