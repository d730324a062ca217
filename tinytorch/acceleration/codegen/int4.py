"""INT4 weights in groups: micro-kernels that unpack weights in registers, and add up the groups of K in float32.

Weights have a scale for each column in each group of K. On avx512_vnni, for each 8 steps of K of a group:

    64 bytes of a panel     low codes:  4 steps of 16 columns     high codes: the 4 steps behind them
    8 bytes of each row     4 bytes, broadcast                    4 bytes, broadcast
    sums                    += low . row                          += high . row

and when the group ends, while its sums are in registers still:

    y[row, columns] += float32(sums - zero point * column sums of the group) * (scale of the rows * scales of the group)

Each step is rounded to float32. AMX multiplies a group in its tiles; `int4_add_groups` does the same with the sums.
"""

from .dot_products import DotProduct
from .ir import broadcast, join, vector
from .micro_kernels import address
from .prologues import codes_of

GROUPS = "ptr %column_sums, ptr %scales, i64 %ld_panel, i64 %zero_point, ptr %scale_in"  # ld_panel: see `PackedInt4`
INTS, FLOATS = vector(16, "i32"), vector(16, "float")


def group_kernel(name: str, dot: DotProduct, rows: int, panels: int) -> str:
    """y[rows x 16 panels] += the groups of A[rows x K] @ B[K x 16 panels], one after the other.

    NAME(ptr a, i64 lda, ptr b, i64 panel_bytes, i64 eights, i64 group_eights, ptr y, i64 ldy, GROUPS)
    eights, group_eights: K, and a group's, in steps of 8; the last group may have fewer.
    """
    vectors = panels * dot.vectors
    return join(
        f"define void @{name}(ptr %a, i64 %lda, ptr %b, i64 %panel_bytes, i64 %eights, i64 %group_eights, "
        f"ptr %y, i64 %ldy, {GROUPS}) {{",
        _entry(dot, rows, panels),
        _begin_group(),
        f"; sums[{rows} x {16 * panels}] += A[{rows} x 8 bytes] @ B[8 bytes x {16 * panels}]",
        _begin_step(dot, rows, vectors),
        *(_load_weights(dot, v) for v in range(vectors)),
        *(_multiply_row(dot, r, half, vectors) for half in range(2) for r in range(rows)),
        _end_step(),
        *(_load_group(dot, v) for v in range(vectors)),
        *(_add_row(dot, r, vectors) for r in range(rows)),
        _end_group(),
    )


def _entry(dot: DotProduct, rows: int, panels: int) -> str:
    """%a.r and %y.r, where each row begins, %b.p, where each panel does; %zeros and %step: zero point and scale."""
    lanes = dot.load_bytes // 4
    return join(
        "entry:",
        *(address(f"%a.{r}", "%a", "%lda", r) for r in range(rows)),
        *(address(f"%y.{r}", "%y", "%ldy", r) for r in range(rows)),
        *(address(f"%b.{p}", "%b", "%panel_bytes", p) for p in range(panels)),
        """
        %zero.scalar = trunc i64 %zero_point to i32
        %step.scalar = load float, ptr %scale_in, align 4""",
        broadcast("%zeros", "%zero.scalar", "i32", lanes),
        broadcast("%step", "%step.scalar", "float", lanes),
        "br label %group",
    )


def _begin_group() -> str:
    """%end, the step of 8 at which the group that begins at step %begin ends; %group.off, where its numbers lie."""
    return """
    group: ; for each group, from step of 8 %begin on
      %begin = phi i64 [0, %entry], [%end, %group.end]
      %group.off = phi i64 [0, %entry], [%group.next, %group.end]
      %whole.end = add i64 %begin, %group_eights
      %is.whole = icmp slt i64 %whole.end, %eights
      %end = select i1 %is.whole, i64 %whole.end, i64 %eights
      br label %loop"""


def _begin_step(dot: DotProduct, rows: int, vectors: int) -> str:
    """The sums so far, at first 0; %k.a and %k.b, how far step k lies from the start of a row and of a panel."""
    return join(
        "loop: ; for each 8 steps of K",
        "%k = phi i64 [%begin, %group], [%k.next, %loop]",
        *(
            f"%acc.{r}.{v} = phi {dot.acc} [zeroinitializer, %group], [%sum.1.{r}.{v}, %loop]"
            for r in range(rows) for v in range(vectors)
        ),
        "%k.a = shl i64 %k, 3",
        "%k.b = shl i64 %k, 6",
    )  # fmt: skip


