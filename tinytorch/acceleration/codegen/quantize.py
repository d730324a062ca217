"""Between floats and codes: loops whose speed is that of memory, or nearly.

    quantize      code = clip(rint(x / scale) + zero point), also the prologue of products whose rows are floats
    dequantize    x = (code - zero point) * scale, exact but for one rounding

To divide and to round is slow. `quantize` multiplies by 1 / scale instead and lets an addition do the rounding,

    y = x * (1 / scale) + (zero point + 0.5 + 3072)        clipped to the range of codes, so 2**11 <= y < 2**12

so that the bits of y, a float, are a number with 12 binary places whose whole part, modulo 256, is the code:

    bit  31 | 30 .. 23 | 22 .. 20 | 19 .. 12 | 11 .. 0
       sign | exponent |          | the code | fraction

y is wrong by less than 7/8 of its last place: half of one for its rounding, and 511 * 2**-24 * 4096 = 1/8 each for the
reciprocal, the product and the definition's own division. So the code can be wrong only where the fraction is 0: at
a tie, or next to one. Vectors that hold such an element (1.5 % of them) are divided, as are all where the reciprocal is
not a normal number.
"""

from .ir import (
    broadcast,
    clip,
    code_range,
    constant,
    declare_round,
    join,
    load_flip,
    load_number,
    repeated,
    round_to_int,
    vector,
)
from .matrix_loop import FLAGS, MatrixLoop, matrix_loop

