"""The passes around the product, as LLVM IR text: each goes once over a matrix, row by row, vector by vector.

    i64 sweep(ptr x, i64 ldx, i64 rows, i64 cols, ptr y, i64 ldy, ptr u, ptr v)      strides in bytes

`u` and `v` are what the pass needs besides: a scale for each column, or a few numbers. It returns 0, or not 0 when it
met a NaN. Vectors are wider than registers: LLVM cuts them up, and so unrolls the loop.
"""

SIGNATURE = "(ptr %x, i64 %ldx, i64 %rows, i64 %cols, ptr %y, i64 %ldy, ptr %u, ptr %v)"
BYTES = {"i8": 1, "i16": 2, "i32": 4, "float": 4, "bfloat": 2}


def _number(name: str, source: str, index: int, lanes: int) -> str:
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


def _clip_and_cast(value: str, lanes: int) -> str:
    """%q = the codes: %value clipped to [%lo, %hi]. A NaN becomes %lo here, and is reported."""
    f = f"<{lanes} x float>"
    return f"""
  %above = fcmp ogt {f} {value}, %lo
  %raised = select <{lanes} x i1> %above, {f} {value}, {f} %lo
  %below = fcmp olt {f} %raised, %hi
  %clipped = select <{lanes} x i1> %below, {f} %raised, {f} %hi
  %whole = fptosi {f} %clipped to <{lanes} x i32>
  %q = trunc <{lanes} x i32> %whole to <{lanes} x i8>"""


def sweep(name: str, lanes: int, source: str, target: str, once: str, body: str, nan: bool = False) -> str:
    """One pass: `once` runs before the loops, `body` makes %q from %e, a vector of `lanes` elements."""
    s, t, mask, i = f"<{lanes} x {source}>", f"<{lanes} x {target}>", f"<{lanes} x i1>", f"i{lanes}"
    suffix = {"float": "f32", "bfloat": "bf16"}
    load = f"@llvm.masked.load.v{lanes}{suffix.get(source, source)}.p0"
    store = f"@llvm.masked.store.v{lanes}{suffix.get(target, target)}.p0"
    indices = ", ".join(f"i64 {n}" for n in range(lanes))
    check = f"%bad = fcmp uno {s} %e, zeroinitializer\n  %bits = bitcast {mask} %bad to {i}" if nan else f"%bits = add {i} 0, 0"
    return f"""
define i64 @{name}{SIGNATURE} {{
entry:
  %nothing = icmp sle i64 %rows, 0
  %empty = icmp sle i64 %cols, 0
  %idle = or i1 %nothing, %empty
  %whole.cols = and i64 %cols, {-lanes}
  br i1 %idle, label %none, label %start
none:
  ret i64 0
start:{once}
  br label %row
row:
  %r = phi i64 [0, %start], [%r.next, %row.end]
  %seen.row = phi {i} [0, %start], [%seen.end, %row.end]
  %x.off = mul i64 %r, %ldx
  %x.row = getelementptr i8, ptr %x, i64 %x.off
  %y.off = mul i64 %r, %ldy
  %y.row = getelementptr i8, ptr %y, i64 %y.off
  br label %next
next:
  %j = phi i64 [0, %row], [%j.next, %stored]
  %seen = phi {i} [%seen.row, %row], [%seen.next, %stored]
  %done = icmp sge i64 %j, %cols
  br i1 %done, label %row.end, label %load
load:
  %x.at = getelementptr {source}, ptr %x.row, i64 %j
  %y.at = getelementptr {target}, ptr %y.row, i64 %j
  %is.whole = icmp slt i64 %j, %whole.cols
  %rest = sub i64 %cols, %j
  %rest.1 = insertelement <{lanes} x i64> poison, i64 %rest, i32 0
  %rest.all = shufflevector <{lanes} x i64> %rest.1, <{lanes} x i64> poison, <{lanes} x i32> zeroinitializer
  br i1 %is.whole, label %load.whole, label %load.part
load.whole:
  %e.whole = load {s}, ptr %x.at, align 1
  br label %loaded
load.part:
  %in = icmp slt <{lanes} x i64> <{indices}>, %rest.all
  %e.part = call {s} {load}(ptr %x.at, i32 1, {mask} %in, {s} zeroinitializer)
  br label %loaded
loaded:
  %e = phi {s} [%e.whole, %load.whole], [%e.part, %load.part]
  {check}
  %seen.next = or {i} %seen, %bits{body}
  br i1 %is.whole, label %store.whole, label %store.part
store.whole:
  store {t} %q, ptr %y.at, align 1
  br label %stored
store.part:
  %out = icmp slt <{lanes} x i64> <{indices}>, %rest.all
  call void {store}({t} %q, ptr %y.at, i32 1, {mask} %out)
  br label %stored
stored:
  %j.next = add i64 %j, {lanes}
  br label %next
row.end:
  %seen.end = phi {i} [%seen, %next]
  %r.next = add i64 %r, 1
  %more = icmp slt i64 %r.next, %rows
  br i1 %more, label %row, label %end
end:
  %any = icmp ne {i} %seen.end, 0
  %answer = zext i1 %any to i64
  ret i64 %answer
}}
declare {s} {load}(ptr, i32 immarg, {mask}, {s})
declare void {store}({t}, ptr, i32 immarg, {mask})
"""