def _load_weights(dot: DotProduct, v: int) -> str:
    """%w.0.v and %w.1.v: the weights of the first and the second four steps for the columns of vector v."""
    (panel, part), n = divmod(v, dot.vectors), dot.load_bytes
    return join(
        f"""
        %w.off.{v} = add i64 %k.b, {part * n}
        %w.at.{v} = getelementptr i8, ptr %b.{panel}, i64 %w.off.{v}
        %both.{v} = load {vector(n, "i8")}, ptr %w.at.{v}, align 16""",
        *(_half_of_weights(dot, v, half) for half in range(2)),
    )


def _half_of_weights(dot: DotProduct, v: int, half: int) -> str:
    """%w.half.v, as the dot product takes it."""
    loaded = f"%loaded.{half}.{v}"
    return join(
        codes_of(f"%codes.{half}.{v}", f"%both.{v}", dot.load_bytes, 4, half),
        f"{loaded} = bitcast {vector(dot.load_bytes, 'i8')} %codes.{half}.{v} to {dot.load}",
        dot.widen.format(weights=f"%w.{half}.{v}", loaded=loaded, load=dot.load),
    )


def _multiply_row(dot: DotProduct, r: int, half: int, vectors: int) -> str:
    """sum[half, r, v] = the sum before + w[half, v] . four steps of row r, for all vectors v."""
    before, x = "%acc" if half == 0 else "%sum.0", f"%x.{half}.{r}"
    return join(
        f"""
        {x}.off = add i64 %k.a, {4 * half}
        {x}.at = getelementptr i8, ptr %a.{r}, i64 {x}.off
        {x}.four = load i32, ptr {x}.at, align 1""",
        dot.broadcast.format(x=x, four=f"{x}.four"),
        *(
            dot.multiply_add.format(sum=f"%sum.{half}.{r}.{v}", acc=f"{before}.{r}.{v}", x=x, weights=f"%w.{half}.{v}")
            for v in range(vectors)
        ),
    )


def _end_step() -> str:
    """On to the next step; behind the last one, %sums.of and %scales.of, where the group's numbers for panel 0 lie."""
    return """
      %k.next = add i64 %k, 1
      %more = icmp slt i64 %k.next, %end
      br i1 %more, label %loop, label %group.end
    group.end:
      %sums.of = getelementptr i8, ptr %column_sums, i64 %group.off
      %scales.of = getelementptr i8, ptr %scales, i64 %group.off"""


