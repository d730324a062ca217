"""A student's cells put into another copy of the notebook, exercise by exercise; and back to what was given."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tito.course import Exercise
from tito.notebook import Cell, Document


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
    text = document.path.read_text(encoding="utf-8-sig")
    if document.path.suffix == ".ipynb":
        page = json.loads(text)
        for number, source in sources.items():
            cell = page["cells"][number - 1]
            cell["source"] = source.splitlines(keepends=True)
            cell["outputs"], cell["execution_count"] = [], None
        return json.dumps(page, indent=1, ensure_ascii=False) + "\n"
    lines = text.split("\n")
    for cell in sorted(document.code, key=lambda cell: cell.first_line or 0, reverse=True):
        if cell.number in sources and cell.first_line is not None:
            begin = cell.first_line - 1
            lines[begin : begin + cell.source.count("\n") + 1] = sources[cell.number].split("\n")
    return "\n".join(lines)
