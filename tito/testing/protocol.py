"""What crosses between a command and its pytest process: one JSON line a message, read and checked as these classes.

`tito test` starts `tito.testing.pytest_reporter`, which sends events. `tito grade` starts
`tito.grading.judging.worker`, which is sent a Setup, then a Request for each submission, and sends events; the last
of each submission is Graded.
"""

from __future__ import annotations

import json
from typing import Literal

import msgspec

Step = tuple[str, int]  # where an exception came through: file, line
Source = Literal["student", "test", "judge", "unknown"]
TestResult = Literal["passed", "failed", "skipped"]


class Failure(msgspec.Struct, frozen=True):
    """An exception as plain data: its builtin class, its text without pytest's explanation, where it came through."""

    type: str
    text: str
    frames: tuple[Step, ...] = ()  # of the judged code, outermost first
    loading: tuple[Step, ...] = ()  # lines of modules that were being run, where it was raised while one was loaded
    test_line: int | None = None
    source: Source = "student"  # whose it is; see `pytest_reporter.source_of`


class CollectedTest(msgspec.Struct, frozen=True):
    """A test that will run. parts: those of its exercise that its marks name; none: it bears on all."""

    file: str
    name: str
    parts: tuple[str, ...] = ()


class Collected(msgspec.Struct, frozen=True, tag=True):
    """All test files are loaded."""

    tests: tuple[CollectedTest, ...]


class CollectionFailed(msgspec.Struct, frozen=True, tag=True):
    """A test file, or the conftest.py of a folder, cannot be loaded."""

    file: str
    failure: Failure


class Started(msgspec.Struct, frozen=True, tag=True):
    test: str


class Stuck(msgspec.Struct, frozen=True, tag=True):
    """The test that runs takes long: where it is now."""

    frames: tuple[Step, ...]


class Loading(msgspec.Struct, frozen=True, tag=True):
    """The judged module's line that is run next while it is loaded; None: it is loaded, or has raised."""

    line: Step | None


class Printed(msgspec.Struct, frozen=True, tag=True):
    """What the test that runs has printed since this was told last: lines, and how many more."""

    lines: tuple[str, ...]
    more: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    test: str
    result: TestResult
    failure: Failure | None
    stubs: tuple[Failure, ...]  # unwritten solutions that were called, though the test may have swallowed that


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The sandbox ended during an exercise's test, or while a cell of it was loaded."""

    exercise: str
    reason: Literal["late", "gone"]
    message: str
    test: str = ""
    cell: str = ""


class Unloaded(msgspec.Struct, frozen=True, tag=True):
    """A cell of an exercise raised when it was loaded; what was given took its place."""

    exercise: str
    failure: Failure


class Graded(msgspec.Struct, frozen=True, tag=True):
    """All wanted tests of a submission have run."""


class Broken(msgspec.Struct, frozen=True, tag=True):
    """pytest itself failed."""

    message: str
    stderr: str = ""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """pytest is done."""

    message: str
    stderr: str = ""


class Late(msgspec.Struct, frozen=True, tag=True):
    """Made on this side: nothing came in the time that there was."""

    message: str
    stderr: str = ""


class Gone(msgspec.Struct, frozen=True, tag=True):
    """Made on this side: the process has ended without a word, or says what cannot be read."""

    message: str
    stderr: str = ""


Stopped = Broken | Ended | Late | Gone  # nothing follows
Event = (
    Collected | CollectionFailed | Started | Stuck | Loading | Printed | Finished | Lost | Unloaded | Graded | Stopped
)


class Setup(msgspec.Struct, frozen=True):
    """The first line that a worker is sent."""

    given: str  # the folder with what is given beside a student's cells
    unsafe: bool
    test_seconds: float


class ModuleCell(msgspec.Struct, frozen=True):
    """A cell of a module that is judged: what is loaded, and what is given there, should that fail."""

    name: str  # as messages show it
    source: str
    given: str
    exercise: str | None


class Request(msgspec.Struct, frozen=True):
    """One submission."""

    modules: dict[str, tuple[ModuleCell, ...]]
    exercises: dict[str, int]  # exercise -> which of the modules
    wanted: tuple[str, ...]  # the exercises whose tests are to run
    seconds: float


def line_of(message: Event | Setup | Request) -> str:
    """A message as a line. Half a surrogate pair, which a student's text may hold, passes: the line is ASCII."""
    return json.dumps(msgspec.to_builtins(message)) + "\n"


def event_of(line: bytes | str) -> Event:
    """Raises ValueError for a line that is no event."""
    event: Event = msgspec.convert(json.loads(line), Event)
    return event


def setup_of(line: str) -> Setup:
    return msgspec.convert(json.loads(line), Setup)


def request_of(line: str) -> Request:
    return msgspec.convert(json.loads(line), Request)
