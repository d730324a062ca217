"""The INT4 product: pieces of the weights are unpacked to int8 into the first cache, where all rows meet them.

    B [K x N], packed                            for each tile of panels (16 columns each), a few of which are a task:
          panels ->                                  for each group of K, whose columns have scales of their own:
       +----+----+----+--                                for each piece of the group:
    K  |////|    |    |    piece                             unpack the piece
    |  |----| -  |    |                                      for each tile of rows:
    v  |    |    |    |    group                                 sums[rows x columns] += A[rows x piece] @ piece
       +====+====+====+==                                y[M x columns] += scales of the group * sums, less zero points
       |    |    |    |

A group's sums are 16 times too large (see `codegen.int4`), which int32 holds for SPAN steps of K. A longer group adds
up its sums in `totals` meanwhile. A piece is fetched from memory while the one before it multiplies.
"""

from typing import Any, NamedTuple

import numpy as np

from ..loops.blocking import ALONE, LONG
from ..loops.matrix import read_all_rows
from ..loops.memory import aligned, ceil_div, round_up, row_bytes
from ..loops.records import NONE, PRODUCT, QPARAMS, kernel_at, offset, qparams_at
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, int32s_at, int64s_at, keep_alive, prefetch
from ..runtime.records import fields, view_of
from ..runtime.threads import run
from .layer import find_qparams_by_threads
from .matmul import DONE, NAN

INT4 = fields(
    "task kernel range_task "  # addresses: of `int4_task`, a KERNEL, and `layer.range_task`
    "unpack add_sums add_group "  # addresses: see `codegen.int4`; add_group makes int32 or float32
    "data panel_bytes k n "  # the weights, see `PackedInt4`; K as it is stored, padded with zeros
    "group_size groups scales column_sums "  # a scale and a sum of codes for each column in each group
    "to_float bias "  # whether the result is float32, and what each column of it begins with; else int32
    "out "
    "flip zero_point "  # what is xor-ed to codes on their way in; their zero point then, or what is added to it
    # Filled in by `multiply`:
    "a a_stride m qparams zeros block_panels scratch thread_scratch"
)
int4_at = view_of(INT4)
FLIP, SCALE = np.int64(offset(INT4, "flip")), np.int64(offset(QPARAMS, "scale"))
PIECE = 256  # steps of K unpacked at once: 4 KB for each panel
SPAN = 1 << 16  # steps of K whose sums, times 16, fit int32
SIXTEENTH = 4  # bits by which such sums are shifted


class Tile(NamedTuple):
    """Some panels of the weights, and where a thread keeps what it needs for them."""

    panel: int
    panels: int
    columns: int
    codes: int  # a piece in int8, panel after panel
    sums: int  # int32 [M, columns]
    totals: int  # int32 [M, columns], of a group longer than SPAN
    y: int  # the result so far: [M, columns] of float32 or int32


@inlined
def thread_scratch(r: Any, kernel: Any) -> int:
    """Bytes that a thread needs."""
    results = 3 if r.group_size > SPAN else 2
    nbytes: int = kernel.tile_panels * (PIECE * 16 + results * r.m * 64)
    return nbytes


@inlined
def tile_of(r: Any, kernel: Any, thread: int, panel: int, last: int) -> Tile:
    """The tile that begins with `panel`, in this thread's scratch."""
    wide = kernel.tile_panels
    panels, codes, size = min(wide, last - panel), r.scratch + thread * r.thread_scratch, r.m * wide * 64
    y = codes + wide * PIECE * 16
    return Tile(panel, panels, panels * 16, codes, y + size, y + 2 * size, y)


@inlined
def unpack_piece(r: Any, tile: Tile, first: int, steps: int) -> None:
    """Steps of K from `first` on to int8, and the piece after it on its way from memory, or that of the next tile."""
    for q in range(tile.panels):
        piece = r.data + (tile.panel + q) * r.panel_bytes + first * 8
        call(r.unpack, (piece, steps * 8, tile.codes + q * PIECE * 16))
        ahead = piece + PIECE * 8
        if first + PIECE >= r.k:
            ahead += (tile.panels - 1) * r.panel_bytes
        for byte in range(0, steps * 8, 64):
            prefetch(ahead + byte)


