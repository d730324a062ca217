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

`register_kernel` keeps the sums in vector registers (`amx_kernels` in tiles). On avx512_vnni, 6 rows x 64 columns:

                          B: one load a vector of 16 columns, used by six rows
                             w.0        w.1        w.2        w.3
    A: four bytes    x.0   sum.0.0    sum.0.1    sum.0.2    sum.0.3
    of each row,     x.1   sum.1.0    sum.1.1    sum.1.2    sum.1.3
    broadcast        ...
                     x.5   sum.5.0    sum.5.1    sum.5.2    sum.5.3      24 sums + 4 weights + 1 broadcast: 29 of 32

One instruction adds four products to each lane of a sum, and takes some cycles for it. With 24 sums there is always one
that is ready for the next; and each load is used by several products.
"""

from .dot_products import DotProduct
from .ir import join

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


def register_kernel(name: str, dot: DotProduct, rows: int, panels: int) -> str:
    """C[rows x 16 panels] = start + A @ B."""
    vectors = panels * dot.vectors
    return join(
        f"define void @{name}{SIGNATURE} {{",
        _entry(rows, panels),
        f"; C[{rows} x {16 * panels}] += A[{rows} x 4 bytes] @ B[4 bytes x {16 * panels}]",
        _begin_step(dot, rows, vectors),
        *(_load_weights(dot, v) for v in range(vectors)),
        *(_multiply_row(dot, r, vectors) for r in range(rows)),
        NEXT_STEP,
        "done: ; C = sums + start",
        *(_store_row(dot, r, vectors) for r in range(rows)),
        "ret void",
        "}",
    )


def _entry(rows: int, panels: int) -> str:
    """%a.r, where each row begins, and %b.p, where each panel does."""
    return join(
        "entry:",
        *(address(f"%a.{r}", "%a", "%lda", r) for r in range(rows)),
        *(address(f"%b.{p}", "%b", "%panel_bytes", p) for p in range(panels)),
        "br label %loop",
    )


def _begin_step(dot: DotProduct, rows: int, vectors: int) -> str:
    """The sums so far, at first 0; %k.a and %k.b, how far step k lies from the start of a row and of a panel."""
    return join(
        "loop: ; for each step k",
        "%k = phi i64 [0, %entry], [%k.next, %loop]",
        *(
            f"%acc.{r}.{v} = phi {dot.acc} [zeroinitializer, %entry], [%sum.{r}.{v}, %loop]"
            for r in range(rows) for v in range(vectors)
        ),
        "%k.a = shl i64 %k, 2",
        "%k.b = shl i64 %k, 6",
    )  # fmt: skip


def _load_weights(dot: DotProduct, v: int) -> str:
    """%w.v: the weights of step k for the columns of vector v."""
    panel, part = divmod(v, dot.vectors)
    return join(
        f"""
        %w.off.{v} = add i64 %k.b, {part * dot.load_bytes}
        %w.at.{v} = getelementptr i8, ptr %b.{panel}, i64 %w.off.{v}
        %loaded.{v} = load {dot.load}, ptr %w.at.{v}, align 16""",
        dot.widen.format(weights=f"%w.{v}", loaded=f"%loaded.{v}", load=dot.load),
    )


def _multiply_row(dot: DotProduct, r: int, vectors: int) -> str:
    """sum[r, v] = acc[r, v] + w[v] . x[r], for all vectors v."""
    return join(
        f"""
        %x.at.{r} = getelementptr i8, ptr %a.{r}, i64 %k.a
        %four.{r} = load i32, ptr %x.at.{r}, align 1""",
        dot.broadcast.format(x=f"%x.{r}", four=f"%four.{r}"),
        *(
            dot.multiply_add.format(sum=f"%sum.{r}.{v}", acc=f"%acc.{r}.{v}", x=f"%x.{r}", weights=f"%w.{v}")
            for v in range(vectors)
        ),
    )


def _store_row(dot: DotProduct, r: int, vectors: int) -> str:
    """C[r] = sum[r] + start[r]."""
    return join(
        address(f"%c.{r}", "%c", "%ldc", r),
        address(f"%s.{r}", "%start", "%ld_start", r),
        *(_store_vector(dot, r, v) for v in range(vectors)),
    )


def _store_vector(dot: DotProduct, r: int, v: int) -> str:
    """C[r, columns of v] = sum[r, v] + start[r, columns of v]."""
    n, offset = f"{r}.{v}", v * dot.load_bytes
    return join(
        dot.fold.format(columns=f"%columns.{n}", acc=f"%sum.{n}", acc_type=dot.acc),
        f"""
        %s.at.{n} = getelementptr i8, ptr %s.{r}, i64 {offset}
        %s.{n} = load {dot.result}, ptr %s.at.{n}, align 4
        %total.{n} = {dot.add} {dot.result} %columns.{n}, %s.{n}
        %c.at.{n} = getelementptr i8, ptr %c.{r}, i64 {offset}
        store {dot.result} %total.{n}, ptr %c.at.{n}, align 4""",
    )
