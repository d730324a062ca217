"""How numbers lie in memory, where more than one floor must know it."""

ALIGNMENT = 64  # bytes of a cache line
ALIGN_FROM = 1 << 16  # bytes of a result from which an aligned start is worth its slicing
ROW_FLOATS = 8  # of the quantization parameters of a row that has its own: see `loops.rows`
ROW_BYTES = 4 * ROW_FLOATS
