"""Depthwise convolution, as LLVM IR text: every channel has a kernel of its own, so nothing is shared but the pixels.

A dot instruction adds four products to each int32, one a byte. Here the four are kernel rows, at the same column:

    image row y      c0 c1 c2 ...          interleaved, one pixel             weights, one kernel column
    image row y + 1  c0 c1 c2 ...    ->    c0 c0 c0 c0  c1 c1 c1 c1  ...  .   w0 w0 w0 w0  w1 w1 w1 w1  ...
    image row y + 2  c0 c1 c2 ...          y  +1 +2 +3                        row 0, 1, 2, 3
    image row y + 3  c0 c1 c2 ...

    interleave(ptr r0, ptr r1, ptr r2, ptr r3, i64 nbytes, ptr y, i64 flip)
        y[i] = the four bytes r0[i] r1[i] r2[i] r3[i], each xor-ed with `flip`

    taps_T(ptr x, i64 ldx, i64 tap, ptr w, i64 panel, i64 shift, i64 pixels, i64 channels, ptr sums, i64 ld, ptr start,
           i64 ld_start)
        sums[p, c] = start[p, c] + sum over t < T, four rows r of x[p * ldx + t * tap][c, r] * w[t][c, r]    int32

Weights of less than four rows may be shifted by 8 bits, or several times 8: then they meet the next one of the four
image rows, and the same interleaved rows serve the next row of the result.

A kernel of more than four rows takes several rounds, each of which starts from the sums of the one before; so does one
of more than MOST_TAPS columns. Strides are in bytes; sums, and what is read of x and w, are 16 channels wide, whatever
the number of channels. Weights lie as in any pack: 16 channels make a panel.
"""

from dataclasses import replace

from .microkernels import Dot, dots

MOST_TAPS = 7  # kernel columns in one round
INTERLEAVE = "(ptr %r0, ptr %r1, ptr %r2, ptr %r3, i64 %nbytes, ptr %y, i64 %flip)"
TAPS = (
    "(ptr %x, i64 %ldx, i64 %tap, ptr %w, i64 %panel, i64 %shift, i64 %pixels, i64 %channels, "
    "ptr %sums, i64 %ld, ptr %start, i64 %ld_start)"
)


def _interleave(at: str, lanes: int) -> str:
    """The code for `lanes` bytes of each row, from byte {at} on."""
    v, pairs = f"<{lanes} x i8>", f"<{2 * lanes} x i8>"
    zipped = ", ".join(f"i32 {i}, i32 {i + lanes}" for i in range(lanes))
    n, lines = at[1:], []
    for r in range(4):
        lines += [f"  %{n}.at{r} = getelementptr i8, ptr %r{r}, i64 {at}"]
        lines += [f"  %{n}.row{r} = load {v}, ptr %{n}.at{r}, align 1"]
    for low in (0, 2):
        rows = f"{v} %{n}.row{low}, {v} %{n}.row{low + 1}"
        lines += [f"  %{n}.pairs{low} = shufflevector {rows}, <{2 * lanes} x i32> <{zipped}>"]
        lines += [f"  %{n}.words{low} = bitcast {pairs} %{n}.pairs{low} to <{lanes} x i16>"]
    words = f"<{lanes} x i16> %{n}.words0, <{lanes} x i16> %{n}.words2"
    return "\n".join([
        *lines, f"  %{n}.all = shufflevector {words}, <{2 * lanes} x i32> <{zipped}>",
        f"  %{n}.bytes = bitcast <{2 * lanes} x i16> %{n}.all to <{4 * lanes} x i8>",
        f"  %{n}.flipped = xor <{4 * lanes} x i8> %{n}.bytes, %mask.{lanes}",
        f"  %{n}.four = shl i64 {at}, 2", f"  %{n}.to = getelementptr i8, ptr %y, i64 %{n}.four",
        f"  store <{4 * lanes} x i8> %{n}.flipped, ptr %{n}.to, align 1",
    ])  # fmt: skip


