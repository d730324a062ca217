"""What may be exported: each check raises with the notebook's line, and a fault is charged to the exercise it is in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from tito.course import percent
from tito.course.module import Module, Notebook
from tito.course.notebook import Cell, Document
from tito.course.project import Project
from tito.errors import TitoError

RELATIVE = re.compile(r"\bfrom[\s\\]*\.")  # a line that may be a relative import
CANNOT_COMPILE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


@dataclass(frozen=True)
class Fault:
    """An exercise that cannot be exported as it stands, in one sentence; of given code, which is of no exercise, ""."""

    exercise: str
    sentence: str


@dataclass
class Faults:
    """What is wrong in a notebook: raised at once, or kept for the exercise that it is charged to."""

    forgiving: bool
    entry: Notebook
    is_given: bool  # what was given to the student is at hand, and can stand in for given code too
    broken: list[Fault] = field(default_factory=list)

    @contextmanager
    def charged_to(self, exercise: str | None) -> Iterator[None]:
        try:
            yield
        except TitoError as error:
            known = exercise in [item.id for item in self.entry.exercises]
            if not self.forgiving or not (known or self.is_given):
                raise
            fault = Fault(exercise if known and exercise else "", str(error))
            first = fault.exercise not in [earlier.exercise for earlier in self.broken]
            if first or (not fault.exercise and fault not in self.broken):  # of an exercise, the first is enough
                self.broken.append(fault)


@lru_cache(maxsize=500)
def parsed(code: str) -> ast.Module:
    """Code as Python's tree, which nobody may change. Raises one of CANNOT_COMPILE."""
    return ast.parse(code)


def compiles(cell: Cell) -> bool:
    try:
        compile(code_of(cell), "cell", "exec", dont_inherit=True)
    except CANNOT_COMPILE:
        return False
    return True


def code_of(cell: Cell) -> str:
    """A cell's lines without directives."""
    return "\n".join(line for _, line in cell.body)


def check_exercises(project: Project, module: Module, faults: Faults, document: Document) -> None:
    """The cells and module.toml must name the same exercises."""
    table = project.shown(project.module_toml(module.name))
    listed = [exercise.id for exercise in faults.entry.exercises]
    absent = [name for name in listed if name not in {cell.exercise for cell in document.code}]
    for cell in document.code:
        if cell.exercise is None:
            continue
        where = document.at(cell, cell.line_of("exercise"))
        if cell.exercise not in listed:
            with faults.charged_to(next(iter(absent), None)):
                raise TitoError(f"{where}: {table} has no exercise '{cell.exercise}' here; it has {', '.join(listed)}")
        elif not cell.exported:
            with faults.charged_to(cell.exercise):
                raise TitoError(f"{where}: exercise '{cell.exercise}' is not exported; begin its cell with `#| export`")
    for name in absent:
        with faults.charged_to(name):
            raise TitoError(
                f"{document.name}: no cell begins with `#| exercise: {name}`, which {table} lists. "
                "Was the cell deleted? Put it back, or at least its two directive lines."
            )


def check_directives(document: Document, cell: Cell) -> None:
    for name, value in cell.directives.items():
        if name in ("exporti", "exports", "exportd") or (name == "export" and value):
            where = document.at(cell, cell.line_of(name))
            got = f"#| {name} {value}".strip()
            raise TitoError(f"{where}: write `#| export` alone; got `{got}`")


def check_syntax(document: Document, cell: Cell) -> None:
    """Refuse an exported cell that Python could not run, or Jupyter alone could."""
    shift = cell.body[0][0] - 1 if cell.body else 0
    try:
        compile(parsed(code_of(cell)), document.name, "exec", dont_inherit=True)
    except CANNOT_COMPILE as error:
        number = getattr(error, "lineno", None) or 1
        text = cell.body[number - 1][1].strip() if number <= len(cell.body) else ""
        where = document.at(cell, number + shift)
        if command := percent.why_no_python(text):
            raise TitoError(f"{where}: {command}") from None
        reason = getattr(error, "msg", error) if isinstance(error, SyntaxError | ValueError) else "nested too deeply"
        raise TitoError(f"{where}: {reason}: `{text}`") from None
    if not RELATIVE.search(cell.source):
        return
    for node in ast.walk(parsed(code_of(cell))):
        if isinstance(node, ast.ImportFrom) and node.level:
            where = document.at(cell, node.lineno + shift)
            raise TitoError(f"{where}: a relative import does not run in a notebook; name the package in full")


def _definitions(cell: Cell) -> Iterator[tuple[str, int, bool]]:
    """The names that a cell defines at top level, the line in the cell, and whether by def or class."""
    tree = parsed(code_of(cell))
    shift = cell.body[0][0] - 1 if cell.body else 0
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno + shift, True
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for part in (part for item in targets for part in ast.walk(item)):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    yield part.id, node.lineno + shift, False


def defined_once(faults: Faults, document: Document, cells: list[Cell]) -> list[str]:
    """The names in the order in which they are defined. A fault where two definitions would shadow each other."""
    first: dict[str, tuple[Cell, int]] = {}
    for cell in cells:
        for name, line, is_def in _definitions(cell):
            if name in first and (first[name][0] is not cell or is_def):
                with faults.charged_to(cell.exercise or first[name][0].exercise):
                    raise TitoError(
                        f"{document.at(cell, line)}: '{name}' is exported twice, first at {document.at(*first[name])}; "
                        "the later would silently replace the earlier: rename or remove one"
                    )
            first.setdefault(name, (cell, line))
    return list(first)
