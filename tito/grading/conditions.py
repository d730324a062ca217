"""Everything that decides an exercise's outcome but the submission: same conditions and same cells, same outcome."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import tito
from tito import files
from tito.course.edition import Edition
from tito.grading.options import Options
from tito.grading.reads import Reading, Reads, files_below, hash_of
from tito.grading.submission import Submission

LIBRARIES = ("numpy", "pytest", "hypothesis")  # what decides an outcome besides our own text
OPTIONS = {  # of Options those that decide an outcome, in words
    "seed": "the seed",
    "limit_seconds": "the time limit",
    "unsafe": "the protection (--unsafe)",  # an outcome made without a sandbox must not stand in for one made inside
}


@dataclass(frozen=True)
class Keys:
    """Of a submission under conditions: of all exercises in one run, and of each exercise by its name."""

    whole: str
    each: dict[str, str]


@dataclass(frozen=True)
class Conditions:
    """What decides outcomes, each thing in words with its hash or version."""

    module: str
    options: Options
    grader: Reads  # tito's own text, and the versions of what it uses
    course: Reads  # what the run of every exercise reads
    exercises: dict[str, Reads]  # what the runs of single exercises read besides

    @cached_property
    def judged(self) -> tuple[str, ...]:
        """The exercises that are graded."""
        return tuple(name for name in self.exercises if self.options.exercise in (None, name))

    def keys(self, submission: Submission) -> Keys:
        """Under which the journal keeps how a submission stands."""
        each = {name: hash_of([submission.digest, self._hashes[name]]) for name in self.judged}
        return Keys(hash_of(each), each)

    def changes(self, before: Conditions, exercise: str) -> list[str]:
        """In words, what decides an exercise's outcome and is not as it was."""
        if exercise not in before.exercises:
            return [f"{exercise} added"]
        found = [
            f"{words} changed"
            for name, words in OPTIONS.items()
            if getattr(self.options, name) != getattr(before.options, name)
        ]
        for old, new in (
            (before.grader, self.grader),
            (before.course, self.course),
            (before.exercises[exercise], self.exercises[exercise]),
        ):
            found += [f"{what} added" for what in new if what not in old]
            found += [f"{what} {'changed' if what in new else 'removed'}" for what in old if old[what] != new.get(what)]
        return list(dict.fromkeys(found))

    @cached_property
    def _hashes(self) -> dict[str, str]:
        decides = [self.module, *(getattr(self.options, name) for name in OPTIONS), self.grader, self.course]
        return {name: hash_of([*decides, reads]) for name, reads in self.exercises.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Conditions:
        """The inverse of `dataclasses.asdict`."""
        return cls(**(data | {"options": Options(**data["options"])}))


def conditions(edition: Edition, options: Options) -> Conditions:
    """The conditions that hold now, in this course, with this tito."""
    ours = Path(tito.__file__).parent
    text = {path.relative_to(ours).as_posix(): files.digest(path.read_bytes()) for path in files_below(ours, ".py")}
    versions = {"Python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}
    reading = Reading(edition)
    return Conditions(
        edition.module.name, options, {"tito": hash_of(text)} | versions, reading.of_all(), reading.of_each()
    )
