"""What a micro-kernel computes: the product of a few rows with a few panels, its sums never leaving registers or tiles.

    C[rows x 16 panels] = start + A[rows x K] @ B[K x 16 panels]          int32, wrapping; for bfloat16 float32

Weights come packed as (N/16, K/4, 16, 4): a panel is 16 columns, and each 64 bytes of it hold four steps of K for each
of them. That is what one dot product of 512 bits reads, two of 256, four of 128, and what a row of an AMX tile is. So
one packing serves all kernels. For bfloat16 the same four bytes are two numbers.

    B, packed     panel 0: columns 0 to 15        panel 1: columns 16 to 31
    k = 0         w[0:4, 0] w[0:4, 1] ...         w[0:4, 16] ...                  64 bytes each
    k = 1         w[4:8, 0] w[4:8, 1] ...         w[4:8, 16] ...
    ...           one after the other             panel_bytes after panel 0

All micro-kernels are called alike; strides are in bytes:

    a, lda                   activations, row by row
    b, panel_bytes           weights
    steps                    groups of four bytes of K; of 64 bytes for AMX
    c, ldc                   the result
    start, ld_start          what is known ahead: for each column its zero point's part and its bias, one row for all
                             (ld_start 0), or the sums of the steps of K that went before
    prefetch, fetch_lines    weights that are wanted soon, and how many cache lines of each panel to fetch a step: only
                             AMX kernels for a deep K look at them
"""

SIGNATURE = (
    "(ptr %a, i64 %lda, ptr %b, i64 %panel_bytes, i64 %steps, ptr %c, i64 %ldc, ptr %start, i64 %ld_start, "
    "ptr %prefetch, i64 %fetch_lines)"
)

# Every module of micro-kernels has `configure(rows)` and `release()`; only AMX has something to do there.
NO_CONFIGURATION = """
define void @configure(i64 %rows) {
  ret void
}
define void @release() {
  ret void
}"""

# The end of a step of K: to the next one, or out of the loop.
NEXT_STEP = """
  %k.next = add i64 %k, 1
  %more = icmp slt i64 %k.next, %steps
  br i1 %more, label %loop, label %done"""


def address(target: str, base: str, stride: str, count: int, offset: str | int | None = None) -> str:
    """target = base + count * stride + offset."""
    if offset is None:
        return f"""
        {target}.off = mul i64 {stride}, {count}
        {target} = getelementptr i8, ptr {base}, i64 {target}.off"""
    return f"""
    {target}.far = mul i64 {stride}, {count}
    {target}.off = add i64 {target}.far, {offset}
    {target} = getelementptr i8, ptr {base}, i64 {target}.off"""
