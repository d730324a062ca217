"""Run exercises' tests in a subprocess -> one Outcome an exercise, as soon as its last test has ended."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tito import exporting, running
from tito.course import Exercise, Module
from tito.errors import TitoError
from tito.exporting import Exported
from tito.notebook import Cell
from tito.project import Project

TaskStatus = Literal["passed", "failed", "not started", "timeout"]
LIMIT_SECONDS = 60.0  # for one test
NOTHING = re.compile(r"'NoneType' object|unsupported operand type.*'NoneType'|cannot unpack non-iterable NoneType")
LONGEST_MESSAGE = 20  # lines


@dataclass(frozen=True)
class Outcome:
    """How an exercise stands. It earns all its points or none; `of` is what it could earn."""

    id: str
    title: str
    points: int
    of: int
    status: TaskStatus
    message: str


@dataclass(frozen=True)
class Result:
    module: str
    seconds: float
    exercises: tuple[Outcome, ...]

    @property
    def points(self) -> int:
        return sum(outcome.points for outcome in self.exercises)

    @property
    def of(self) -> int:
        return sum(outcome.of for outcome in self.exercises)

    @property
    def passed(self) -> bool:
        return bool(self.exercises) and all(outcome.status == "passed" for outcome in self.exercises)

    @property
    def most_useful(self) -> Outcome | None:
        """What to look at first: the first that fails; else the first that is not started; None when all passed."""
        broken = (outcome for outcome in self.exercises if outcome.status in ("failed", "timeout"))
        return next(broken, None) or next((o for o in self.exercises if o.status != "passed"), None)

    def as_json(self) -> str:
        """The report that other programs read."""
        head = {"module": self.module, "points": self.points, "of": self.of, "seconds": round(self.seconds, 3)}
        return json.dumps(head | {"exercises": [asdict(outcome) for outcome in self.exercises]}, indent=2) + "\n"


def run(
    project: Project, module: Module, files: list[Exported], exercises: list[Exercise], limit: float = LIMIT_SECONDS
) -> Generator[Outcome]:
    """The outcomes of these exercises, in order. `files` is what the module's notebooks export, already written.

    A test that takes longer than `limit` seconds, or that ends Python, costs its exercise; the others go on in a new
    process. Raises TitoError when pytest itself cannot run: that is no one's pass.
    """
    judge = _Judge(project, module, files)
    waiting = deque(exercises)
    while waiting:
        records = {exercise.id: _record(project, module, exercise) for exercise in waiting}
        with closing(_follow(project, list(records.values()), limit)) as changes:
            for _ in changes:
                while waiting and records[waiting[0].id].complete:
                    exercise = waiting.popleft()
                    yield judge.outcome(exercise, records[exercise.id])


def whole(project: Project, module: Module, limit: float = LIMIT_SECONDS) -> Result:
    """Export a module and run all its tests."""
    begun = time.monotonic()
    made = exporting.make(project, module)
    exporting.write(project, made)
    outcomes = tuple(run(project, module, made, list(module.exercises), limit))
    return Result(module.name, time.monotonic() - begun, outcomes)


@dataclass
class _Record:
    """What was seen of an exercise's tests in one process."""

    files: list[Path]
    tests: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    failures: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # test, failure
    skipped: list[str] = field(default_factory=list)
    stubs: list[dict[str, Any]] = field(default_factory=list)
    collected: bool = False
    ended: tuple[TaskStatus, str] | None = None  # cut short, and why
    stuck: list[tuple[str, int]] = field(default_factory=list)  # where a test was that took long

    @property
    def complete(self) -> bool:
        return self.ended is not None or (self.collected and self.finished == self.tests)

    def note(self, event: dict[str, Any]) -> None:
        self.finished.add(event["test"])
        self.stubs += event["stubs"]
        if event["outcome"] == "skipped":
            self.skipped.append(event["test"])
        elif event["outcome"] != "passed":
            self.failures.append((event["test"], event["failure"]))


def _record(project: Project, module: Module, exercise: Exercise) -> _Record:
    files = project.test_files(module.name, exercise.id)
    record = _Record([file for file in files if file.is_file()])
    if not files[0].is_file():
        missing = f"{project.shown(files[0])} is missing: an exercise without its tests cannot pass; restore the file"
        record.ended = ("failed", missing)
    return record


def _follow(project: Project, records: list[_Record], limit: float) -> Generator[None]:
    """Run one process over these records' tests and keep them up to date; yields after every change.

    When it returns, the first record that was not complete is complete.
    """
    yield None
    owner = {os.path.realpath(file): record for record in records if not record.ended for file in record.files}
    if not owner:
        return
    tests: dict[str, _Record] = {}
    current, stuck = "", list[tuple[str, int]]()

    def left() -> float:
        return (limit * running.REST if stuck else limit) if current else running.START_SECONDS

    with tempfile.TemporaryFile() as errors:
        process = running.events(project, list(owner), errors, left, limit)
        for event in process:
            match event:
                case {"event": "uncollected", "file": file, "failure": failure}:
                    message = f"{project.shown(Path(file))} cannot be run: {failure['type']}: {failure['text']}"
                    for path, record in owner.items():
                        if Path(path).is_relative_to(os.path.realpath(file)):  # a test file, or the folder it is in
                            record.ended = ("failed", message)
                case {"event": "collected", "tests": found}:
                    tests = {test: owner[os.path.realpath(file)] for file, test in found}
                    for record in owner.values():
                        record.tests = {test for test in tests if tests[test] is record}
                        record.collected = True
                case {"event": "start", "test": test}:
                    current, stuck = test, []
                case {"event": "stuck", "frames": frames}:
                    stuck = frames
                case {"event": "finish", "test": test}:
                    current = ""
                    tests[test].note(event)
                case _:
                    stopped = tests.get(current) or next((r for r in records if r.collected and not r.complete), None)
                    if stopped and (current or event["event"] != "broken"):
                        stopped.ended, stopped.stuck = _cut_short(event, current, limit), stuck
                    elif not all(record.complete for record in records):
                        raise TitoError(f"the tests could not be run: {event['message']}{running.last_line(errors)}")
            yield None


