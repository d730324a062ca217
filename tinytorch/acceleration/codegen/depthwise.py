"""Depthwise convolution: every channel has a kernel of its own, so nothing is shared but the pixels.

A dot instruction adds four products to each int32, one a byte. Here the four are kernel rows, at the same column:

    image row y      c0 c1 c2 ...          interleaved, one pixel             weights, one kernel column
    image row y + 1  c0 c1 c2 ...    ->    c0 c0 c0 c0  c1 c1 c1 c1  ...  .   w0 w0 w0 w0  w1 w1 w1 w1  ...
    image row y + 2  c0 c1 c2 ...          y  +1 +2 +3                        row 0, 1, 2, 3
    image row y + 3  c0 c1 c2 ...

    interleave(ptr r0, ptr r1, ptr r2, ptr r3, i64 nbytes, ptr y, i64 flip)
        y[i] = the four bytes r0[i] r1[i] r2[i] r3[i], each xor-ed with `flip`

    taps_T(ptr x, i64 ldx, i64 tap, ptr w, i64 panel_bytes, i64 shift, i64 pixels, i64 channels, ptr sums, i64 ld,
           ptr start, i64 ld_start)
        sums[p, c] = start[p, c] + sum over t < T, four rows r of x[p * ldx + t * tap][c, r] * w[t][c, r]    int32

Weights of less than four rows may be shifted by 8 bits, or several times 8: then they meet the next one of the four
image rows, and the same interleaved rows serve the next row of the result.

A kernel of more than four rows takes several rounds, each of which starts from the sums of the one before; so does one
of more than MOST_TAPS columns. Strides are in bytes; sums, and what is read of x and w, are 16 channels wide, whatever
the number of channels. Weights lie as in any pack: 16 channels make a panel.
"""

from dataclasses import replace

from .dot_products import DotProduct, dot_products
from .ir import broadcast, constant, join, repeated, vector

MOST_TAPS = 7  # kernel columns in one round
INTERLEAVE = "(ptr %r0, ptr %r1, ptr %r2, ptr %r3, i64 %nbytes, ptr %y, i64 %flip)"
TAPS = (
    "(ptr %x, i64 %ldx, i64 %tap, ptr %w, i64 %panel_bytes, i64 %shift, i64 %pixels, i64 %channels, "
    "ptr %sums, i64 %ld, ptr %start, i64 %ld_start)"
)


def interleave(lanes: int = 64) -> str:
    """`lanes` bytes at a time; the last ones of a row once more from its end, or one by one where there are fewer."""
    return f"""
    define void @interleave{INTERLEAVE} {{
    entry:
      %flip.byte = trunc i64 %flip to i8
      {broadcast(f"%mask.{lanes}", "%flip.byte", "i8", 4 * lanes)}
      {broadcast("%mask.1", "%flip.byte", "i8", 4)}
      %last = sub i64 %nbytes, {lanes}
      %wide = icmp sge i64 %last, 0
      br i1 %wide, label %loop, label %next
    loop: ; for each {lanes} bytes, from i on
      %i = phi i64 [0, %entry], [%i.next, %loop]
      {_interleave_bytes("i", lanes)}
      %i.next = add i64 %i, {lanes}
      %more = icmp sle i64 %i.next, %last
      br i1 %more, label %loop, label %end
    end: ; the last {lanes} bytes
      {_interleave_bytes("last", lanes)}
      ret void
    next: ; for each byte j
      %j = phi i64 [0, %entry], [%j.next, %one]
      %left = icmp slt i64 %j, %nbytes
      br i1 %left, label %one, label %done
    one:
      {_interleave_bytes("j", 1)}
      %j.next = add i64 %j, 1
      br label %next
    done:
      ret void
    }}"""


def _interleave_bytes(n: str, lanes: int) -> str:
    """y[4n : 4n + 4 lanes] = the bytes from n on of four rows in turns: first of two rows each, then of the pairs."""
    row, twice, four = vector(lanes, "i8"), vector(2 * lanes, "i16"), vector(4 * lanes, "i8")
    in_turns = constant("i32", (i for pair in zip(range(lanes), range(lanes, 2 * lanes), strict=True) for i in pair))
    pairs = vector(lanes, "i16")
    return join(
        *(_load_bytes(f"%{n}.row{r}", r, n, row) for r in range(4)),
        *(_pairs_of_rows(f"%{n}", r, lanes, in_turns) for r in (0, 2)),
        f"""
        %{n}.all = shufflevector {pairs} %{n}.pairs0, {pairs} %{n}.pairs2, <{2 * lanes} x i32> {in_turns}
        %{n}.bytes = bitcast {twice} %{n}.all to {four}
        %{n}.flipped = xor {four} %{n}.bytes, %mask.{lanes}
        %{n}.four = shl i64 %{n}, 2
        %{n}.to = getelementptr i8, ptr %y, i64 %{n}.four
        store {four} %{n}.flipped, ptr %{n}.to, align 1""",
    )


