"""The drivers: walk over tiles, cut the work into tasks, lead codes, sums and results through the passes around it.

Numba compiles them once for a processor; what differs between rungs comes in as addresses (`kernels.Rung.addresses`).
"""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, add, at, call, compiled, inlined, keep, peek, task
from ..runtime.threads import EVERYBODY, run

L2 = 1 << 20  # bytes of weights that stay near one core while all rows pass by
L1 = 1 << 15  # bytes of a tile's rows that the first cache keeps while panels pass by
SLICE = 3 << 13  # bytes of a tile's weights that it keeps while rows pass by, where K is deep
ROWS = 3 << 18  # bytes of rows that stay near one core while weights pass by, where K is deep
NEAR = 1 << 20  # sums that may be left and taken up again without waiting for memory
MANY_ROWS = 512  # for which a piece of K of all weights may be fetched at once, before it multiplies
ALONE = 1 << 23  # K * N * (M + 24): the work that is done before a second thread has heard of it
LONG = 1 << 27  # the same: what takes so long that a sleeping thread is woken for it, and that one may be held up
CHUNK = 1 << 14  # elements of an elementwise pass that make a task
MANY = 1 << 20  # elements for which a sleeping thread is woken

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
    out of the first cache, which finds a line's place by its address modulo 4096 (64 lines)."""
    lines = up(max(nbytes, 1), 64) // 64
    while lines % 8 == 0 or (lines > 8 and (lines + 3) % 64 < 7):
        lines += 1
    return lines * 64


@inlined
def aligned(nbytes: int) -> tuple[Array, int]:
    """(block, address) of uninitialized bytes; the address divides by 64: a row on two cache lines costs double. All
    scratch of more than a few numbers is made here. It ends where its block ends: what is left over lies before it."""
    block = np.empty(nbytes + 64, np.uint8)
    return block, (at(block) + 64) // 64 * 64


