"""The passes around the product, as LLVM IR text: each goes once over a matrix, row by row, vector by vector.

    i64 sweep(ptr x, i64 ldx, i64 rows, i64 cols, ptr y, i64 ldy, ptr u, ptr v)      strides in bytes

`u` and `v` are what the pass needs besides: a scale for each column, or a few numbers. It returns 0, or not 0 when it
met a NaN. Vectors are wider than registers: LLVM cuts them up, and so unrolls the loop.
"""

import re

from ..runtime.layout import ROW_BYTES

SIGNATURE = "(ptr %x, i64 %ldx, i64 %rows, i64 %cols, ptr %y, i64 %ldy, ptr %u, ptr %v)"


def number(name: str, source: str, index: int, lanes: int) -> str:
    """float number `index` of the array at %source, repeated over a vector."""
    return f"""
  %{name}.at = getelementptr float, ptr %{source}, i64 {index}
  %{name}.0 = load float, ptr %{name}.at, align 4
  %{name}.1 = insertelement <{lanes} x float> poison, float %{name}.0, i32 0
  %{name} = shufflevector <{lanes} x float> %{name}.1, <{lanes} x float> poison, <{lanes} x i32> zeroinitializer"""


def _column(name: str, source: str, lanes: int) -> str:
    """The floats of the array at %source that belong to these columns (it is padded to whole vectors)."""
    return f"""
  %{name}.at = getelementptr float, ptr %{source}, i64 %j
  %{name} = load <{lanes} x float>, ptr %{name}.at, align 4"""


def clip(value: str, lanes: int) -> str:
    """%clipped = %value within [%lo, %hi]; a NaN becomes %lo here, and is reported elsewhere."""
    f, mask = f"<{lanes} x float>", f"<{lanes} x i1>"
    return f"""
  {value}.over = fcmp ogt {f} {value}, %lo
  {value}.up = select {mask} {value}.over, {f} {value}, {f} %lo
  {value}.under = fcmp olt {f} {value}.up, %hi
  {value}.clipped = select {mask} {value}.under, {f} {value}.up, {f} %hi"""


def round_to_int(source: str, target: str, lanes: int) -> str:
    """To the nearest int32, ties to even."""
    return f"\n  {target} = call <{lanes} x i32> @llvm.lrint.v{lanes}i32.v{lanes}f32(<{lanes} x float> {source})"


def declare_round(lanes: int) -> str:
    return f"declare <{lanes} x i32> @llvm.lrint.v{lanes}i32.v{lanes}f32(<{lanes} x float>)\n"


def bounds(source: str, lanes: int) -> str:
    """%zero (int32), and %lo, %hi: the codes' range before the zero point is added, so that clipping may come first.
    They are read from {source}: zero point, lowest, highest code."""
    f = f"<{lanes} x float>"
    return (
        "".join(number(n, source, i, lanes) for i, n in enumerate(["offset", "least", "most"]))
        + f"""
  %zero = fptosi {f} %offset to <{lanes} x i32>
  %lo = fsub {f} %least, %offset
  %hi = fsub {f} %most, %offset"""
    )


def _renamed(body: str, prefix: str) -> str:
    """The same code under other names, to stand a second time in a function."""
    names = re.findall(r"^ *(%[\w.]+) =", body, re.M) + ["%" + label for label in re.findall(r"^(\w+):", body, re.M)]
    names += ["%e", "%loaded"]
    body = re.sub(r"^(\w+):", rf"{prefix}\1:", body, flags=re.M)
    return re.sub(r"%[\w.]+", lambda m: f"%{prefix}{m[0][1:]}" if m[0] in names else m[0], body)


