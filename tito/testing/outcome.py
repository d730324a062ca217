"""How an exercise stands, and why: for `tito test` and `tito grade` alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tito.course.module import Exercise

Status = Literal["passed", "failed", "not started", "timeout"]
Reason = Literal[
    "passed",
    "claim",  # what a test claims does not hold
    "hidden claim",  # the same of a hidden test, of which nothing but its claim is told
    "exception",  # the student's code raised one
    "not loaded",  # a cell raised when it was run
    "not exported",  # a cell is missing, or is no Python
    "timeout",
    "ended",  # Python ended
    "unwritten",
    "blocked",  # another exercise is to be written first
    "skipped",  # a test was not run, or expected to fail
    "no tests",
    "broken tests",  # they cannot be loaded
    "refused",  # what was handed in cannot be read
]
STATUSES: dict[Reason, Status] = {
    "passed": "passed",
    "timeout": "timeout",
    "unwritten": "not started",
    "blocked": "not started",
}  # of every other reason: failed
LOADING = "while its cell was loaded"
HEADINGS: dict[Reason, str] = {  # where no test claims anything
    "not loaded": "its cell cannot be loaded",
    "timeout": LOADING,
    "ended": LOADING,
}
HIDDEN = "a hidden test: it tries the same claim with inputs of its own"


@dataclass(frozen=True)
class Finding:
    """Why an exercise stands as it does: what was claimed, what came instead, and where in the notebook to look."""

    reason: Reason
    claim: str = ""
    detail: str = ""
    where: str = ""  # FILE:LINE: the line

    @property
    def status(self) -> Status:
        return STATUSES.get(self.reason, "failed")

    @property
    def heading(self) -> str:
        return self.claim or HEADINGS.get(self.reason, "")

    @property
    def body(self) -> str:
        """The message without its heading."""
        return "\n".join(part for part in (self.detail, self.where) if part)

    @property
    def message(self) -> str:
        """What a student is told; empty where all is well."""
        return f"{self.heading}:\n{self.body}" if self.heading else self.body


@dataclass(frozen=True, kw_only=True)
class Outcome(Finding):
    """A finding about one exercise, and its points: all of them or none."""

    exercise: str  # its id
    title: str
    points: int
    max_points: int

    def as_json(self) -> dict[str, Any]:
        """For other programs, and for `from_json`."""
        about = {"exercise": self.exercise, "title": self.title, "points": self.points, "max_points": self.max_points}
        why = {"status": self.status, "reason": self.reason, "claim": self.claim, "detail": self.detail}
        return about | why | {"where": self.where, "message": self.message}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        """Raises TypeError for what as_json did not make."""
        return cls(**{key: value for key, value in data.items() if key not in ("status", "message")})


def outcome_of(exercise: Exercise, finding: Finding) -> Outcome:
    points = exercise.points if finding.status == "passed" else 0
    return Outcome(
        finding.reason, finding.claim, finding.detail, finding.where,
        exercise=exercise.id, title=exercise.title, points=points, max_points=exercise.points,
    )  # fmt: skip


def claim_of(test: str) -> str:
    """A test's name is its claim; of a hidden test the parameters, which are its inputs, are not told.

    >>> claim_of("tests/x/test_a.py::test_zero_stays[1]"), claim_of("tests/x/hidden/test_a.py::test_zero_stays[1]")
    ('zero stays [1]', 'zero stays')
    """
    name = test.partition("::")[2].removeprefix("test_")
    if is_hidden(test):
        name = name.partition("[")[0]
    return re.sub(r"\[", " [", name.replace("_", " "), count=1)


def is_hidden(test: str) -> bool:
    """Is a test, or a test file, one of those that students do not have?"""
    return Path(test.partition("::")[0]).parent.name == "hidden"
