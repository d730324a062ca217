"""The micro-kernels of the integer product, as LLVM IR text: a few rows x a few panels of 16 columns, in registers.

Weights come packed as (N/16, K/4, 16, 4): 64 bytes hold four rows of sixteen columns, which is what one dot instruction
of 512 bits reads, two of 256, four of 128, and what one row of an AMX tile is. All kernels have one signature,

    void kernel(ptr a, i64 lda, ptr b, i64 panel, i64 steps, ptr c, i64 ldc, ptr start, i64 ld_start,
                ptr ahead, i64 lines)

    c[r, :] = start[r, :] + sum over k of a[r, k] * b[k, :]    int32, wrapping; strides in bytes

with `steps` groups of four codes (AMX: of 64). `start` is what is known ahead: for each column its zero points and
bias, one row for all (ld_start 0), or the sums so far. For bfloat16 the same four bytes are two numbers, and sums are
float32. `ahead` are weights that are wanted soon, of as many panels: see `amx_kernel`, the others do not look.
"""

from dataclasses import dataclass

import llvmlite.binding as llvm

FOUR_TIMES = ", ".join(["i32 0, i32 1, i32 2, i32 3"] * 4)
SDOT = "@llvm.aarch64.neon.sdot.v4i32.v16i8"
SIGNATURE = (
    "(ptr %a, i64 %lda, ptr %b, i64 %panel, i64 %steps, ptr %c, i64 %ldc, ptr %start, i64 %ld_start, "
    "ptr %ahead, i64 %lines)"
)


@dataclass(frozen=True)
class Dot:
    """How one instruction set multiplies four activations of a row with 16 columns of four weights.

    `step` adds one product: {out} = {acc} + {w} . {x}. `widen` makes {w} from the loaded {raw}; `spread` makes {x} from
    the four activations {four}, an i32. `fold` makes {y}, columns side by side, from a finished {acc}.
    """

    rows: int  # of a tile; accumulators, weights and one spread must fit the registers
    panels: int
    parts: int  # vectors in a panel
    raw: str
    acc: str
    step: str
    spread: str
    declare: str = ""
    widen: str = "{w} = bitcast {raw_type} {raw} to {raw_type}"
    fold: str = "{y} = bitcast {acc_type} {acc} to {acc_type}"
    result: str = ""  # the type of {y}, where it is not that of {acc}
    plus: str = "add"


def _spread(lanes: int) -> str:
    """Four bytes, repeated over a vector of `lanes` int32."""
    return f"""{{x}}.one = insertelement <{lanes} x i32> poison, i32 {{four}}, i32 0
  {{x}}.all = shufflevector <{lanes} x i32> {{x}}.one, <{lanes} x i32> poison, <{lanes} x i32> zeroinitializer
  {{x}} = bitcast <{lanes} x i32> {{x}}.all to <{lanes * 4} x i8>"""


