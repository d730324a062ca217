"""float32 -> bfloat16 on the way into the order that the kernels read, as LLVM IR text: 32 x 16 numbers at a time.

    void block(ptr x, i64 ldx, i64 ks, i64 ns, ptr y, i64 ldy)      strides in bytes

`x` holds `ks` <= 32 steps along K of `ns` <= 16 columns (or rows) along N; what is missing becomes 0. It may lie either
way round: "k", its rows run along N, or "n", they run along K. So may `y`: "k" are 16 vectors of one pair of steps for
16 columns, as in a panel of weights; "n" are 16 rows of 32 numbers, as activations are read. Where the two differ, a
transposition of 16 x 16 pairs stands between.
"""

SIGNATURE = "(ptr %x, i64 %ldx, i64 %ks, i64 %ns, ptr %y, i64 %ldy)"
V = "<16 x i32>"


def _load(row: str, at: int, length: str, rows: str, lanes: int) -> list[str]:
    """%bits.{row}: the bfloat16 of row `at`, in the upper halves of `lanes` int32; 0 where there is nothing."""
    i, f, mask = f"<{lanes} x i32>", f"<{lanes} x float>", f"<{lanes} x i1>"
    n = f"%{row}"
    return [
        f"{n}.is = icmp sgt i64 {rows}, {at}",
        f"{n}.row = select i1 {n}.is, i64 {at}, i64 0",
        f"{n}.off = mul i64 {n}.row, %ldx",
        f"{n}.at = getelementptr i8, ptr %x, i64 {n}.off",
        f"{n}.in = select i1 {n}.is, {mask} %{length}.in, {mask} zeroinitializer",
        f"{n}.real = call {f} @llvm.masked.load.v{lanes}f32.p0(ptr {n}.at, i32 1, {mask} {n}.in, {f} zeroinitializer)",
        f"{n}.raw = bitcast {f} {n}.real to {i}",
        f"{n}.low = lshr {i} {n}.raw, %sixteen.{lanes}",  # to nearest, ties to even: add half a step less the lowest
        f"{n}.odd = and {i} {n}.low, %one.{lanes}",  # kept bit's complement
        f"{n}.half = add {i} {n}.odd, %half.{lanes}",
        f"{n}.up = add {i} {n}.raw, {n}.half",
        f"{n}.nan = fcmp uno {f} {n}.real, zeroinitializer",
        f"{n}.quiet = or {i} {n}.raw, %quiet.{lanes}",  # which addition could turn into infinity
        f"{n}.bits = select {mask} {n}.nan, {i} {n}.quiet, {i} {n}.up",
    ]


def _constants(lanes: int, length: str, source: str) -> list[str]:
    i = f"<{lanes} x i32>"
    values = {"sixteen": 16, "one": 1, "half": 0x7FFF, "quiet": 0x400000, "upper": 0xFFFF0000}
    out = []
    for name, value in values.items():
        out.append(f"%{name}.{lanes} = add {i} zeroinitializer, <{', '.join([f'i32 {value}'] * lanes)}>")
    indices = ", ".join(f"i64 {n}" for n in range(lanes))
    return [
        *out,
        f"%{length}.one = insertelement <{lanes} x i64> poison, i64 {source}, i32 0",
        f"%{length}.all = shufflevector <{lanes} x i64> %{length}.one, <{lanes} x i64> poison, {i} zeroinitializer",
        f"%{length}.in = icmp slt <{lanes} x i64> <{indices}>, %{length}.all",
    ]


def _transpose() -> list[str]:
    """%v0 ... %v15 -> %t0 ... %t15, in four rounds that swap ever larger blocks between two vectors."""
    out, names = [], [f"%v{n}" for n in range(16)]
    for size in (1, 2, 4, 8):
        new = list(names)
        for n in range(16):
            if n & size:
                continue
            low = ", ".join(f"i32 {j + 16 - size if j & size else j}" for j in range(16))
            high = ", ".join(f"i32 {j + 16 if j & size else j + size}" for j in range(16))
            for at, mask in ((n, low), (n + size, high)):
                new[at] = f"%t{at}" if size == 8 else f"%s{size}.{at}"
                out.append(f"{new[at]} = shufflevector {V} {names[n]}, {V} {names[n + size]}, {V} <{mask}>")
        names = new
    return out


def block(source: str, target: str) -> str:
    """The function `block_{source}{target}`."""
    out = [f"define void @block_{source}{target}{SIGNATURE} {{", "entry:"]
    if source == "k":
        out += _constants(16, "columns", "%ns")
        for n in range(16):
            out += _load(f"a{n}", 2 * n, "columns", "%ks", 16) + _load(f"b{n}", 2 * n + 1, "columns", "%ks", 16)
            out += [f"%lo{n} = lshr {V} %a{n}.bits, %sixteen.16", f"%hi{n} = and {V} %b{n}.bits, %upper.16"]
            out += [f"%v{n} = or {V} %lo{n}, %hi{n}"]
    else:
        out += _constants(32, "steps", "%ks")
        for n in range(16):
            out += _load(f"a{n}", n, "steps", "%ns", 32)
            out += [f"%s{n}.low = lshr <32 x i32> %a{n}.bits, %sixteen.32"]
            out += [
                f"%s{n}.half = trunc <32 x i32> %s{n}.low to <32 x i16>",
                f"%v{n} = bitcast <32 x i16> %s{n}.half to {V}",
            ]
    out += [] if source == target else _transpose()
    for n in range(16):
        out += [f"%y.off{n} = mul i64 %ldy, {n}", f"%y.at{n} = getelementptr i8, ptr %y, i64 %y.off{n}"]
        out += [f"store {V} %{'v' if source == target else 't'}{n}, ptr %y.at{n}, align 64"]
    lanes = 16 if source == "k" else 32
    f, mask = f"<{lanes} x float>", f"<{lanes} x i1>"
    return "\n".join(
        [*out, "ret void", "}", f"declare {f} @llvm.masked.load.v{lanes}f32.p0(ptr, i32 immarg, {mask}, {f})"]
    )


def all_blocks() -> str:
    """Every combination, for one module."""
    return "\n".join(block(source, target) for source in "kn" for target in "kn")
