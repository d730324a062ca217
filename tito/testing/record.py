"""What is seen of exercises' tests in one process, event by event."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tito.course.module import Exercise, Module
from tito.course.project import Project
from tito.errors import TitoError
from tito.testing import protocol, pytest_process
from tito.testing.outcome import Finding, claim_of, is_hidden
from tito.testing.part_marks import bears_on, refusal
from tito.testing.printing import Printed
from tito.testing.protocol import Failure, Source, Step


@dataclass
class Record:
    """What was seen of one exercise's tests."""

    exercise: str
    files: list[Path]
    parts: tuple[str, ...] = ()  # the exercise's
    tests: dict[str, tuple[str, ...]] = field(default_factory=dict)  # test -> the parts that its marks name
    finished: set[str] = field(default_factory=set)
    failures: list[tuple[str, Failure]] = field(default_factory=list)  # test, failure
    skipped: list[str] = field(default_factory=list)
    stubs: list[tuple[str, Failure]] = field(default_factory=list)  # test, what it called that is not written
    collected: bool = False
    ended: Finding | None = None  # cut short, and why
    last: str = ""  # where it was cut short while a test ran: that test
    lost: bool = False  # cut short because the process ended, and not because its time was up
    stuck: tuple[Step, ...] = ()  # where a test was that took long
    loading: Step | None = None  # the line of a module that was being loaded when it was cut short
    unloaded: Failure | None = None  # why a cell of it could not be loaded
    printed: Printed = field(default_factory=Printed)  # by its tests, where that is told

    @property
    def complete(self) -> bool:
        return self.ended is not None or (self.collected and self.finished == self.tests.keys())

    @property
    def exceptions(self) -> list[tuple[str, str]]:
        """What its tests ended with: the builtin class and the text; a hidden test's text is not told."""
        raised = [(self.unloaded.type, self.unloaded.text)] if self.unloaded else []
        for test, failure in self.failures:
            raised.append((failure.type, "" if is_hidden(test) else failure.text))
        return raised + ([("MemoryError", "")] if self.lost else [])  # what ends Python is most often that

    def failures_of(self, source: Source) -> list[str]:
        """What failed by an exception of this source."""
        found = ((test, failure) for test, failure in self.failures if failure.source == source)
        return [f"{claim_of(test)}: {failure.type}: {failure.text}" for test, failure in found]

    def of_part(self, part: str) -> Record:
        """What was seen of the tests that bear on a part. What cut the others short does not end it."""
        tests = {test: named for test, named in self.tests.items() if bears_on(part, named)}
        done = bool(self.last and tests) and tests.keys() <= self.finished
        return replace(
            self,
            tests=tests,
            finished=self.finished & tests.keys(),
            failures=[(test, failure) for test, failure in self.failures if test in tests],
            skipped=[test for test in self.skipped if test in tests],
            stubs=[(test, failure) for test, failure in self.stubs if test in tests],
            ended=None if done else self.ended,
        )

    def cut_short(self, stopped: Finding, test: str = "") -> None:
        """Its tests cannot go on, from this one on; or none counts, where it was not in a test that it ended."""
        self.last, self.lost, self.ended = test, stopped.reason == "ended", stopped
        self.printed.failed = self.printed.failed or test
        self.finished.discard(test)

    def note(self, event: protocol.Finished) -> None:
        if self.last:
            return  # what still ran had nothing to ask
        self.finished.add(event.test)
        self.stubs += [(event.test, failure) for failure in event.stubs]
        if event.result == "skipped":
            self.skipped.append(event.test)
        elif event.failure is not None:
            self.failures.append((event.test, event.failure))
            self.printed.failed = self.printed.failed or event.test


def empty_record(project: Project, module: Module, exercise: Exercise) -> Record:
    """An exercise's record before anything ran; one that has ended already where its tests are missing."""
    files = project.test_files(module.name, exercise.id)
    parts = tuple(part.name for part in exercise.parts)
    record = Record(exercise.id, [file for file in files if file.is_file()], parts)
    if not files[0].is_file():
        missing = f"{project.shown(files[0])} is missing: an exercise without its tests cannot pass; restore the file"
        record.ended = Finding("no tests", detail=missing)
    return record


