"""Hints, one at a time; and, for who holds them, the solutions."""

from __future__ import annotations

import difflib
import textwrap

from tito.course import markers, replacing
from tito.course.module import Exercise, Module
from tito.course.notebook import Document
from tito.course.project import Project
from tito.learning import progress


def ask(project: Project, module: Module, exercise: Exercise) -> list[str]:
    """The hints that were shown before, and the next, which is then shown; in the end, that there is no further one.

    All of them where it cannot be remembered which were shown.
    """
    shown, count = progress.read(project).get(module.name, exercise.id).hints, len(exercise.hints)
    number = min(shown + 1, count)
    if not progress.update(project, lambda kept: kept.change(module.name, exercise.id, hints=number)):
        shown = number = count
    texts = [f"hint {n} of {count}: {text}" for n, text in enumerate(exercise.hints[:number], 1)]
    return texts if shown < count else [*texts, "There is no further hint."]


def solution(document: Document, exercise: str) -> str:
    """What stands between the solution markers of an exercise; empty where there are none."""
    cells = replacing.cells_of(document, exercise)
    regions = (_regions(cell.source) for cell in cells)
    return "\n\n".join(text for found in regions for text in found)


def _regions(source: str) -> list[str]:
    found = list[list[str]]()
    for line in markers.cell_lines(source):
        if line.marker and line.marker["edge"] == "BEGIN":
            found.append([])
        elif line.inside:
            found[-1].append(line.text)
    return [textwrap.dedent("\n".join(lines)) for lines in found]


def answer(reference: Document, theirs: Document, exercise: str) -> str:
    """What somebody wrote in an exercise's cells, without the lines that were given there."""
    given = [
        line.text
        for cell in replacing.cells_of(reference, exercise)
        for line in markers.cell_lines(cell.source)
        if not (line.marker or line.inside)
    ]
    text = "\n".join(cell.source for cell in replacing.cells_of(theirs, exercise))
    written = [line[2:] for line in difflib.ndiff(given, text.split("\n")) if line.startswith("+ ")]
    return textwrap.dedent("\n".join(written)).strip("\n") or "(nothing)"
