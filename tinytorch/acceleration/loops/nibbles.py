"""The drivers of the INT4 product: a piece of weights is unpacked into the first cache, where all rows meet it."""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, at, call, compiled, inlined, ints, keep, peek, task
from ..runtime.threads import run
from .blocking import ALONE, LONG
from .layer import find_qparams_by_threads
from .matrix import read_all_rows
from .memory import aligned, row_bytes
from .memory import round_up as up
from .records import NONE, PRODUCT, kernel_at, qparams_at

BYTES, CODES = "Array(uint8, 1, 'C', readonly=True)", "Array(uint8, 2, 'A', readonly=True)"
FLOATS, REALS = "Array(float32, 1, 'C', readonly=True)", "Array(float32, 2, 'C', readonly=True)"
PIECE = 512  # steps of K unpacked at once: 8 KB for each panel


@task
def nibble_task(w: Any, index: int, thread: int) -> None:
    """All rows x some panels: group by group, piece by piece. Scratch is at w[19], w[20] bytes for each thread: codes,
    a tile's sums, and for all rows int32 sums and float32 results; at w[21] are the zeros that sums start from."""
    a, lda, data, panel, m, n, k, c = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
    group, groups, zero_point, rung, passes, block = w[8], w[9], w[10], w[11], w[12], w[13]
    floats, scale, column_sums, scale_in, bias = w[14], w[15], w[16], w[17], w[18]
    unpack, gather, settle = peek(passes), peek(passes + 8), peek(passes + 16 + 8 * floats)
    kernel = kernel_at(rung)
    high, wide, step = kernel.tile_rows, kernel.tile_panels, kernel.step_bytes
    tile, configure, copy = kernel.micro_kernels, kernel.configure, kernel.to_int32
    codes = w[19] + thread * w[20]
    sums = codes + wide * PIECE * 16
    total = sums + high * wide * 64
    y, start = total + m * wide * 64, w[21]
    last = min(index * block + block, up(n, 16) // 16)
    for p in range(index * block, last, wide):
        panels, j = min(wide, last - p), p * 64  # j: bytes of a row up to here
        cols = panels * 16
        for i in range(m * wide * 16):
            ints(total)[i] = 0
        call(copy, (bias + j, 0, m * floats, cols, y, cols * 4, 0, 0))
        for g in range(groups):
            end, of_group = min(k, g * group + group), up(n, 16) * 4 * g + j
            for first in range(g * group, end, PIECE):
                length = min(PIECE, end - first)
                for q in range(panels):
                    call(unpack, (data + (p + q) * panel + first * 8, length * 8, codes + q * PIECE * 16))
                for i in range(0, m, high):
                    rows = min(high, m - i)
                    micro_kernel = peek(tile + 8 * ((rows - 1) * wide + panels - 1))
                    call(configure, (rows,))
                    x, steps = a + i * lda + first, length // step
                    call(micro_kernel, (x, lda, codes, PIECE * 16, steps, sums, cols * 4, start, NONE, NONE, NONE))
                    call(gather, (total + i * cols * 4, sums, rows * cols))
            call(settle, (y, total, m, cols, column_sums + of_group, scale + of_group, zero_point, scale_in))
        result, width = y if floats else total, min(cols, n - p * 16)
        call(copy, (result, cols * 4, m, width, c + j, n * 4, 0, 0))
    call(kernel.release, (0,))


@inlined
def product(
    pool: int, threads: int, rung: int, function: int, passes: Array, address: int, lda: int, m: int, k: int, n: int,
    data: Array, panel: int, group: int, scales: Array, column_sums: Array, zero_point: int, scale_in: float,
    bias: Array, floats: int, c: int,
) -> None:  # fmt: skip
    """Tasks of some panels each; with floats the sums are scaled group by group, else int32 sums are the result."""
    groups, wide, panels = scales.shape[0], kernel_at(rung).tile_panels, up(n, 16) // 16
    w, scale = np.empty(24, np.int64), np.empty(1, np.float32)
    scale[0] = scale_in
    work = k * n * (m + 24)
    if work < ALONE:
        pool = 0
    block = panels if pool == 0 else up(up(panels, 4 * threads) // (4 * threads), wide)
    w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7] = (
        address,
        lda,
        at(data),
        panel,
        m,
        n,
        up(k, kernel_at(rung).step_bytes),
        c,
    )
    w[8], w[9], w[10], w[11], w[12], w[13], w[14] = group, groups, zero_point, rung, at(passes), block, floats
    w[15], w[16], w[17], w[18] = at(scales), at(column_sums), at(scale), at(bias)
    room, start = threads if pool != 0 else 1, np.zeros(wide * 16, np.int32)
    w[20], w[21] = wide * (PIECE * 16 + kernel_at(rung).tile_rows * 64 + m * 64 * (1 + floats)), at(start)
    scratch, w[19] = aligned(room * w[20])
    run(pool, function, at(w), up(panels, block) // block, room, work >= LONG)
    keep(w)
    keep(scale)
    keep(start)
    keep(scratch)


SCALES, COUNTS = "Array(float32, 2, 'C', readonly=True)", "Array(int32, 2, 'C', readonly=True)"
WEIGHTS = f"int64, int64[::1], {BYTES}, int64, int64, int64, {SCALES}, {COUNTS}"


@compiled(f"void(int64, int64, int64, {WEIGHTS}, {CODES}, int64, int64, float32, {FLOATS}, int64, int64[::1])")
def of_codes(
    pool: int, threads: int, rung: int, function: int, passes: Array, data: Array, panel: int, n: int, group: int,
    scales: Array, column_sums: Array, a: Array, flip: int, zero_point: int, scale_in: float, bias: Array,
    floats: int, out: Array,
) -> None:  # fmt: skip
    """a: codes [M, K]. out: one int64, the address of the result."""
    (m, k), mask = a.shape, np.empty(1, np.uint8)
    mask[0] = flip
    lda = row_bytes(k)
    record = np.zeros(1, PRODUCT)
    p = record[0]
    p.kernel, p.a, p.a_stride, p.m, p.k, p.prologue_u = rung, at(a), a.strides[0], m, k, at(mask)
    p.prologue = kernel_at(rung).copy_codes
    copy = read_all_rows(pool, p, lda)
    address = p.a
    keep(record)
    product(
        pool, threads, rung, function, passes, address, lda, m, k, n, data, panel, group,
        scales, column_sums, zero_point, scale_in, bias, floats, out[0],
    )  # fmt: skip
    keep(mask)
    keep(copy)


@compiled(f"int64(int64, int64, int64, {WEIGHTS}, int64, {REALS}, float32[::1], int64, int64, {FLOATS}, int64[::1])")
def of_reals(
    pool: int, threads: int, rung: int, function: int, passes: Array, data: Array, panel: int, n: int, group: int,
    scales: Array, column_sums: Array, extremes: int, x: Array, ruler: Array, flip: int, shift: int, bias: Array,
    out: Array,
) -> int:  # fmt: skip
    """x: float32 [M, K], quantized by ruler or by its own range. Returns the status of `layer.find_qparams`."""
    (m, k), mask = x.shape, np.empty(1, np.uint8)
    status = find_qparams_by_threads(pool, kernel_at(rung), extremes, x, qparams_at(at(ruler)))
    if status != 0:
        return status
    mask[0] = flip
    lda = row_bytes(k)
    record = np.zeros(1, PRODUCT)
    p = record[0]
    p.kernel, p.a, p.a_stride, p.m, p.k, p.prologue_u, p.prologue_v = rung, at(x), k * 4, m, k, at(ruler), at(mask)
    p.prologue = kernel_at(rung).quantize
    codes = read_all_rows(pool, p, lda)
    address, nan_count = p.a, p.nan_count
    keep(record)
    if nan_count != 0:
        return -1
    zero_point: Any = np.int64(ruler[0])
    product(
        pool, threads, rung, function, passes, address, lda, m, k, n, data, panel, group,
        scales, column_sums, zero_point + shift, ruler[3], bias, 1, out[0],
    )  # fmt: skip
    keep(mask)
    keep(codes)
    return 0
