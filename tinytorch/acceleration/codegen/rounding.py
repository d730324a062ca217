"""Between reals and codes, as LLVM IR text: the passes whose speed is that of memory, or nearly."""

from collections.abc import Iterable

from .sweeps import bounds, clip, declare_round, number, round_to_int, sweep


def _indices(numbers: Iterable[int]) -> str:
    return f"<{', '.join(f'i32 {number}' for number in numbers)}>"


def _no_ties(lanes: int) -> str:
    """%clear.<last>: in which of 16 places no part of %bits has a fraction (%places) of 0; and %met, their union.

    In parts, because a processor gathers whole registers with one instruction each, but masks only one by one.
    """
    n, mask, out = "<16 x i32>", "<16 x i1>", []
    for part in range(lanes // 16):
        numbers = _indices(range(16 * part, 16 * part + 16))
        out += [
            f"%bits.{part} = shufflevector <{lanes} x i32> %bits, <{lanes} x i32> poison, {n} {numbers}",
            f"%fraction.{part} = and {n} %bits.{part}, %places",
            f"%some.{part} = icmp ne {n} %fraction.{part}, zeroinitializer",
            f"%clear.{part} = and {mask} %some.{part}, {f'%clear.{part - 1}' if part else f'%some.{part}'}",
            f"%met.{part} = or {n} %bits.{part}, {f'%met.{part - 1}' if part else f'%bits.{part}'}",
        ]
    return "".join(f"\n  {line}" for line in [*out, f"%met = or {n} %met.{lanes // 16 - 1}, zeroinitializer"])


def _bytes_from_12(lanes: int) -> str:
    """%packed: bits 12 to 19 of each of %bits.0 ... , as bytes: two bytes of each first, then half as many vectors
    are shifted."""
    b, out = "<64 x i8>", []
    for part in range(lanes // 16):
        out.append(f"%quarter.{part} = bitcast <16 x i32> %bits.{part} to {b}")
    for half in range(lanes // 32):
        two = _indices(4 * i + j for i in range(32) for j in (1, 2))
        out += [
            f"%pair.{half} = shufflevector {b} %quarter.{2 * half}, {b} %quarter.{2 * half + 1}, <64 x i32> {two}",
            f"%word.{half} = bitcast {b} %pair.{half} to <32 x i16>",
            f"%low.{half} = lshr <32 x i16> %word.{half}, {_indices([4] * 32).replace('i32', 'i16')}",
            f"%half.{half} = bitcast <32 x i16> %low.{half} to {b}",
        ]
    out.append(f"%packed = shufflevector {b} %half.0, {b} %half.1, <64 x i32> {_indices(range(0, 128, 2))}")
    return "".join(f"\n  {line}" for line in out)


def quantize(lanes: int = 64) -> str:
    """u: zero point, lowest, highest code, scale, as floats; v: a byte, as in `copy_codes`.

    The definition divides and rounds, which is slow. Here y = x * (1 / scale) + (zero point + 0.5 + 3072) is a float
    between 2**11 and 2**12, once it is clipped: its bits are a number with 12 binary places, whose whole part, modulo
    256, is the code. y is wrong by less than 7/8 of a last place: half of one for rounding, and 511 * 2**-24 * 4096 =
    1/8 each for the reciprocal, the product and the definition's own division. So the code can only be wrong where all
    12 places are 0: near a tie. Vectors that hold such an element (1.5 % of them) are divided, as are all where the
    reciprocal is not a normal number. A NaN is seen by its exponent, which clipping leaves as it is.
    """
    f, mask, n = f"<{lanes} x float>", f"<{lanes} x i1>", f"<{lanes} x i32>"
    once = (
        number("scale", "u", 3, lanes)
        + bounds("u", lanes)
        + f"""
  %huge = fcmp ogt float %scale.0, 0x47B0000000000000 ; 2**124
  %small = fcmp olt float %scale.0, 0x3830000000000000 ; 2**-124
  %odd = or i1 %huge, %small
  %places.0 = select i1 %odd, i32 0, i32 4095
  %places.1 = insertelement <16 x i32> poison, i32 %places.0, i32 0
  %places = shufflevector <16 x i32> %places.1, <16 x i32> poison, <16 x i32> zeroinitializer
  %one = fdiv float 1.0, %scale.0
  %inverse.0 = select i1 %odd, float 1.0, float %one
  %inverse.1 = insertelement {f} poison, float %inverse.0, i32 0
  %inverse = shufflevector {f} %inverse.1, {f} poison, {n} zeroinitializer
  %middle.1 = insertelement {f} poison, float 3072.5, i32 0
  %middle = shufflevector {f} %middle.1, {f} poison, {n} zeroinitializer
  %base = fadd {f} %middle, %offset
  %bottom = fadd {f} %middle, %least
  %top = fadd {f} %middle, %most
  %flip.0 = load i8, ptr %v, align 1
  %flip.1 = insertelement <{lanes} x i8> poison, i8 %flip.0, i32 0
  %flip = shufflevector <{lanes} x i8> %flip.1, <{lanes} x i8> poison, {n} zeroinitializer"""
    )
    body = f"""
  %product = fmul contract {f} %e, %inverse
  %y.free = fadd contract {f} %product, %base
  %low = fcmp ogt {f} %bottom, %y.free
  %y.up = select {mask} %low, {f} %bottom, {f} %y.free
  %high = fcmp olt {f} %top, %y.up
  %y.in = select {mask} %high, {f} %top, {f} %y.up
  %bits = bitcast {f} %y.in to {n}{_no_ties(lanes)}
  %clear = bitcast <16 x i1> %clear.{lanes // 16 - 1} to i16
  %some = icmp ne i16 %clear, -1
  br i1 %some, label %divide, label %shift
shift:{_bytes_from_12(lanes)}
  br label %place
divide:
  %d = fdiv {f} %e, %scale{clip("%d", lanes)}{round_to_int("%d.clipped", "%rounded", lanes)}
  %placed = add {n} %rounded, %zero
  %byte.exact = trunc {n} %placed to <{lanes} x i8>
  br label %place
place:
  %byte = phi <{lanes} x i8> [%packed, %shift], [%byte.exact, %divide]
  %q = xor <{lanes} x i8> %byte, %flip"""
    end = """
  %all = call i32 @llvm.vector.reduce.or.v16i32(<16 x i32> %seen.end)
  %beyond = and i32 %all, u0x3A000000
  %any = icmp ne i32 %beyond, 0"""
    reduce = "declare i32 @llvm.vector.reduce.or.v16i32(<16 x i32>)\n"
    return sweep("quantize", lanes, "float", "i8", once, body, end) + reduce + declare_round(lanes)


def dequantize(name: str, extend: str, lanes: int = 64) -> str:
    """u: a ruler as in `quantize`. (q - zero point) is exact in float32."""
    f = f"<{lanes} x float>"
    once = number("zero", "u", 0, lanes) + number("scale", "u", 3, lanes)
    convert = {"sext": "sitofp", "zext": "uitofp"}[extend]
    body = f"""
  %real = {convert} <{lanes} x i8> %e to {f}
  %steps = fsub {f} %real, %zero
  %q = fmul {f} %steps, %scale"""
    return sweep(name, lanes, "i8", "float", once, body)


def all_roundings() -> str:
    """Every pass of this file, for one module."""
    return "\n".join([quantize(), dequantize("dequantize_int8", "sext"), dequantize("dequantize_uint8", "zext")])
