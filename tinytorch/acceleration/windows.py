"""The driver of a convolution: windows become rows of codes a block at a time, and meet the weights in the cache."""

from typing import Any

import numpy as np

from .compiled import Array, at, call, compiled, keep, peek, task, words
from .fused import LAYER, per_column
from .gemm import ALONE, COPY, DIRECT, FINISH, FOUR, HIGH, LONG, NONE, PRODUCT, STEP, aligned, row_bytes, sums_bytes, up
from .threads import run

WORDS = 256  # bytes of what `product_task` reads
NEAR = 96 << 10  # bytes of windows that stay in the second cache until all weights have met them


@task
def window_task(v: Any, index: int, thread: int) -> None:
    """A block of windows: copied row by row to where the product reads, then multiplied. Scratch is at v[15], v[16]
    bytes for each thread: windows, what `product_task` reads, and its scratch."""
    image, image_step, row, pixel, stride, high, wide = v[0], v[1], v[2], v[3], v[4], v[5], v[6]
    kernel_rows, kernel_columns, channels, block, m, ld, rung = v[7], v[8], v[9], v[10], v[11], v[12], v[13]
    mask, copy = v[14], peek(rung + 8 * COPY)
    first, segment = index * block, kernel_columns * channels
    rows, address = min(block, m - first), v[15] + thread * v[16]
    for i in range(rows):
        n, place = (first + i) // (high * wide), (first + i) % (high * wide)
        x = image + n * image_step + place // wide * stride * row + place % wide * stride * pixel
        y = address + i * ld
        if channels == pixel:  # a window's row is one piece
            call(copy, (x, row, kernel_rows, segment, y, segment, mask, 0))
        else:
            for r in range(kernel_rows):
                call(copy, (x + r * row, pixel, kernel_columns, channels, y + r * segment, channels, mask, 0))
    w = words(address + block * ld)
    for i in range(30):
        w[i] = v[24 + i]
    w[0], w[1], w[5], w[7], w[16] = address, ld, rows, w[7] + first * w[8], rows
    w[27], w[28], w[29] = address + block * ld + WORDS, 0, 0
    call(peek(rung + 8 * PRODUCT), (at(w), 0, 0))


IMAGES = "Array(uint8, 4, 'C', readonly=True)"


@compiled(f"void(int64, int64, int64[::1], int64, {IMAGES}, int64[::1], int64, int64, float32, {LAYER})")
def convolve(
    pool: int, threads: int, rung: Array, function: int, images: Array, shape: Array, flip: int, zero_point: int,
    scale_in: float, weights: Array, panel: int, sums: Array, scale: Array, bias: Array, int_bias: Array,
    ruler_out: Array, finish: int, out: Array,
) -> None:  # fmt: skip
    """images: codes [N, height, width, channels], with their edge. shape: rows and columns of the kernel, stride,
    rows and columns of the result, first channel, channels and first column of this group, columns of the whole."""
    count, height, width, pixel = images.shape
    kernel_rows, kernel_columns, stride, high, wide = shape[0], shape[1], shape[2], shape[3], shape[4]
    channel, channels, column, columns = shape[5], shape[6], shape[7], shape[8]
    n, m, k, size = sums.size, count * high * wide, kernel_rows * kernel_columns * channels, 1 if finish == 3 else 4
    start, u, v = per_column(sums, scale, bias, int_bias, ruler_out, finish == 3, scale_in, zero_point)
    ld, mask = row_bytes(k), np.empty(1, np.uint8)
    mask[0] = flip
    work = k * n * (m + 24)
    if work < ALONE:
        pool = 0
    share = up(m, 4 * threads) // (4 * threads) if pool != 0 else m
    block = up(max(1, min(share, NEAR // ld)), rung[HIGH])
    w = np.empty(54, np.int64)
    w[0], w[1], w[2], w[3] = at(images) + channel, height * width * pixel, width * pixel, pixel
    w[4], w[5], w[6], w[7], w[8], w[9] = stride, high, wide, kernel_rows, kernel_columns, channels
    w[10], w[11], w[12], w[13], w[14] = block, m, ld, at(rung), at(mask)
    # What product_task reads; address, rows and place of a block are filled in by window_task.
    w[26], w[27], w[28], w[30] = at(weights), panel, up(k, rung[STEP]) // rung[STEP], n
    w[31], w[32], w[33], w[34] = at(out) + column * size, columns * size, size, at(start)
    w[35], w[36] = DIRECT if finish == 0 else rung[FINISH + finish], at(u)
    w[37], w[38] = at(ruler_out) if finish == 3 else at(v), 0 if finish == 3 else FOUR
    w[39], w[41], w[42], w[43], w[44], w[45], w[46], w[50] = at(rung), up(n, 16) // 16, 1, w[28], k, 1, NONE, 0
    room = threads if pool != 0 else 1
    w[16] = block * ld + WORDS + sums_bytes(rung, block, w[41], False)
    scratch, w[15] = aligned(room * w[16])
    run(pool, function, at(w), up(m, block) // block, room, work >= LONG)
    keep(scratch)
    keep(w)
    keep(start)
    keep(u)
    keep(v)
    keep(mask)
