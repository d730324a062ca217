"""The file that a notebook is exported to, in memory, cut up: which of its text is whose solution."""

from __future__ import annotations

import ast
import functools
import itertools

from tito.course import exporting
from tito.course.markers import MARKER
from tito.course.module import load_module
from tito.course.project import Project

Scope = ast.FunctionDef | ast.ClassDef
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


def scopes_of(pieces: Pieces, i: int) -> list[Scope]:
    """The classes and functions that a solution stands in, from outside to inside."""
    line = joined(pieces[:i]).count("\n") + 1
    inside = list[Scope]()
    nodes = ast.parse(joined(pieces)).body
    while found := [n for n in nodes if n.lineno <= line <= (n.end_lineno or 0)]:
        if isinstance(found[0], Scope):
            inside.append(found[0])
        nodes = [node for node in ast.iter_child_nodes(found[0]) if isinstance(node, ast.stmt)]
    return inside