def _mask(lanes: int) -> str:
    """%mask.{lanes}: the byte %flip.0 for each byte of that many numbers."""
    v = f"<{4 * lanes} x i8>"
    return f"""
  %mask.{lanes}.0 = insertelement {v} poison, i8 %flip.0, i32 0
  %mask.{lanes} = shufflevector {v} %mask.{lanes}.0, {v} poison, <{4 * lanes} x i32> zeroinitializer"""


def interleave(lanes: int = 64) -> str:
    """`lanes` bytes at a time; the last ones of a row once more from its end, or one by one where there are fewer."""
    return f"""
define void @interleave{INTERLEAVE} {{
entry:
  %flip.0 = trunc i64 %flip to i8{_mask(lanes)}{_mask(1)}
  %last = sub i64 %nbytes, {lanes}
  %wide = icmp sge i64 %last, 0
  br i1 %wide, label %loop, label %next
loop:
  %i = phi i64 [0, %entry], [%i.next, %loop]
{_interleave("%i", lanes)}
  %i.next = add i64 %i, {lanes}
  %more = icmp sle i64 %i.next, %last
  br i1 %more, label %loop, label %end
end:
{_interleave("%last", lanes)}
  ret void
next:
  %j = phi i64 [0, %entry], [%j.next, %one]
  %left = icmp slt i64 %j, %nbytes
  br i1 %left, label %one, label %done
one:
{_interleave("%j", 1)}
  %j.next = add i64 %j, 1
  br label %next
done:
  ret void
}}
"""


def _generic_step() -> str:
    """Each of four bytes in turn: weights sign-extended by two shifts, pixels zero-extended by one and a mask."""
    lines, acc, all_of = [], "{acc}", "<{}>".format(", ".join(["i32 {}"] * 16)).format
    for byte in range(4):
        n, out = f"{{out}}.{byte}", "{out}" if byte == 3 else f"{{out}}.sum{byte}"
        lines += [
            f"{n}.up = shl <16 x i32> {{w}}, {all_of(*[24 - 8 * byte] * 16)}",
            f"{n}.w = ashr <16 x i32> {n}.up, {all_of(*[24] * 16)}",
            f"{n}.down = lshr <16 x i32> {{x}}, {all_of(*[8 * byte] * 16)}",
            f"{n}.x = and <16 x i32> {n}.down, {all_of(*[255] * 16)}",
            f"{n}.product = mul <16 x i32> {n}.w, {n}.x",
            f"{out} = add <16 x i32> {acc}, {n}.product",
        ]
        acc = out
    return "\n  ".join(lines)


def _dot(kernel: str) -> Dot:
    """The dot product of `kernel`, whose `spread` here makes {x} of loaded pixels, {four}, of the type of weights."""
    dot = dots()["avx512_vnni" if kernel == "amx" else kernel]
    as_it_is = f"{{x}} = bitcast {dot.raw} {{four}} to {dot.raw}"
    if kernel == "avx2":
        return replace(dot, spread="{x} = zext <16 x i8> {four} to <16 x i16>")
    return replace(dot, spread=as_it_is, step=_generic_step() if kernel == "generic" else dot.step)


def taps_name(taps: int) -> str:
    return f"taps_{taps}"


def _one_pixel(dot: Dot, taps: int) -> list[str]:
    """sums[16 channels] = start[16 channels] + {taps} products of four rows, one dot instruction a vector and tap."""
    width, result, out = 64 // dot.parts, dot.result or dot.acc, []
    for v in range(dot.parts):
        out += [f"  %start.at.{v} = getelementptr i8, ptr %start.p, i64 {v * width}"]
        out += [f"  %start.{v} = load {result}, ptr %start.at.{v}, align 4"]
        acc = "zeroinitializer"
        for t in range(taps):
            n = f"{t}.{v}"
            out += [
                f"  %x.off.{n} = add i64 %tap.{t}, {v * width}",
                f"  %x.at.{n} = getelementptr i8, ptr %x.p, i64 %x.off.{n}",
                f"  %four.{n} = load {dot.raw}, ptr %x.at.{n}, align 4",
                "  " + dot.spread.format(x=f"%x.{n}", four=f"%four.{n}"),
                "  " + dot.step.format(out=f"%sum.{n}", acc=acc, x=f"%x.{n}", w=f"%w.{n}"),
            ]
            acc = f"%sum.{n}"
        out += [
            "  " + dot.fold.format(y=f"%y.{v}", acc=acc, acc_type=dot.acc),
            f"  %z.{v} = add {result} %y.{v}, %start.{v}",
            f"  %sums.at.{v} = getelementptr i8, ptr %sums.p, i64 {v * width}",
            f"  store {result} %z.{v}, ptr %sums.at.{v}, align 4",
        ]
    return out


