"""A submission's cells -> its Grade: by the same tests as on a student's machine, and the hidden ones."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from tito.course import markers
from tito.course.edition import Edition, Place
from tito.course.module import Exercise
from tito.errors import TitoError
from tito.grading.grade import Grade, MachineryError
from tito.grading.judging.clock import Clock
from tito.grading.options import Options
from tito.grading.sandbox import bubblewrap, layout
from tito.grading.submission import Submission
from tito.testing import environment, protocol
from tito.testing.outcome import Outcome
from tito.testing.part_marks import refusal
from tito.testing.protocol import ModuleCell
from tito.testing.pytest_process import START_SECONDS, PytestProcess
from tito.testing.record import Listener, Record, empty_record
from tito.testing.verdicts import Located, Verdicts

SHARE = 0.2  # of the limit, for a single test
BUSY = 4.0  # times the limit, for a machine that lets a submission wait
LISTENING_SECONDS = 1.0  # between two looks at the clock
SLACK_SECONDS = 15.0  # for what the tests themselves compute, and for a sandbox to start
HASHING = {"PYTHONHASHSEED": "0"}  # the tests' sets come in one order
UNSEEN = ("unraisableexception", "threadexception", "logging")  # plugins whose findings nobody reads
PYTEST = ["-p", "_hypothesis_pytestplugin", "--capture=no", *(part for name in UNSEEN for part in ("-p", f"no:{name}"))]
UNSANDBOXED = "graded without a sandbox (--unsafe): the student's code could reach everything that the grader can"


def with_cells(edition: Edition, cells: dict[str, tuple[str, ...]]) -> dict[str, tuple[ModuleCell, ...]]:
    """The modules with a student's cells in their places; a place without one keeps what is given."""
    waiting = {exercise: list(sources) for exercise, sources in cells.items()}
    return {
        name: tuple(cell for place in places for cell in _filled(place, waiting))
        for name, places in edition.modules.items()
    }


def _filled(place: Place, waiting: dict[str, list[str]]) -> list[ModuleCell]:
    mine = waiting.get(place.exercise or "", [])
    taken = [mine.pop(0) for _ in range(len(mine) if place.last else min(1, len(mine)))] or [place.given]
    names = [place.name] + [f"{place.name}, continued {number}" for number in range(1, len(taken))]
    givens = [place.given] + [""] * (len(taken) - 1)
    return [
        ModuleCell(name, source, given, place.exercise)
        for name, source, given in zip(names, taken, givens, strict=True)
    ]