def sweep(
    name: str, lanes: int, source: str, target: str, once: str, body: str, end: str = "", each_row: str = ""
) -> str:
    """One pass: `once` runs before the loops, `body` makes %q from %e, a vector of `lanes` elements.

    `each_row` runs at the beginning of each row, whose number is %r.
    The body stands twice: for whole vectors, and for the rest of a row, loaded and stored under a mask. With `end`, the
    body's vectors %met are or-ed to %seen.end, of which `end` makes the answer, the i1 %any.
    """
    s, t, mask, i = f"<{lanes} x {source}>", f"<{lanes} x {target}>", f"<{lanes} x i1>", "<16 x i32>"
    suffix = {"float": "f32"}
    load = f"@llvm.masked.load.v{lanes}{suffix.get(source, source)}.p0"
    store = f"@llvm.masked.store.v{lanes}{suffix.get(target, target)}.p0"
    indices = ", ".join(f"i64 {n}" for n in range(lanes))
    body = body if end else f"{body}\n  %met = or {i} zeroinitializer, zeroinitializer"
    none = "\n  %any = icmp ne i64 0, 0"
    return f"""
define i64 @{name}{SIGNATURE} {{
entry:
  %nothing = icmp sle i64 %rows, 0
  %whole.cols = and i64 %cols, {-lanes}
  %rest = sub i64 %cols, %whole.cols
  %has.rest = icmp ne i64 %rest, 0
  br i1 %nothing, label %none, label %start
none:
  ret i64 0
start:{once}
  br label %row
row:
  %r = phi i64 [0, %start], [%r.next, %row.end]
  %seen.row = phi {i} [zeroinitializer, %start], [%seen.end, %row.end]
  %x.off = mul i64 %r, %ldx
  %x.row = getelementptr i8, ptr %x, i64 %x.off
  %y.off = mul i64 %r, %ldy
  %y.row = getelementptr i8, ptr %y, i64 %y.off{each_row}
  br label %next
next:
  %j = phi i64 [0, %row], [%j.next, %stored]
  %seen = phi {i} [%seen.row, %row], [%seen.next, %stored]
  %more = icmp slt i64 %j, %whole.cols
  br i1 %more, label %loaded, label %whole.end
loaded:
  %x.at = getelementptr {source}, ptr %x.row, i64 %j
  %y.at = getelementptr {target}, ptr %y.row, i64 %j
  %e = load {s}, ptr %x.at, align 1{body}
  %seen.next = or {i} %seen, %met
  store {t} %q, ptr %y.at, align 1
  br label %stored
stored:
  %j.next = add i64 %j, {lanes}
  br label %next
whole.end:
  br i1 %has.rest, label %rest.loaded, label %row.end
rest.loaded:
  %rest.1 = insertelement <{lanes} x i64> poison, i64 %rest, i32 0
  %rest.all = shufflevector <{lanes} x i64> %rest.1, <{lanes} x i64> poison, <{lanes} x i32> zeroinitializer
  %in = icmp slt <{lanes} x i64> <{indices}>, %rest.all
  %rest.x.at = getelementptr {source}, ptr %x.row, i64 %j
  %rest.y.at = getelementptr {target}, ptr %y.row, i64 %j
  %rest.e = call {s} {load}(ptr %rest.x.at, i32 1, {mask} %in, {s} zeroinitializer){_renamed(body, "rest.")}
  %rest.seen = or {i} %seen, %rest.met
  call void {store}({t} %rest.q, ptr %rest.y.at, i32 1, {mask} %in)
  br label %rest.stored
rest.stored:
  br label %row.end
row.end:
  %seen.end = phi {i} [%seen, %whole.end], [%rest.seen, %rest.stored]
  %r.next = add i64 %r, 1
  %again = icmp slt i64 %r.next, %rows
  br i1 %again, label %row, label %end
end:{end or none}
  %answer = zext i1 %any to i64
  ret i64 %answer
}}
declare {s} {load}(ptr, i32 immarg, {mask}, {s})
declare void {store}({t}, ptr, i32 immarg, {mask})
"""


