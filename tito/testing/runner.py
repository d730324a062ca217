"""Run exercises' tests in a subprocess -> one Outcome an exercise, as soon as its last test has ended."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

from tito.course import shadowing
from tito.course.module import Exercise, Module
from tito.course.notebook import Document
from tito.course.project import Project
from tito.errors import TitoError
from tito.testing import environment, pytest_process
from tito.testing.exports import Exports
from tito.testing.outcome import Outcome, PartOutcome
from tito.testing.record import Listener, Record, empty_record

LIMIT_SECONDS = 60.0  # for one test


@dataclass(frozen=True)
class Result:
    module: str
    seconds: float
    exercises: tuple[Outcome, ...]
    lacking: tuple[str, ...] = ()  # what they import and will not find in grading, in sentences

    @property
    def points(self) -> int:
        return sum(outcome.points for outcome in self.exercises)

    @property
    def max_points(self) -> int:
        return sum(outcome.max_points for outcome in self.exercises)

    @property
    def passed(self) -> bool:
        return bool(self.exercises) and all(outcome.status == "passed" for outcome in self.exercises)

    def part(self, name: str) -> PartOutcome:
        """How this part of the only exercise stands."""
        return next(part for outcome in self.exercises for part in outcome.parts if part.name == name)

    @property
    def most_useful(self) -> Outcome | None:
        """What to look at first: the first that fails; else the first that is not started; None when all passed."""
        broken = (outcome for outcome in self.exercises if outcome.status in ("failed", "timeout"))
        return next(broken, None) or next((o for o in self.exercises if o.status != "passed"), None)

    def as_json(self) -> str:
        """The report that other programs read."""
        head = {
            "module": self.module,
            "points": self.points,
            "max_points": self.max_points,
            "seconds": round(self.seconds, 3),
        }
        exercises = [outcome.as_json() for outcome in self.exercises]
        return json.dumps(head | {"exercises": exercises, "lacking": list(self.lacking)}, indent=2) + "\n"


def run(
    project: Project,
    module: Module,
    exports: Exports,
    exercises: list[Exercise],
    limit: float = LIMIT_SECONDS,
    cancel: threading.Event | None = None,
) -> Generator[Outcome]:
    """The outcomes of these exercises of a module, in order.

    A test that takes longer than `limit` seconds, or that ends Python, costs its exercise, and so does a cell that
    cannot be loaded; the others go on in a new process. Raises TitoError when pytest itself cannot run: that is no
    one's pass. Raises Cancelled soon after another thread has set `cancel`; no process is left then.
    """
    waiting = deque(exercises)
    while waiting:
        verdicts = exports.verdicts()
        records = {exercise.id: empty_record(project, module, exercise) for exercise in waiting}
        for name in records.keys() & exports.ended.keys():
            records[name].ended = exports.ended[name]
        with closing(_follow(project, list(records.values()), limit, cancel)) as changes:
            for _ in changes:
                if exports.replaced(records.values()):
                    break
                while waiting and records[waiting[0].id].complete:
                    exercise = waiting.popleft()
                    yield verdicts.outcome(exercise, records[exercise.id])


def lacking(
    project: Project, module: Module, documents: Iterable[Document], exercises: Iterable[Exercise]
) -> tuple[str, ...]:
    """A sentence for everything that these exercises import in their notebooks, and will not find in grading."""
    chosen = {exercise.id for exercise in exercises}
    cells = (cell for document in documents for cell in document.code if cell.exercise in chosen)
    return tuple(environment.lacking_in(project, module, cells))


def whole(
    project: Project, module: Module, limit: float = LIMIT_SECONDS, on_exercise: Callable[[], None] = lambda: None
) -> Result:
    """Export a module and run all its tests. on_exercise: called as each exercise is done."""
    begun, outcomes = time.monotonic(), list[Outcome]()
    for outcome in run(project, module, Exports(project, module), list(module.exercises), limit):
        outcomes.append(outcome)
        on_exercise()
    return Result(module.name, time.monotonic() - begun, tuple(outcomes))


def _follow(project: Project, records: list[Record], limit: float, cancel: threading.Event | None) -> Generator[None]:
    """Run one process over these records' tests and keep them up to date; yields after every change.

    When it returns, the first record that was not complete is complete.
    """
    yield None
    listener = Listener(project, records, limit)
    if not listener.files:
        return
    for event in pytest_process.events(project, listener.files, listener.left, limit, cancel):
        try:
            listener.hear(event)
        except TitoError as error:
            cause = shadowing.warning(project)
            raise TitoError(f"{error}. {cause}" if cause else str(error)) from None
        yield None
