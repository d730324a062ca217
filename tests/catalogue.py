"""What students write: a catalogue of mistakes and of other right answers, exercise by exercise.

`tests/MODULE/mistakes/EXERCISE.toml` and `tests/MODULE/alternatives/EXERCISE.toml` hold entries of
  slip        one sentence: what was done (of an alternative: how it differs)
  instead_of  text of the exercise's solution, found there exactly once
  wrote       what stands there instead;  also = {instead_of, wrote}: a second place, where one is not enough
  says        a regular expression for the message of the first failing test (mistakes only)
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from tito.course import markers, notebook, replacing
from tito.course.module import Module
from tito.course.notebook import Document
from tito.course.project import Project

Kind = Literal["mistake", "alternative"]


@dataclass(frozen=True)
class Change:
    """One place of a solution that is written differently."""

    instead_of: str
    wrote: str


@dataclass(frozen=True)
class Answer:
    """One answer to an exercise, told by how it differs from the reference; without changes it is the reference."""

    exercise: str
    name: str = "reference"
    slip: str = ""
    says: str = ""
    changes: tuple[Change, ...] = ()

    def written(self, solution: Sequence[str]) -> list[str]:
        """The texts of the exercise's solution with this answer in them.

        Raises ValueError unless each text to replace stands there exactly once.
        """
        texts = list(solution)
        for change in self.changes:
            count = sum(text.count(change.instead_of) for text in texts)
            if count != 1:
                place = f"in the solution of {self.exercise}"
                raise ValueError(f"{self.name}: {change.instead_of!r} stands {count} times {place}, wanted once")
            texts = [text.replace(change.instead_of, change.wrote) for text in texts]
        return texts

    def cells(self, reference: Document) -> dict[int, str]:
        """The exercise's cells as a student would write them: number in the notebook -> source."""
        parts = [
            (cell.number, inside, "\n".join(line.text for line in lines))
            for cell in replacing.cells_of(reference, self.exercise)
            for inside, lines in groupby(_without_markers(cell.source), key=lambda line: line.inside)
        ]
        written = iter(self.written([text for _, inside, text in parts if inside]))
        filled = [(number, next(written) if inside else text) for number, inside, text in parts]
        return {
            number: "\n".join(text for _, text in some) for number, some in groupby(filled, key=lambda part: part[0])
        }

    def bodies(self, reference: Document) -> tuple[str, ...]:
        """The same without `#|` directives."""
        of = {cell.number: cell for cell in reference.cells}
        sources = self.cells(reference)
        bodies = (replace(of[number], source=source).body for number, source in sources.items())
        return tuple("\n".join(line for _, line in body) + "\n" for body in bodies)


def _without_markers(source: str) -> list[markers.Line]:
    return [line for line in markers.lines(source) if not line.marker]


def answers(project: Project, module: str, exercise: str, kind: Kind) -> list[Answer]:
    """What the catalogue holds for an exercise, in its order."""
    path = project.module_tests(module) / f"{kind}s" / f"{exercise}.toml"
    if not path.is_file():
        return []
    entries = tomllib.loads(path.read_text(encoding="utf-8"))[kind]
    return [_answer(path, f"{exercise}-{kind}-{number}", entry) for number, entry in enumerate(entries, 1)]


def _answer(path: Path, name: str, entry: dict[str, Any]) -> Answer:
    unknown = entry.keys() - {"slip", "instead_of", "wrote", "also", "says"}
    if unknown:
        raise ValueError(f"{path.name}: {name} has {', '.join(sorted(unknown))}, which no entry has")
    first = Change(entry["instead_of"], entry["wrote"])
    second = (Change(**entry["also"]),) if "also" in entry else ()
    return Answer(path.stem, name, entry["slip"], entry.get("says", ""), (first, *second))


def solved(project: Project, module: Module) -> dict[str, tuple[str, ...]]:
    """Exercise -> its cells in the reference as a student would write them, without directives and markers."""
    documents = [notebook.load(project, entry.path) for entry in module.notebooks]
    return {
        exercise.id: Answer(exercise.id).bodies(document)
        for entry, document in zip(module.notebooks, documents, strict=True)
        for exercise in entry.exercises
    }
