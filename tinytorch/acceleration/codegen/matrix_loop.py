"""One walk over a matrix: the loops that prologues, epilogues and elementwise functions share.

    i64 NAME(ptr x, i64 ldx, i64 rows, i64 cols, ptr y, i64 ldy, ptr u, ptr v)      strides in bytes

    for each row r:                          |<- lanes ->|<- lanes ->|   ...   |<- tail ->|
        y[r, :] = f(x[r, :])                   vectors, loaded in full           one vector under a mask

`u` and `v` are what f needs besides: a number for each column, or a few numbers. The function returns 0, or 1 when it
met a NaN. Vectors are wider than registers: LLVM cuts them up, and so unrolls the loop.

f stands twice in the text: for full vectors, and for the tail.
"""

import re
from dataclasses import dataclass

from .ir import broadcast, constant, join, vector

SIGNATURE = "(ptr %x, i64 %ldx, i64 %rows, i64 %cols, ptr %y, i64 %ldy, ptr %u, ptr %v)"
FLAGS = "<16 x i32>"


@dataclass(frozen=True)
class MatrixLoop:
    """What is special about one walk. Pieces of IR are text; they may use the function's arguments.

    A body that looks for something makes %flags besides, 16 int32. They are or-ed over the matrix to %flags.all, of
    which `answer` makes the i1 %found.
    """

    name: str
    lanes: int  # elements of a vector
    source: str  # type of an element of x
    target: str  # and of y
    body: str  # f: makes %result, a vector of y, from %elements, a vector of x, both from column %j on
    setup: str = ""  # runs once, before the loops
    row_setup: str = ""  # runs before each row; its number is %r
    answer: str = ""

    @property
    def elements(self) -> str:
        """The type of %elements."""
        return vector(self.lanes, self.source)

    @property
    def result(self) -> str:
        """The type of %result."""
        return vector(self.lanes, self.target)


def matrix_loop(loop: MatrixLoop) -> str:
    """The function, and what it declares."""
    over_rows = join(_begin_row(loop), _full_vectors(loop), _tail(loop), _end_row())
    return join(_entry(loop), over_rows, _answer(loop), _needs(loop))


def _entry(loop: MatrixLoop) -> str:
    """Counts the columns of full vectors and of the tail; a matrix without rows ends here."""
    return f"""
    define i64 @{loop.name}{SIGNATURE} {{
    entry:
      %nothing = icmp sle i64 %rows, 0
      %full.cols = and i64 %cols, {-loop.lanes}
      %tail.cols = sub i64 %cols, %full.cols
      %has.tail = icmp ne i64 %tail.cols, 0
      br i1 %nothing, label %no.rows, label %setup
    no.rows:
      ret i64 0
    setup:
      {loop.setup}
      br label %row"""


def _begin_row(loop: MatrixLoop) -> str:
    """The addresses of row %r."""
    return f"""
    row: ; for each row r
      %r = phi i64 [0, %setup], [%r.next, %row.end]
      %flags.before = phi {FLAGS} [zeroinitializer, %setup], [%flags.all, %row.end]
      %x.off = mul i64 %r, %ldx
      %x.row = getelementptr i8, ptr %x, i64 %x.off
      %y.off = mul i64 %r, %ldy
      %y.row = getelementptr i8, ptr %y, i64 %y.off
      {loop.row_setup}
      br label %columns"""


def _full_vectors(loop: MatrixLoop) -> str:
    """y[r, j : j + lanes] = f(x[r, j : j + lanes]), for all full vectors of the row."""
    return f"""
    columns: ; for each full vector, from column j on
      %j = phi i64 [0, %row], [%j.next, %stored]
      %flags.full = phi {FLAGS} [%flags.before, %row], [%flags.next, %stored]
      %more = icmp slt i64 %j, %full.cols
      br i1 %more, label %full, label %columns.end
    full: ; y[r, j : j + {loop.lanes}] = f(x[r, j : j + {loop.lanes}])
      %x.at = getelementptr {loop.source}, ptr %x.row, i64 %j
      %y.at = getelementptr {loop.target}, ptr %y.row, i64 %j
      %elements = load {loop.elements}, ptr %x.at, align 1
      {_body(loop)}
      %flags.next = or {FLAGS} %flags.full, %flags
      store {loop.result} %result, ptr %y.at, align 1
      br label %stored
    stored:
      %j.next = add i64 %j, {loop.lanes}
      br label %columns
    columns.end:
      br i1 %has.tail, label %tail, label %row.end"""


