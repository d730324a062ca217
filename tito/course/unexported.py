"""Names that only cells without `#| export` define: the notebook's kernel has them, and the package does not."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tito.course import export_checks, fallbacks, percent
from tito.course.notebook import Cell, Document

COMPREHENSIONS = ("listcomp", "setcomp", "dictcomp", "genexpr")


def sentence_about(documents: Iterable[Document], name: str) -> str:
    """Where a notebook defines a name that it does not export, and how to mend that; empty where none does."""
    for document in documents:
        found = [(cell, lines[name]) for cell in document.code if name in (lines := definitions(cell))]
        if found and not any(cell.exported for cell, _ in found):
            cell, line = found[0]
            return sentence(name, f"{document.at(cell, line)}: {cell.line(line)}")
    return ""


def sentence(name: str, where: str) -> str:
    mend = "move it into the exercise's cell, for only those are graded"
    return f"`{name}` is defined in a cell without `#| export`, so the package does not have it: {mend}\n{where}"


def in_kernel(ran: Iterable[Cell], documents: list[Document], tests: str) -> dict[str, str]:
    """Of the cells that a kernel ran, the names that exported code or the tests use and no export will have.

    documents: the notebooks as they were saved. Returns each name with the sentence about it.
    """
    cells = list(ran)
    last = {name: (cell, line) for cell in cells for name, line in definitions(cell).items()}
    exported = [cell for cell in (*cells, *(cell for d in documents for cell in d.code)) if cell.exported]
    saved = {name for d in documents for cell in d.code if cell.exported for name in definitions(cell)}
    used = set(re.findall(r"\w+", "\n".join([tests, *(cell.source for cell in exported)])))
    return {
        name: sentence_about(documents, name) or sentence(name, f"In[{cell.number}], line {line}: {cell.line(line)}")
        for name, (cell, line) in last.items()
        if name in used and name not in saved and not cell.exported
    }


def definitions(cell: Cell) -> dict[str, int]:
    """The names that a cell defines at its top level, each with the first line in the cell that does."""
    python = replace(cell, source=percent.commented(cell.source)) if cell.first_line is None else cell
    found = dict[str, int]()
    try:
        nodes = export_checks.parsed(export_checks.code_of(python)).body
    except export_checks.CANNOT_COMPILE:
        return {}
    shift = python.body[0][0] - 1 if python.body else 0
    for node in nodes:
        for name in fallbacks.names_of(ast.unparse(node)):
            found.setdefault(name, node.lineno + shift)
    return found


def used_when_loaded(cell: Cell) -> set[str]:
    """The names that a cell asks for when it is run: in a decorator, a default value, the body of a class."""
    try:
        table = symtable.symtable(f"from __future__ import annotations\n{export_checks.code_of(cell)}", "cell", "exec")
    except export_checks.CANNOT_COMPILE:
        return set()
    return set(_referenced(table))


def _referenced(table: symtable.SymbolTable) -> Iterator[str]:
    yield from (symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced())
    for child in table.get_children():
        if child.get_type() == "class" or child.get_name() in COMPREHENSIONS:
            yield from _referenced(child)
