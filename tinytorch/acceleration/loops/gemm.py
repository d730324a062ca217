"""The blocked product C = epilogue(prologue(A) @ B): the walk over the tiles of a block, and over the blocks.

    A  [M x K]  rows of codes, or of reals that the prologue quantizes into the first cache, a tile's rows at a time
    B  [K x N]  int8, packed: 16 columns make a panel, in which four steps of K of a column lie side by side
    C  [M x N]  a micro-kernel adds up one tile of int32 sums in registers; the epilogue makes of them what C holds

Which blocks there are is said in `blocking`. Numba compiles this file once for a processor; what differs between
instruction sets comes in by address, in a KERNEL record.
"""

from typing import Any, NamedTuple

import numpy as np

from ..runtime.compiled import always_inlined, inlined, task
from ..runtime.intrinsics import address_of, call, int64s_at, keep_alive
from ..runtime.records import atomic_add
from ..runtime.threads import run
from .blocking import ALONE, LONG, choose_blocks, choose_depth, choose_scratch, unpacked_bytes, work_of
from .matrix import read_all_rows
from .memory import aligned, ceil_div, round_up, row_bytes
from .records import DIRECT, NONE, kernel_at, product_at


class Block(NamedTuple):
    """What a task computes of C."""

    first_row: int
    last_row: int
    first_panel: int
    last_panel: int


class Piece(NamedTuple):
    """Some steps of K."""

    first: int
    steps: int
    is_last: bool


class Rows(NamedTuple):
    """The rows of a tile, as micro-kernels read them."""

    first: int
    height: int
    address: int
    stride: int


class Tile(NamedTuple):
    """The columns of a tile, and where it lies in C."""

    panel: int
    panels: int
    columns: int
    c: int


class Weights(NamedTuple):
    """A piece of K of a tile's weights, as micro-kernels read them."""

    address: int
    panel_bytes: int


class Sums(NamedTuple):
    """Where a tile's sums wait for the next piece of K, and where they are when they are finished."""

    waiting: int
    finished: int


class Fetch(NamedTuple):
    """What the micro-kernel asks memory for meanwhile: so many cache lines in each step, of each panel."""

    address: int
    lines: int


@always_inlined
def block_of(p: Any, index: int) -> Block:
    """Block number `index`: they are counted down the rows first, so that neighbours share weights."""
    row, panel = index % p.row_blocks * p.block_rows, index // p.row_blocks * p.block_panels
    return Block(row, min(row + p.block_rows, p.m), panel, min(panel + p.block_panels, ceil_div(p.n, 16)))


@always_inlined
def piece_of(p: Any, first: int) -> Piece:
    """The piece of K that begins at step `first`."""
    return Piece(first, min(p.depth, p.k_steps - first), first + p.depth >= p.k_steps)


@always_inlined
def tile_of(p: Any, kernel: Any, first_row: int, panel: int, last_panel: int) -> Tile:
    """The tile at this row and panel."""
    panels = min(kernel.tile_panels, last_panel - panel)
    columns, c = min(panels * 16, p.n - panel * 16), p.c + first_row * p.c_stride + panel * 16 * p.c_itemsize
    return Tile(panel, panels, columns, c)


@always_inlined
def read_rows(p: Any, piece: Piece, first: int, count: int, codes: int) -> tuple[Rows, int]:
    """A tile's rows: as they lie, or through the prologue to `codes`. And not 0 if it met a NaN."""
    done = piece.first * kernel_at(p.kernel).step_bytes
    a = p.a + first * p.a_stride + done * p.a_itemsize
    if p.prologue == NONE:
        return Rows(first, count, a, p.a_stride), 0
    k = min(piece.steps * kernel_at(p.kernel).step_bytes, p.k - done)
    v = p.prologue_v + first * p.row_v
    seen = call(p.prologue, (a, p.a_stride, count, k, codes, p.codes_stride, p.prologue_u, v))
    return Rows(first, count, codes, p.codes_stride), seen


@always_inlined
def packed_at(p: Any, panel: int, k: int) -> int:
    """Where step k of a panel of packed weights lies."""
    nbytes = k * 16
    if p.unpack != NONE:
        nbytes //= p.codes_per_byte
    address: int = p.b + panel * p.panel_bytes + nbytes
    return address