@inlined
def multiply_piece(r: Any, kernel: Any, tile: Tile, first: int, steps: int, starts: bool) -> None:
    """sums[M x columns] += A[M x piece] @ piece. starts: whether the sums begin with this piece.

    To wake tiles takes long: `int4_task` has done it for all but a last few rows.
    """
    rows_of_tile, stride = kernel.tile_rows, tile.columns * 4
    for i in range(0, r.m, rows_of_tile):
        rows, a, sums = min(rows_of_tile, r.m - i), r.a + i * r.a_stride + first, tile.sums + i * stride
        micro_kernel = int64s_at(kernel.micro_kernels)[(rows - 1) * kernel.tile_panels + tile.panels - 1]
        start, start_stride = (r.zeros, NONE) if starts else (sums, stride)
        if i > 0 and rows < rows_of_tile:
            call(kernel.configure, (rows,))
        k_steps = steps // kernel.step_bytes
        operands = a, r.a_stride, tile.codes, PIECE * 16, k_steps
        call(micro_kernel, (*operands, sums, stride, start, start_stride, NONE, NONE))
    if r.m > rows_of_tile and r.m % rows_of_tile != 0:
        call(kernel.configure, (rows_of_tile,))


@inlined
def multiply_group(r: Any, kernel: Any, tile: Tile, group: int) -> None:
    """y[M x columns] += scales * (A[M x group] @ group, less zero points)."""
    begin = group * r.group_size
    end, is_long = min(r.k, begin + r.group_size), r.group_size > SPAN
    for first in range(begin, end, PIECE):
        steps = min(PIECE, end - first)
        unpack_piece(r, tile, first, steps)
        multiply_piece(r, kernel, tile, first, steps, (first - begin) % SPAN == 0)
        if is_long and ((first - begin) % SPAN == SPAN - PIECE or first + steps == end):
            call(r.add_sums, (tile.totals, tile.sums, r.m * tile.columns))
    sums, shift = (tile.totals, 0) if is_long else (tile.sums, SIXTEENTH)
    of_group = (round_up(r.n, 16) * group + tile.panel * 16) * 4
    column_sums, scales, scale = r.column_sums + of_group, r.scales + of_group, r.qparams + SCALE
    call(r.add_group, (tile.y, sums, r.m, tile.columns, column_sums, scales, r.zero_point, scale, shift))
    if is_long:
        zero(tile.totals, r.m * tile.columns)


@inlined
def zero(address: int, count: int) -> None:
    """int32[count] = 0."""
    for i in range(count):
        int32s_at(address)[i] = 0


@task
def int4_task(record: Any, index: int, thread: int) -> None:
    """Some panels of the product, all rows: tile by tile."""
    r = int4_at(address_of(record))
    kernel, last = kernel_at(r.kernel), min(index * r.block_panels + r.block_panels, ceil_div(r.n, 16))
    call(kernel.configure, (min(r.m, kernel.tile_rows),))
    for panel in range(index * r.block_panels, last, kernel.tile_panels):
        tile = tile_of(r, kernel, thread, panel, last)
        place, stride = panel * 64, tile.columns * 4
        if r.group_size > SPAN:
            zero(tile.totals, r.m * tile.columns)
        if r.to_float:
            call(kernel.to_int32, (r.bias + place, 0, r.m, tile.columns, tile.y, stride, 0, 0))
        else:
            zero(tile.y, r.m * tile.columns)
        for group in range(r.groups):
            multiply_group(r, kernel, tile, group)
        columns = min(tile.columns, r.n - panel * 16)
        call(kernel.to_int32, (tile.y, stride, r.m, columns, r.out + place, r.n * 4, 0, 0))
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


@compiled(f"int64(int64, int64, int64[::1], {CODES}, float32[::1])")
def of_codes(pool: int, threads: int, record: Array, codes: Array, qparams: Array) -> int:
    """The product of codes [M, K]. record: an INT4, whose upper half is filled in; it must not be used twice at once.
    qparams: as a QPARAMS."""
    r = int4_at(address_of(record))
    r.qparams = address_of(qparams)
    rows, _ = read_rows(pool, r, codes, kernel_at(r.kernel).copy_codes, address_of(r) + FLIP)
    multiply(pool, threads, r)
    keep_alive(rows)
    return DONE


@compiled(f"int64(int64, int64, int64[::1], {REALS}, float32[::1])")
def of_reals(pool: int, threads: int, record: Array, x: Array, qparams: Array) -> int:
    """The same of float32 [M, K], quantized by qparams or, if their scale is 0, by the range of x. Returns a status as
    `layer.find_qparams`."""
    r, found = int4_at(address_of(record)), qparams_at(address_of(qparams))
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
    return DONE if nan_count == 0 else NAN
