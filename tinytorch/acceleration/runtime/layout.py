"""How numbers lie in memory, where more than one floor must know it."""

ALIGNMENT = 64  # bytes of a cache line
ALIGN_FROM = 1 << 16  # bytes of a result from which an aligned start is worth its slicing
ROW_FLOATS = 8  # of the quantization parameters of a row that has its own: see `calls.rows`
ROW_BYTES = 4 * ROW_FLOATS


def row_bytes(nbytes: int) -> int:
    """How far apart rows of `nbytes` are laid: whole cache lines, and not at steps by which they would push each other
    out of the first cache, which finds a line's place by its address modulo 4096 (64 lines)."""
    lines = (max(nbytes, 1) + 63) // 64
    while lines % 8 == 0 or (lines > 8 and (lines + 3) % 64 < 7):
        lines += 1
    return lines * 64