def extremes(lanes: int = 64) -> str:
    """Writes the least and the greatest element of the one row x, and 0, to y as two floats.

    Two integer maxima do it: of the bits as signed numbers, which is the greatest float, and as unsigned ones, which is
    the least float where there is a negative one. A NaN's bits lie beyond those of the infinity of its sign.
    """
    v = f"<{lanes} x i32>"
    return f"""
define i64 @extremes{SIGNATURE} {{
entry:
  %whole = and i64 %cols, {-lanes}
  br label %next
next:
  %j = phi i64 [0, %entry], [%j.next, %body]
  %lo = phi {v} [zeroinitializer, %entry], [%lo.next, %body]
  %hi = phi {v} [zeroinitializer, %entry], [%hi.next, %body]
  %more = icmp slt i64 %j, %whole
  br i1 %more, label %body, label %fold
body:
  %x.at = getelementptr i32, ptr %x, i64 %j
  %e = load {v}, ptr %x.at, align 1
  %lo.next = call {v} @llvm.umax.v{lanes}i32({v} %e, {v} %lo)
  %hi.next = call {v} @llvm.smax.v{lanes}i32({v} %e, {v} %hi)
  %j.next = add i64 %j, {lanes}
  br label %next
fold:
  %lo.all = call i32 @llvm.vector.reduce.umax.v{lanes}i32({v} %lo)
  %hi.all = call i32 @llvm.vector.reduce.smax.v{lanes}i32({v} %hi)
  br label %tail
tail:
  %t = phi i64 [%whole, %fold], [%t.next, %one]
  %lo.t = phi i32 [%lo.all, %fold], [%lo.one, %one]
  %hi.t = phi i32 [%hi.all, %fold], [%hi.one, %one]
  %left = icmp slt i64 %t, %cols
  br i1 %left, label %one, label %end
one:
  %t.at = getelementptr i32, ptr %x, i64 %t
  %v1 = load i32, ptr %t.at, align 1
  %lo.one = call i32 @llvm.umax.i32(i32 %v1, i32 %lo.t)
  %hi.one = call i32 @llvm.smax.i32(i32 %v1, i32 %hi.t)
  %t.next = add i64 %t, 1
  br label %tail
end:
  %negative = icmp slt i32 %lo.t, 0
  %lo.bits = select i1 %negative, i32 %lo.t, i32 0
  store i32 %lo.bits, ptr %y, align 4
  %y.hi = getelementptr i32, ptr %y, i64 1
  store i32 %hi.t, ptr %y.hi, align 4
  %nan.minus = icmp ugt i32 %lo.bits, u0xFF800000
  %nan.plus = icmp sgt i32 %hi.t, u0x7F800000
  %any = or i1 %nan.minus, %nan.plus
  %answer = zext i1 %any to i64
  ret i64 %answer
}}
declare {v} @llvm.umax.v{lanes}i32({v}, {v})
declare {v} @llvm.smax.v{lanes}i32({v}, {v})
declare i32 @llvm.umax.i32(i32, i32)
declare i32 @llvm.smax.i32(i32, i32)
declare i32 @llvm.vector.reduce.umax.v{lanes}i32({v})
declare i32 @llvm.vector.reduce.smax.v{lanes}i32({v})
"""


def _flip(lanes: int = 64) -> str:
    """u: one byte to xor each code with: 0, or 128 to turn int8 into uint8 + 128 and back."""
    v = f"<{lanes} x i8>"
    once = f"""
  %flip.0 = load i8, ptr %u, align 1
  %flip.1 = insertelement {v} poison, i8 %flip.0, i32 0
  %flip = shufflevector {v} %flip.1, {v} poison, <{lanes} x i32> zeroinitializer"""
    return sweep("copy_codes", lanes, "i8", "i8", once, f"\n  %q = xor {v} %e, %flip")