def _tail(loop: MatrixLoop) -> str:
    """The same for the columns that are left: loaded and stored under the mask %tail.mask."""
    mask, lanes = vector(loop.lanes, "i1"), vector(loop.lanes, "i64")
    return f"""
    tail: ; y[r, j : cols] = f(x[r, j : cols])
      {broadcast("%tail.count", "%tail.cols", "i64", loop.lanes)}
      %tail.mask = icmp slt {lanes} {constant("i64", range(loop.lanes))}, %tail.count
      %tail.x.at = getelementptr {loop.source}, ptr %x.row, i64 %j
      %tail.y.at = getelementptr {loop.target}, ptr %y.row, i64 %j
      %tail.elements = call {loop.elements} {_masked_load(loop)}(
        ptr %tail.x.at, i32 1, {mask} %tail.mask, {loop.elements} zeroinitializer)
      {_renamed(_body(loop), "tail.")}
      %flags.tail = or {FLAGS} %flags.full, %tail.flags
      call void {_masked_store(loop)}({loop.result} %tail.result, ptr %tail.y.at, i32 1, {mask} %tail.mask)
      br label %tail.stored
    tail.stored:
      br label %row.end"""


def _end_row() -> str:
    """On to the next row."""
    return f"""
    row.end:
      %flags.all = phi {FLAGS} [%flags.full, %columns.end], [%flags.tail, %tail.stored]
      %r.next = add i64 %r, 1
      %another = icmp slt i64 %r.next, %rows
      br i1 %another, label %row, label %end"""


def _answer(loop: MatrixLoop) -> str:
    """Returns whether %found."""
    return f"""
    end:
      {loop.answer or "%found = icmp ne i64 0, 0"}
      %answer = zext i1 %found to i64
      ret i64 %answer
    }}"""


def _needs(loop: MatrixLoop) -> str:
    """Declares the loads and stores under a mask."""
    mask = vector(loop.lanes, "i1")
    return f"""
    declare {loop.elements} {_masked_load(loop)}(ptr, i32 immarg, {mask}, {loop.elements})
    declare void {_masked_store(loop)}({loop.result}, ptr, i32 immarg, {mask})"""


def _masked_load(loop: MatrixLoop) -> str:
    """LLVM's name for a load that leaves out lanes."""
    return f"@llvm.masked.load.v{loop.lanes}{_suffix(loop.source)}.p0"


def _masked_store(loop: MatrixLoop) -> str:
    """LLVM's name for a store that leaves out lanes."""
    return f"@llvm.masked.store.v{loop.lanes}{_suffix(loop.target)}.p0"


def _suffix(element: str) -> str:
    """How LLVM spells a type in the name of a function."""
    return {"float": "f32"}.get(element, element)


def _body(loop: MatrixLoop) -> str:
    """The body; if it looks for nothing, with no %flags."""
    return join(loop.body, "" if loop.answer else f"%flags = or {FLAGS} zeroinitializer, zeroinitializer")


def _renamed(body: str, prefix: str) -> str:
    """The same code with other names for all that it makes, to stand a second time in a function."""
    labels = re.findall(r"^ *(\w+):", body, re.M)
    made = {*re.findall(r"^ *(%[\w.]+) =", body, re.M), *(f"%{label}" for label in labels), "%elements"}
    body = re.sub(r"^ *(\w+):", rf"{prefix}\1:", body, flags=re.M)
    return re.sub(r"%[\w.]+", lambda m: f"%{prefix}{m[0][1:]}" if m[0] in made else m[0], body)
