"""How an exercise stands, and why: for `tito test` and `tito grade` alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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


@dataclass(frozen=True)
class PartOutcome:
    """How a part of an exercise stands, with its points: all of them or none."""

    name: str
    status: str  # a Status; "not tested" of what is only remembered
    points: int
    max_points: int
    message: str = ""  # what a student is told
    claim: str = ""  # that does not hold; the heading of the message

    @property
    def body(self) -> str:
        """The message without its heading."""
        return self.message.removeprefix(f"{self.claim}:\n") if self.claim else self.message


@dataclass(frozen=True, kw_only=True)
class Outcome(Finding):
    """An exercise's points, and the finding to look at first."""

    exercise: str  # its id
    title: str
    points: int
    max_points: int
    parts: tuple[PartOutcome, ...] = ()  # where its points are split
    remarks: tuple[str, ...] = ()  # what it asked for that grading does not have, in sentences
    printed: str = ""  # by the code while it was tested, for the person at this machine alone: it is in no report

    @property
    def told_by_part(self) -> bool:
        """Has each part a message of its own? Not where one holds for all, as of a cell that cannot be loaded."""
        return len({part.message for part in self.parts}) > 1

    def as_json(self) -> dict[str, Any]:
        """For other programs, and for `from_json`."""
        about = {"exercise": self.exercise, "title": self.title, "points": self.points, "max_points": self.max_points}
        why = {"status": self.status, "reason": self.reason, "claim": self.claim, "detail": self.detail}
        parts = [asdict(part) for part in self.parts]
        told = {"where": self.where, "message": self.message, "remarks": list(self.remarks)}
        return about | {"parts": parts} | why | told

    def with_points_of(self, exercise: Exercise) -> Outcome:
        """The same, for the title and the points that the exercise has now: they decide nothing that tests find."""
        worth = {part.name: part.points for part in exercise.parts}
        parts = tuple(_worth(part, worth.get(part.name, part.max_points)) for part in self.parts)
        whole = exercise.points if self.status == "passed" else 0
        points = sum(part.points for part in parts) if parts else whole
        return replace(self, title=exercise.title, points=points, max_points=exercise.points, parts=parts)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        """Raises TypeError for what as_json did not make."""
        own = {key: value for key, value in data.items() if key not in ("status", "message", "parts", "remarks")}
        parts = tuple(PartOutcome(**part) for part in data.get("parts", ()))
        return cls(**own, parts=parts, remarks=tuple(data.get("remarks", ())))


def outcome_of(exercise: Exercise, *findings: Finding) -> Outcome:
    """findings: one about each of the exercise's parts, in their order; or one about all of it."""
    of_parts = zip(exercise.parts, findings if len(findings) > 1 else findings * len(exercise.parts), strict=True)
    parts = tuple(
        PartOutcome(part.name, found.status, 0, part.points, found.message, found.claim) for part, found in of_parts
    )
    first = min(findings, key=_urgency)
    return Outcome(
        first.reason, first.claim, first.detail, first.where,
        exercise=exercise.id, title=exercise.title, points=0, max_points=exercise.points, parts=parts,
    ).with_points_of(exercise)  # fmt: skip


def _worth(part: PartOutcome, points: int) -> PartOutcome:
    return replace(part, points=points if part.status == "passed" else 0, max_points=points)


def _urgency(finding: Finding) -> int:
    """Which of several findings a student should look at first: what fails, best by a test that the student has."""
    if finding.status in ("failed", "timeout"):
        return 1 if finding.reason == "hidden claim" else 0
    return 3 if finding.status == "passed" else 2


def in_words(status: str, parts: Sequence[PartOutcome]) -> str:
    """How an exercise stands, in a line: its status, and which of its parts are to be done yet.

    >>> quantize, dequantize = PartOutcome("quantize", "passed", 3, 3), PartOutcome("dequantize", "failed", 0, 2)
    >>> in_words("failed", [quantize, dequantize]), in_words("passed", [quantize])
    ('failed: dequantize (0 of 2)', 'passed')
    """
    waiting = [part for part in parts if part.status != "passed"]
    named = {
        status: ", ".join(f"{part.name} (0 of {part.max_points})" for part in waiting if part.status == status)
        for status in dict.fromkeys(part.status for part in waiting)
    }
    return "; ".join(f"{status}: {names}" for status, names in named.items()) or status


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