def _load_bytes(target: str, r: int, n: str, row: str) -> str:
    """target = the bytes of image row r from n on."""
    return f"""
    {target}.at = getelementptr i8, ptr %r{r}, i64 %{n}
    {target} = load {row}, ptr {target}.at, align 1"""


def _pairs_of_rows(n: str, r: int, lanes: int, in_turns: str) -> str:
    """{n}.pairs{r} = bytes of rows r and r + 1 in turns, as int16."""
    row, bytes_ = vector(lanes, "i8"), vector(2 * lanes, "i8")
    return f"""
    {n}.bytes{r} = shufflevector {row} {n}.row{r}, {row} {n}.row{r + 1}, <{2 * lanes} x i32> {in_turns}
    {n}.pairs{r} = bitcast {bytes_} {n}.bytes{r} to {vector(lanes, "i16")}"""


def taps_name(taps: int) -> str:
    """The name of the function for so many kernel columns."""
    return f"taps_{taps}"


def taps(kernel: str, count: int) -> str:
    """The function for `count` kernel columns, on the kernel (instruction set) of this name."""
    dot = _of_pixels(kernel)
    return join(
        _begin_channels(dot, count),
        *(_load_weights(dot, t, v) for t in range(count) for v in range(dot.vectors)),
        _begin_pixel(),
        *(_sum_taps(dot, count, v) for v in range(dot.vectors)),
        _next_pixel(),
        _next_channels(),
    )


def _of_pixels(kernel: str) -> DotProduct:
    """The dot product of `kernel`, whose `broadcast` makes {x} of pixels that are loaded like weights, {four}."""
    dot = dot_products()["avx512_vnni" if kernel == "amx" else kernel]
    if kernel == "avx2":
        return replace(dot, broadcast="{x} = zext <16 x i8> {four} to <16 x i16>")
    as_they_are = f"{{x}} = bitcast {dot.load} {{four}} to {dot.load}"
    return replace(dot, broadcast=as_they_are, multiply_add=_generic() if kernel == "generic" else dot.multiply_add)


def _generic() -> str:
    """{sum} = {acc} + {weights} . {x}, where each lane has pixels of its own."""
    sums = ["{acc}", "{sum}.after0", "{sum}.after1", "{sum}.after2", "{sum}"]
    return join(*(_product_of_byte(byte, sums[byte], sums[byte + 1]) for byte in range(4)))


def _product_of_byte(byte: int, before: str, after: str) -> str:
    """after = before + one byte of the weights, sign-extended by two shifts, times that of the pixels."""
    v, n = "<16 x i32>", f"{{sum}}.{byte}"
    return f"""
    {n}.up = shl {v} {{weights}}, {repeated("i32", 24 - 8 * byte, 16)}
    {n}.w = ashr {v} {n}.up, {repeated("i32", 24, 16)}
    {n}.down = lshr {v} {{x}}, {repeated("i32", 8 * byte, 16)}
    {n}.x = and {v} {n}.down, {repeated("i32", 255, 16)}
    {n}.product = mul {v} {n}.w, {n}.x
    {after} = add {v} {before}, {n}.product"""