@always_inlined
def read_weights(p: Any, piece: Piece, panel: int, last_panel: int, scratch: int, ahead: int) -> Weights:
    """A piece of a tile's weights: as they lie, or unpacked into the scratch before `scratch`. ahead: what is unpacked
    next, which is fetched from memory meanwhile; or 0."""
    kernel = kernel_at(p.kernel)
    packed, k = packed_at(p, panel, piece.first * kernel.step_bytes), piece.steps * kernel.step_bytes
    if p.unpack == NONE:
        return Weights(packed, p.panel_bytes)
    room, panel_bytes = scratch - p.weights_bytes, unpacked_bytes(p.depth * kernel.step_bytes)
    for i in range(min(kernel.tile_panels, last_panel - panel)):
        x, y = packed + i * p.panel_bytes, room + i * panel_bytes
        after = x if ahead == NONE else ahead + i * p.panel_bytes
        call(p.unpack, (x, unpacked_bytes(k) // p.codes_per_byte, y, after))
    return Weights(room, panel_bytes)


@always_inlined
def multiply_tile(p: Any, piece: Piece, rows: Rows, weights: Weights, tile: Tile, sums: Sums, fetch: Fetch) -> None:
    """C[rows x columns] += A[rows x piece] @ B[piece x columns], one tile; after the last piece, its epilogue."""
    kernel = kernel_at(p.kernel)
    stride, is_whole = kernel.tile_panels * 64, p.c_itemsize == 4 and tile.columns == tile.panels * 16
    to, to_stride = sums.finished if piece.is_last else sums.waiting, stride
    begin, begin_stride, is_direct = sums.waiting, stride, is_whole and p.epilogue == DIRECT
    if is_whole and p.sums_in_c != 0:
        begin, begin_stride = tile.c, p.c_stride
    if is_whole and (p.sums_in_c != 0 or (piece.is_last and is_direct)):
        to, to_stride = tile.c, p.c_stride
    if piece.first == 0:
        begin, begin_stride = p.start + tile.panel * 64, 0
    table = kernel.micro_kernels + (8 * kernel.tile_rows * kernel.tile_panels if p.is_deep != 0 else 0)
    micro_kernel = int64s_at(table)[(rows.height - 1) * kernel.tile_panels + tile.panels - 1]
    operands = rows.address, rows.stride, weights.address, weights.panel_bytes, piece.steps
    call(micro_kernel, operands + (to, to_stride, begin, begin_stride, fetch.address, fetch.lines))
    if piece.is_last and not is_direct:
        epilogue, column = kernel.to_int32 if p.epilogue == DIRECT else p.epilogue, tile.panel * 16
        u, v = p.epilogue_u + column * p.column_u, p.epilogue_v + column * p.column_v + rows.first * p.row_v
        call(epilogue, (to, to_stride, rows.height, tile.columns, tile.c, p.c_stride, u, v))


@always_inlined
def block_by_rows(p: Any, index: int, scratch: int) -> int:
    """A block whose rows fit the first cache, a tile's rows at a time: they meet all panels of the block there."""
    kernel, block, seen, configured = kernel_at(p.kernel), block_of(p, index), 0, 0
    tile_bytes, codes = kernel.tile_rows * kernel.tile_panels * 64, scratch + p.sums_bytes
    finished = codes - tile_bytes
    for first in range(0, p.k_steps, p.depth):
        piece, waiting = piece_of(p, first), scratch
        for i in range(block.first_row, block.last_row, kernel.tile_rows):
            rows, met = read_rows(p, piece, i, min(kernel.tile_rows, block.last_row - i), codes)
            seen += met
            if rows.height != configured:
                call(kernel.configure, (rows.height,))
                configured = rows.height
            # C[rows x the block's columns] += A[rows x piece] @ B[piece x the block's columns]
            for panel in range(block.first_panel, block.last_panel, kernel.tile_panels):
                tile = tile_of(p, kernel, i, panel, block.last_panel)
                weights = read_weights(p, piece, panel, block.last_panel, scratch, NONE)
                multiply_tile(p, piece, rows, weights, tile, Sums(waiting, finished), Fetch(NONE, NONE))
                waiting += tile_bytes
    return seen


@inlined
def next_weights(p: Any, kernel: Any, piece: Piece, panel: int, last_panel: int) -> int:
    """Where the weights begin that come after this piece of this tile of panels; 0 after the last."""
    if not piece.is_last:
        ahead: int = packed_at(p, panel, (piece.first + piece.steps) * kernel.step_bytes)
        return ahead
    following = panel + kernel.tile_panels
    address: int = p.b + following * p.panel_bytes if following < last_panel else NONE
    return address


@inlined
def block_by_weights(p: Any, index: int, scratch: int) -> None:
    """A block of deep K: a piece of a tile's weights stays in the first cache while all rows of the block pass by. Each
    tile of rows fetches its share of the weights that come next."""
    kernel, block, configured = kernel_at(p.kernel), block_of(p, index), 0
    tile_bytes, height = kernel.tile_rows * kernel.tile_panels * 64, block.last_row - block.first_row
    finished = scratch + p.sums_bytes - tile_bytes
    for panel in range(block.first_panel, block.last_panel, kernel.tile_panels):
        for first in range(0, p.k_steps, p.depth):
            piece, waiting = piece_of(p, first), scratch
            ahead, lines = next_weights(p, kernel, piece, panel, block.last_panel), 0
            weights = read_weights(p, piece, panel, block.last_panel, scratch, ahead)
            left = p.depth * kernel.step_bytes * 16 // 64 if ahead != NONE and p.unpack == NONE else 0
            lines = ceil_div(left, ceil_div(height, kernel.tile_rows) * piece.steps)
            # C[the block's rows x 16 panels] += A[the block's rows x piece] @ B[piece x 16 panels]
            for i in range(block.first_row, block.last_row, kernel.tile_rows):
                rows, _ = read_rows(p, piece, i, min(kernel.tile_rows, block.last_row - i), NONE)
                if rows.height != configured:
                    call(kernel.configure, (rows.height,))
                    configured = rows.height
                tile = tile_of(p, kernel, i, panel, block.last_panel)
                multiply_tile(p, piece, rows, weights, tile, Sums(waiting, finished), Fetch(ahead, min(lines, left)))
                waiting += tile_bytes
                ahead += lines * piece.steps * 64
                left -= lines * piece.steps


@task
def product_task(record: Any, index: int, thread: int) -> None:
    """One block of a PRODUCT. The NaNs that its prologue met are added to its nan_count."""
    p, seen = product_at(address_of(record)), 0
    scratch = p.scratch + thread * p.thread_scratch + p.weights_bytes
    if p.is_deep != 0:
        block_by_weights(p, index, scratch)
    else:
        seen = block_by_rows(p, index, scratch)
    call(kernel_at(p.kernel).release, (0,))
    if seen != 0:
        atomic_add(p, "nan_count", seen)


@inlined
def product(pool: int, threads: int, p: Any) -> int:
    """A whole PRODUCT: choose the blocks, run the tasks. Returns not 0 if the prologue met a NaN."""
    kernel, work, rows = kernel_at(p.kernel), work_of(p), np.empty(0, np.uint8)
    if work < ALONE:
        pool = 0
    choose_depth(p, kernel)
    # More tasks than threads: one that is held up leaves its share to the others. But a short product ends before that,
    # and where K is cut each task walks through memory once more.
    tasks = 1 if pool == 0 else threads if work < LONG or p.depth < p.k_steps else 4 * threads
    side_by_side = choose_blocks(p, kernel, tasks)
    p.nan_count = 0
    # Rows go through the prologue once for all columns and along whole rows where they would go several times. A few
    # rows each thread does for itself: to fetch what another one has just written takes longer.
    again = side_by_side > (threads if p.m <= kernel.tile_rows else 1) or (p.a_itemsize > 1 and p.sums_in_c != 0)
    if p.prologue != NONE and (p.is_deep != 0 or again):
        # Where K is deep, an odd number of cache lines is best.
        rows = read_all_rows(pool, p, round_up(p.k, 64) | 64 if p.is_deep != 0 else row_bytes(p.k))
    choose_scratch(p, kernel)
    room = threads if pool != 0 else 1
    scratch, p.scratch = aligned(room * p.thread_scratch)
    run(pool, kernel.product_task, address_of(p), p.row_blocks * side_by_side, room, work >= LONG)
    keep_alive(scratch)
    keep_alive(rows)
    seen: int = p.nan_count
    return seen


@always_inlined
def prologue_of_codes(p: Any, flip: int) -> int:
    """The prologue of codes: none where micro-kernels can read A as it lies."""
    kernel, stride = kernel_at(p.kernel), p.a_stride
    lies_well = kernel.step_bytes == 4 or (p.a % 64 == 0 and stride % 64 == 0 and stride % 2048 != 0)
    as_it_lies = flip == 0 and lies_well and p.k > 0 and p.k % kernel.step_bytes == 0
    prologue: int = NONE if as_it_lies else kernel.copy_codes
    return prologue
