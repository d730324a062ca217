"""The product of INT4 weights whose groups of K have a scale for each column, in float32.

    B [K x N], packed                            for each tile of panels (16 columns each), a few of which are a task:
          panels ->                                  Y[M x columns] = bias
       +----+----+----+--                            for each few groups of K, whose weights fit the first cache:
    K  |    |    |    | group                            for each tile of rows:
    |  +----+----+----+--                                    Y[rows x columns] += the groups, one after the other:
    v  |    |    |    | group                                    float32(sums - zero points) * scales of the group

Micro-kernels in vector registers unpack weights there, and end groups there (`codegen.int4`). For AMX a group is
unpacked into the first cache, and its sums go through memory: that pays for more than a few rows.
"""

from typing import Any, NamedTuple

import numpy as np

from ..loops.blocking import ALONE, LONG
from ..loops.matrix import read_all_rows
from ..loops.memory import aligned, ceil_div, round_up, row_bytes
from ..loops.records import NONE, PRODUCT, QPARAMS, kernel_at, offset, qparams_at
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, int64s_at, keep_alive
from ..runtime.records import fields, view_of
from ..runtime.threads import run
from .layer import find_qparams_by_threads
from .matmul import DONE, NAN

INT4 = fields(
    "task kernel range_task "  # addresses: of `int4_task`, a KERNEL, and `layer.range_task`
    "group_kernels unpack add_groups add_group "  # see `codegen`: a table of the first, or the other functions
    "data panel_bytes k n "  # the weights, see `PackedInt4`; K as it is stored, padded with zeros
    "group_size groups scales column_sums "  # a scale and a sum of codes for each column in each group
    "bias flip zero_point "  # flip: xor-ed to codes on their way in; their zero point then, or what is added to it
    # Filled in by a call:
    "a a_stride m out qparams zeros block_panels scratch thread_scratch"
)
int4_at = view_of(INT4)
FLIP, SCALE = np.int64(offset(INT4, "flip")), np.int64(offset(QPARAMS, "scale"))
PIECE = 256  # most steps of K whose weights lie in the first cache: 2 KB for each panel, 4 KB unpacked


