"""A class of students who never were: partial work, mistakes from `tests/MODULE/mistakes`, other right answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tito.course import markers, notebook, replacing
from tito.course.module import Module
from tito.course.notebook import Document
from tito.course.project import Project
from tito.course.replacing import cells_of

from ..catalogue import Answer, Kind, answers

Answers = tuple[tuple[str, str, int], ...]  # exercise, "reference", "mistake" or "alternative", which one


@dataclass(frozen=True)
class MadeUp:
    """Writes the notebooks of people, given what they answered. Other exercises stay as they were given."""

    project: Project
    module: Module

    def people(self, count: int, distinct: int, seed: int) -> Iterator[tuple[str, Answers]]:
        """Names and answers. Of the answers so many differ; every other person has somebody else's."""
        chance = random.Random(seed)
        patterns = [self._answers(chance) for _ in range(distinct)]
        for number in range(count):
            yield f"student_{number:04}", patterns[number % distinct]

    def notebooks(self, answers: Answers, signed: str = "") -> dict[str, str]:
        """File name -> text. A comment, `signed`, makes the cells of two people with the same answers differ."""
        chosen = {exercise: (kind, which) for exercise, kind, which in answers}
        return {book.path.name: self._notebook(book.path, chosen, signed) for book in self.module.notebooks}

    def listed(self, exercise: str, kind: str) -> list[Answer]:
        """What people may answer of this kind."""
        if kind == "reference":
            return [Answer(exercise)]
        return _listed(self.project, self.module.name, exercise, "mistake" if kind == "mistake" else "alternative")

    def _answers(self, chance: random.Random) -> Answers:
        """Somebody who came so far, most people not very far, with slips on the way and an exercise left out."""
        exercises = [exercise.id for exercise in self.module.exercises]
        slips = chance.choice([0.0, 0.05, 0.3])
        reached = min(chance.randint(0, len(exercises)) for _ in range(3))
        answers = list[tuple[str, str, int]]()
        for exercise in exercises[:reached]:
            drawn = chance.random()
            kind = "mistake" if drawn < slips else "alternative" if drawn > 0.9 else "reference"
            options = self.listed(exercise, kind)
            if options and chance.random() > 0.03:
                answers.append((exercise, kind, chance.randrange(len(options))))
        return tuple(answers)

    def _notebook(self, path: Path, chosen: Mapping[str, tuple[str, int]], signed: str) -> str:
        reference, sources = _read(self.project, path), dict[int, str]()
        for exercise in {cell.exercise: None for cell in reference.code if cell.exercise}:
            if exercise in chosen:
                kind, which = chosen[exercise]
                sources |= self.listed(exercise, kind)[which].cells(reference)
            else:
                sources |= {cell.number: markers.cell_stub(cell.source) for cell in cells_of(reference, exercise)}
        if signed:
            sources = {number: f"{source}\n# {signed}" for number, source in sources.items()}
        return markers.stub(replacing.replaced(reference, sources))


@cache
def _listed(project: Project, module: str, exercise: str, kind: Kind) -> list[Answer]:
    return answers(project, module, exercise, kind)


@cache
def _read(project: Project, path: Path) -> Document:
    return notebook.load(project, path)
