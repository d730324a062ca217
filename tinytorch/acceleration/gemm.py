"""The drivers: walk over tiles, cut the work into tasks, lead codes, sums and results through the passes around it.

Numba compiles them once for a processor; what differs between rungs comes in as addresses (`engine.Rung.addresses`).
"""

from typing import Any

import numpy as np

from .compiled import Array, add, at, call, compiled, inlined, keep, peek, task
from .threads import run

L2 = 1 << 20  # bytes of weights that stay near one core while all rows pass by
ALONE = 1 << 23  # K * N * (M + 24): the work that is done before a second thread has heard of it
CHUNK = 1 << 14  # elements of an elementwise pass that make a task

# Where a rung's addresses stand.
HIGH, WIDE, STEP, TILE, CONFIGURE, RELEASE, PRODUCT, SWEEP, EXTREMES, COPY, QUANTIZE = range(11)
FINISH = 11  # to_int32, to_float, to_float_relu, to_codes
DIRECT: Any = np.int64(-1)  # a finish: none, the tiles themselves store int32
NONE: Any = np.int64(0)
FOUR: Any = np.int64(4)


@inlined
def up(n: int, unit: int) -> int:
    """n, or the next multiple of unit."""
    return (n + unit - 1) // unit * unit


@inlined
def row_bytes(nbytes: int) -> int:
    """How far apart rows of `nbytes` are laid: whole cache lines, and not at steps by which they would push each other
    out of the first cache, which finds a line's place by its address modulo 4096."""
    ld = up(max(nbytes, 1), 64)
    return ld + 64 if ld % 512 == 0 else ld


@inlined
def aligned(nbytes: int) -> tuple[Array, int]:
    """(block, address) of uninitialized bytes; the address divides by 64: a row on two cache lines costs double."""
    block = np.empty(nbytes + 64, np.uint8)
    return block, (at(block) + 63) // 64 * 64


