"""Hints, one at a time; and, for who holds them, the solutions."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from tito import editions, grafting, progress
from tito.course import Exercise, Module
from tito.notebook import Document
from tito.project import Project


@dataclass(frozen=True)
class Hint:
    """A hint and its number; `again`: all had been shown before, and this is the last of them."""

    number: int
    of: int
    text: str
    again: bool

    def __str__(self) -> str:
        more = " (there is no further one)" if self.again else ""
        return f"hint {self.number} of {self.of}{more}: {self.text}"


def next_hint(project: Project, module: Module, exercise: Exercise) -> Hint:
    """The first hint that was not shown yet, which is then shown; after the last, the last."""
    shown = progress.read(project).of(module.name, exercise.id).hints
    number = min(shown + 1, len(exercise.hints))
    progress.update(project, lambda kept: kept.change(module.name, exercise.id, hints=number))
    return Hint(number, len(exercise.hints), exercise.hints[number - 1], shown >= len(exercise.hints))


def solution(document: Document, exercise: str) -> str:
    """What stands between the solution markers of an exercise; empty where there are none."""
    cells = grafting.cells_of(document, exercise)
    regions = (_regions(cell.source) for cell in cells)
    return "\n\n".join(text for found in regions for text in found)


def _regions(source: str) -> list[str]:
    found = list[list[str]]()
    for line in editions.lines(source):
        if line.marker and line.marker["edge"] == "BEGIN":
            found.append([])
        elif line.inside:
            found[-1].append(line.text)
    return [textwrap.dedent("\n".join(lines)) for lines in found]


def code(document: Document, exercise: str) -> str:
    """The code of an exercise's cells, as it stands, without directives."""
    cells = grafting.cells_of(document, exercise)
    return "\n\n".join("\n".join(line for _, line in cell.body).strip() for cell in cells)
