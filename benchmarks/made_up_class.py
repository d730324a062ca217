"""A class of students who never were: partial work, mistakes from `tests/MODULE/mistakes`, other right answers."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tito import editions, grafting, notebook
from tito.course import Module
from tito.notebook import Document
from tito.project import Project

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

    def entries(self, exercise: str, kind: str) -> list[dict[str, Any]]:
        return _entries(self.project.module_tests(self.module.name) / f"{kind}s" / f"{exercise}.toml", kind)

    def _answers(self, chance: random.Random) -> Answers:
        """Somebody who came so far, most people not very far, with slips on the way and an exercise left out."""
        exercises = [exercise.id for exercise in self.module.exercises]
        slips = chance.choice([0.0, 0.05, 0.3])
        reached = min(chance.randint(0, len(exercises)) for _ in range(3))
        answers = list[tuple[str, str, int]]()
        for exercise in exercises[:reached]:
            drawn = chance.random()
            kind = "mistake" if drawn < slips else "alternative" if drawn > 0.9 else "reference"
            options = self.entries(exercise, kind) if kind != "reference" else [{}]
            if options and chance.random() > 0.03:
                answers.append((exercise, kind, chance.randrange(len(options))))
        return tuple(answers)

    def _notebook(self, path: Path, chosen: Mapping[str, tuple[str, int]], signed: str) -> str:
        reference, sources = _read(self.project, path), dict[int, str]()
        for cell in reference.code:
            if cell.exercise in chosen:
                kind, which = chosen[cell.exercise]
                entry = {} if kind == "reference" else self.entries(cell.exercise, kind)[which]
                sources[cell.number] = _answer(cell.source, entry)
            elif cell.exercise:
                sources[cell.number] = editions.stub(cell.source)
            if cell.exercise and signed:
                sources[cell.number] += f"\n# {signed}"
        return editions.stub(grafting.replaced(reference, sources))


def _answer(source: str, entry: Mapping[str, Any]) -> str:
    """A cell of the reference without its markers, changed inside of them as the entry says."""
    changes = [change for change in (entry, entry.get("also")) if change]
    inside, kept = list[str](), list[str]()
    for line in editions.lines(source):
        if line.inside:
            inside.append(line.text)
        elif line.marker and line.marker["edge"] == "END":
            text = "\n".join(inside)
            for change in changes:
                text = text.replace(change["instead_of"], change["wrote"])
            kept, inside = [*kept, text], []
        elif not line.marker:
            kept.append(line.text)
    return "\n".join(kept)


@cache
def _read(project: Project, path: Path) -> Document:
    return notebook.load(project, path)


@cache
def _entries(path: Path, kind: str) -> list[dict[str, Any]]:
    return list(tomllib.loads(path.read_text(encoding="utf-8"))[kind]) if path.is_file() else []
