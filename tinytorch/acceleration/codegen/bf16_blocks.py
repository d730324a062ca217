"""float32 -> bfloat16, rounded to nearest, ties to even, and put into the order that the micro-kernels read.

    void block_ST(ptr x, i64 ldx, i64 ks, i64 ns, ptr y, i64 ldy)      strides in bytes

converts a block of 32 steps along K x 16 columns (of weights, or rows of activations) along N. Of these `x` holds `ks`
and `ns`; what is missing becomes 0. S and T say how x and y lie: "k", rows of memory are steps of K, or "n", columns.

    x, S = "k"                     x, S = "n"
      k=0   n=0 n=1 ... n=15         n=0   k=0 k=1 ... k=31
      k=1   n=0 n=1 ... n=15         n=1   k=0 k=1 ... k=31
      ...                            ...
    y, T = "k": a panel            y, T = "n": activations                   a vector of 16 pairs each
      k=0,1   n=0 n=1 ... n=15       n=0   k=0,1 k=2,3 ... k=30,31
      k=2,3   n=0 n=1 ... n=15       n=1   k=0,1 k=2,3 ... k=30,31
      ...                            ...

Two numbers of one column, steps 2i and 2i + 1, are a pair of 32 bits. So first 16 vectors of pairs are made, in the
order of x; and if y lies the other way round, the 16 x 16 pairs are transposed.
"""

from .ir import broadcast, constant, join, repeated, vector

SIGNATURE = "(ptr %x, i64 %ldx, i64 %ks, i64 %ns, ptr %y, i64 %ldy)"
PAIRS = "<16 x i32>"


def bf16_block(source: str, target: str) -> str:
    """The function `block_{source}{target}`."""
    lanes, width = (16, "%ns") if source == "k" else (32, "%ks")
    pairs = _pairs_of_rows if source == "k" else _pairs_of_columns
    turned = source != target
    return join(
        f"define void @block_{source}{target}{SIGNATURE} {{",
        "entry:",
        _constants(lanes, width),
        *(pairs(n) for n in range(16)),
        _transpose() if turned else "",
        *(_store("%turned" if turned else "%pairs", n) for n in range(16)),
        "ret void",
        "}",
        _declare_load(lanes),
    )


def _constants(lanes: int, width: str) -> str:
    """%mask, the lanes that x has in each of its rows; and the numbers that rounding takes."""
    i, wide = vector(lanes, "i32"), vector(lanes, "i64")
    values = {"sixteen": 16, "one": 1, "below.half": 0x7FFF, "quiet": 0x400000, "upper": 0xFFFF0000}
    return join(
        *(f"%{name} = add {i} zeroinitializer, {repeated('i32', value, lanes)}" for name, value in values.items()),
        broadcast("%width", width, "i64", lanes),
        f"%mask = icmp slt {wide} {constant('i64', range(lanes))}, %width",
    )


def _pairs_of_rows(n: int) -> str:
    """%pairs{n} of two rows of x: steps 2n and 2n + 1, in the lower and the upper half of each int32."""
    return join(
        _load_row(f"%even{n}", 2 * n, "%ks", 16),
        _load_row(f"%odd{n}", 2 * n + 1, "%ks", 16),
        f"""
        %low{n} = lshr {PAIRS} %even{n}.bits, %sixteen
        %high{n} = and {PAIRS} %odd{n}.bits, %upper
        %pairs{n} = or {PAIRS} %low{n}, %high{n}""",
    )


def _pairs_of_columns(n: int) -> str:
    """%pairs{n} of one row of x: 32 steps of column n, side by side."""
    return join(
        _load_row(f"%row{n}", n, "%ns", 32),
        f"""
        %low{n} = lshr <32 x i32> %row{n}.bits, %sixteen
        %half{n} = trunc <32 x i32> %low{n} to <32 x i16>
        %pairs{n} = bitcast <32 x i16> %half{n} to {PAIRS}""",
    )


def _load_row(n: str, row: int, rows: str, lanes: int) -> str:
    """{n}.bits: row number `row` of x as bfloat16, in the upper halves of int32; 0 where x has nothing.

    To round to nearest, ties to even, half a step is added to the bits, less 1 where the lowest bit that is kept is 0.
    In a NaN one bit is set instead, for the sum could turn it into infinity.
    """
    i, f, mask = vector(lanes, "i32"), vector(lanes, "float"), vector(lanes, "i1")
    return f"""
    {n}.is = icmp sgt i64 {rows}, {row}
    {n}.row = select i1 {n}.is, i64 {row}, i64 0
    {n}.off = mul i64 {n}.row, %ldx
    {n}.at = getelementptr i8, ptr %x, i64 {n}.off
    {n}.mask = select i1 {n}.is, {mask} %mask, {mask} zeroinitializer
    {n}.real = call {f} @llvm.masked.load.v{lanes}f32.p0(ptr {n}.at, i32 1, {mask} {n}.mask, {f} zeroinitializer)
    {n}.raw = bitcast {f} {n}.real to {i}
    {n}.low = lshr {i} {n}.raw, %sixteen
    {n}.lowest = and {i} {n}.low, %one
    {n}.half = add {i} {n}.lowest, %below.half
    {n}.rounded = add {i} {n}.raw, {n}.half
    {n}.nan = fcmp uno {f} {n}.real, zeroinitializer
    {n}.quiet = or {i} {n}.raw, %quiet
    {n}.bits = select {mask} {n}.nan, {i} {n}.quiet, {i} {n}.rounded"""


def _transpose() -> str:
    """%turned0 ... %turned15 = the 16 x 16 pairs transposed, in four rounds that swap ever larger blocks of lanes.

    In the round of size s vectors n and n + s swap lanes j + s of the one and j of the other, where j & s is 0.
    """
    lines, names = [], [f"%pairs{n}" for n in range(16)]
    for size in (1, 2, 4, 8):
        made = [f"%turned{n}" if size == 8 else f"%swapped{size}.{n}" for n in range(16)]
        first = constant("i32", (j + 16 - size if j & size else j for j in range(16)))  # lanes from 16 on: the second's
        second = constant("i32", (j + 16 if j & size else j + size for j in range(16)))
        for n in (n for n in range(16) if not n & size):
            operands = f"{PAIRS} {names[n]}, {PAIRS} {names[n + size]}, {PAIRS}"
            lines.append(f"{made[n]} = shufflevector {operands} {first}")
            lines.append(f"{made[n + size]} = shufflevector {operands} {second}")
        names = made
    return join(*lines)


def _store(vectors: str, n: int) -> str:
    """Vector n goes to row n of y."""
    return f"""
    %y.off{n} = mul i64 %ldy, {n}
    %y.at{n} = getelementptr i8, ptr %y, i64 %y.off{n}
    store {PAIRS} {vectors}{n}, ptr %y.at{n}, align 64"""


def _declare_load(lanes: int) -> str:
    f, mask = vector(lanes, "float"), vector(lanes, "i1")
    return f"declare {f} @llvm.masked.load.v{lanes}f32.p0(ptr, i32 immarg, {mask}, {f})"
