"""The product of float32 rows with stored codes: weights become float32 piece by piece, in the first cache.

    for each tile of panels (16 columns each), a few of which are a task:
        Y[M x columns] = bias
        for each PIECE steps of K:
            W[piece x columns] = (codes - zero points) * scales
            for each tile of rows:
                Y[rows x columns] += A[rows x piece] @ W

A piece's products are added up one after the other, by fused multiply-adds, then to Y. So no result is farther from the
exact one than PIECE + K / PIECE roundings of its largest possible sum; one after the other they would be K.
"""

from typing import Any, NamedTuple

from ..loops.blocking import ALONE, LONG
from ..loops.memory import aligned, ceil_div, round_up
from ..loops.records import NONE, kernel_at
from ..runtime.compiled import Array, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, int64s_at, keep_alive
from ..runtime.records import fields, view_of
from ..runtime.threads import run

WEIGHT_ONLY = fields(
    "task kernel real_weights "  # addresses: of `weight_only_task`, a KERNEL of float32, and `jit.real_weights`
    "data panel_bytes codes_per_byte k n "  # the weights, packed as by `prepack_int8`
    "group_size groups scales zero_points bias "  # scales and zero points: see `by_panel`; zero_points may be NONE
    # Filled in by a call:
    "a m out block_panels scratch thread_scratch"
)
weight_only_at = view_of(WEIGHT_ONLY)
PIECE = 64  # steps of K: 16 KB of float32 weights in the largest tile


class Tile(NamedTuple):
    """Some panels of the weights, and where a thread keeps what it needs for them."""

    panel: int
    panels: int
    stride: int  # bytes of a row of y
    weights: int  # a piece in float32, panel after panel
    y: int  # the result so far: float32 [M, columns]


@inlined
def read_piece(r: Any, tile: Tile, first: int) -> None:
    """A piece of the tile's weights as float32. (The pack is filled up to whole pieces.)"""
    group = first // r.group_size
    left, per_byte = (group + 1) * r.group_size - first, r.codes_per_byte
    for q in range(tile.panels):
        panel = tile.panel + q
        x, numbers = r.data + panel * r.panel_bytes + first * 16 // per_byte, panel * r.groups + group
        zero_points = r.zero_points + numbers * 16 if r.zero_points != NONE else NONE
        weights = x, PIECE * 16 // per_byte, tile.weights + q * PIECE * 64, r.scales + numbers * 64, zero_points
        call(r.real_weights, weights + (left * 16 // per_byte, r.group_size * 16 // per_byte))


@inlined
def multiply_piece(r: Any, kernel: Any, tile: Tile, first: int) -> None:
    """Y[M x columns] += A[M x piece] @ the piece, as many rows at a time as are in a tile, or nearly."""
    at_once = ceil_div(r.m, ceil_div(r.m, kernel.tile_rows))
    for i in range(0, r.m, at_once):
        rows, y = min(at_once, r.m - i), tile.y + i * tile.stride
        micro_kernel = int64s_at(kernel.micro_kernels)[(rows - 1) * kernel.tile_panels + tile.panels - 1]
        operands = r.a + (i * r.k + first) * 4, r.k * 4, tile.weights, PIECE * 64, min(PIECE, r.k - first)
        call(micro_kernel, operands + (y, tile.stride, y, tile.stride, NONE, NONE))


@task
def weight_only_task(record: Any, index: int, thread: int) -> None:
    """Some panels of the product, all rows: tile by tile."""
    r = weight_only_at(address_of(record))
    kernel, last = kernel_at(r.kernel), min(index * r.block_panels + r.block_panels, ceil_div(r.n, 16))
    weights = r.scratch + thread * r.thread_scratch
    y = weights + kernel.tile_panels * PIECE * 64
    for panel in range(index * r.block_panels, last, kernel.tile_panels):
        panels = min(kernel.tile_panels, last - panel)
        tile, place = Tile(panel, panels, panels * 64, weights, y), panel * 64
        call(kernel.to_int32, (r.bias + place, 0, r.m, panels * 16, y, tile.stride, 0, 0))
        for first in range(0, r.k, PIECE):
            read_piece(r, tile, first)
            multiply_piece(r, kernel, tile, first)
        columns = min(panels * 16, r.n - panel * 16)
        call(kernel.to_int32, (y, tile.stride, r.m, columns, r.out + place, r.n * 4, 0, 0))


REALS, WORDS = "Array(float32, 2, 'C', readonly=True)", "Array(int64, 1, 'C', readonly=True)"


@compiled(f"void(int64, int64, {WORDS}, {REALS}, float32[:, ::1])")
def weight_only(pool: int, threads: int, words: Array, x: Array, out: Array) -> None:
    """x [M, K] @ weights + bias. words: a WEIGHT_ONLY, which a call copies."""
    own = words.copy()
    r = weight_only_at(address_of(own))
    kernel, panels, work = kernel_at(r.kernel), ceil_div(r.n, 16), r.k * r.n * (x.shape[0] + 24)
    if work < ALONE:
        pool = 0
    room = threads if pool != 0 else 1
    r.a, r.m, r.out = address_of(x), x.shape[0], address_of(out)
    r.block_panels = panels if pool == 0 else round_up(ceil_div(panels, 4 * threads), kernel.tile_panels)
    r.thread_scratch = kernel.tile_panels * (PIECE + r.m) * 64
    scratch, r.scratch = aligned(room * r.thread_scratch)
    run(pool, r.task, address_of(own), ceil_div(panels, r.block_panels), room, work >= LONG)
    keep_alive(scratch)
    keep_alive(own)
