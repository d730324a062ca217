"""The driver of a convolution: windows become rows of codes a block at a time, and meet the weights in the cache."""

from typing import Any

import numpy as np

from ..loops.blocking import ALONE, LONG
from ..loops.memory import aligned, row_bytes
from ..loops.memory import round_up as up
from ..loops.records import DIRECT, NONE, PRODUCT_BYTES, PRODUCT_FIELDS, kernel_at, product_at
from ..runtime.compiled import Array, at, call, compiled, inlined, keep, reals, task, words
from ..runtime.layout import ROW_BYTES
from ..runtime.threads import run

NEAR = 96 << 10  # bytes of windows that stay in the second cache until all weights have met them


@task
def window_task(v: Any, index: int, thread: int) -> None:
    """A block of windows: copied row by row to where the product reads, then multiplied. Scratch is at v[15], v[16]
    bytes for each thread: windows, a PRODUCT, and its scratch."""
    image, image_step, down, right, high, wide = v[0], v[1], v[2], v[3], v[5], v[6]
    kernel_rows, kernel_columns, channels, block, m, ld, rung = v[7], v[8], v[9], v[10], v[11], v[12], v[13]
    mask, row, pixel, copy, of_images = v[14], v[17], v[18], kernel_at(rung).copy_codes, v[19]
    first, segment = index * block, kernel_columns * channels
    rows, address = min(block, m - first), v[15] + thread * v[16]
    of_windows = address + block * ld + PRODUCT_BYTES
    for i in range(rows):
        n, place = (first + i) // (high * wide), (first + i) % (high * wide)
        x = image + n * image_step + place // wide * down + place % wide * right
        y = address + i * ld
        if channels == pixel:  # a window's row is one piece
            call(copy, (x, row, kernel_rows, segment, y, segment, mask, 0))
        else:
            for r in range(kernel_rows):
                call(copy, (x + r * row, pixel, kernel_columns, channels, y + r * segment, channels, mask, 0))
        if of_images != NONE:
            qparams, of_image = reals(of_windows + i * ROW_BYTES), reals(of_images + n * ROW_BYTES)
            qparams[0], qparams[3] = of_image[0], of_image[3]
    w = words(address + block * ld)
    for i in range(PRODUCT_FIELDS):
        w[i] = v[24 + i]
    p = product_at(address + block * ld)
    p.a, p.a_stride, p.m, p.c, p.block_rows, p.scratch = address, ld, rows, p.c + first * p.c_stride, rows, of_windows
    if of_images != NONE:
        p.epilogue_v, p.scratch = of_windows, of_windows + up(block * ROW_BYTES, 64)
    call(kernel_at(rung).product_task, (at(w), 0, 0))


BIAS, FLOATS = "Array(int32, 1, 'C', readonly=True)", "Array(float32, 1, 'C', readonly=True)"
PACK = "Array(uint8, 1, 'C', readonly=True), int64, Array(int64, 1, 'C', readonly=True)"  # data, panel, column sums
LAYER = f"{PACK}, {FLOATS}, {FLOATS}, {BIAS}, {FLOATS}, int64, uint8[::1]"
ONE: Any = np.float32(1)


@inlined
def epilogue_of(kernel: Any, finish: int) -> int:
    """The epilogue of number `finish`."""
    epilogue: int = kernel.to_codes if finish == 3 else kernel.to_float_relu if finish == 2 else kernel.to_float
    return epilogue if finish != 0 else DIRECT


@inlined
def column_start(sums: Array, zero_point: int, bias: Array) -> Array:
    """int32 [N, padded]: bias - zero_point * (sum of the column's weights); it wraps as the sums do."""
    start = np.zeros(up(sums.size, 16) + 16, np.int32)
    for j in range(sums.size):
        start[j] = -zero_point * sums[j]
    for j in range(bias.size):
        start[j] += bias[j]
    return start


@inlined
def padded(values: Array, factor: float, n: int) -> Array:
    """float32 [n, padded with 0]: values * factor, rounded to float32; of one value, repeated."""
    out = np.zeros(up(n, 16) + 16, np.float32)
    for j in range(n if values.size else 0):
        out[j] = values[j if values.size > 1 else 0] * factor
    return out


