"""Where one stands: exercises, points, what is next, how long ago anything was changed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tito.course import notebook
from tito.course.edition import Edition
from tito.course.module import Module
from tito.course.notebook import Document
from tito.course.project import Project
from tito.errors import TitoError
from tito.grading.intake import collecting
from tito.learning import progress
from tito.testing.outcome import PartOutcome, in_words

UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


@dataclass(frozen=True)
class Row:
    exercise: str
    title: str
    points: int
    max_points: int
    status: str
    hints: int
    changed: bool  # since it was tested
    parts: tuple[PartOutcome, ...]  # where its points are split

    @property
    def note(self) -> str:
        seen = f", {self.hints} hint{'' if self.hints == 1 else 's'} seen" if self.hints else ""
        return f"{in_words(self.status, self.parts)}{', changed since' if self.changed else ''}{seen}"


@dataclass(frozen=True)
class ModuleStatus:
    module: str
    rows: tuple[Row, ...]
    next: str
    answered: dict[str, bool]  # each question that is answered in words: is there an answer?
    unreadable: tuple[str, ...] = ()  # a sentence for each notebook that is missing or damaged

    @property
    def points(self) -> int:
        return sum(row.points for row in self.rows)

    @property
    def max_points(self) -> int:
        return sum(row.max_points for row in self.rows)

    @property
    def unanswered(self) -> str:
        """Which questions have no answer yet, in a sentence; empty where a module asks none."""
        return unanswered(self.answered)

    def as_json(self) -> str:
        head = {"module": self.module, "points": self.points, "max_points": self.max_points, "next": self.next}
        rows = {"exercises": [asdict(row) for row in self.rows], "questions": self.answered}
        return json.dumps(head | rows, indent=2) + "\n"


def status_of(project: Project, module: Module) -> ModuleStatus:
    """What the last tests said. Nothing is run; a notebook that cannot be read counts as changed."""
    kept = progress.read(project)
    documents, unreadable = list[Document](), list[str]()
    for book in module.notebooks:
        try:
            documents.append(notebook.read(project, book.path))
        except TitoError as error:
            unreadable.append(str(error))
    now = progress.digests(documents)
    rows = []
    for exercise in module.exercises:
        entry = kept.get(module.name, exercise.id)
        changed = bool(entry.digest) and entry.digest != now.get(exercise.id)
        earned, parts = (entry.points, exercise.points), kept.parts(module.name, exercise)
        rows.append(Row(exercise.id, exercise.title, *earned, entry.status, entry.hints, changed, parts))
    answered = {} if unreadable else _answered(project, module, documents)
    return ModuleStatus(module.name, tuple(rows), _next(project, module, kept), answered, tuple(unreadable))


def _answered(project: Project, module: Module, documents: list[Document]) -> dict[str, bool]:
    """Of each question whether it has an answer; nothing where the notebooks cannot be read."""
    if not (module.questions and documents):
        return {}
    answers = collecting.answers(Edition(project, module), documents)
    return {question: bool(text) for question, text in answers.items()}


def unanswered(answered: Mapping[str, bool]) -> str:
    """`questions in words: 1 of 3 answered; not yet: why, when`; empty where nothing is asked."""
    left = [question for question, done in answered.items() if not done]
    count = f"questions in words: {len(answered) - len(left)} of {len(answered)} answered"
    return f"{count}{'; not yet: ' if left else ''}{', '.join(left)}" if answered else ""


def _next(project: Project, module: Module, kept: progress.Progress) -> str:
    paths = [path for n in module.notebooks for path in (n.path, n.path.with_suffix(".ipynb")) if path.is_file()]
    last = max(paths, key=lambda path: path.stat().st_mtime, default=None)
    ago = f"{last.name} was saved {_ago(time.time() - last.stat().st_mtime)}." if last else ""
    return f"{progress.next_step(project, module, kept)} {ago}"


def _ago(seconds: float) -> str:
    for length, unit in UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "less than a minute ago"