def _vpdpbusd(bits: int, rows: int, panels: int) -> Dot:
    """uint8 x int8, four products a lane, without saturation (VPDPBUSDS would saturate)."""
    acc, raw, name = f"<{bits // 32} x i32>", f"<{bits // 8} x i8>", f"@llvm.x86.avx512.vpdpbusd.{bits}"
    spread = _spread(bits // 32)
    if llvm.llvm_version_info[0] < 22:  # the bytes are passed as int32 lanes
        spread = spread.replace("{x} =", "{x}.bytes =") + f"\n  {{x}} = bitcast {raw} {{x}}.bytes to {acc}"
        raw = acc
    step = f"{{out}} = call {acc} {name}({acc} {{acc}}, {raw} {{x}}, {raw} {{w}})"
    return Dot(rows, panels, 512 // bits, raw, acc, step, spread, f"declare {acc} {name}({acc}, {raw}, {raw})")


def bf16_dot() -> Dot:
    """VDPBF16PS: two products a lane, each added with its own rounding; subnormal numbers count as 0."""
    acc, raw, name = "<16 x float>", "<32 x bfloat>", "@llvm.x86.avx512bf16.dpbf16ps.512"
    spread = _spread(16).replace("<64 x i8>", raw)
    step = f"{{out}} = call {acc} {name}({acc} {{acc}}, {raw} {{x}}, {raw} {{w}})"
    return Dot(6, 4, 1, raw, acc, step, spread, f"declare {acc} {name}({acc}, {raw}, {raw})", plus="fadd")


def dots() -> dict[str, Dot]:
    """The dot products by rung, AMX excepted."""
    return {
        "avx512_vnni": _vpdpbusd(512, rows=6, panels=4),
        "avx_vnni": _vpdpbusd(256, rows=6, panels=1),
        "avx2": Dot(
            rows=3, panels=1, parts=4, raw="<16 x i8>", acc="<8 x i32>",
            declare="declare <8 x i32> @llvm.x86.avx2.pmadd.wd(<16 x i16>, <16 x i16>)",
            spread=f"""{{x}}.bytes = bitcast i32 {{four}} to <4 x i8>
  {{x}}.wide = zext <4 x i8> {{x}}.bytes to <4 x i16>
  {{x}} = shufflevector <4 x i16> {{x}}.wide, <4 x i16> poison, <16 x i32> <{FOUR_TIMES}>""",
            widen="{w} = sext <16 x i8> {raw} to <16 x i16>",
            step="""{out}.two = call <8 x i32> @llvm.x86.avx2.pmadd.wd(<16 x i16> {w}, <16 x i16> {x})
  {out} = add <8 x i32> {acc}, {out}.two""",
            fold="""{y}.even = shufflevector <8 x i32> {acc}, <8 x i32> poison, <4 x i32> <i32 0, i32 2, i32 4, i32 6>
  {y}.odd = shufflevector <8 x i32> {acc}, <8 x i32> poison, <4 x i32> <i32 1, i32 3, i32 5, i32 7>
  {y} = add <4 x i32> {y}.even, {y}.odd""",
            result="<4 x i32>",
        ),
        "neon_dotprod": Dot(
            rows=6, panels=1, parts=4, raw="<16 x i8>", acc="<4 x i32>", spread=_spread(4),
            declare=f"declare <4 x i32> {SDOT}(<4 x i32>, <16 x i8>, <16 x i8>)",
            step=f"{{out}} = call <4 x i32> {SDOT}(<4 x i32> {{acc}}, <16 x i8> {{w}}, <16 x i8> {{x}})",
        ),
        "generic": Dot(
            rows=2, panels=1, parts=1, raw="<16 x i32>", acc="<16 x i32>",
            spread="{x} = add i32 {four}, 0", step=_generic_step(),
        ),
    }  # fmt: skip


def _generic_step() -> str:
    """Each of four bytes in turn: weights sign-extended by two shifts, the activation zero-extended and repeated."""
    lines, acc = [], "{acc}"
    for byte in range(4):
        n, out = f"{{out}}.{byte}", "{out}" if byte == 3 else f"{{out}}.sum{byte}"
        shift = "<" + ", ".join([f"i32 {24 - 8 * byte}"] * 16) + ">"
        lines += [
            f"{n}.up = shl <16 x i32> {{w}}, {shift}",
            f"{n}.w = ashr <16 x i32> {n}.up, <{', '.join(['i32 24'] * 16)}>",
            f"{n}.down = lshr i32 {{x}}, {8 * byte}",
            f"{n}.x = and i32 {n}.down, 255",
            f"{n}.one = insertelement <16 x i32> poison, i32 {n}.x, i32 0",
            f"{n}.all = shufflevector <16 x i32> {n}.one, <16 x i32> poison, <16 x i32> zeroinitializer",
            f"{n}.product = mul <16 x i32> {n}.w, {n}.all",
            f"{out} = add <16 x i32> {acc}, {n}.product",
        ]
        acc = out
    return "\n  ".join(lines)


def register_kernel(name: str, dot: Dot, rows: int, panels: int) -> str:
    """A tile of `rows` x 16 `panels` whose sums stay in registers: for each step one load a vector of weights, one
    spread a row, and a product for each pair of them."""
    vectors, width = panels * dot.parts, 64 // dot.parts
    result = dot.result or dot.acc
    out = [f"define void @{name}{SIGNATURE} {{", "entry:"]
    for r in range(rows):
        out += [f"  %a.off.{r} = mul i64 %lda, {r}", f"  %a.{r} = getelementptr i8, ptr %a, i64 %a.off.{r}"]
    for p in range(panels):
        out += [f"  %b.off.{p} = mul i64 %panel, {p}", f"  %b.{p} = getelementptr i8, ptr %b, i64 %b.off.{p}"]
    out += ["  br label %loop", "loop:", "  %k = phi i64 [0, %entry], [%k.next, %loop]"]
    for r in range(rows):
        for v in range(vectors):
            out.append(f"  %acc.{r}.{v} = phi {dot.acc} [zeroinitializer, %entry], [%sum.{r}.{v}, %loop]")
    out += ["  %k.a = shl i64 %k, 2", "  %k.b = shl i64 %k, 6"]
    for v in range(vectors):
        p, part = divmod(v, dot.parts)
        out += [
            f"  %w.off.{v} = add i64 %k.b, {part * width}",
            f"  %w.at.{v} = getelementptr i8, ptr %b.{p}, i64 %w.off.{v}",
            f"  %raw.{v} = load {dot.raw}, ptr %w.at.{v}, align 16",
            "  " + dot.widen.format(w=f"%w.{v}", raw=f"%raw.{v}", raw_type=dot.raw),
        ]
    for r in range(rows):
        out += [
            f"  %x.at.{r} = getelementptr i8, ptr %a.{r}, i64 %k.a",
            f"  %four.{r} = load i32, ptr %x.at.{r}, align 1",
            "  " + dot.spread.format(x=f"%x.{r}", four=f"%four.{r}"),
        ]
        for v in range(vectors):
            out.append("  " + dot.step.format(out=f"%sum.{r}.{v}", acc=f"%acc.{r}.{v}", x=f"%x.{r}", w=f"%w.{v}"))
    out += [
        "  %k.next = add i64 %k, 1",
        "  %more = icmp slt i64 %k.next, %steps",
        "  br i1 %more, label %loop, label %done",
    ]
    out += ["done:"]
    for r in range(rows):
        out += [f"  %c.off.{r} = mul i64 %ldc, {r}", f"  %c.{r} = getelementptr i8, ptr %c, i64 %c.off.{r}"]
        out += [f"  %s.off.{r} = mul i64 %ld_start, {r}", f"  %s.{r} = getelementptr i8, ptr %start, i64 %s.off.{r}"]
        for v in range(vectors):
            n = f"{r}.{v}"
            out += [
                "  " + dot.fold.format(y=f"%y.{n}", acc=f"%sum.{n}", acc_type=dot.acc),
                f"  %s.at.{n} = getelementptr i8, ptr %s.{r}, i64 {v * width}",
                f"  %s.{n} = load {result}, ptr %s.at.{n}, align 4",
                f"  %z.{n} = {dot.plus} {result} %y.{n}, %s.{n}",
                f"  %c.at.{n} = getelementptr i8, ptr %c.{r}, i64 {v * width}",
                f"  store {result} %z.{n}, ptr %c.at.{n}, align 4",
            ]
    return "\n".join([*out, "  ret void", "}"])


def _fetch_ahead(panels: int) -> str:
    """Ask for the next `lines` cache lines of the weights ahead; memory is read while tiles multiply, if it is asked a
    little in each step."""
    lines = [
        f"  %line.off.{p} = mul i64 %panel, {p}\n  %line.{p} = getelementptr i8, ptr %line, i64 %line.off.{p}\n"
        f"  call void @llvm.prefetch.p0(ptr %line.{p}, i32 0, i32 2, i32 1)"
        for p in range(panels)
    ]
    return "\n".join([
        "  %asked = mul i64 %k, %lines", "  %asked.bytes = shl i64 %asked, 6",
        "  %first.line = getelementptr i8, ptr %ahead, i64 %asked.bytes", "  br label %ask", "ask:",
        "  %q = phi i64 [0, %loop], [%q.next, %fetch]", "  %line = phi ptr [%first.line, %loop], [%line.next, %fetch]",
        "  %wanted = icmp slt i64 %q, %lines", "  br i1 %wanted, label %fetch, label %multiply", "fetch:", *lines,
        "  %line.next = getelementptr i8, ptr %line, i64 64", "  %q.next = add i64 %q, 1", "  br label %ask",
        "multiply:",
    ])  # fmt: skip


def amx_kernel(name: str, row_tiles: int, panels: int, instruction: str, deep: bool) -> str:
    """Up to 32 rows x 32 columns in four of AMX's eight tiles: 0-3 sums, 4-5 activations, 6-7 weights.

    One product of tiles is 16 rows x 16 columns x 64 bytes. `configure(rows)` has told the tiles how many rows count.
    What the next tiles need again stays in the first cache, as the other operand is loaded past it (T1): rows stay that
    meet panel after panel, or, where K is deep, a piece of these weights that meets all rows; meanwhile the next piece
    is fetched from afar.
    """
    rows_by, weights_by = ("tileloaddt164", "tileloadd64") if deep else ("tileloadd64", "tileloaddt164")
    call, pairs = "  call void @llvm.x86.", [(r, p) for r in range(row_tiles) for p in range(panels)]
    out = [f"define void @{name}{SIGNATURE} {{", "entry:"]
    for r, p in pairs:
        out += [
            f"  %s.off.{r}.{p} = mul i64 %ld_start, {16 * r}", f"  %s.col.{r}.{p} = add i64 %s.off.{r}.{p}, {64 * p}",
            f"  %s.{r}.{p} = getelementptr i8, ptr %start, i64 %s.col.{r}.{p}",
            call + f"tileloadd64(i8 {2 * r + p}, ptr %s.{r}.{p}, i64 %ld_start)",
        ]  # fmt: skip
    out += ["  br label %loop", "loop:", f"  %k = phi i64 [0, %entry], [%k.next, %{'multiply' if deep else 'loop'}]"]
    out += [*([_fetch_ahead(panels)] if deep else []), "  %k.a = shl i64 %k, 6", "  %k.b = shl i64 %k, 10"]
    for p in range(panels):
        out += [
            f"  %b.off.{p} = mul i64 %panel, {p}", f"  %b.k.{p} = add i64 %b.off.{p}, %k.b",
            f"  %b.{p} = getelementptr i8, ptr %b, i64 %b.k.{p}",
            call + f"{weights_by}(i8 {6 + p}, ptr %b.{p}, i64 64)",
        ]  # fmt: skip
    for r in range(row_tiles):
        out += [
            f"  %a.off.{r} = mul i64 %lda, {16 * r}", f"  %a.k.{r} = add i64 %a.off.{r}, %k.a",
            f"  %a.{r} = getelementptr i8, ptr %a, i64 %a.k.{r}",
            call + f"{rows_by}(i8 {4 + r}, ptr %a.{r}, i64 %lda)",
        ]  # fmt: skip
        out += [call + f"{instruction}(i8 {2 * r + p}, i8 {4 + r}, i8 {6 + p})" for p in range(panels)]
    out += [
        "  %k.next = add i64 %k, 1",
        "  %more = icmp slt i64 %k.next, %steps",
        "  br i1 %more, label %loop, label %done",
    ]
    out += ["done:"]
    for r, p in pairs:
        out += [
            f"  %c.off.{r}.{p} = mul i64 %ldc, {16 * r}", f"  %c.col.{r}.{p} = add i64 %c.off.{r}.{p}, {64 * p}",
            f"  %c.{r}.{p} = getelementptr i8, ptr %c, i64 %c.col.{r}.{p}",
            call + f"tilestored64(i8 {2 * r + p}, ptr %c.{r}.{p}, i64 %ldc)",
        ]  # fmt: skip
    return "\n".join([*out, "  ret void", "}"])


def amx_support() -> str:
    """`configure(rows)` and `release()`, and the table of tile shapes: palette 1, bytes a row, rows of each tile."""
    shapes = []
    for rows in range(33):
        first, second = min(max(rows, 1), 16), max(rows - 16, 1)
        tiles = bytes([first, first, second, second, first, second, 16, 16])
        shape = bytes([1]) + bytes(15) + (64).to_bytes(2, "little") * 8 + bytes(16) + tiles + bytes(8)
        shapes.append('[64 x i8] c"' + "".join(f"\\{byte:02X}" for byte in shape) + '"')
    return f"""
@shapes = internal constant [33 x [64 x i8]] [{", ".join(shapes)}], align 64
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare void @llvm.x86.tileloadd64(i8 immarg, ptr, i64)
declare void @llvm.x86.tileloaddt164(i8 immarg, ptr, i64)
declare void @llvm.x86.tilestored64(i8 immarg, ptr, i64)
declare void @llvm.x86.tdpbusd(i8 immarg, i8 immarg, i8 immarg)
declare void @llvm.x86.tdpbf16ps(i8 immarg, i8 immarg, i8 immarg)
define void @configure(i64 %rows) {{
  %shape = getelementptr [64 x i8], ptr @shapes, i64 %rows
  call void @llvm.x86.ldtilecfg(ptr %shape)
  ret void
}}
define void @release() {{
  call void @llvm.x86.tilerelease()
  ret void
}}
"""


NO_TILES = """
define void @configure(i64 %rows) {
  ret void
}
define void @release() {
  ret void
}
"""
