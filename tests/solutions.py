"""The file that a notebook is exported to, in memory, cut up: which of its text is whose solution."""

from __future__ import annotations

import functools
import itertools

from tito.course import exporting
from tito.course.markers import MARKER
from tito.course.module import load_module
from tito.course.project import Project

Pieces = list[tuple[str | None, str]]  # an exported file cut up: (the exercise whose solution this is, or None; text)


@functools.cache
def exports(project: Project, module: str) -> list[exporting.Exported]:
    return exporting.make(project, load_module(project, module))


def pieces_of(project: Project, module: str, exercise: str) -> Pieces:
    """The exported file that holds this exercise."""
    made = exports(project, module)
    exported = next(file for file in made if exercise in {cell.exercise for cell in file.document.code})
    solved = dict[tuple[int, int], str | None]()
    for cell in exported.document.code:
        inside = False
        for number, line in enumerate(cell.source.split("\n"), 1):
            marker = MARKER.match(line)
            inside = marker["edge"] == "BEGIN" if marker else inside
            if inside:
                solved[cell.number, number] = cell.exercise
    owners = [solved.get((origin[0].number, origin[1])) if origin else None for origin in exported.origin]
    lines = zip(owners, exported.text.splitlines(keepends=True), strict=True)
    return [
        (owner, "".join(text for _, text in group))
        for owner, group in itertools.groupby(lines, key=lambda line: line[0])
    ]


def joined(pieces: Pieces) -> str:
    return "".join(text for _, text in pieces)
