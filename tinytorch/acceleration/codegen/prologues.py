"""Prologues: what rows go through before they meet the weights, and weights of few bits before they meet rows.

    copy_codes    codes -> codes that the instruction takes, side by side in the first cache
    extremes      floats -> their range, of which quantization parameters are made

    unpack_BITS   weights of 4 or 2 bits -> the int8 that micro-kernels read
    real_BITS     weights of 8, 4 or 2 bits, in groups -> float32

One more, `quantize`, has a file of its own. A byte holds 8 / BITS codes: its lowest bits are of the first four steps of
K, the next ones of the next four. So 64 bytes of 4-bit codes are 64 codes of four steps, then 64 of the next four.

    byte         hhhh llll
    shl 4        llll 0000      then ashr 4: the low code, with its sign
    ashr 4       ssss hhhh      the high code
"""

from .ir import join, load_flip, repeated, vector
from .matrix_loop import SIGNATURE, MatrixLoop, matrix_loop

BITS = (2, 4)  # of codes of which a byte holds several
BYTES = vector(64, "i8")


def copy_codes(lanes: int = 64) -> str:
    """y = x xor the byte at u."""
    body = f"%result = xor {vector(lanes, 'i8')} %elements, %flip"
    return matrix_loop(MatrixLoop("copy_codes", lanes, "i8", "i8", body, setup=load_flip("u", lanes)))


def extremes(lanes: int = 64) -> str:
    """y = (the least, the greatest) of 0 and the elements of the one row x, as two floats. Returns 1 if there is a NaN.

    Floats need not be compared for that, integers are enough: the bits of a float are a sign and a size.

        as signed integers     negative floats  <  0 < 1.0 < 2.0 < inf < NaN     the maximum is the greatest float
        as unsigned integers   positive floats  < -0.0 < -1.0 < -inf < -NaN      the maximum is the least float, if
                                                                                 there is a negative one
    """
    return join(_full_vectors(lanes), _single_elements(), _store_extremes(), _needs(lanes))


def _full_vectors(lanes: int) -> str:
    """The maxima %lo.full (unsigned) and %hi.full (signed) of the bits of all full vectors."""
    v = vector(lanes, "i32")
    return f"""
    define i64 @extremes{SIGNATURE} {{
    entry:
      %full.cols = and i64 %cols, {-lanes}
      br label %columns
    columns: ; for each full vector, from column j on: lo = max(lo, x[j : j + {lanes}]), unsigned; hi, signed
      %j = phi i64 [0, %entry], [%j.next, %full]
      %lo = phi {v} [zeroinitializer, %entry], [%lo.next, %full]
      %hi = phi {v} [zeroinitializer, %entry], [%hi.next, %full]
      %more = icmp slt i64 %j, %full.cols
      br i1 %more, label %full, label %fold
    full:
      %x.at = getelementptr i32, ptr %x, i64 %j
      %bits = load {v}, ptr %x.at, align 1
      %lo.next = call {v} @llvm.umax.v{lanes}i32({v} %bits, {v} %lo)
      %hi.next = call {v} @llvm.smax.v{lanes}i32({v} %bits, {v} %hi)
      %j.next = add i64 %j, {lanes}
      br label %columns
    fold: ; of all lanes the greatest
      %lo.full = call i32 @llvm.vector.reduce.umax.v{lanes}i32({v} %lo)
      %hi.full = call i32 @llvm.vector.reduce.smax.v{lanes}i32({v} %hi)
      br label %tail"""


def _single_elements() -> str:
    """The maxima %lo.all and %hi.all of these and of the elements that are left, one by one."""
    return """
    tail: ; for each element t that is left
      %t = phi i64 [%full.cols, %fold], [%t.next, %single]
      %lo.all = phi i32 [%lo.full, %fold], [%lo.single, %single]
      %hi.all = phi i32 [%hi.full, %fold], [%hi.single, %single]
      %left = icmp slt i64 %t, %cols
      br i1 %left, label %single, label %end
    single:
      %t.at = getelementptr i32, ptr %x, i64 %t
      %t.bits = load i32, ptr %t.at, align 1
      %lo.single = call i32 @llvm.umax.i32(i32 %t.bits, i32 %lo.all)
      %hi.single = call i32 @llvm.smax.i32(i32 %t.bits, i32 %hi.all)
      %t.next = add i64 %t, 1
      br label %tail"""