class Judge:
    """Grades submission after submission. A context manager; one thread uses it, and any may leave it.

    exercises: those that it can be asked for; the module's, unless said otherwise. Raises TitoError where grading
    cannot begin: no sandbox, or tests that cannot be collected.
    """

    def __init__(
        self,
        edition: Edition,
        options: Options = Options(),  # noqa: B008 - frozen
        exercises: Collection[str] = (),
    ) -> None:
        self._edition, self._options = edition, options.seeded()
        self._project, self._module = edition.project, edition.module
        self._limit = options.limit_seconds
        chosen = [options.exercise] if options.exercise else exercises
        self._exercises = [item for item in self._module.exercises if not chosen or item.id in chosen]
        self._tests: PytestProcess | None = None
        self._collected: protocol.Collected | None = None
        self._sound = set[str]()  # exercises that the reference has passed here
        self._left = False

    def __enter__(self) -> Judge:
        protection = bubblewrap.protection()
        if protection.kind == "none" and not self._options.unsafe:
            raise TitoError(f"{protection.reason}: {protection.fix}; or grade with --unsafe those whom you trust")
        self._folder = tempfile.TemporaryDirectory(prefix="tito_grade_", ignore_cleanup_errors=True)
        try:
            Path(self._folder.name).chmod(0o755)  # who is in the sandbox is another user
            layout.lay_out(self._project, self._edition.package, Path(self._folder.name))
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        self._stop()
        self._folder.cleanup()

    def grade(
        self,
        submission: Submission,
        exercises: Collection[str] = (),
        on_exercise: Callable[[], None] = lambda: None,
    ) -> Grade:
        """The grade of one that could be read, in all exercises or in these. on_exercise: called as each is done.

        Raises MachineryError when the grader itself failed: no one's grade.
        """
        begun = time.monotonic()
        chosen = [item for item in self._exercises if not exercises or item.id in exercises]
        records, outcomes = self._outcomes(submission.cells, chosen, on_exercise)
        self._check_failures(records, outcomes)
        remarks = (
            *submission.remarks,
            *environment.together(outcome.remarks for outcome in outcomes),
            *((UNSANDBOXED,) if self._options.unsafe else ()),
        )
        seconds, lost = time.monotonic() - begun, any(record.lost for record in records.values())
        cut_short = any(record.ended for record in records.values())
        return Grade(submission.name, outcomes, "graded", seconds, remarks, submission.digest, lost, cut_short)

    def _outcomes(
        self,
        cells: dict[str, tuple[str, ...]],
        exercises: list[Exercise],
        on_exercise: Callable[[], None] = lambda: None,
    ) -> tuple[dict[str, Record], tuple[Outcome, ...]]:
        """What the tests of these exercises say of these cells. Raises MachineryError where it is the judge's own."""
        modules = with_cells(self._edition, cells)
        records = {item.id: empty_record(self._project, self._module, item) for item in exercises}
        self._run(modules, records, on_exercise)
        for record in records.values():
            for failure in record.failures_of("judge"):
                raise MachineryError(f"{record.exercise}: {failure}")
        judged = Verdicts(self._project, self._module, _Lines(modules), discreet=True)
        return records, tuple(self._explained(judged.outcome(item, records[item.id]), records) for item in exercises)

    def _check_failures(self, records: dict[str, Record], outcomes: tuple[Outcome, ...]) -> None:
        """Raise MachineryError for a failure that the reference has as well, here and now: it is no student's.

        Asked once for each exercise that somebody fails; and again where a test's own code raised an exception, which
        may have been its answer to the student's, or a fault of this process since. A stub says itself that it is one.
        """
        failed = {outcome.exercise for outcome in outcomes if outcome.status in ("failed", "timeout")}
        asked = failed - self._sound | {name for name in failed if records[name].failures_of("unknown")}
        control = [item for item in self._exercises if item.id in asked and self._edition.reference]
        for outcome in self._outcomes(self._edition.reference, control)[1] if control else ():
            if outcome.status != "passed":
                raise MachineryError(f"{outcome.exercise}: the reference fails as well: {outcome.message}")
            self._sound.add(outcome.exercise)

    def _explained(self, outcome: Outcome, records: dict[str, Record]) -> Outcome:
        """With what it failed for that it would have had on its author's machine."""
        if outcome.status == "passed":
            return outcome
        met, package = records[outcome.exercise].exceptions, self._project.package_name
        return replace(
            outcome, remarks=environment.explained(outcome.exercise, met, package, self._edition.package.has)
        )

    def _run(
        self, modules: dict[str, tuple[ModuleCell, ...]], records: dict[str, Record], on_exercise: Callable[[], None]
    ) -> None:
        """Hear what the tests say of these cells; a judge that hangs costs the exercise whose test it ran."""
        listener = Listener(self._project, records.values(), self._limit * SHARE)
        left, done = self._limit, 0
        while wanted := [name for name, record in records.items() if not record.complete]:
            tests = self._tests or self._restarted()
            clock = Clock(tests.pid)
            assert self._collected is not None
            listener.hear(self._collected)
            tests.send(protocol.Request(modules, self._edition.exercises, tuple(wanted), left))
            while not isinstance(event := self._event(tests, clock, left), protocol.Graded):
                if isinstance(event, protocol.Gone | protocol.Broken | protocol.Ended):
                    stderr = tests.stderr()
                    self._stop()
                    raise MachineryError(f"the tests' process ended: {event.message}{stderr}")
                listener.hear(event)
                while done < sum(record.complete for record in records.values()):
                    done += 1
                    on_exercise()
                if isinstance(event, protocol.Late):
                    self._stop()
                    break
            left = max(0.0, left - clock.time())

    def _restarted(self) -> PytestProcess:
        if self._left:
            raise MachineryError("the judge was left")
        try:
            return self._start()
        except TitoError as error:  # it has started before
            raise MachineryError(str(error)) from None

    def _event(self, tests: PytestProcess, clock: Clock, left: float) -> protocol.Event:
        """The next event; Late where it takes too long: its clock ends a sandbox, but not what it computes itself."""
        since = clock.time()
        patience = max(0.0, min(self._limit * SHARE, left - since)) + SLACK_SECONDS
        while (spent := clock.time() - since) < patience:
            event = tests.event(min(LISTENING_SECONDS, patience - spent))
            if not isinstance(event, protocol.Late):
                return event
            if clock.waited > self._limit * BUSY:
                self._stop()
                raise MachineryError(
                    f"the machine is too busy: it kept the tests waiting for {clock.waited:.0f} seconds"
                )
        return event

    def _start(self) -> PytestProcess:
        """Start pytest and let it collect."""
        files = [str(file) for item in self._exercises for file in self._files(item)]
        seed = ["--hypothesis-seed", str(self._options.seed)]
        tests = PytestProcess(self._project, "tito.grading.judging.worker", [*PYTEST, *seed, *files], **HASHING)
        self._tests = tests
        tests.send(protocol.Setup(self._folder.name, self._options.unsafe, self._limit * SHARE))
        event = tests.event(START_SECONDS)
        if not isinstance(event, protocol.Collected):
            reason = self._not_collected(event) + tests.stderr()
            self._stop()
            raise TitoError(f"the tests cannot be run: {reason}")
        for item in self._exercises:
            if wrong := self._wrong_marks(item, event):
                self._stop()
                raise TitoError(f"the tests cannot be run: {wrong}")
        self._collected = event
        return tests

    def _wrong_marks(self, exercise: Exercise, collected: protocol.Collected) -> str:
        """What is wrong with the marks of an exercise's tests, in a sentence; or nothing."""
        own = {os.path.realpath(file) for file in self._files(exercise)}
        tests = [test for test in collected.tests if os.path.realpath(test.file) in own]
        return refusal(exercise.id, [part.name for part in exercise.parts], tests)

    def _not_collected(self, event: protocol.Event) -> str:
        match event:
            case protocol.CollectionFailed(file=file, failure=failure):
                return f"{self._project.shown(Path(file))}: {failure.type}: {failure.text}"
            case protocol.Gone() | protocol.Late() | protocol.Broken() | protocol.Ended():
                return event.message
        return f"{type(event).__name__} came before all tests were collected"

    def _stop(self) -> None:
        tests, self._tests = self._tests, None
        if tests:
            tests.close()

    def _files(self, exercise: Exercise) -> list[Path]:
        visible, hidden = self._project.test_files(self._module.name, exercise.id)
        if not visible.is_file():
            raise TitoError(f"{self._project.shown(visible)} is missing: nobody can be graded without it; restore it")
        return [visible, hidden] if hidden.is_file() else [visible]


class _Lines:
    """Finds a line of a cell, as a message shows it."""

    def __init__(self, modules: dict[str, tuple[ModuleCell, ...]]) -> None:
        self._cells = {cell.name: cell for cells in modules.values() for cell in cells}

    def __call__(self, file: str, line: int) -> Located | None:
        cell = self._cells.get(file)
        if cell is None:
            return None
        lines = cell.source.split("\n")
        text = lines[line - 1].strip() if line <= len(lines) else ""
        return Located(f"{file}, line {line}", cell.exercise, text, markers.is_left_over(cell.source, line))
