"""What was given, in the place of what is missing: one exercise that is broken must not keep others from their tests.

A notebook's exported cells are compared with those that were given, name by name. Where nothing defines a name that
the tests or other cells need, the given statement that defines it is exported, and the exercise is charged with it.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from tito.course import export_checks, markers, notebook
from tito.course.export_checks import Faults
from tito.course.markers import MARKER
from tito.course.module import Module
from tito.course.notebook import Cell, Document
from tito.course.project import Project
from tito.errors import TitoError

# Code of which only running it tells what it defines.
DYNAMIC = re.compile(r"^(exec\b|from\s.*\simport\s*\*)|\bglobals\(\)", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """What is exported of one cell: lines without directives, markers and their advice, each with its number there."""

    cell: Cell | None  # None: it was given, and stands for what is missing
    lines: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def has_definition(self, which: int) -> bool:
        """Is the first (0) or last (-1) statement a def or class?"""
        body = export_checks.parsed(self.text).body
        return bool(body) and isinstance(body[which], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def part(cell: Cell) -> Part:
    lines: list[tuple[int, str]] = []
    for number, line in cell.body:
        match = MARKER.match(line)
        while match and match["edge"] == "BEGIN" and lines and lines[-1][1].lstrip().startswith("#"):
            lines.pop()  # a comment right above a solution tells the student what to write
        lines += [] if match else [(number, line)]
    full = [index for index, (_, line) in enumerate(lines) if line.strip()]
    return Part(cell, tuple(lines[full[0] : full[-1] + 1]) if full else ())  # no blank lines above and below


def futures_first(parts: Iterable[Part]) -> list[Part]:
    """Imports from the future that stand at the top of a later cell are the file's first statements, as Python wants.

    Notebooks and grading take them where they stand.
    """
    early, others = list[Part](), list[Part]()
    for part in parts:
        lines = _future_lines(part) if others else set()
        early += [replace(part, lines=tuple(part.lines[at] for at in sorted(lines)))] if lines else []
        rest = tuple(line for at, line in enumerate(part.lines) if at not in lines)
        while lines and rest and not rest[0][1].strip():
            rest = rest[1:]
        others += [replace(part, lines=rest)] if rest else []
    return [*early, *others]


def _future_lines(part: Part) -> set[int]:
    """Which lines, from 0, import from the future."""
    nodes = (node for node in export_checks.parsed(part.text).body if isinstance(node, ast.ImportFrom))
    futures = (node for node in nodes if node.module == "__future__")
    return {at - 1 for node in futures for at in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def given_of(project: Project, document: Document) -> Document:
    """The notebook as it was given, every solution a stub: in the instructor's edition, made of the notebook itself."""
    found, released = document, project.released(document.path.with_suffix(".py"))
    with suppress(TitoError, FileNotFoundError):
        found = notebook.load(project, released)
    with_stubs = list[Cell]()
    for cell in found.code:
        try:
            with_stubs.append(replace(cell, source=markers.cell_stub(cell.source)))
        except TitoError:  # of markers that do not pair, which are told where the cell is checked
            continue
    return replace(found, cells=tuple(cell for cell in with_stubs if not cell.exported or export_checks.compiles(cell)))


def completed(
    project: Project, module: Module, faults: Faults, document: Document, given: Document, cells: list[Cell]
) -> list[Part]:
    """The cells' parts; and of given cells what these lack and others need, so that the others can be tested."""
    parts, slots = [part(cell) for cell in cells], [part(cell) for cell in given.code if cell.exported]
    if any(DYNAMIC.search(part.text) for part in parts):
        return parts
    names, given_names = [names_of(part.text) for part in parts], [names_of(slot.text) for slot in slots]
    for index, slot in enumerate(slots):
        missing = given_names[index].difference(*names)
        needed = next((name for name in sorted(missing) if _is_needed(project, module, given, slot, name)), None)
        if needed is None or slot.cell is None:
            continue
        with faults.charged_to(slot.cell.exercise):
            raise TitoError(_lacking(document, given, slot.cell, needed))
        later: set[str] = set().union(*given_names[index + 1 :])
        place = next((at for at, defined in enumerate(names) if defined & later), len(parts))
        parts.insert(place, _defining(slot, missing))
        names.insert(place, missing)
    return parts


def names_of(text: str) -> set[str]:
    """The names that code defines at its top level, in whichever way."""
    symbols = symtable.symtable(text, "cell", "exec").get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def _is_needed(project: Project, module: Module, given: Document, slot: Part, name: str) -> bool:
    """Is a name that a given cell defines used by the module's tests, or anywhere else in its notebooks?"""
    own = slot.cell.exercise if slot.cell else None
    texts = [cell.source for cell in given.code if cell is not slot.cell and (not own or cell.exercise != own)]
    others = [entry.path for entry in module.notebooks if entry.path.name != given.path.with_suffix(".py").name]
    tests = [project.test_files(module.name, exercise.id)[0] for exercise in module.exercises]
    texts += [file.read_text(encoding="utf-8", errors="replace") for file in (*others, *tests) if file.is_file()]
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(word.search(text) for text in texts)


def _lacking(document: Document, given: Document, slot: Cell, name: str) -> str:
    """Which name is missing, and what to do: the cell that would define it is gone, or is none for the package."""
    whose = f"exercise {slot.exercise}" if slot.exercise else "given code"
    head = f"`#| export` and `#| exercise: {slot.exercise}`" if slot.exercise else "`#| export`"
    found = _defines(document, name)
    if found and found[0].kind != "code":
        return f"{document.at(*found)}: {whose}: `{name}` is defined in a {found[0].kind} cell: make it a code cell"
    if found:
        return f"{document.at(*found)}: {whose}: `{name}` is defined in a cell that does not begin with {head}"
    own = [cell for cell in document.code if slot.exercise and cell.exercise == slot.exercise]
    where = document.at(own[0], own[0].line_of("exercise")) if own else document.name
    back = f"write it, or copy its cell from {given.at(slot)}"
    return f"{where}: {whose}: the notebook defines no `{name}`: was its cell deleted, or the name changed? {back}"


def _defines(document: Document, name: str) -> tuple[Cell, int] | None:
    """The cell of any kind, and its line, that looks as if it defined a name."""
    looks = re.compile(rf"(async\s+)?(def|class)\s+{re.escape(name)}\b|{re.escape(name)}\s*(:[^=]*)?=[^=]")
    for cell in document.cells:
        for number, line in enumerate(cell.source.split("\n"), 1):
            if looks.match(line):
                return cell, number
    return None


def _defining(slot: Part, names: set[str]) -> Part:
    """The statements of a given cell that define one of these names."""
    lines = slot.text.split("\n")
    kept = list[str]()
    for node in export_checks.parsed(slot.text).body:
        decorators = getattr(node, "decorator_list", [])
        begin = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        statement = lines[begin - 1 : node.end_lineno]
        kept += statement if names_of("\n".join(statement)) & names else []
    return Part(None, tuple(enumerate(kept, 1)))