@inlined
def groups_of_piece(group_size: int) -> int:
    """How many groups a piece of K holds; 1 if it does not hold a whole one."""
    return max(1, PIECE // group_size)


class Tile(NamedTuple):
    """Some panels of the weights, and where a thread keeps what it needs for them."""

    panel: int
    panels: int
    stride: int  # bytes of a row of sums, and of y
    y: int  # the result so far: float32 [M, columns]
    codes: int  # on AMX: a piece of the weights in int8, panel after panel
    sums: int  # and sums of the groups in it: int32 [groups, M, columns]


@inlined
def thread_scratch(r: Any, kernel: Any) -> int:
    """Bytes that a thread needs."""
    results = 1 if r.group_kernels != NONE else 1 + groups_of_piece(r.group_size)
    codes = 0 if r.group_kernels != NONE else kernel.tile_panels * PIECE * 16
    nbytes: int = codes + results * kernel.tile_panels * r.m * 64
    return nbytes


@inlined
def tile_of(r: Any, kernel: Any, thread: int, panel: int, last: int) -> Tile:
    """The tile that begins with `panel`, in this thread's scratch."""
    wide, y = kernel.tile_panels, r.scratch + thread * r.thread_scratch
    panels, size = min(wide, last - panel), r.m * wide * 64
    return Tile(panel, panels, panels * 64, y, y + size, y + size + wide * PIECE * 16)


@inlined
def of_group(r: Any, tile: Tile, group: int) -> int:
    """How far a group's scales and column sums for this tile lie from the first ones, in bytes."""
    nbytes: int = (tile.panel * r.groups + group) * 64
    return nbytes


@inlined
def add_in_registers(r: Any, kernel: Any, tile: Tile) -> None:
    """Y[M x columns] += A[M x K] @ B[K x columns], a few groups at a time: their weights stay while rows pass by."""
    together = groups_of_piece(r.group_size)
    # As many rows as fit a tile, and the same number in each, as near as may be.
    at_once = ceil_div(r.m, ceil_div(r.m, kernel.tile_rows))
    for group in range(0, r.groups, together):
        first, numbers = group * r.group_size, of_group(r, tile, group)
        eights, b = min(r.k - first, together * r.group_size) // 8, r.data + tile.panel * r.panel_bytes + first * 8
        groups = r.column_sums + numbers, r.scales + numbers, r.groups * 64, r.zero_point, r.qparams + SCALE
        for i in range(0, r.m, at_once):
            rows = min(at_once, r.m - i)
            micro_kernel = int64s_at(r.group_kernels)[(rows - 1) * kernel.tile_panels + tile.panels - 1]
            operands = r.a + i * r.a_stride + first, r.a_stride, b, r.panel_bytes, eights, r.group_size // 8
            call(micro_kernel, operands + (tile.y + i * tile.stride, tile.stride) + groups)


@inlined
def unpack_piece(r: Any, tile: Tile, first: int, steps: int) -> None:
    """Steps of K from `first` on to int8, and the piece after it on its way from memory, or that of the next tile."""
    for q in range(tile.panels):
        piece = r.data + (tile.panel + q) * r.panel_bytes + first * 8
        ahead = piece + steps * 8
        if first + steps >= r.k:
            ahead += (tile.panels - 1) * r.panel_bytes
        call(r.unpack, (piece, steps * 8, tile.codes + q * PIECE * 16, ahead))


@inlined
def multiply_piece(r: Any, kernel: Any, tile: Tile, first: int, skipped: int, steps: int, sums: int) -> None:
    """sums[M x columns] += A[M x steps] @ the steps of K from `first` on, `skipped` behind the piece's begin.

    To wake tiles takes long: `int4_task` has done it for all but a last few rows.
    """
    rows_of_tile, codes, starts = kernel.tile_rows, tile.codes + skipped * 16, first % r.group_size == 0
    for i in range(0, r.m, rows_of_tile):
        rows, a, c = min(rows_of_tile, r.m - i), r.a + i * r.a_stride + first, sums + i * tile.stride
        micro_kernel = int64s_at(kernel.micro_kernels)[(rows - 1) * kernel.tile_panels + tile.panels - 1]
        start, start_stride = (r.zeros, NONE) if starts else (c, tile.stride)
        if i > 0 and rows < rows_of_tile:
            call(kernel.configure, (rows,))
        operands = a, r.a_stride, codes, PIECE * 16, steps // kernel.step_bytes
        call(micro_kernel, operands + (c, tile.stride, start, start_stride, NONE, NONE))
    if r.m > rows_of_tile and r.m % rows_of_tile != 0:
        call(kernel.configure, (rows_of_tile,))


@inlined
def add_groups(r: Any, tile: Tile, first: int, count: int, together: int) -> None:
    """Y[M x columns] += what the sums of `count` groups are worth; `together` of them in one pass."""
    at_once, size = (together, 0) if count == together else (1, r.m * tile.stride)
    function = r.add_groups if count == together else r.add_group
    for group in range(0, count, at_once):
        numbers = of_group(r, tile, first + group)
        groups = r.column_sums + numbers, r.scales + numbers, r.groups * 64, r.zero_point, r.qparams + SCALE
        call(function, (tile.y, tile.sums + group * size, r.m, tile.panels * 16) + groups)


@inlined
def add_in_tiles(r: Any, kernel: Any, tile: Tile) -> None:
    """The same on AMX. Weights are unpacked a piece of K at a time: some groups, or a part of one. What they are worth
    is added when all their sums are on their way to memory: to wait for those of each group would take longer."""
    together = groups_of_piece(r.group_size)
    for group in range(0, r.groups, together):
        begin, end = group * r.group_size, min(r.k, (group + together) * r.group_size)
        for first in range(begin, end, PIECE):
            last = min(end, first + PIECE)
            unpack_piece(r, tile, first, last - first)
            for g in range(first // r.group_size, ceil_div(last, r.group_size)):
                place, sums = max(g * r.group_size, first), tile.sums + (g - group) * r.m * tile.stride
                steps = min(last, (g + 1) * r.group_size) - place
                multiply_piece(r, kernel, tile, place, place - first, steps, sums)
        add_groups(r, tile, group, min(together, r.groups - group), together)


@task
def int4_task(record: Any, index: int, thread: int) -> None:
    """Some panels of the product, all rows: tile by tile."""
    r = int4_at(address_of(record))
    kernel, last = kernel_at(r.kernel), min(index * r.block_panels + r.block_panels, ceil_div(r.n, 16))
    call(kernel.configure, (min(r.m, kernel.tile_rows),))
    for panel in range(index * r.block_panels, last, kernel.tile_panels):
        tile, place = tile_of(r, kernel, thread, panel, last), panel * 64
        call(kernel.to_int32, (r.bias + place, 0, r.m, tile.panels * 16, tile.y, tile.stride, 0, 0))
        if r.group_kernels != NONE:
            add_in_registers(r, kernel, tile)
        else:
            add_in_tiles(r, kernel, tile)
        columns = min(tile.panels * 16, r.n - panel * 16)
        call(kernel.to_int32, (tile.y, tile.stride, r.m, columns, r.out + place, r.n * 4, 0, 0))
    call(kernel.release, (0,))


@inlined
def multiply(pool: int, threads: int, r: Any) -> None:
    """The product of rows that lie ready at r.a, in tasks of some panels each."""
    kernel, panels, work = kernel_at(r.kernel), ceil_div(r.n, 16), r.k * r.n * (r.m + 24)
    if work < ALONE:
        pool = 0
    zeros = np.zeros(kernel.tile_panels * 16, np.int32)
    r.zeros, r.thread_scratch = address_of(zeros), thread_scratch(r, kernel)
    r.block_panels = panels if pool == 0 else round_up(ceil_div(panels, 4 * threads), kernel.tile_panels)
    max_threads = threads if pool != 0 else 1
    scratch, r.scratch = aligned(max_threads * r.thread_scratch)
    run(pool, r.task, address_of(r), ceil_div(panels, r.block_panels), max_threads, work >= LONG)
    keep_alive(zeros)
    keep_alive(scratch)


@inlined
def read_rows(pool: int, r: Any, x: Array, prologue: int, u: int) -> tuple[Array, int]:
    """All rows of x through the prologue, to where `multiply` finds them: (what to keep, not 0 for NaN)."""
    product = np.zeros(1, PRODUCT)
    p = product[0]
    p.kernel, p.a, p.a_stride, p.m, p.k = r.kernel, address_of(x), x.strides[0], x.shape[0], x.shape[1]
    p.prologue, p.prologue_u, p.prologue_v = prologue, u, address_of(r) + FLIP
    rows = read_all_rows(pool, p, row_bytes(x.shape[1]))
    r.a, r.a_stride, r.m = p.a, p.a_stride, p.m
    nan_count: int = p.nan_count
    keep_alive(product)
    return rows, nan_count


CODES, REALS = "Array(uint8, 2, 'A', readonly=True)", "Array(float32, 2, 'C', readonly=True)"
FLOATS = "Array(float32, 1, 'C', readonly=True)"
WORDS = "Array(int64, 1, 'C', readonly=True)"


@inlined
def new_record(words: Array, out: Array) -> Any:
    """A call's own INT4, from that of the pack."""
    own = words.copy()
    int4_at(address_of(own)).out = address_of(out)
    return own


@compiled(f"int64(int64, int64, {WORDS}, {CODES}, {FLOATS}, float32[:, ::1])")
def of_codes(pool: int, threads: int, words: Array, codes: Array, qparams: Array, out: Array) -> int:
    """The product of codes [M, K]. words: an INT4, which a call copies. qparams: as a QPARAMS."""
    own = new_record(words, out)
    r = int4_at(address_of(own))
    r.qparams = address_of(qparams)
    r.zero_point += np.int64(qparams_at(r.qparams).zero_point)
    rows, _ = read_rows(pool, r, codes, kernel_at(r.kernel).copy_codes, address_of(r) + FLIP)
    multiply(pool, threads, r)
    keep_alive(rows)
    keep_alive(own)
    return DONE


@compiled(f"int64(int64, int64, {WORDS}, {REALS}, {FLOATS}, float32[:, ::1])")
def of_reals(pool: int, threads: int, words: Array, x: Array, qparams: Array, out: Array) -> int:
    """The same of float32 [M, K], quantized by qparams or, if their scale is 0, by the range of x. Returns a status as
    `layer.find_qparams`."""
    own, found_floats = new_record(words, out), qparams.copy()
    r, found = int4_at(address_of(own)), qparams_at(address_of(found_floats))
    kernel = kernel_at(r.kernel)
    status: int = find_qparams_by_threads(pool, kernel, r.range_task, x, found)
    if status != DONE:
        return status
    r.qparams = address_of(found)
    r.zero_point += np.int64(found.zero_point)
    rows, nan_count = read_rows(pool, r, x, kernel.quantize, r.qparams)
    if nan_count == 0:
        multiply(pool, threads, r)
    keep_alive(rows)
    keep_alive(own)
    keep_alive(found_floats)
    return DONE if nan_count == 0 else NAN