def _store_extremes() -> str:
    """Stores both, and returns whether one lies beyond the infinity of its sign: that is a NaN."""
    return """
    end:
      %negative = icmp slt i32 %lo.all, 0
      %lo.bits = select i1 %negative, i32 %lo.all, i32 0
      store i32 %lo.bits, ptr %y, align 4
      %y.hi = getelementptr i32, ptr %y, i64 1
      store i32 %hi.all, ptr %y.hi, align 4
      %nan.minus = icmp ugt i32 %lo.bits, u0xFF800000 ; -inf
      %nan.plus = icmp sgt i32 %hi.all, u0x7F800000 ; inf
      %found = or i1 %nan.minus, %nan.plus
      %answer = zext i1 %found to i64
      ret i64 %answer
    }"""


def _needs(lanes: int) -> str:
    """Declares the maxima."""
    v = vector(lanes, "i32")
    return f"""
    declare {v} @llvm.umax.v{lanes}i32({v}, {v})
    declare {v} @llvm.smax.v{lanes}i32({v}, {v})
    declare i32 @llvm.umax.i32(i32, i32)
    declare i32 @llvm.smax.i32(i32, i32)
    declare i32 @llvm.vector.reduce.umax.v{lanes}i32({v})
    declare i32 @llvm.vector.reduce.smax.v{lanes}i32({v})"""


def unpack(bits: int) -> str:
    """unpack_BITS(ptr x, i64 nbytes, ptr y, ptr ahead): y = the codes of x as int8, 8 / bits * nbytes of them.

    nbytes is a multiple of 64. As many bytes from `ahead` on are asked of memory meanwhile.
    """
    codes = 8 // bits
    return join(
        f"""
        define void @unpack_{bits}(ptr %x, i64 %nbytes, ptr %y, ptr %ahead) {{
        entry:
          br label %loop
        loop: ; for each 64 bytes, from i on: y[{codes} i : {codes} i + {64 * codes}] = their codes
          %i = phi i64 [0, %entry], [%next, %loop]
          %x.at = getelementptr i8, ptr %x, i64 %i
          %ahead.at = getelementptr i8, ptr %ahead, i64 %i
          call void @llvm.prefetch.p0(ptr %ahead.at, i32 0, i32 3, i32 1)
          %bytes = load {BYTES}, ptr %x.at, align 16
          %i.y = mul i64 %i, {codes}
          %y.at = getelementptr i8, ptr %y, i64 %i.y""",
        *(_store_codes(bits, i) for i in range(codes)),
        """
          %next = add i64 %i, 64
          %more = icmp slt i64 %next, %nbytes
          br i1 %more, label %loop, label %end
        end:
          ret void
        }
        declare void @llvm.prefetch.p0(ptr, i32, i32, i32)""",
    )


def _store_codes(bits: int, i: int) -> str:
    """Code number i of each byte goes to the 64 bytes from y + 64 i on."""
    return join(
        codes_of(f"%codes.{i}", "%bytes", 64, bits, i),
        f"""
        %y.at.{i} = getelementptr i8, ptr %y.at, i64 {64 * i}
        store {BYTES} %codes.{i}, ptr %y.at.{i}, align 16""",
    )


def codes_of(target: str, packed: str, count: int, bits: int, i: int) -> str:
    """target = code number i of each of `count` bytes, as int8."""
    v = vector(count, "i8")
    return f"""
    {target}.up = shl {v} {packed}, {repeated("i8", 8 - bits * (i + 1), count)}
    {target} = ashr {v} {target}.up, {repeated("i8", 8 - bits, count)}"""


