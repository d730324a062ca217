"""A student's cells put into another copy of the notebook, exercise by exercise; and back to what was given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from tito.course.module import Exercise
from tito.course.notebook import Cell, Document
from tito.errors import TitoError

HALVES = re.compile("[\ud800-\udfff]")  # of a surrogate pair: JSON spells them as it found them


def cells_of(document: Document, exercise: str) -> list[Cell]:
    return [cell for cell in document.code if cell.exercise == exercise]


def graft(base: Document, student: Document, exercises: tuple[Exercise, ...]) -> str:
    """The text of `base` with the code of the student's exercise cells in place of its own.

    Nothing else of the student's comes in: no given code, no directive, no other cell. An exercise whose cells are
    gone stays as it is in `base`; surplus cells of an exercise go to the end of its last.
    """
    changes = dict[int, str]()
    for exercise in exercises:
        ours, theirs = cells_of(base, exercise.id), cells_of(student, exercise.id)
        for index, cell in enumerate(ours[: len(theirs)]):
            taken = theirs[index:] if cell is ours[-1] else theirs[index : index + 1]
            head = cell.source.split("\n")[: cell.body[0][0] - 1] if cell.body else cell.source.split("\n")
            changes[cell.number] = "\n".join([*head, *("\n".join(line for _, line in one.body) for one in taken)])
    return replaced(base, changes)


def replaced(document: Document, sources: Mapping[int, str]) -> str:
    """The file's text with other sources for the cells of these numbers; every other line stays as it was."""
    if document.path.suffix == ".ipynb":
        page = json.loads(document.text)
        for number, source in sources.items():
            cell = page["cells"][number - 1]
            cell["source"] = source.splitlines(keepends=True)
            cell["outputs"], cell["execution_count"] = [], None
        text = json.dumps(page, indent=1, ensure_ascii=False) + "\n"
        return HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    lines = document.text.split("\n")
    for cell in reversed(document.cells):
        if cell.number in sources:
            begin = _begin(document, lines, cell)
            lines[begin : begin + cell.height] = sources[cell.number].split("\n")
    return "\n".join(lines)


def _begin(document: Document, lines: list[str], cell: Cell) -> int:
    """Where a cell's text begins among the lines. Raises TitoError where it does not stand there as it was read."""
    begin = (cell.first_line or 0) - 1
    if cell.first_line is None or "\n".join(lines[begin : begin + cell.height]) != cell.source:
        raise TitoError(f"{document.name}: cell {cell.number} cannot be found in the file: nothing was changed")
    return begin