@inlined
def per_column(
    sums: Array, scale: Array, bias: Array, int_bias: Array, qparams_out: Array, codes: bool, scale_in: float,
    zero_point: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """What each column needs: (where its sums start, what they are multiplied by, what is added)."""
    n = sums.size
    start, u, v = column_start(sums, zero_point, int_bias), padded(scale, scale_in, n), padded(bias, ONE, n)
    if codes:
        for j in range(n):
            u[j] /= qparams_out[3]
    return start, u, v


IMAGES = "Array(uint8, 4, 'C', readonly=True)"


@inlined
def blocks_of_windows(
    pool: int, threads: int, rung: int, function: int, images: Array, shape: Array, flip: int, weights: Array,
    panel: int, n: int, start: int, size: int, finish: int, u: int, v: int, v_step: int, of_images: int, out: int,
) -> None:  # fmt: skip
    """The product of all windows. of_images: 0, or where the quantization parameters of the images are, ROW_BYTES bytes
    each: then those of its windows are what the pass `finish` takes as v, and u has three numbers for a column."""
    count, height, width, pixel = images.shape
    kernel_rows, kernel_columns, high, wide = shape[0], shape[1], shape[6], shape[7]
    channel, channels, column, columns = shape[8], shape[9], shape[10], shape[11]
    m, k = count * high * wide, kernel_rows * kernel_columns * channels
    ld, mask = row_bytes(k), np.empty(1, np.uint8)
    mask[0] = flip
    work = k * n * (m + 24)
    if work < ALONE:
        pool = 0
    share = up(m, 4 * threads) // (4 * threads) if pool != 0 else m
    block = up(max(1, min(share, NEAR // ld)), kernel_at(rung).tile_rows)
    w = np.zeros(24 + PRODUCT_FIELDS, np.int64)
    row = width * pixel
    w[0], w[1], w[2], w[3] = at(images) + channel, height * row, shape[2] * row, shape[3] * pixel
    w[5], w[6], w[7], w[8], w[9] = high, wide, kernel_rows, kernel_columns, channels
    w[17], w[18], w[19] = shape[4] * row, shape[5] * pixel, of_images  # between the pixels of a window
    w[10], w[11], w[12], w[13], w[14] = block, m, ld, rung, at(mask)
    # A PRODUCT; address, rows and place of a block are filled in by window_task.
    kernel, p = kernel_at(rung), product_at(at(w) + 24 * 8)
    p.b, p.panel_bytes, p.n, p.k, p.k_steps = at(weights), panel, n, k, up(k, kernel.step_bytes) // kernel.step_bytes
    p.c, p.c_stride, p.c_itemsize, p.start = out + column * size, columns * size, size, start
    p.epilogue, p.epilogue_u, p.epilogue_v, p.column_v = finish, u, v, v_step
    p.kernel, p.block_panels, p.row_blocks, p.depth, p.a_itemsize = rung, up(n, 16) // 16, 1, p.k_steps, 1
    p.row_v = ROW_BYTES if of_images != NONE else 0
    p.column_u = 12 if of_images != NONE else 4
    p.sums_bytes = kernel.tile_rows * kernel.tile_panels * 64
    room = threads if pool != 0 else 1
    w[16] = block * ld + PRODUCT_BYTES + up(block * p.row_v, 64) + p.sums_bytes
    scratch, w[15] = aligned(room * w[16])
    run(pool, function, at(w), up(m, block) // block, room, work >= LONG)
    keep(scratch)
    keep(w)
    keep(mask)


@compiled(f"void(int64, int64, int64, int64, {IMAGES}, int64[::1], int64, int64, float32, {LAYER})")
def convolve(
    pool: int, threads: int, rung: int, function: int, images: Array, shape: Array, flip: int, zero_point: int,
    scale_in: float, weights: Array, panel: int, sums: Array, scale: Array, bias: Array, int_bias: Array,
    ruler_out: Array, finish: int, out: Array,
) -> None:  # fmt: skip
    """images: codes [N, height, width, channels], with their edge. shape: rows and columns of the kernel, stride and
    dilation down and right, rows and columns of the result, first channel, channels and first column of this group,
    columns of the whole."""
    codes, pass_ = finish == 3, epilogue_of(kernel_at(rung), finish)
    start, u, v = per_column(sums, scale, bias, int_bias, ruler_out, codes, scale_in, zero_point)
    blocks_of_windows(
        pool, threads, rung, function, images, shape, flip, weights, panel, sums.size, at(start), 1 if codes else 4,
        pass_, at(u), at(ruler_out) if codes else at(v), 0 if codes else 4, NONE, at(out),
    )  # fmt: skip
    keep(start)
    keep(u)
    keep(v)


@compiled(
    f"void(int64, int64, int64, int64, {IMAGES}, int64[::1], int64, int64, float32[:, ::1], int64, {FLOATS}, "
    f"{PACK}, {BIAS}, uint8[::1])"
)
def convolve_by_images(
    pool: int, threads: int, rung: int, function: int, images: Array, shape: Array, flip: int, shift: int,
    qparams: Array, finish: int, columns: Array, weights: Array, panel: int, sums: Array, int_bias: Array, out: Array,
) -> None:  # fmt: skip
    """The same for images whose quantization parameters are the rows of `qparams`, as in `rows`. columns: see
    `Int8Linear`."""
    start = column_start(sums, shift, int_bias)
    blocks_of_windows(
        pool, threads, rung, function, images, shape, flip, weights, panel, sums.size, at(start), 4, finish,
        at(columns), NONE, 0, at(qparams), at(out),
    )  # fmt: skip
    keep(start)