def extremes(lanes: int = 64) -> str:
    """`range`: writes the least and the greatest element, and 0, to y as two floats; x is one row. 0 is in every range."""
    f = f"<{lanes} x float>"
    return f"""
define i64 @extremes{SIGNATURE} {{
entry:
  %whole = and i64 %cols, {-lanes}
  br label %next
next:
  %j = phi i64 [0, %entry], [%j.next, %body]
  %lo = phi {f} [zeroinitializer, %entry], [%lo.next, %body]
  %hi = phi {f} [zeroinitializer, %entry], [%hi.next, %body]
  %bad = phi <{lanes} x i1> [zeroinitializer, %entry], [%bad.next, %body]
  %more = icmp slt i64 %j, %whole
  br i1 %more, label %body, label %fold
body:
  %x.at = getelementptr float, ptr %x, i64 %j
  %e = load {f}, ptr %x.at, align 1
  %less = fcmp olt {f} %e, %lo
  %lo.next = select <{lanes} x i1> %less, {f} %e, {f} %lo
  %greater = fcmp ogt {f} %e, %hi
  %hi.next = select <{lanes} x i1> %greater, {f} %e, {f} %hi
  %nan = fcmp uno {f} %e, zeroinitializer
  %bad.next = or <{lanes} x i1> %bad, %nan
  %j.next = add i64 %j, {lanes}
  br label %next
fold:
  %lo.all = call float @llvm.vector.reduce.fmin.v{lanes}f32({f} %lo)
  %hi.all = call float @llvm.vector.reduce.fmax.v{lanes}f32({f} %hi)
  %bits = bitcast <{lanes} x i1> %bad to i{lanes}
  %any = icmp ne i{lanes} %bits, 0
  br label %tail
tail:
  %t = phi i64 [%whole, %fold], [%t.next, %one]
  %lo.t = phi float [%lo.all, %fold], [%lo.one, %one]
  %hi.t = phi float [%hi.all, %fold], [%hi.one, %one]
  %any.t = phi i1 [%any, %fold], [%any.one, %one]
  %left = icmp slt i64 %t, %cols
  br i1 %left, label %one, label %end
one:
  %t.at = getelementptr float, ptr %x, i64 %t
  %v1 = load float, ptr %t.at, align 1
  %less1 = fcmp olt float %v1, %lo.t
  %lo.one = select i1 %less1, float %v1, float %lo.t
  %greater1 = fcmp ogt float %v1, %hi.t
  %hi.one = select i1 %greater1, float %v1, float %hi.t
  %nan1 = fcmp uno float %v1, 0.0
  %any.one = or i1 %any.t, %nan1
  %t.next = add i64 %t, 1
  br label %tail
end:
  store float %lo.t, ptr %y, align 4
  %y.hi = getelementptr float, ptr %y, i64 1
  store float %hi.t, ptr %y.hi, align 4
  %answer = zext i1 %any.t to i64
  ret i64 %answer
}}
declare float @llvm.vector.reduce.fmin.v{lanes}f32({f})
declare float @llvm.vector.reduce.fmax.v{lanes}f32({f})
"""


