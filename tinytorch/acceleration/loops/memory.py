"""Scratch memory: how far apart rows are laid, blocks that begin on a cache line, bytes that are filled."""

import numpy as np

from ..runtime import layout
from ..runtime.compiled import Array, Entry, inlined
from ..runtime.intrinsics import address_of, int32s_at


@inlined
def ceil_div(n: int, unit: int) -> int:
    """How many units hold n."""
    return (n + unit - 1) // unit


@inlined
def round_up(n: int, unit: int) -> int:
    """n, or the next multiple of unit."""
    return (n + unit - 1) // unit * unit


row_bytes = inlined(layout.row_bytes)


@inlined
def aligned(nbytes: int) -> tuple[Array, int]:
    """(block, address) of uninitialized bytes; the address divides by 64: a row on two cache lines costs double. All
    scratch of more than a few numbers is made here. It ends where its block ends: what is left over lies before it."""
    block = np.empty(nbytes + 64, np.uint8)
    return block, (address_of(block) + 64) // 64 * 64


def _bytes_to_line(block: Array) -> int:
    """From where a block begins to the next cache line; NumPy takes five times as long to say where it begins."""
    skipped: int = -address_of(block) % layout.ALIGNMENT
    return skipped


bytes_to_line = Entry(_bytes_to_line, "int64(uint8[::1])", integers_only=True)


@inlined
def fill(address: int, code: int, nbytes: int) -> None:
    """Fill bytes with a code, four at a time, and up to three more."""
    numbers, four = int32s_at(address), (code & 255) * 0x01010101
    for i in range((nbytes + 3) // 4):
        numbers[i] = four