def _cut_short(event: dict[str, Any], running: str, limit: float) -> tuple[TaskStatus, str]:
    claim = _claim(running) if running else "between two tests"
    if event["event"] == "late":
        return "timeout", f"{claim}:\nstopped after {limit:g} seconds: is there a loop that never ends?"
    return (
        "failed",
        f"{claim}:\nPython itself ended ({event['message']}): does the code call exit, or use up the memory?",
    )


def _claim(test: str) -> str:
    """`tests/x/test_a.py::test_zero_stays[1]` -> `zero stays [1]`: a test's name is a claim."""
    name = test.partition("::")[2].removeprefix("test_")
    return re.sub(r"\[", " [", name.replace("_", " "), count=1)


class _Judge:
    """Turns what was seen of an exercise into an outcome, every place mapped back to the notebook."""

    def __init__(self, project: Project, module: Module, files: list[Exported]) -> None:
        self._project, self._module = project, module
        self._files = {os.path.realpath(file.target): file for file in files}

    def outcome(self, exercise: Exercise, record: _Record) -> Outcome:
        status, message = record.ended or self._verdict(exercise, record)
        located = self._located({"frames": record.stuck})
        if status == "timeout" and located:
            message += f"\n{located[-1][0]}: {located[-1][2]}"
        points = exercise.points if status == "passed" else 0
        return Outcome(exercise.id, exercise.title, points, exercise.points, status, message)

    def _verdict(self, exercise: Exercise, record: _Record) -> tuple[TaskStatus, str]:
        swallowed = [failure for failure in record.stubs if self._named(failure)]
        seen = [failure for _, failure in record.failures] + swallowed
        stubs = {self._stub_of(failure): failure for failure in reversed(seen)}
        others = [other.id for other in self._module.exercises if other.id in stubs]
        real = [(test, failure) for test, failure in record.failures if self._stub_of(failure) is None]
        if exercise.id in stubs:
            return "not started", f"not started yet: write your code {self._place(stubs[exercise.id])}"
        if real:
            return "failed", self._told(*real[0])
        if others:
            return "not started", f"needs {others[0]} first"
        if record.skipped:
            return (
                "failed",
                f"{_claim(record.skipped[0])}:\nwas skipped or expected to fail, so the exercise cannot pass",
            )
        if not record.tests:
            return "failed", f"{self._project.shown(record.files[0])} holds no test, so the exercise cannot pass"
        return "passed", ""

    def _stub_of(self, failure: dict[str, Any]) -> str | None:
        """The exercise whose unwritten solution raised this, if that is what it is."""
        if failure["type"] != "NotImplementedError":
            return None
        cells = [cell for _, cell, _ in self._located(failure)]
        return self._named(failure) or (cells[-1].exercise if cells else None)

    def _named(self, failure: dict[str, Any]) -> str | None:
        """The exercise that the message of a stub names."""
        named = re.match(r"exercise (\w+)", failure["text"])
        return next((exercise.id for exercise in self._module.exercises if named and exercise.id == named[1]), None)

    def _located(self, failure: dict[str, Any]) -> list[tuple[str, Cell, str]]:
        """The steps of an exception that lie in the module's notebooks, outermost first."""
        steps = [(self._files.get(os.path.realpath(file)), line) for file, line in failure["frames"]]
        found = [file.locate(line) for file, line in steps if file]
        return [step for step in found if step]

    def _place(self, failure: dict[str, Any]) -> str:
        located = self._located(failure)
        return f"at {located[-1][0]}" if located else "in its cell of the notebook"

    def _told(self, test: str, failure: dict[str, Any]) -> str:
        """The claim that does not hold, the message, and for an exception the student's own line."""
        located = self._located(failure)
        says = bool(failure["text"]) and failure["type"] in ("AssertionError", "Failed")  # words meant for people
        text = "\n".join(failure["text"].splitlines()[:LONGEST_MESSAGE])
        told = f"{_claim(test)}:\n{text}" if says else f"{_claim(test)}:\n{failure['type']}: {text}"
        if not located and NOTHING.match(text):
            told += "\nis a `return` missing? What your function gave back is None"
        if located:  # the innermost line that the student wrote; below it is code that was given
            where, _, source = next((step for step in reversed(located) if step[1].exercise), located[-1])
            return f"{told}\n{where}: {source}"
        return told if says else f"{told}\n{test.partition('::')[0]}:{failure['test_line'] or 1}"