def _load_group(dot: DotProduct, v: int) -> str:
    """%taken.v: zero point * column sums; %worth.v: scale of the rows * scales; for the columns of vector v."""
    (panel, part), ints, floats = divmod(v, dot.vectors), dot.result, vector(dot.load_bytes // 4, "float")
    return f"""
    %panel.far.{v} = mul i64 %ld_panel, {panel}
    %panel.off.{v} = add i64 %panel.far.{v}, {part * dot.load_bytes}
    %sums.at.{v} = getelementptr i8, ptr %sums.of, i64 %panel.off.{v}
    %scales.at.{v} = getelementptr i8, ptr %scales.of, i64 %panel.off.{v}
    %sums.{v} = load {ints}, ptr %sums.at.{v}, align 4
    %scales.{v} = load {floats}, ptr %scales.at.{v}, align 4
    %taken.{v} = mul {ints} %sums.{v}, %zeros
    %worth.{v} = fmul {floats} %scales.{v}, %step"""


def _add_row(dot: DotProduct, r: int, vectors: int) -> str:
    """y[r] += float32(sums - taken) * worth."""
    ints, floats = dot.result, vector(dot.load_bytes // 4, "float")
    pieces = []
    for v in range(vectors):
        n = f"{r}.{v}"
        pieces += [
            dot.fold.format(columns=f"%columns.{n}", acc=f"%sum.1.{n}", acc_type=dot.acc),
            f"""
            %exact.{n} = sub {ints} %columns.{n}, %taken.{v}
            %real.{n} = sitofp {ints} %exact.{n} to {floats}
            %scaled.{n} = fmul {floats} %real.{n}, %worth.{v}
            %y.at.{n} = getelementptr i8, ptr %y.{r}, i64 {v * dot.load_bytes}
            %before.{n} = load {floats}, ptr %y.at.{n}, align 4
            %after.{n} = fadd {floats} %before.{n}, %scaled.{n}
            store {floats} %after.{n}, ptr %y.at.{n}, align 4""",
        ]
    return join(*pieces)


def _end_group() -> str:
    """On to the next group."""
    return """
      %group.next = add i64 %group.off, 64
      %another = icmp slt i64 %end, %eights
      br i1 %another, label %group, label %done
    done:
      ret void
    }"""


def int4_add_groups(count: int) -> str:
    """int4_add_groups_COUNT(ptr y, ptr sums, i64 rows, i64 cols, GROUPS): y += what the sums of COUNT groups are
    worth, one after the other.

    sums: int32 [count, rows, cols]; y: float32 [rows, cols]; cols is a multiple of 16.
    """
    return join(
        f"define void @int4_add_groups_{count}(ptr %y, ptr %sums, i64 %rows, i64 %cols, {GROUPS}) {{",
        _begin_columns(),
        *(_load_16_columns(g) for g in range(count)),
        """
          br label %row
        row: ; for each row r: y[r, j : j + 16] += the groups
          %r = phi i64 [0, %columns], [%r.next, %row]
          %i.0 = phi i64 [%j, %columns], [%i.next, %row]
          %y.at = getelementptr float, ptr %y, i64 %i.0
          %y.0 = load <16 x float>, ptr %y.at, align 4""",
        *(_add_16_columns(g) for g in range(count)),
        f"store {FLOATS} %y.{count}, ptr %y.at, align 4",
        _next_columns(),
    )


def _begin_columns() -> str:
    """%zeros and %step, as in `group_kernel`; the loop over columns."""
    return f"""
    entry:
      %zero.scalar = trunc i64 %zero_point to i32
      {broadcast("%zeros", "%zero.scalar", "i32", 16)}
      %step.scalar = load float, ptr %scale_in, align 4
      {broadcast("%step", "%step.scalar", "float", 16)}
      %group.size = mul i64 %rows, %cols
      br label %columns
    columns: ; for each 16 columns, from j on
      %j = phi i64 [0, %entry], [%j.next, %columns.end]
      %panel.off = phi i64 [0, %entry], [%panel.next, %columns.end]"""


def _next_columns() -> str:
    """On to the next row, and to the next columns."""
    return """
      %r.next = add i64 %r, 1
      %i.next = add i64 %i.0, %cols
      %another = icmp slt i64 %r.next, %rows
      br i1 %another, label %row, label %columns.end
    columns.end:
      %j.next = add i64 %j, 16
      %panel.next = add i64 %panel.off, %ld_panel
      %more = icmp slt i64 %j.next, %cols
      br i1 %more, label %columns, label %end
    end:
      ret void
    }"""


def _load_16_columns(g: int) -> str:
    """%taken.g: zero point * column sums of group g; %worth.g: scale of the rows * its scales; for 16 columns."""
    return f"""
    %numbers.off.{g} = add i64 %panel.off, {64 * g}
    %sums.of.{g} = getelementptr i8, ptr %column_sums, i64 %numbers.off.{g}
    %scales.of.{g} = getelementptr i8, ptr %scales, i64 %numbers.off.{g}
    %sums16.{g} = load {INTS}, ptr %sums.of.{g}, align 4
    %taken.{g} = mul {INTS} %sums16.{g}, %zeros
    %scales16.{g} = load {FLOATS}, ptr %scales.of.{g}, align 4
    %worth.{g} = fmul {FLOATS} %scales16.{g}, %step"""


def _add_16_columns(g: int) -> str:
    """%y.(g + 1) = %y.g + float32(sums of group g - taken) * worth."""
    return f"""
    %sums.at.{g} = getelementptr i32, ptr %sums, i64 %i.{g}
    %i.{g + 1} = add i64 %i.{g}, %group.size
    %all.{g} = load {INTS}, ptr %sums.at.{g}, align 4
    %exact.{g} = sub {INTS} %all.{g}, %taken.{g}
    %real.{g} = sitofp {INTS} %exact.{g} to {FLOATS}
    %scaled.{g} = fmul {FLOATS} %real.{g}, %worth.{g}
    %y.{g + 1} = fadd {FLOATS} %y.{g}, %scaled.{g}"""