def _begin_channels(dot: DotProduct, count: int) -> str:
    """Where pixels, sums and their start begin for 16 channels; %tap.t, how far tap t lies from a pixel."""
    return join(
        f"define void @{taps_name(count)}{TAPS} {{",
        "entry:",
        *(f"%tap.{t} = mul i64 %tap, {t}" for t in range(count)),
        "%shift.scalar = trunc i64 %shift to i32",
        broadcast("%shifts", "%shift.scalar", "i32", 16 // dot.vectors),
        """
          br label %channel
        channel: ; for each 16 channels, from j on
          %j = phi i64 [0, %entry], [%j.next, %next]
          %w.j = phi ptr [%w, %entry], [%w.next, %next]
          %j.bytes = shl i64 %j, 2
          %x.j = getelementptr i8, ptr %x, i64 %j.bytes
          %sums.j = getelementptr i8, ptr %sums, i64 %j.bytes
          %start.j = getelementptr i8, ptr %start, i64 %j.bytes""",
    )


def _load_weights(dot: DotProduct, t: int, v: int) -> str:
    """%w.t.v: weights of tap t for the channels of vector v, shifted. They stay in registers while pixels pass by."""
    ints, n = vector(16 // dot.vectors, "i32"), f"{t}.{v}"
    return join(
        f"""
        %w.at.{n} = getelementptr i8, ptr %w.j, i64 {64 * t + dot.load_bytes * v}
        %loaded.{n} = load {dot.load}, ptr %w.at.{n}, align 16
        %ints.{n} = bitcast {dot.load} %loaded.{n} to {ints}
        %shifted.{n} = shl {ints} %ints.{n}, %shifts
        %bytes.{n} = bitcast {ints} %shifted.{n} to {dot.load}""",
        dot.widen.format(weights=f"%w.{n}", loaded=f"%bytes.{n}", load=dot.load),
    )


def _begin_pixel() -> str:
    """Where the pixel lies, its sums, and what they start from."""
    return """
      br label %pixel
    pixel: ; for each pixel p: sums[p, 16 channels] = start + all taps
      %p = phi i64 [0, %channel], [%p.next, %pixel]
      %x.p = phi ptr [%x.j, %channel], [%x.next, %pixel]
      %sums.p = phi ptr [%sums.j, %channel], [%sums.next, %pixel]
      %start.p = phi ptr [%start.j, %channel], [%start.next, %pixel]"""


def _sum_taps(dot: DotProduct, count: int, v: int) -> str:
    """sums = start + `count` products of four rows, for the channels of vector v."""
    accs = ["zeroinitializer", *(f"%sum.{t}.{v}" for t in range(count))]
    return join(
        f"""
        %start.at.{v} = getelementptr i8, ptr %start.p, i64 {v * dot.load_bytes}
        %start.{v} = load {dot.result}, ptr %start.at.{v}, align 4""",
        *(_multiply_tap(dot, t, v, accs[t]) for t in range(count)),
        dot.fold.format(columns=f"%channels.{v}", acc=accs[count], acc_type=dot.acc),
        f"""
        %total.{v} = add {dot.result} %channels.{v}, %start.{v}
        %sums.at.{v} = getelementptr i8, ptr %sums.p, i64 {v * dot.load_bytes}
        store {dot.result} %total.{v}, ptr %sums.at.{v}, align 4""",
    )


def _multiply_tap(dot: DotProduct, t: int, v: int, acc: str) -> str:
    """%sum.t.v = acc + weights of tap t . the pixel that lies under it, one dot instruction."""
    n = f"{t}.{v}"
    return join(
        f"""
        %x.off.{n} = add i64 %tap.{t}, {v * dot.load_bytes}
        %x.at.{n} = getelementptr i8, ptr %x.p, i64 %x.off.{n}
        %four.{n} = load {dot.load}, ptr %x.at.{n}, align 4""",
        dot.broadcast.format(x=f"%x.{n}", four=f"%four.{n}"),
        dot.multiply_add.format(sum=f"%sum.{n}", acc=acc, x=f"%x.{n}", weights=f"%w.{n}"),
    )


def _next_pixel() -> str:
    """On to the next pixel."""
    return """
      %x.next = getelementptr i8, ptr %x.p, i64 %ldx
      %sums.next = getelementptr i8, ptr %sums.p, i64 %ld
      %start.next = getelementptr i8, ptr %start.p, i64 %ld_start
      %p.next = add i64 %p, 1
      %more = icmp slt i64 %p.next, %pixels
      br i1 %more, label %pixel, label %next"""


def _next_channels() -> str:
    """On to the next 16 channels."""
    return """
    next:
      %j.next = add i64 %j, 16
      %w.next = getelementptr i8, ptr %w.j, i64 %panel_bytes
      %another = icmp slt i64 %j.next, %channels
      br i1 %another, label %channel, label %done
    done:
      ret void
    }"""


def all_depthwise(kernel: str) -> str:
    """Every function of this file, for one module."""
    return join(_of_pixels(kernel).declare, interleave(), *(taps(kernel, t + 1) for t in range(MOST_TAPS)))