def out_of_time(limit: float, claim: str = "") -> Finding:
    """What ran is the test of this claim; without one, a cell that was loaded."""
    return Finding("timeout", claim, f"stopped after {limit:g} seconds: is there a loop that never ends?")


def python_ended(message: str, claim: str = "") -> Finding:
    detail = f"Python itself ended ({message}): does the code call exit, or use up the memory?"
    return Finding("ended", claim, detail)


class Listener:
    """Keeps the records of one process up to date."""

    def __init__(self, project: Project, records: Iterable[Record], limit: float) -> None:
        self._project, self._records, self._limit = project, list(records), limit
        self._owner = {
            os.path.realpath(f): record for record in self._records if not record.ended for f in record.files
        }
        self._tests: dict[str, Record] = {}
        self._current = ""  # the test that runs
        self._stuck: protocol.Stuck | None = None  # where it was, if it took long
        self._loading: Step | None = None  # the line of a module that is being loaded

    @property
    def files(self) -> list[str]:
        """The test files to run."""
        return list(self._owner)

    def left(self) -> float:
        """Seconds to wait for the next event."""
        if not self._current:
            return pytest_process.START_SECONDS
        return self._limit * pytest_process.REST if self._stuck else self._limit

    def hear(self, event: protocol.Event) -> None:
        """Note what happened. Raises TitoError where the tests could not be run: that is no one's pass."""
        match event:
            case protocol.CollectionFailed():
                self._not_collected(event)
            case protocol.Collected():
                self._collected(event)
            case protocol.Started():
                self._current, self._stuck = event.test, None
            case protocol.Stuck():
                self._stuck = event
            case protocol.Loading():
                self._loading = event.line
            case protocol.Printed():
                if record := self._tests.get(self._current):
                    record.printed.add(self._current, event.lines, event.more)
            case protocol.Finished():
                self._current = ""
                self._tests[event.test].note(event)
            case protocol.Lost():
                claim = claim_of(event.test) if event.test else ""
                finding = self._stopping(event.reason == "late", event.message, claim)
                self._of(event.exercise).cut_short(replace(finding, where=event.cell), event.test)
            case protocol.Unloaded():
                self._of(event.exercise).unloaded = event.failure
            case protocol.Broken() | protocol.Ended() | protocol.Late() | protocol.Gone():
                self._stopped(event)
            case protocol.Graded():
                pass

    def _not_collected(self, event: protocol.CollectionFailed) -> None:
        failure = event.failure
        detail = f"{self._project.shown(Path(event.file))} cannot be run: {failure.type}: {failure.text}"
        for path, record in self._owner.items():
            if Path(path).is_relative_to(os.path.realpath(event.file)):  # a test file, or the folder it is in
                record.ended = Finding("broken tests", detail=detail)

    def _collected(self, event: protocol.Collected) -> None:
        owners = ((test, self._owner.get(os.path.realpath(test.file))) for test in event.tests)
        owned = [(test, record) for test, record in owners if record]
        self._tests = {test.name: record for test, record in owned}
        for record in self._owner.values():
            tests = [test for test, owner in owned if owner is record]
            record.tests = {test.name: test.parts for test in tests}
            record.collected = True
            if wrong := refusal(record.exercise, record.parts, tests):
                record.ended = Finding("broken tests", detail=wrong)

    def _of(self, exercise: str) -> Record:
        return next(record for record in self._records if record.exercise == exercise)

    def _stopping(self, late: bool, message: str, claim: str) -> Finding:
        return out_of_time(self._limit, claim) if late else python_ended(message, claim)

    def _stopped(self, event: protocol.Stopped) -> None:
        """The process ended; unless all is done, that is charged to the exercise whose test ran, or was next."""
        unfinished = (record for record in self._records if record.collected and not record.complete)
        stopped = self._tests.get(self._current) or next(unfinished, None)
        if stopped and (self._current or not isinstance(event, protocol.Broken)):
            claim = claim_of(self._current) if self._current else "between two tests"
            late = isinstance(event, protocol.Late)
            finding = self._stopping(late, event.message, "" if self._loading else claim)
            stopped.cut_short(finding, "" if self._loading else self._current)
            stopped.stuck, stopped.loading = self._stuck.frames if self._stuck else (), self._loading
        elif not all(record.complete for record in self._records):
            raise TitoError(f"the tests could not be run: {event.message}{event.stderr}")
