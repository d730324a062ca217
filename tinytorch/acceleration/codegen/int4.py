"""INT4 weights: unpacked to what the micro-kernels of INT8 read, and the sums of a group of K put into the result.

Two codes share a byte. Each is moved to the upper half of a byte of its own, so that an int8 is 16 times the code and
its sign needs no care; the sums are 16 times as large too, and are shifted back exactly.

    byte        hhhh llll
    low code    llll 0000      16 l
    high code   hhhh 0000      16 h

Weights have a scale for each column in each group of K. When the sums of a group are complete, `int4_group_to_int32` or
`int4_group_to_float` shifts them back, takes off the zero point, and adds the group to the result.
"""

from .ir import broadcast, join, repeated, vector

INTS, FLOATS, BYTES = vector(16, "i32"), vector(16, "float"), vector(64, "i8")


def int4_unpack() -> str:
    """int4_unpack(ptr x, i64 nbytes, ptr y): y = of each 64 bytes 64 low codes, then 64 high ones, each times 16."""
    return f"""
    define void @int4_unpack(ptr %x, i64 %nbytes, ptr %y) {{
    entry:
      br label %loop
    loop: ; for each 64 bytes, from i on: y[2i : 2i + 64] = low codes, y[2i + 64 : 2i + 128] = high codes
      %i = phi i64 [0, %entry], [%next, %loop]
      %x.at = getelementptr i8, ptr %x, i64 %i
      %both = load {BYTES}, ptr %x.at, align 16
      %low = shl {BYTES} %both, {repeated("i8", 4, 64)}
      %high = and {BYTES} %both, {repeated("i8", -16, 64)}
      %twice = shl i64 %i, 1
      %low.at = getelementptr i8, ptr %y, i64 %twice
      %high.at = getelementptr i8, ptr %low.at, i64 64
      store {BYTES} %low, ptr %low.at, align 16
      store {BYTES} %high, ptr %high.at, align 16
      %next = add i64 %i, 64
      %more = icmp slt i64 %next, %nbytes
      br i1 %more, label %loop, label %end
    end:
      ret void
    }}"""


def int4_add_sums() -> str:
    """int4_add_sums(ptr total, ptr sums, i64 count): total += sums / 16, int32; count is a multiple of 16."""
    return f"""
    define void @int4_add_sums(ptr %total, ptr %sums, i64 %count) {{
    entry:
      br label %loop
    loop: ; for each 16 sums, from i on: total += sums / 16
      %i = phi i64 [0, %entry], [%next, %loop]
      %total.at = getelementptr i32, ptr %total, i64 %i
      %sums.at = getelementptr i32, ptr %sums, i64 %i
      %t = load {INTS}, ptr %total.at, align 4
      %s = load {INTS}, ptr %sums.at, align 4
      %exact = ashr {INTS} %s, {repeated("i32", 4, 16)}
      %sum = add {INTS} %t, %exact
      store {INTS} %sum, ptr %total.at, align 4
      %next = add i64 %i, 16
      %more = icmp slt i64 %next, %count
      br i1 %more, label %loop, label %end
    end:
      ret void
    }}"""


def int4_group_to_int32() -> str:
    """y += (sums >> shift) - zero point * column sums, int32. Arguments as of `int4_group_to_float`."""
    body = f"""
    %before = load {INTS}, ptr %y.at, align 4
    %after = add {INTS} %before, %exact
    store {INTS} %after, ptr %y.at, align 4"""
    return _group("int4_group_to_int32", body)


def int4_group_to_float() -> str:
    """y += float32((sums >> shift) - zero point * column sums) * (scale of activations * scales).

    int4_group_to_float(ptr y, ptr sums, i64 rows, i64 cols, ptr column_sums, ptr scales, i64 zero_point, ptr scale_in,
                        i64 shift)

    Column sums and scales are those of this group. cols is a multiple of 16. Each step is rounded to float32. shift: 4,
    or 0 where `int4_add_sums` has shifted.
    """
    body = f"""
    %real = sitofp {INTS} %exact to {FLOATS}
    %scales16 = load {FLOATS}, ptr %scales.at, align 4
    %both_scales = fmul {FLOATS} %scales16, %scale_in16
    %scaled = fmul {FLOATS} %real, %both_scales
    %before = load {FLOATS}, ptr %y.at, align 4
    %after = fadd {FLOATS} %before, %scaled
    store {FLOATS} %after, ptr %y.at, align 4"""
    return _group("int4_group_to_float", body)


def _group(name: str, body: str) -> str:
    """The loop over the 16 columns from j on, in each row r; the body gets %exact, its sums less their zero points."""
    return join(_constants(name), _sums_without_zero_points(), body, _next_columns())


def _constants(name: str) -> str:
    """%zeros, %shifts and %scale_in16: zero point, shift and scale of activations, in all lanes."""
    return f"""
    define void @{name}(
      ptr %y, ptr %sums, i64 %rows, i64 %cols, ptr %column_sums, ptr %scales, i64 %zero_point, ptr %scale_in,
      i64 %shift) {{
    entry:
      %zero.scalar = trunc i64 %zero_point to i32
      {broadcast("%zeros", "%zero.scalar", "i32", 16)}
      %shift.scalar = trunc i64 %shift to i32
      {broadcast("%shifts", "%shift.scalar", "i32", 16)}
      %scale.scalar = load float, ptr %scale_in, align 4
      {broadcast("%scale_in16", "%scale.scalar", "float", 16)}
      br label %row"""


def _sums_without_zero_points() -> str:
    """%exact = (sums[r, j : j + 16] >> shift) - zero point * column_sums[j : j + 16]; and where all others lie."""
    return f"""
    row: ; for each row r
      %r = phi i64 [0, %entry], [%r.next, %row.end]
      %row.at = mul i64 %r, %cols
      br label %loop
    loop: ; for each 16 columns, from j on
      %j = phi i64 [0, %row], [%j.next, %loop]
      %i = add i64 %row.at, %j
      %sums.at = getelementptr i32, ptr %sums, i64 %i
      %y.at = getelementptr float, ptr %y, i64 %i
      %column_sums.at = getelementptr i32, ptr %column_sums, i64 %j
      %scales.at = getelementptr float, ptr %scales, i64 %j
      %all = load {INTS}, ptr %sums.at, align 4
      %shifted = ashr {INTS} %all, %shifts
      %of_columns = load {INTS}, ptr %column_sums.at, align 4
      %of_zero_point = mul {INTS} %of_columns, %zeros
      %exact = sub {INTS} %shifted, %of_zero_point"""


def _next_columns() -> str:
    """On to the next columns, and to the next row."""
    return """
      %j.next = add i64 %j, 16
      %more = icmp slt i64 %j.next, %cols
      br i1 %more, label %loop, label %row.end
    row.end:
      %r.next = add i64 %r, 1
      %another = icmp slt i64 %r.next, %rows
      br i1 %another, label %row, label %end
    end:
      ret void
    }"""