def _weights(dot: Dot, taps: int) -> list[str]:
    """%w.{tap}.{vector} of 16 channels, which stay in registers while pixels pass by."""
    ints, out = f"<{16 // dot.parts} x i32>", []
    for t in range(taps):
        for v in range(dot.parts):
            n = f"{t}.{v}"
            out += [
                f"  %w.at.{n} = getelementptr i8, ptr %w.j, i64 {64 * t + 64 // dot.parts * v}",
                f"  %raw.{n} = load {dot.raw}, ptr %w.at.{n}, align 16",
                f"  %ints.{n} = bitcast {dot.raw} %raw.{n} to {ints}",
                f"  %moved.{n} = shl {ints} %ints.{n}, %shift.all",
                f"  %bytes.{n} = bitcast {ints} %moved.{n} to {dot.raw}",
                "  " + dot.widen.format(w=f"%w.{n}", raw=f"%bytes.{n}", raw_type=dot.raw),
            ]
    return out


def taps(kernel: str, count: int) -> str:
    """The function for `count` kernel columns."""
    dot = _dot(kernel)
    ints = f"<{16 // dot.parts} x i32>"
    return "\n".join([
        f"define void @{taps_name(count)}{TAPS} {{", "entry:",
        *(f"  %tap.{t} = mul i64 %tap, {t}" for t in range(count)),
        "  %shift.0 = trunc i64 %shift to i32", f"  %shift.1 = insertelement {ints} poison, i32 %shift.0, i32 0",
        f"  %shift.all = shufflevector {ints} %shift.1, {ints} poison, {ints} zeroinitializer",
        "  br label %channel", "channel:",
        "  %j = phi i64 [0, %entry], [%j.next, %next]",
        "  %w.j = phi ptr [%w, %entry], [%w.next, %next]",
        "  %j.bytes = shl i64 %j, 2",
        *(f"  %{a}.j = getelementptr i8, ptr %{a}, i64 %j.bytes" for a in ("x", "sums", "start")),
        *_weights(dot, count), "  br label %pixel", "pixel:",
        "  %p = phi i64 [0, %channel], [%p.next, %pixel]",
        *(f"  %{a}.p = phi ptr [%{a}.j, %channel], [%{a}.next, %pixel]" for a in ("x", "sums", "start")),
        *_one_pixel(dot, count),
        *(f"  %{a}.next = getelementptr i8, ptr %{a}.p, i64 %{step}"
          for a, step in (("x", "ldx"), ("sums", "ld"), ("start", "ld_start"))),
        "  %p.next = add i64 %p, 1", "  %more = icmp slt i64 %p.next, %pixels",
        "  br i1 %more, label %pixel, label %next", "next:",
        "  %j.next = add i64 %j, 16", "  %w.next = getelementptr i8, ptr %w.j, i64 %panel",
        "  %again = icmp slt i64 %j.next, %channels",
        "  br i1 %again, label %channel, label %done", "done:", "  ret void", "}",
    ])  # fmt: skip


def all_depthwise(kernel: str) -> str:
    """Every function of this file, for one module."""
    return "\n".join([_dot(kernel).declare, interleave(), *(taps(kernel, t + 1) for t in range(MOST_TAPS))])