LANES = 64
FLOATS, INTS, BYTES = vector(LANES, "float"), vector(LANES, "i32"), vector(LANES, "i8")
QUARTERS, HALVES = range(LANES // 16), range(LANES // 32)


def quantize() -> str:
    """y = codes of x, each xor the byte at v. Returns 1 if there is a NaN.

    u: zero point, lowest code, highest code and scale, as floats.
    """
    scale, codes, flip = load_number("scale", "u", 3, LANES), code_range("u", LANES), load_flip("v", LANES)
    setup = join(scale, codes, _reciprocal(), _base(), flip)
    body = join(_multiply(), _near_ties(), _branch(), _fast_codes(), _exact_codes(), _either())
    loop = MatrixLoop("quantize", LANES, "float", "i8", body, setup, answer=_any_nan())
    return join(matrix_loop(loop), declare_round(LANES), f"declare i32 @llvm.vector.reduce.or.v16i32({FLAGS})")


def _reciprocal() -> str:
    """%inverse = 1 / scale; %places, the bits of the fraction. For extreme scales 1 and none: so all are divided."""
    return f"""
    %huge = fcmp ogt float %scale.scalar, 0x47B0000000000000 ; 2**124
    %small = fcmp olt float %scale.scalar, 0x3830000000000000 ; 2**-124
    %extreme = or i1 %huge, %small
    %places.scalar = select i1 %extreme, i32 0, i32 4095
    {broadcast("%places", "%places.scalar", "i32", 16)}
    %one.over.scale = fdiv float 1.0, %scale.scalar
    %inverse.scalar = select i1 %extreme, float 1.0, float %one.over.scale
    {broadcast("%inverse", "%inverse.scalar", "float", LANES)}"""


def _base() -> str:
    """%base = what is added to the product; %bottom and %top, the range of y."""
    return f"""
    {broadcast("%middle", "3072.5", "float", LANES)}
    %base = fadd {FLOATS} %middle, %zero_point
    %bottom = fadd {FLOATS} %middle, %lowest
    %top = fadd {FLOATS} %middle, %highest"""


def _multiply() -> str:
    """%bits = the bits of y, clipped. A NaN stays one; `contract` allows an FMA, which is at least as exact."""
    mask = vector(LANES, "i1")
    return f"""
    ; y = x * (1 / scale) + (zero point + 3072.5), clipped
    %product = fmul contract {FLOATS} %elements, %inverse
    %y.free = fadd contract {FLOATS} %product, %base
    %low = fcmp ogt {FLOATS} %bottom, %y.free
    %y.up = select {mask} %low, {FLOATS} %bottom, {FLOATS} %y.free
    %high = fcmp olt {FLOATS} %top, %y.up
    %y.in = select {mask} %high, {FLOATS} %top, {FLOATS} %y.up
    %bits = bitcast {FLOATS} %y.in to {INTS}"""


def _near_ties() -> str:
    """%clear.<last>: in which of 16 places no quarter of %bits has a fraction of 0. %flags: the union of all %bits.

    In quarters, because a processor gathers whole registers with one instruction each, but masks only one by one.
    """
    n, mask, lines = vector(16, "i32"), vector(16, "i1"), []
    for q in QUARTERS:
        lanes = constant("i32", range(16 * q, 16 * q + 16))
        lines += [
            f"%bits.{q} = shufflevector {INTS} %bits, {INTS} poison, {n} {lanes}",
            f"%fraction.{q} = and {n} %bits.{q}, %places",
            f"%some.{q} = icmp ne {n} %fraction.{q}, zeroinitializer",
            f"%clear.{q} = and {mask} %some.{q}, {f'%clear.{q - 1}' if q else f'%some.{q}'}",
            f"%union.{q} = or {n} %bits.{q}, {f'%union.{q - 1}' if q else f'%bits.{q}'}",
        ]
    return join(*lines, f"%flags = or {n} %union.{QUARTERS[-1]}, zeroinitializer")


def _branch() -> str:
    """To %divide, if one of the elements may be near a tie."""
    return f"""
    %clear = bitcast <16 x i1> %clear.{QUARTERS[-1]} to i16
    %near.tie = icmp ne i16 %clear, -1
    br i1 %near.tie, label %divide, label %shift"""


def _fast_codes() -> str:
    """%shifted: bits 12 to 19 of %bits, as bytes. Two bytes of each first, then half as many vectors are shifted."""
    middle = constant("i32", (4 * i + j for i in range(32) for j in (1, 2)))  # bytes 1 and 2 of each int32
    lines = [f"%quarter.{q} = bitcast <16 x i32> %bits.{q} to {BYTES}" for q in QUARTERS]
    for h in HALVES:
        lines += [
            f"%pairs.{h} = shufflevector {BYTES} %quarter.{2 * h}, {BYTES} %quarter.{2 * h + 1}, <64 x i32> {middle}",
            f"%wide.{h} = bitcast {BYTES} %pairs.{h} to <32 x i16>",
            f"%low.{h} = lshr <32 x i16> %wide.{h}, {repeated('i16', 4, 32)}",
            f"%half.{h} = bitcast <32 x i16> %low.{h} to {BYTES}",
        ]
    even = constant("i32", range(0, 128, 2))
    last = f"%shifted = shufflevector {BYTES} %half.0, {BYTES} %half.1, <64 x i32> {even}"
    return join("shift: ; code = bits 12 to 19 of y", *lines, last, "br label %place")


def _exact_codes() -> str:
    """%divided: the codes by their definition."""
    return join(
        "divide: ; code = rint(clip(x / scale)) + zero point",
        f"%quotient = fdiv {FLOATS} %elements, %scale",
        clip("%quotient", LANES),
        round_to_int("%rounded", "%quotient.clipped", LANES),
        f"%code = add {INTS} %rounded, %zero",
        f"%divided = trunc {INTS} %code to {BYTES}",
        "br label %place",
    )


def _either() -> str:
    """%result: the codes of the one way or the other."""
    return f"""
    place:
      %byte = phi {BYTES} [%shifted, %shift], [%divided, %divide]
      %result = xor {BYTES} %byte, %flip"""


def _any_nan() -> str:
    """%found: whether some y had a bit in its exponent that no float of [2**11, 2**12) has. Then it was a NaN."""
    return f"""
    %bits.all = call i32 @llvm.vector.reduce.or.v16i32({FLAGS} %flags.all)
    %beyond = and i32 %bits.all, u0x3A000000
    %found = icmp ne i32 %beyond, 0"""


def dequantize(name: str, convert: str) -> str:
    """y = (x - zero point) * scale; `convert` is sitofp for int8, uitofp for uint8. u: as in `quantize`.

    The difference is exact in float32.
    """
    setup = join(load_number("zero_point", "u", 0, LANES), load_number("scale", "u", 3, LANES))
    body = f"""
    %real = {convert} {BYTES} %elements to {FLOATS}
    %steps = fsub {FLOATS} %real, %zero_point
    %result = fmul {FLOATS} %steps, %scale"""
    return matrix_loop(MatrixLoop(name, LANES, "i8", "float", body, setup))