@task
def product_task(w: Any, index: int) -> None:
    """Some rows x some panels, tile by tile; each tile's sums are finished while they are in the first cache."""
    a, lda, b, panel, steps, m, n, c, ldc, size = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9]
    start, finish, u, v, v_step, rung = w[10], w[11], w[12], w[13], w[14], w[15]
    block_rows, block_panels, row_blocks = w[16], w[17], w[18]
    high, wide = peek(rung + 8 * HIGH), peek(rung + 8 * WIDE)
    tile, configure = peek(rung + 8 * TILE), peek(rung + 8 * CONFIGURE)
    first_row, first_panel = index % row_blocks * block_rows, index // row_blocks * block_panels
    last_row, last_panel = min(first_row + block_rows, m), min(first_panel + block_panels, up(n, 16) // 16)
    block, sums = aligned(high * wide * 64)
    ld_sums = wide * 64
    for i in range(first_row, last_row, high):
        rows = min(high, last_row - i)
        call(configure, (rows,))
        for p in range(first_panel, last_panel, wide):
            panels, j = min(wide, last_panel - p), p * 16
            kernel, columns = peek(tile + 8 * ((rows - 1) * wide + panels - 1)), min(panels * 16, n - j)
            out = c + i * ldc + j * size
            if finish == DIRECT and columns == panels * 16:
                call(kernel, (a + i * lda, lda, b + p * panel, panel, steps, out, ldc, start + j * 4))
            else:
                call(kernel, (a + i * lda, lda, b + p * panel, panel, steps, sums, ld_sums, start + j * 4))
                pass_ = peek(rung + 8 * FINISH) if finish == DIRECT else finish
                call(pass_, (sums, ld_sums, rows, columns, out, ldc, u + j * 4, v + j * v_step))
    call(peek(rung + 8 * RELEASE), (0,))
    keep(block)


@task
def sweep_task(w: Any, index: int) -> None:
    """Some rows of a pass. NaNs met are counted in w[10]."""
    x, ldx, rows, cols, y, ldy, block = w[1], w[2], w[3], w[4], w[5], w[6], w[9]
    first = index * block
    seen = call(w[0], (x + first * ldx, ldx, min(block, rows - first), cols, y + first * ldy, ldy, w[7], w[8]))
    if seen != 0:
        add(at(w) + 80, seen)


@inlined
def sweep(
    pool: int, rung: Array, function: int, x: int, ldx: int, rows: int, cols: int, y: int, ldy: int, u: int, v: int,
) -> int:  # fmt: skip
    """A pass over a matrix, in tasks of about CHUNK elements; returns how many tasks met a NaN."""
    w = np.zeros(11, np.int64)
    block = max(1, CHUNK // max(cols, 1))
    w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9] = function, x, ldx, rows, cols, y, ldy, u, v, block
    run(pool, rung[SWEEP], at(w), up(rows, block) // block)
    seen: int = w[10]  # also what keeps w alive until here
    return seen


@inlined
def product(
    pool: int, threads: int, rung: Array, a: int, lda: int, b: int, panel: int, k: int, m: int, n: int, c: int,
    ldc: int, size: int, start: int, finish: int, u: int, v: int, v_step: int,
) -> None:  # fmt: skip
    """The whole product: choose the blocks, run the tasks."""
    high, wide, panels = rung[HIGH], rung[WIDE], up(n, 16) // 16
    block_rows, block_panels = m, max(wide, min(panels, L2 // panel) // wide * wide)
    row_blocks = 1
    if k * n * (m + 24) < ALONE:
        pool = 0
    if pool != 0:
        tasks = 4 * threads  # more than threads: one that is held up leaves its share to the others
        column_blocks = up(panels, block_panels) // block_panels
        row_blocks = min(up(m, 2 * high) // (2 * high), up(tasks, column_blocks) // column_blocks)
        block_rows = up(up(m, row_blocks) // row_blocks, high)
        row_blocks = up(m, block_rows) // block_rows
        column_blocks = up(tasks, row_blocks) // row_blocks
        block_panels = min(block_panels, up(up(panels, column_blocks) // column_blocks, wide))
    w = np.empty(24, np.int64)
    w[0], w[1], w[2], w[3], w[4], w[5], w[6] = a, lda, b, panel, up(max(k, 1), rung[STEP]) // rung[STEP], m, n
    w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14] = c, ldc, size, start, finish, u, v, v_step
    w[15], w[16], w[17], w[18] = at(rung), block_rows, block_panels, row_blocks
    count = row_blocks * (up(panels, block_panels) // block_panels)
    run(pool, rung[PRODUCT], at(w), count)
    keep(w)


@inlined
def codes_for(pool: int, rung: Array, a: Array, flip: int) -> tuple[Array, int, int]:
    """Rows of codes that the tiles can read: `a` itself, or a copy with aligned rows and, if wanted, flipped signs."""
    m, k = a.shape
    address, lda = at(a), a.strides[0]
    whole = k % rung[STEP] == 0 and (rung[STEP] == 4 or (address % 64 == 0 and lda % 64 == 0 and lda % 2048 != 0))
    if flip == 0 and whole and k > 0:
        return np.empty(0, np.uint8), address, lda
    ld, mask = row_bytes(k), np.empty(1, np.uint8)
    copy, target = aligned(m * ld)
    mask[0] = flip
    sweep(pool, rung, rung[COPY], address, lda, m, k, target, ld, at(mask), NONE)
    keep(mask)
    return copy, target, ld


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


CODES, BYTES = "Array(uint8, 2, 'A', readonly=True)", "Array(uint8, 1, 'C', readonly=True)"
SUMS = "Array(int64, 1, 'C', readonly=True)"
PACK = f"{BYTES}, int64, {SUMS}"  # data, bytes of a panel, column sums


@compiled(f"int64(int64, int64, int64[::1], {CODES}, {PACK}, int64, int64, int32[::1])")
def matmul(
    pool: int, threads: int, rung: Array, a: Array, weights: Array, panel: int, sums: Array, flip: int,
    zero_point: int, out: Array,
) -> int:  # fmt: skip
    """int32 (a - zero_point) @ b into `out`, from the element that is returned on: aligned where out has room for that.

    zero_point counts in the codes as the tiles get them: after the flip.
    """
    (m, k), n = a.shape, sums.size
    skip = -at(out) % 64 // 4 if out.size > m * n else 0
    copy, address, lda = codes_for(pool, rung, a, flip)
    start, c = column_start(sums, zero_point, np.empty(0, np.int32)), at(out) + skip * 4
    product(
        pool, threads, rung, address, lda, at(weights), panel, k, m, n, c, n * 4, FOUR, at(start),
        DIRECT, NONE, NONE, NONE,
    )  # fmt: skip
    keep(copy)
    keep(start)
    return skip