def _to_float(name: str, relu: bool, lanes: int = 16) -> str:
    """int32 sums -> sum * u[column] + v[column], each step rounded to float32; then, if wanted, ReLU."""
    f, total = f"<{lanes} x float>", "%sum" if relu else "%q"
    body = (
        _column("scale", "u", lanes)
        + _column("bias", "v", lanes)
        + f"""
  %real = sitofp <{lanes} x i32> %e to {f}
  %scaled = fmul {f} %real, %scale
  {total} = fadd {f} %scaled, %bias"""
    )
    return sweep(name, lanes, "i32", "float", "", body + (_relu(lanes) if relu else ""))


def _to_float_by_rows(name: str, relu: bool, lanes: int = 16) -> str:
    """int32 sums -> (sum - zero point * column sum) * (scale * scale[column]) + bias[column]; if wanted, ReLU.

    v: for each row ROW_BYTES bytes, as in `rows`. u: for 16 columns each their scales, biases, column sums.
    """
    f, i = f"<{lanes} x float>", f"<{lanes} x i32>"
    each_row = (
        f"""
  %v.off = mul i64 %r, {ROW_BYTES}
  %v.row = getelementptr i8, ptr %v, i64 %v.off"""
        + number("offset", "v.row", 0, lanes)
        + number("step", "v.row", 3, lanes)
        + f"\n  %zero = fptosi {f} %offset to {i}"
    )
    total = "%sum" if relu else "%q"
    body = f"""
  %place = mul i64 %j, 3
  %scale.at = getelementptr float, ptr %u, i64 %place
  %scale = load {f}, ptr %scale.at, align 4
  %bias.at = getelementptr float, ptr %scale.at, i64 16
  %bias = load {f}, ptr %bias.at, align 4
  %column.at = getelementptr i32, ptr %scale.at, i64 32
  %column = load {i}, ptr %column.at, align 4
  %zeros = mul {i} %column, %zero
  %exact = sub {i} %e, %zeros
  %real = sitofp {i} %exact to {f}
  %worth = fmul {f} %step, %scale
  %scaled = fmul {f} %real, %worth
  {total} = fadd {f} %scaled, %bias"""
    return sweep(name, lanes, "i32", "float", "", body + (_relu(lanes) if relu else ""), each_row=each_row)


def _relu(lanes: int) -> str:
    """%q = %sum, or 0 where it is not above 0."""
    f = f"<{lanes} x float>"
    return f"""
  %positive = fcmp ogt {f} %sum, zeroinitializer
  %q = select <{lanes} x i1> %positive, {f} %sum, {f} zeroinitializer"""


BY_ROWS = "to_float_by_rows", "to_float_relu_by_rows"


def sweeps_by_rows() -> str:
    """The passes behind a product whose rows have quantization parameters of their own, for one module."""
    return "\n".join(_to_float_by_rows(name, relu) for name, relu in zip(BY_ROWS, (False, True), strict=True))


def _to_codes(lanes: int = 16) -> str:
    """int32 sums -> clip(rint(sum * u[column]) + zero point), as `requantize`. v: zero point, lowest, highest code."""
    f = f"<{lanes} x float>"
    body = (
        _column("multiplier", "u", lanes)
        + f"""
  %real = sitofp <{lanes} x i32> %e to {f}
  %t = fmul {f} %real, %multiplier{clip("%t", lanes)}{round_to_int("%t.clipped", "%n", lanes)}
  %placed = add <{lanes} x i32> %n, %zero
  %q = trunc <{lanes} x i32> %placed to <{lanes} x i8>"""
    )
    return sweep("to_codes", lanes, "i32", "i8", bounds("v", lanes), body) + declare_round(lanes)


def all_sweeps() -> str:
    """Every pass of this file, for one module."""
    integers = sweep("to_int32", 16, "i32", "i32", "", "\n  %q = add <16 x i32> %e, zeroinitializer")
    to_reals = [_to_float("to_float", relu=False), _to_float("to_float_relu", relu=True)]
    return "\n".join([extremes(), _flip(), integers, *to_reals, _to_codes()])
