"""Which blocks a product is cut into, so that what is read again lies in the nearest cache that holds it.

C [M x N] in blocks of rows x panels, a task each.           K in one piece, if a tile's rows fit the first cache:

             panels ->                                        for each tile of rows of A, through the prologue:
          +--------+--------+                                     for each tile of panels of B, in the second cache:
   rows   | task 0 | task 2 |                                         C[tile] = A[tile rows] @ B[tile panels]
     |    +--------+--------+
     v    | task 1 | task 3 |                                 Deep K, the other way round: a piece of K of one tile of
          +--------+--------+                                 panels stays in the first cache while all rows pass by;
                                                              sums wait, and the next piece is fetched meanwhile.
                                                              If all of C stays near, sums wait there (sums_in_c) and
                                                              K is cut into pieces whose rows fit the first cache.
"""

from typing import Any

from ..runtime.compiled import inlined
from .memory import ceil_div, round_up, row_bytes
from .records import NONE

L2 = 1 << 20  # bytes of weights that stay near one core while all rows pass by
L1 = 1 << 15  # bytes of a tile's rows that the first cache keeps while panels pass by
SLICE = 3 << 13  # bytes of a tile's weights that it keeps while rows pass by, where K is deep
ROWS = 3 << 18  # bytes of rows that stay near one core while weights pass by, where K is deep
NEAR = 1 << 20  # sums that may be left and taken up again without waiting for memory
UNPACKED = 64  # steps of K that are unpacked at once, at least
MANY_ROWS = 512  # for which a piece of K of all weights may be fetched at once, before it multiplies
ALONE = 1 << 23  # K * N * (M + 24): the work that is done before a second thread has heard of it
LONG = 1 << 27  # the same: what takes so long that a sleeping thread is woken for it, and that one may be held up


@inlined
def work_of(p: Any) -> int:
    """What a product costs, in multiplications; reading the weights costs as much as 24 rows."""
    work: int = p.k * p.n * (p.m + 24)
    return work


@inlined
def choose_depth(p: Any, kernel: Any) -> None:
    """Cut K: into one piece, or where a tile's rows would not fit the first cache into pieces of `depth` steps."""
    k_bytes, rows = round_up(max(p.k, 1), kernel.step_bytes), kernel.tile_rows
    does_not_fit = p.m > 2 * rows and rows * k_bytes > L1
    few_bits = p.unpack != NONE  # a piece of weights is unpacked once for all rows of a block
    p.sums_in_c = does_not_fit and p.m >= MANY_ROWS and p.m * p.n <= NEAR and p.n * (L1 // rows) <= L2 and not few_bits
    p.is_deep = (does_not_fit or few_bits) and p.sums_in_c == 0
    piece = L1 // rows if p.sums_in_c else SLICE // (16 * kernel.tile_panels)
    pieces = ceil_div(k_bytes, piece) if does_not_fit or few_bits else 1
    p.k_steps = k_bytes // kernel.step_bytes
    p.depth = ceil_div(p.k_steps, pieces)
    if few_bits:
        p.depth = round_up(p.depth, UNPACKED // kernel.step_bytes)
    p.codes_stride = row_bytes(p.depth * kernel.step_bytes)


@inlined
def choose_blocks(p: Any, kernel: Any, tasks: int) -> int:
    """Cut C for about so many tasks, each of whole tiles. Returns the number of blocks side by side."""
    panels, rows, wide = ceil_div(p.n, 16), kernel.tile_rows, kernel.tile_panels
    if p.is_deep:
        row_blocks, block_panels = ceil_div(p.m * p.k, ROWS), round_up(panels, wide)
    else:
        near = L2 // (p.depth * kernel.step_bytes * 16) // wide * wide
        block_panels = max(wide, min(round_up(panels, wide), near))
        row_blocks = min(ceil_div(p.m, 2 * rows), ceil_div(tasks, ceil_div(panels, block_panels)))
    p.block_rows = round_up(ceil_div(p.m, row_blocks), rows)
    p.row_blocks = ceil_div(p.m, p.block_rows)
    side_by_side = ceil_div(tasks, p.row_blocks)
    if p.is_deep:  # threads share weights, unless the rows' blocks are as many for each
        side_by_side = tasks if p.row_blocks % tasks != 0 else 1
    p.block_panels = min(block_panels, round_up(ceil_div(panels, side_by_side), wide))
    return ceil_div(panels, p.block_panels)


@inlined
def unpacked_bytes(k: int) -> int:
    """Bytes of k steps of K of a panel, unpacked."""
    nbytes: int = round_up(k, UNPACKED) * 16
    return nbytes


@inlined
def choose_scratch(p: Any, kernel: Any) -> None:
    """Bytes that a thread needs: unpacked weights of a tile, sums of tiles that wait for the next piece of K, sums of
    one finished tile, codes."""
    waiting = 0
    if p.depth < p.k_steps:
        across = 1 if p.is_deep else ceil_div(p.block_panels, kernel.tile_panels)
        waiting = ceil_div(p.block_rows, kernel.tile_rows) * across
    p.sums_bytes = (waiting + 1) * kernel.tile_rows * kernel.tile_panels * 64
    codes = kernel.tile_rows * p.codes_stride if p.prologue != NONE else 0
    p.weights_bytes = kernel.tile_panels * unpacked_bytes(p.depth * kernel.step_bytes) if p.unpack != NONE else 0
    p.thread_scratch = p.weights_bytes + p.sums_bytes + round_up(codes, 64)