def real_weights(bits: int, with_zero_points: bool) -> str:
    """y = (codes - zero points) * scales of some steps of K of 16 columns: float32 [steps, 16].

    NAME(ptr x, i64 nbytes, ptr y, ptr scales, ptr zero_points, i64 left, i64 group_bytes). x: packed codes of a panel.
    scales: float32 [groups, 16], of the first `left` bytes, then of group_bytes each; zero_points: int8, the same
    shape, or not read. All numbers of bytes are multiples of 64. Each step is rounded to float32.
    """
    steps, zeros = 32 // bits, _load_zero_points() if with_zero_points else ""
    return join(
        f"define void @{real_weights_name(bits, with_zero_points)}(",
        "ptr %x, i64 %nbytes, ptr %y, ptr %scales, ptr %zero_points, i64 %left, i64 %group_bytes) {",
        _begin_group(zeros),
        f"""
        loop: ; for each 64 bytes, from i on: {steps} steps of K
          %i = phi i64 [%begin, %group], [%i.next, %loop]
          %x.at = getelementptr i8, ptr %x, i64 %i
          %packed = load <16 x i32>, ptr %x.at, align 16
          %i.y = mul i64 %i, {steps}
          %y.at = getelementptr i8, ptr %y, i64 %i.y""",
        *(_store_step(bits, step, with_zero_points) for step in range(steps)),
        """
          %i.next = add i64 %i, 64
          %more = icmp slt i64 %i.next, %end
          br i1 %more, label %loop, label %group.end
        group.end:
          %g.next = add i64 %g, 16
          %whole.next = add i64 %whole, %group_bytes
          %another = icmp slt i64 %end, %nbytes
          br i1 %another, label %group, label %done
        done:
          ret void
        }""",
    )


def real_weights_name(bits: int, with_zero_points: bool) -> str:
    """How it is found in its module."""
    return f"real_{bits}_with_zero_points" if with_zero_points else f"real_{bits}"


def _begin_group(zeros: str) -> str:
    """%end, the byte at which the group that begins at byte %begin ends, and %scales16. zeros: makes %zeros."""
    return f"""
    entry:
      br label %group
    group: ; for each group, number g / 16
      %begin = phi i64 [0, %entry], [%end, %group.end]
      %whole = phi i64 [%left, %entry], [%whole.next, %group.end]
      %g = phi i64 [0, %entry], [%g.next, %group.end]
      %is.whole = icmp slt i64 %whole, %nbytes
      %end = select i1 %is.whole, i64 %whole, i64 %nbytes
      %scales.at = getelementptr float, ptr %scales, i64 %g
      %scales16 = load <16 x float>, ptr %scales.at, align 4
      {zeros}
      br label %loop"""


def _load_zero_points() -> str:
    """%zeros, int32."""
    return """
    %zeros.at = getelementptr i8, ptr %zero_points, i64 %g
    %zeros8 = load <16 x i8>, ptr %zeros.at, align 1
    %zeros = sext <16 x i8> %zeros8 to <16 x i32>"""


def _store_step(bits: int, step: int, with_zero_points: bool) -> str:
    """One step of K: of each int32, which holds four steps of a column a byte, the code of this step as float32."""
    number, byte = divmod(step, 4)
    up, down = repeated("i32", 32 - 8 * byte - bits * (number + 1), 16), repeated("i32", 32 - bits, 16)
    n = f"%w.{step}"
    return f"""
    {n}.up = shl <16 x i32> %packed, {up}
    {n}.code = ashr <16 x i32> {n}.up, {down}
    {n}.steps = sub <16 x i32> {n}.code, {"%zeros" if with_zero_points else "zeroinitializer"}
    {n}.real = sitofp <16 x i32> {n}.steps to <16 x float>
    {n} = fmul <16 x float> {n}.real, %scales16
    %y.at.{step} = getelementptr i8, ptr %y.at, i64 {64 * step}
    store <16 x float> {n}, ptr %y.at.{step}, align 16"""
