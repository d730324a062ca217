"""What is remembered between commands, in `.tito/progress.json`: results, hints shown, the exercise one is at.

Only this module reads and writes that file. Nothing in it is needed: without it every exercise is untested.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tito import files
from tito.course import backups
from tito.course.module import Exercise, Module
from tito.course.notebook import Document
from tito.course.project import Project
from tito.errors import TitoError
from tito.testing.outcome import Outcome, PartOutcome

FORMAT = 1


@dataclass(frozen=True)
class ExerciseProgress:
    """What is known of an exercise: its last result, when that was, of which text, and how many hints were shown."""

    status: str = "not tested"
    points: int = 0
    tested: str = ""  # ISO 8601, UTC
    digest: str = ""
    hints: int = 0
    parts: tuple[PartOutcome, ...] = ()  # where its points are split

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ExerciseProgress:
        """The inverse of `dataclasses.asdict`. What was remembered before exercises had parts has none."""
        return cls(**(values | {"parts": tuple(PartOutcome(**part) for part in values.get("parts", ()))}))


@dataclass
class Progress:
    last_module: str = ""
    at: dict[str, str] = field(default_factory=dict)  # module -> the exercise one chose
    entries: dict[str, dict[str, ExerciseProgress]] = field(default_factory=dict)  # module -> exercise -> entry

    def get(self, module: str, exercise: str) -> ExerciseProgress:
        return self.entries.get(module, {}).get(exercise, ExerciseProgress())

    def change(self, module: str, exercise: str, **values: Any) -> None:
        self.last_module = module
        self.entries.setdefault(module, {})[exercise] = replace(self.get(module, exercise), **values)

    def parts(self, module: str, exercise: Exercise) -> tuple[PartOutcome, ...]:
        """How an exercise's parts stand; as the exercise does where nothing is known of those that it has now."""
        kept = self.get(module, exercise.id)
        if [(part.name, part.max_points) for part in kept.parts] == [(p.name, p.points) for p in exercise.parts]:
            return kept.parts
        passed = kept.status == "passed"
        return tuple(PartOutcome(p.name, kept.status, p.points if passed else 0, p.points) for p in exercise.parts)

    def current(self, module: Module) -> Exercise | None:
        """The exercise one is at: the one chosen, while it is not passed; else the first not passed; None: all are."""
        waiting = [exercise for exercise in module.exercises if self.get(module.name, exercise.id).status != "passed"]
        chosen = (exercise for exercise in waiting if exercise.id == self.at.get(module.name))
        return next(chosen, None) or next(iter(waiting), None)


def named(project: Project, module: Module, exercise: Exercise) -> str:
    """An exercise as one is sent to it: its id, its title, its notebook."""
    return f"{exercise.id}, {exercise.title}, in {project.shown(module.notebook_of(exercise.id).path)}"


def next_step(project: Project, module: Module, kept: Progress) -> str:
    """The exercise one is at, or that all are passed, in a sentence."""
    current = kept.current(module)
    if current is None:
        return f"All exercises passed: hand in with `tito submit {module.name}`."
    return f"Next: {named(project, module, current)}."


def read(project: Project) -> Progress:
    """What was remembered; nothing where there is no file, or none that can be read."""
    try:
        data = files.parsed(_file(project).read_text(encoding="utf-8"))
        entries = {
            m: {e: ExerciseProgress.from_json(values) for e, values in rows.items()}
            for m, rows in data["modules"].items()
        }
        return Progress(str(data["last_module"]), dict(data["at"]), entries)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Progress()


def update(project: Project, change: Callable[[Progress], None]) -> bool:
    """Read, change, write whole, while nobody else does. False where that cannot be: worth a remark, not a failure.

    A file that holds something else is kept as a copy first.
    """
    path = _file(project)
    try:
        with backups.alone(project):
            progress = read(project)
            if path.exists() and progress == Progress():
                backups.keep(project, path, "unreadable")
            change(progress)
            files.write_whole([(path, _as_json(progress))])
    except (TitoError, OSError):
        return False
    return True


def _as_json(progress: Progress) -> str:
    rows = {name: {e: asdict(entry) for e, entry in entries.items()} for name, entries in progress.entries.items()}
    data = {"format": FORMAT, "last_module": progress.last_module, "at": progress.at, "modules": rows}
    return json.dumps(data, indent=1) + "\n"


def record(project: Project, module: Module, outcomes: Iterable[Outcome], digests: dict[str, str]) -> bool:
    """Remember how these exercises came out, and of which text. False as `update` says."""
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def change(progress: Progress) -> None:
        progress.last_module = module.name
        for outcome in outcomes:
            found = {"status": outcome.status, "points": outcome.points, "parts": outcome.parts}
            digest = digests.get(outcome.exercise, "")
            progress.change(module.name, outcome.exercise, tested=now, digest=digest, **found)

    return update(project, change)


def digests(documents: Iterable[Document]) -> dict[str, str]:
    """Exercise -> a hash of its cells: has it changed since it was tested?"""
    found: dict[str, list[str]] = {}
    for document in documents:
        for cell in document.code:
            if cell.exercise:
                found.setdefault(cell.exercise, []).append(cell.source)
    return {name: hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16] for name, sources in found.items()}


def _file(project: Project) -> Path:
    return project.personal / "progress.json"
