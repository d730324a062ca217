"""Numbers on the way into the order that the kernels read, as LLVM IR text.

float32 -> bfloat16, 32 x 16 numbers at a time:

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


def unpack_nibbles() -> str:
    """unpack_nibbles(ptr x, i64 nbytes, ptr y): 64 bytes at a time become 128, the low nibbles, then the high ones.

    A nibble goes to the upper half of its byte: so an int8 is 16 times the INT4 code, and its sign needs no care.
    """
    v = "<64 x i8>"
    return f"""
define void @unpack_nibbles(ptr %x, i64 %nbytes, ptr %y) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %x.at = getelementptr i8, ptr %x, i64 %i
  %both = load {v}, ptr %x.at, align 16
  %low = shl {v} %both, <{", ".join(["i8 4"] * 64)}>
  %high = and {v} %both, <{", ".join(["i8 -16"] * 64)}>
  %twice = shl i64 %i, 1
  %low.at = getelementptr i8, ptr %y, i64 %twice
  %high.at = getelementptr i8, ptr %low.at, i64 64
  store {v} %low, ptr %low.at, align 16
  store {v} %high, ptr %high.at, align 16
  %next = add i64 %i, 64
  %more = icmp slt i64 %next, %nbytes
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""


def gather_nibbles() -> str:
    """The two ends of a group: sums of 16 times the codes are gathered, at last scaled and added to the result.

    gather_nibbles(ptr total, ptr sums, i64 count): total += sums / 16.
    scale_nibbles(ptr y, ptr total, i64 rows, i64 cols, ptr column_sums, ptr scale, i64 zero_point, ptr scale_in):
    y += float32(total - zero_point * column_sums) * (scale_in * scale), each step rounded; total becomes 0.
    count_nibbles(the same): total -= zero_point * column_sums. Counts are multiples of 16.
    """
    v, f = "<16 x i32>", "<16 x float>"

    def walk(name: str, body: str) -> str:
        return f"""
define void @{name}(ptr %y, ptr %total, i64 %rows, i64 %cols, ptr %column_sums, ptr %scale, i64 %zero, ptr %in) {{
entry:
  %zero.0 = trunc i64 %zero to i32
  %zero.1 = insertelement {v} poison, i32 %zero.0, i32 0
  %zeros = shufflevector {v} %zero.1, {v} poison, {v} zeroinitializer
  %in.0 = load float, ptr %in, align 4
  %in.1 = insertelement {f} poison, float %in.0, i32 0
  %ins = shufflevector {f} %in.1, {f} poison, {v} zeroinitializer
  br label %row
row:
  %r = phi i64 [0, %entry], [%r.next, %row.end]
  %row.at = mul i64 %r, %cols
  br label %loop
loop:
  %j = phi i64 [0, %row], [%j.next, %loop]
  %i = add i64 %row.at, %j
  %total.at = getelementptr i32, ptr %total, i64 %i
  %y.at = getelementptr float, ptr %y, i64 %i
  %sums.at = getelementptr i32, ptr %column_sums, i64 %j
  %scale.at = getelementptr float, ptr %scale, i64 %j
  %t = load {v}, ptr %total.at, align 4
  %s = load {v}, ptr %sums.at, align 4
  %correction = mul {v} %s, %zeros
  %acc = sub {v} %t, %correction{body}
  %j.next = add i64 %j, 16
  %more = icmp slt i64 %j.next, %cols
  br i1 %more, label %loop, label %row.end
row.end:
  %r.next = add i64 %r, 1
  %again = icmp slt i64 %r.next, %rows
  br i1 %again, label %row, label %end
end:
  ret void
}}
"""

    scaled = f"""
  %real = sitofp {v} %acc to {f}
  %scales = load {f}, ptr %scale.at, align 4
  %step = fmul {f} %scales, %ins
  %product = fmul {f} %real, %step
  %before = load {f}, ptr %y.at, align 4
  %after = fadd {f} %before, %product
  store {f} %after, ptr %y.at, align 4
  store {v} zeroinitializer, ptr %total.at, align 4"""
    counted = walk("count_nibbles", f"\n  store {v} %acc, ptr %total.at, align 4")
    return (
        f"""
define void @gather_nibbles(ptr %total, ptr %sums, i64 %count) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %total.at = getelementptr i32, ptr %total, i64 %i
  %sums.at = getelementptr i32, ptr %sums, i64 %i
  %t = load {v}, ptr %total.at, align 4
  %s = load {v}, ptr %sums.at, align 4
  %codes = ashr {v} %s, <{", ".join(["i32 4"] * 16)}>
  %sum = add {v} %t, %codes
  store {v} %sum, ptr %total.at, align 4
  %next = add i64 %i, 16
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""
        + walk("scale_nibbles", scaled)
        + counted
    )
