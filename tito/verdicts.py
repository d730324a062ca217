"""From what pytest tells, event by event, to one Outcome an exercise: for `tito test` and `tito grade` alike."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tito import running
from tito.course import Exercise, Module
from tito.errors import TitoError
from tito.project import Project

TaskStatus = Literal["passed", "failed", "not started", "timeout"]
Located = tuple[str, str | None, str]  # where a line stands, as a person finds it; its cell's exercise; its text
Locate = Callable[[str, int], Located | None]  # (file, line) of a step of an exception -> where that is
NOTHING = re.compile(r"'NoneType' object|unsupported operand type.*'NoneType'|cannot unpack non-iterable NoneType")
LONGEST_MESSAGE = 20  # lines
LOADING = "while its cell was loaded"
HIDDEN = "a hidden test: it tries the same claim with inputs of its own"


@dataclass(frozen=True)
class Outcome:
    """How an exercise stands. It earns all its points or none; `of` is what it could earn."""

    id: str
    title: str
    points: int
    of: int
    status: TaskStatus
    message: str


@dataclass
class Record:
    """What was seen of an exercise's tests in one process."""

    exercise: str
    files: list[Path]
    tests: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    failures: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # test, failure
    skipped: list[str] = field(default_factory=list)
    stubs: list[dict[str, Any]] = field(default_factory=list)
    collected: bool = False
    ended: tuple[TaskStatus, str] | None = None  # cut short, and why
    lost: bool = False  # cut short because the process ended, and not because its time was up
    stuck: list[tuple[str, int]] = field(default_factory=list)  # where a test was that took long
    loading: list[tuple[str, int]] = field(default_factory=list)  # the lines of modules among these
    unloaded: dict[str, Any] | None = None  # why a cell of it could not be loaded

    @property
    def complete(self) -> bool:
        return self.ended is not None or (self.collected and self.finished == self.tests)

    @property
    def exceptions(self) -> list[tuple[str, str]]:
        """What its tests ended with: the builtin class and the text; a hidden test's text is not told."""
        raised = [(self.unloaded["type"], self.unloaded["text"])] if self.unloaded else []
        for test, failure in self.failures:
            raised.append((failure["type"], "" if _hidden(test.partition("::")[0]) else failure["text"]))
        return raised + ([("MemoryError", "")] if self.lost else [])  # what ends Python is most often that

    def failures_of(self, whose: str) -> list[str]:
        """What failed by an exception of this kind; see `reporting.describe`."""
        told = ((test, failure) for test, failure in self.failures if failure["whose"] == whose)
        return [f"{claim(test)}: {failure['type']}: {failure['text']}" for test, failure in told]

    def cut_short(self, why: str, message: str, limit: float, during: str) -> None:
        self.lost = why != "late"
        if self.lost:
            told = f"Python itself ended ({message}): does the code call exit, or use up the memory?"
            self.ended = "failed", f"{during}:\n{told}"
        else:
            told = f"stopped after {limit:g} seconds: is there a loop that never ends?"
            self.ended = "timeout", f"{during}:\n{told}"

    def note(self, event: dict[str, Any]) -> None:
        self.finished.add(event["test"])
        self.stubs += event["stubs"]
        if event["outcome"] == "skipped":
            self.skipped.append(event["test"])
        elif event["outcome"] != "passed":
            self.failures.append((event["test"], event["failure"]))


def record(project: Project, module: Module, exercise: Exercise) -> Record:
    """An exercise's empty record; one that has ended already where its tests are missing."""
    files = project.test_files(module.name, exercise.id)
    record = Record(exercise.id, [file for file in files if file.is_file()])
    if not files[0].is_file():
        missing = f"{project.shown(files[0])} is missing: an exercise without its tests cannot pass; restore the file"
        record.ended = ("failed", missing)
    return record


class Listener:
    """Keeps the records of one process up to date, event by event."""

    def __init__(self, project: Project, records: Iterable[Record], limit: float) -> None:
        self._project, self._records, self._limit = project, list(records), limit
        self._owner = {
            os.path.realpath(f): record for record in self._records if not record.ended for f in record.files
        }
        self._tests: dict[str, Record] = {}
        self._current, self._stuck, self._loading = "", list[tuple[str, int]](), list[tuple[str, int]]()

    @property
    def files(self) -> list[str]:
        """The test files to run."""
        return list(self._owner)

    def left(self) -> float:
        """Seconds to wait for the next event."""
        if not self._current:
            return running.START_SECONDS
        return self._limit * running.REST if self._stuck else self._limit

    def hear(self, event: dict[str, Any]) -> None:
        """Note what happened. Raises TitoError where the tests could not be run: that is no one's pass."""
        match event:
            case {"event": "uncollected", "file": file, "failure": failure}:
                message = f"{self._project.shown(Path(file))} cannot be run: {failure['type']}: {failure['text']}"
                for path, record in self._owner.items():
                    if Path(path).is_relative_to(os.path.realpath(file)):  # a test file, or the folder it is in
                        record.ended = ("failed", message)
            case {"event": "collected", "tests": found}:
                owners = ((test, self._owner.get(os.path.realpath(file))) for file, test in found)
                self._tests = {test: record for test, record in owners if record}
                for record in self._owner.values():
                    record.tests = {test for test in self._tests if self._tests[test] is record}
                    record.collected = True
            case {"event": "start", "test": test}:
                self._current, self._stuck, self._loading = test, [], []
            case {"event": "stuck", "frames": frames, "loading": loading}:
                self._stuck, self._loading = frames, loading
            case {"event": "finish", "test": test}:
                self._current = ""
                self._tests[test].note(event)
            case {"event": "lost", "exercise": exercise, "why": why, "message": message, **rest}:
                during = claim(rest["test"]) if rest["test"] else f"{LOADING} ({rest['cell']})"
                self._of(exercise).cut_short(why, message, self._limit, during)
            case {"event": "unloaded", "exercise": exercise, "failure": failure}:
                self._of(exercise).unloaded = failure
            case _:
                self._stopped(event)

    def _of(self, exercise: str) -> Record:
        return next(record for record in self._records if record.exercise == exercise)

    def _stopped(self, event: dict[str, Any]) -> None:
        """The process ended; unless all is done, that is charged to the exercise whose test ran, or was next."""
        unfinished = (record for record in self._records if record.collected and not record.complete)
        stopped = self._tests.get(self._current) or next(unfinished, None)
        if stopped and (self._current or event["event"] != "broken"):
            during = claim(self._current) if self._current else "between two tests"
            stopped.cut_short(event["event"], event["message"], self._limit, during)
            stopped.stuck, stopped.loading = self._stuck, self._loading
        elif not all(record.complete for record in self._records):
            raise TitoError(f"the tests could not be run: {event['message']}{event.get('said', '')}")