@task
def product_task(w: Any, index: int, thread: int) -> None:
    """Some rows x some panels, tile by tile. A tile's rows go through the pass `before` into the first cache and meet
    all the panels there; its sums are finished while they are there too. NaNs met are counted in w[25]. Scratch is at
    w[27], w[28] bytes for each thread: sums, and from w[29] on the rows. w[30]: see `product`.

    Where K is deep, so that rows do not fit there, it is the other way round: a piece of K of one tile's weights stays,
    and all rows pass by, piece after piece, their sums waiting in between; the next piece is fetched meanwhile."""
    a, lda, b, panel, steps, m, n, c, ldc, size = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9]
    start, finish, u, v, v_step, rung = w[10], w[11], w[12], w[13], w[14], w[15]
    block_rows, block_panels, row_blocks, depth, deep = w[16], w[17], w[18], w[19], w[26] != 0
    k, a_size, before, before_u, before_v, row_step = w[20], w[21], w[22], w[23], w[24], w[30]
    u_step = 4 if row_step == 0 else 12
    high, wide, step = peek(rung + 8 * HIGH), peek(rung + 8 * WIDE), peek(rung + 8 * STEP)
    tile, configure = peek(rung + 8 * TILE), peek(rung + 8 * CONFIGURE)
    if deep:
        tile += 8 * high * wide
    first_row, first_panel = index % row_blocks * block_rows, index // row_blocks * block_panels
    last_row, last_panel = min(first_row + block_rows, m), min(first_panel + block_panels, up(n, 16) // 16)
    ld_codes, whole, strip = row_bytes(depth * step), high * wide * 64, wide if deep else block_panels
    tiles_high, across = up(last_row - first_row, high) // high, up(strip, wide) // wide
    near, kept = depth < steps and not deep, 0 if depth >= steps else tiles_high * across * whole
    sums = w[27] + thread * w[28]  # those to take up again, tile by tile; then those of a finished tile
    codes, ready, seen = sums + w[29], 0, 0
    for p_first in range(first_panel, last_panel, strip):
        p_end = min(p_first + strip, last_panel)
        for first in range(0, steps, depth):
            done, length, last = first * step, min(depth, steps - first), first + depth >= steps
            of_k, ahead, left = min(length * step, k - done), NONE, NONE  # left: cache lines to fetch of each panel
            if deep and not (last and p_end == last_panel):
                ahead = b + p_end * panel if last else b + p_first * panel + (done + length * step) * 16
                left = depth * step * 16 // 64
            lines = up(left, tiles_high * length) // (tiles_high * length)
            for i in range(first_row, last_row, high):
                rows, x, ldx = min(high, last_row - i), a + i * lda + done * a_size, lda
                if before != NONE:
                    seen += call(before, (x, lda, rows, of_k, codes, ld_codes, before_u, before_v + i * row_step))
                    x, ldx = codes, ld_codes
                if rows != ready:
                    call(configure, (rows,))
                    ready = rows
                so_far = sums + (i - first_row) // high * across * whole
                for p in range(p_first, p_end, wide):
                    panels, j = min(wide, p_end - p), p * 16
                    kernel, columns = peek(tile + 8 * ((rows - 1) * wide + panels - 1)), min(panels * 16, n - j)
                    out, to, ld = c + i * ldc + j * size, sums + kept if last else so_far, wide * 64
                    begin, ld_begin, fits = so_far, ld, size == 4 and columns == panels * 16
                    if fits and near:
                        begin, ld_begin = out, ldc  # sums wait where the result goes
                    if fits and (near or (last and finish == DIRECT)):
                        to, ld = out, ldc
                    if first == 0:
                        begin, ld_begin = start + j * 4, NONE
                    weights = b + p * panel + done * 16
                    call(kernel, (x, ldx, weights, panel, length, to, ld, begin, ld_begin, ahead, min(lines, left)))
                    if last and not (finish == DIRECT and to == out):
                        pass_ = peek(rung + 8 * FINISH) if finish == DIRECT else finish
                        call(pass_, (to, ld, rows, columns, out, ldc, u + j * u_step, v + j * v_step + i * row_step))
                    so_far += whole
                    ahead += lines * length * 64
                    left -= lines * length
    call(peek(rung + 8 * RELEASE), (0,))
    if seen != 0:
        add(at(w) + 200, seen)


@task
def sweep_task(w: Any, index: int, thread: int) -> None:
    """Some rows of a pass. NaNs met are counted in w[10]."""
    x, ldx, rows, cols, y, ldy, block = w[1], w[2], w[3], w[4], w[5], w[6], w[9]
    first = index * block
    v = w[8] + first * w[11]
    seen = call(w[0], (x + first * ldx, ldx, min(block, rows - first), cols, y + first * ldy, ldy, w[7], v))
    if seen != 0:
        add(at(w) + 80, seen)


@inlined
def sweep(
    pool: int, rung: Array, function: int, x: int, ldx: int, rows: int, cols: int, y: int, ldy: int, u: int, v: int,
    row_step: int,
) -> int:  # fmt: skip
    """A pass over a matrix, in tasks of about CHUNK elements; returns the sum of what the tasks return: not 0 for NaN.
    row_step: from a row's v to the next one's."""
    w = np.zeros(12, np.int64)
    w[11] = row_step
    block = max(1, CHUNK // max(cols, 1))
    w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9] = function, x, ldx, rows, cols, y, ldy, u, v, block
    run(pool, rung[SWEEP], at(w), up(rows, block) // block, EVERYBODY, rows * cols >= MANY)
    seen: int = w[10]  # also what keeps w alive until here
    return seen


@inlined
def passed(
    pool: int, rung: Array, before: int, a: int, lda: int, m: int, k: int, u: int, v: int, ld: int, row_step: int,
) -> tuple[Array, int, int]:  # fmt: skip
    """All rows through the pass `before`, to ld bytes a row: (block, address, not 0 if it met a NaN)."""
    block, address = aligned(m * ld)
    seen: int = sweep(pool, rung, before, a, lda, m, k, address, ld, u, v, row_step)
    return block, address, seen


@inlined
def sums_bytes(rung: Any, block_rows: int, strip: int, waiting: bool) -> int:
    """Bytes for the sums of a thread: of a tile, and of all tiles whose sums wait for the next piece of K."""
    high, wide = rung[HIGH], rung[WIDE]
    tiles = up(block_rows, high) // high * (up(strip, wide) // wide) if waiting else 0
    nbytes: int = (tiles + 1) * high * wide * 64
    return nbytes


@inlined
def product(
    pool: int, threads: int, rung: Array, a: int, lda: int, a_size: int, before: int, before_u: int, before_v: int,
    b: int, panel: int, k: int, m: int, n: int, c: int, ldc: int, size: int, start: int, finish: int, u: int, v: int,
    v_step: int, row_step: int,
) -> int:  # fmt: skip
    """The whole product: choose the blocks, run the tasks. Rows of `a` are what tiles can read, or what the pass
    `before` makes that of, from elements of a_size bytes; returns not 0 if it met a NaN. row_step: 0, or how far the
    `v` and `before_v` of a row lie from those of the next one; then u has three numbers for a column, else one."""
    high, wide, panels = rung[HIGH], rung[WIDE], up(n, 16) // 16
    steps = up(max(k, 1), rung[STEP]) // rung[STEP]
    long_k, work = m > 2 * high and high * steps * rung[STEP] > L1, k * n * (m + 24)
    near = long_k and m >= MANY_ROWS and m * n <= NEAR and n * (L1 // high) <= L2
    deep, unit = long_k and not near, L1 // high if near else SLICE // (16 * wide)
    pieces = up(steps * rung[STEP], unit) // unit if long_k else 1
    depth = up(steps, pieces) // pieces
    if work < ALONE:
        pool = 0
    # More tasks than threads: one that is held up leaves its share to the others. But a short product ends before that,
    # and where K is cut each task walks through memory once more.
    tasks = 1 if pool == 0 else threads if work < LONG or long_k else 4 * threads
    if deep:
        row_blocks, block_panels = up(m * k, ROWS) // ROWS, up(panels, wide)
    else:
        block_panels = max(wide, min(up(panels, wide), L2 // (depth * rung[STEP] * 16) // wide * wide))
        column_blocks = up(panels, block_panels) // block_panels
        row_blocks = min(up(m, 2 * high) // (2 * high), up(tasks, column_blocks) // column_blocks)
    block_rows = up(up(m, row_blocks) // row_blocks, high)
    row_blocks = up(m, block_rows) // block_rows
    column_blocks = up(tasks, row_blocks) // row_blocks
    if deep:  # threads share weights, unless the rows' blocks are as many for each
        column_blocks = tasks if row_blocks % tasks != 0 else 1
    block_panels = min(block_panels, up(up(panels, column_blocks) // column_blocks, wide))
    column_blocks = up(panels, block_panels) // block_panels
    block, seen = np.empty(0, np.uint8), 0
    if before != NONE and (deep or column_blocks > (threads if m <= high else 1) or (a_size > 1 and near)):
        # Once for all columns, and along whole rows. A few rows each thread does for itself: to fetch what another one
        # has just written takes longer.
        ld = up(k, 64) | 64 if deep else row_bytes(k)  # where K is deep, an odd number of cache lines is best
        block, a, seen = passed(pool, rung, before, a, lda, m, k, before_u, before_v, ld, row_step)
        lda, a_size, before = ld, 1, NONE
    w = np.empty(31, np.int64)
    w[0], w[1], w[2], w[3], w[4], w[5], w[6] = a, lda, b, panel, steps, m, n
    w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14] = c, ldc, size, start, finish, u, v, v_step
    w[15], w[16], w[17], w[18], w[19] = at(rung), block_rows, block_panels, row_blocks, depth
    w[20], w[21], w[22], w[23], w[24], w[25] = k, a_size, before, before_u, before_v, seen
    w[30] = row_step
    w[26], w[29] = deep, sums_bytes(rung, block_rows, wide if deep else block_panels, depth < steps)
    w[28] = w[29] + up(high * row_bytes(depth * rung[STEP]) if before != NONE else 0, 64)
    room = threads if pool != 0 else 1
    scratch, w[27] = aligned(room * w[28])
    run(pool, rung[PRODUCT], at(w), row_blocks * column_blocks, room, work >= LONG)
    keep(scratch)
    keep(block)
    met: int = w[25]  # also what keeps w alive until here
    return met


@inlined
def entrance(rung: Array, a: Array, flip: int) -> int:
    """The pass that codes go through on their way in: none where tiles can read them as they are."""
    k, lda = a.shape[1], a.strides[0]
    whole = k % rung[STEP] == 0 and (rung[STEP] == 4 or (at(a) % 64 == 0 and lda % 64 == 0 and lda % 2048 != 0))
    before: int = NONE if flip == 0 and whole and k > 0 else rung[COPY]
    return before


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
    skip, mask = -at(out) % 64 // 4 if out.size > m * n else 0, np.empty(1, np.uint8)
    mask[0] = flip
    start, c = column_start(sums, zero_point, np.empty(0, np.int32)), at(out) + skip * 4
    product(
        pool, threads, rung, at(a), a.strides[0], 1, entrance(rung, a, flip), at(mask), NONE, at(weights), panel, k, m,
        n, c, n * 4, FOUR, at(start), DIRECT, NONE, NONE, NONE, NONE,
    )  # fmt: skip
    keep(mask)
    keep(start)
    return skip