def _flip(lanes: int = 64) -> str:
    """u: one byte to xor each code with: 0, or 128 to turn int8 into uint8 + 128 and back."""
    v = f"<{lanes} x i8>"
    once = f"""
  %flip.0 = load i8, ptr %u, align 1
  %flip.1 = insertelement {v} poison, i8 %flip.0, i32 0
  %flip = shufflevector {v} %flip.1, {v} poison, <{lanes} x i32> zeroinitializer"""
    return sweep("copy_codes", lanes, "i8", "i8", once, f"\n  %q = xor {v} %e, %flip")


def _quantize(lanes: int = 64) -> str:
    """u: scale, zero point, lowest and highest code as floats; v: as in `copy_codes`. Division as in the definition."""
    f = f"<{lanes} x float>"
    once = "".join(_number(n, "u", i, lanes) for i, n in enumerate(["scale", "zero", "lo", "hi"])) + f"""
  %flip.0 = load i8, ptr %v, align 1
  %flip.1 = insertelement <{lanes} x i8> poison, i8 %flip.0, i32 0
  %flip = shufflevector <{lanes} x i8> %flip.1, <{lanes} x i8> poison, <{lanes} x i32> zeroinitializer"""
    body = f"""
  %steps = fdiv {f} %e, %scale
  %rounded = call {f} @llvm.rint.v{lanes}f32({f} %steps)
  %placed = fadd {f} %rounded, %zero{_clip_and_cast("%placed", lanes).replace("%q =", "%q.plain =")}
  %q = xor <{lanes} x i8> %q.plain, %flip"""
    return sweep("quantize", lanes, "float", "i8", once, body, nan=True) + f"declare {f} @llvm.rint.v{lanes}f32({f})\n"


def _dequantize(name: str, extend: str, lanes: int = 64) -> str:
    """u: scale and zero point as floats. (q - zero point) is exact in float32."""
    f = f"<{lanes} x float>"
    once = "".join(_number(n, "u", i, lanes) for i, n in enumerate(["scale", "zero"]))
    convert = {"sext": "sitofp", "zext": "uitofp"}[extend]
    body = f"""
  %real = {convert} <{lanes} x i8> %e to {f}
  %steps = fsub {f} %real, %zero
  %q = fmul {f} %steps, %scale"""
    return sweep(name, lanes, "i8", "float", once, body)


def _to_float(name: str, relu: bool, lanes: int = 16) -> str:
    """int32 sums -> sum * u[column] + v[column], each step rounded to float32; then, if wanted, ReLU."""
    f, total = f"<{lanes} x float>", "%sum" if relu else "%q"
    body = _column("scale", "u", lanes) + _column("bias", "v", lanes) + f"""
  %real = sitofp <{lanes} x i32> %e to {f}
  %scaled = fmul {f} %real, %scale
  {total} = fadd {f} %scaled, %bias"""
    tail = f"""
  %positive = fcmp ogt {f} %sum, zeroinitializer
  %q = select <{lanes} x i1> %positive, {f} %sum, {f} zeroinitializer"""
    return sweep(name, lanes, "i32", "float", "", body + (tail if relu else ""))


def _to_codes(lanes: int = 16) -> str:
    """int32 sums -> clip(rint(sum * u[column]) + zero point): requantize in its "float" mode. v: zero point, lo, hi."""
    f = f"<{lanes} x float>"
    once = "".join(_number(n, "v", i, lanes) for i, n in enumerate(["zero", "lo", "hi"]))
    body = _column("multiplier", "u", lanes) + f"""
  %real = sitofp <{lanes} x i32> %e to {f}
  %scaled = fmul {f} %real, %multiplier
  %rounded = call {f} @llvm.rint.v{lanes}f32({f} %scaled)
  %placed = fadd {f} %rounded, %zero{_clip_and_cast("%placed", lanes)}"""
    return sweep("to_codes", lanes, "i32", "i8", once, body) + f"declare {f} @llvm.rint.v{lanes}f32({f})\n"


def all_sweeps() -> str:
    """Every pass, for one module."""
    return "\n".join([
        extremes(), _flip(), _quantize(), _dequantize("dequantize_int8", "sext"), _dequantize("dequantize_uint8", "zext"),
        sweep("to_int32", 16, "i32", "i32", "", "\n  %q = add <16 x i32> %e, zeroinitializer"),
        _to_float("to_float", relu=False), _to_float("to_float_relu", relu=True), _to_codes(),
    ])  # fmt: skip