def claim(test: str) -> str:
    """`tests/x/test_a.py::test_zero_stays[1]` -> `zero stays [1]`: a name is a claim. Of a hidden test, no more."""
    file, _, name = test.partition("::")
    name = name.removeprefix("test_")
    if _hidden(file):
        name = name.partition("[")[0]
    return re.sub(r"\[", " [", name.replace("_", " "), count=1)


def _hidden(file: str) -> bool:
    return Path(file).parent.name == "hidden"


class Verdicts:
    """Turns what was seen of an exercise into an outcome, every place mapped back to the notebook.

    discreet: of a hidden test nothing is told but its claim.
    """

    def __init__(self, project: Project, module: Module, locate: Locate, discreet: bool = False) -> None:
        self._project, self._module, self._locate, self._discreet = project, module, locate, discreet

    def outcome(self, exercise: Exercise, record: Record) -> Outcome:
        status, message = record.ended or self._verdict(exercise, record)
        located = self._located({"frames": record.stuck})
        if status == "timeout" and located:
            message += f"\n{located[-1][0]}: {located[-1][2]}"
        points = exercise.points if status == "passed" else 0
        return Outcome(exercise.id, exercise.title, points, exercise.points, status, message)

    def _verdict(self, exercise: Exercise, record: Record) -> tuple[TaskStatus, str]:
        swallowed = [failure for failure in record.stubs if self._named(failure)]
        seen = [failure for _, failure in record.failures] + swallowed
        stubs = {self._stub_of(failure): failure for failure in reversed(seen)}
        others = [other.id for other in self._module.exercises if other.id in stubs]
        real = [(test, failure) for test, failure in record.failures if self._stub_of(failure) is None]
        if record.unloaded:
            return "failed", self.unloaded(record.unloaded)
        if exercise.id in stubs:
            return "not started", f"not started yet: write your code {self._place(stubs[exercise.id])}"
        if real:
            return "failed", self._told(*real[0])
        if others:
            return "not started", f"needs {others[0]} first"
        if record.skipped:
            return (
                "failed",
                f"{claim(record.skipped[0])}:\nwas skipped or expected to fail, so the exercise cannot pass",
            )
        if not record.tests:
            return "failed", f"{self._project.shown(record.files[0])} holds no test, so the exercise cannot pass"
        return "passed", ""

    def _stub_of(self, failure: dict[str, Any]) -> str | None:
        """The exercise whose unwritten solution raised this, if that is what it is."""
        if failure["type"] != "NotImplementedError":
            return None
        located = self._located(failure)
        return self._named(failure) or (located[-1][1] if located else None)

    def _named(self, failure: dict[str, Any]) -> str | None:
        """The exercise that the message of a stub names."""
        named = re.match(r"exercise (\w+)", failure["text"])
        return next((exercise.id for exercise in self._module.exercises if named and exercise.id == named[1]), None)

    def _located(self, failure: dict[str, Any]) -> list[Located]:
        """The steps of an exception that lie in the module's notebooks, outermost first."""
        steps = [self._locate(file, line) for file, line in failure["frames"]]
        return [step for step in steps if step]

    def _place(self, failure: dict[str, Any]) -> str:
        located = self._located(failure)
        return f"at {located[-1][0]}" if located else "in its cell of the notebook"

    def unloaded(self, failure: dict[str, Any]) -> str:
        """That a cell cannot be loaded, and why."""
        located = self._located(failure)
        told = f"its cell cannot be loaded:\n{failure['type']}: {failure['text']}"
        return f"{told}\n{located[-1][0]}: {located[-1][2]}" if located else told

    def _told(self, test: str, failure: dict[str, Any]) -> str:
        """The claim that does not hold, the message, and for an exception the student's own line."""
        if self._discreet and _hidden(test.partition("::")[0]):
            return f"{claim(test)}:\n{HIDDEN}"
        located = self._located(failure)
        says = bool(failure["text"]) and failure["type"] in ("AssertionError", "Failed")  # words meant for people
        text = "\n".join(failure["text"].splitlines()[:LONGEST_MESSAGE])
        told = f"{claim(test)}:\n{text}" if says else f"{claim(test)}:\n{failure['type']}: {text}"
        if not located and NOTHING.match(text):
            told += "\nis a `return` missing? What your function gave back is None"
        if located:  # the innermost line that the student wrote; below it is code that was given
            where, _, source = next((step for step in reversed(located) if step[1]), located[-1])
            return f"{told}\n{where}: {source}"
        return told if says else f"{told}\n{test.partition('::')[0]}:{failure['test_line'] or 1}"
