"""A submission's cells -> its Grade: by the same tests as on a student's machine, and the hidden ones."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tito import editions, exporting, grafting, notebook, running, verdicts
from tito.course import Exercise, Module
from tito.errors import TitoError
from tito.grading import offered
from tito.grading.grade import Grade, MachineryError
from tito.grading.intake import Submission
from tito.grading.intake.outside import text
from tito.grading.judging import box, given
from tito.grading.judging.clock import Clock
from tito.grading.judging.given import Given
from tito.notebook import Cell, Document
from tito.project import Project
from tito.verdicts import Listener, Located, Outcome, Record, Verdicts

SHARE = 0.25  # of the limit, for a single test
BUSY = 4.0  # times the limit, for a machine that lets a submission wait
LISTENING_SECONDS = 1.0  # between two looks at the clock
SLACK_SECONDS = 15.0  # for what the tests themselves compute, and for a box to start
HASHING = {"PYTHONHASHSEED": "0"}  # the tests' sets come in one order
UNSEEN = ("unraisableexception", "threadexception", "logging")  # plugins whose findings nobody reads
PYTEST = ["-p", "_hypothesis_pytestplugin", "--capture=no", *(part for name in UNSEEN for part in ("-p", f"no:{name}"))]
UNBOXED = "graded without a box (--unsafe): the student's code could reach everything that the grader can"


@dataclass(frozen=True)
class Place:
    """A cell of the student's edition: what is given there, and whose exercise it is."""

    name: str
    exercise: str | None
    given: str
    last: bool  # the last of its exercise: surplus cells of a student's follow it


class Edition:
    """The module as a student has it: for every exported notebook the given cells and the places for the student's."""

    def __init__(self, project: Project, module: Module) -> None:
        self.targets: list[Path] = []
        self.modules: dict[str, list[Place]] = {}
        self.exercises: dict[str, int] = {}  # exercise -> which of the modules
        self.reference: dict[str, tuple[str, ...]] = {}  # exercise -> its own cells; empty in a student's edition
        for which, entry in enumerate(module.notebooks):
            document = notebook.read(project, entry.path)
            target = exporting.target(project, entry.path, notebook.default_exp(entry.path))
            self.targets.append(target)
            name = ".".join(target.relative_to(project.root).with_suffix("").parts)
            self.modules[name] = [_place(document, cell) for cell in document.code if cell.exported]
            self.exercises |= {exercise.id: which for exercise in entry.exercises}
            self.reference |= {exercise.id: _reference(document, exercise) for exercise in entry.exercises}
        if any(editions.is_stub(source, exercise) for exercise, own in self.reference.items() for source in own):
            self.reference = {}

    @property
    def given(self) -> list[str]:
        """The sources of the given cells."""
        return [place.given for places in self.modules.values() for place in places if place.exercise is None]

    def laid_out(self, project: Project) -> Given:
        """What of the package lies beside a student's cells."""
        return Given(project, self.targets, self.given)

    def with_cells(self, cells: dict[str, tuple[str, ...]]) -> dict[str, list[dict[str, Any]]]:
        """The modules with a student's cells in their places; a place without one keeps what is given."""
        waiting = {exercise: list(sources) for exercise, sources in cells.items()}
        return {
            name: [cell for place in places for cell in _filled(place, waiting)]
            for name, places in self.modules.items()
        }


def _reference(document: Document, exercise: Exercise) -> tuple[str, ...]:
    return tuple(text(cell) for cell in grafting.cells_of(document, exercise.id))


def _place(document: Document, cell: Cell) -> Place:
    lines = editions.stub(cell.source, document.name).split("\n")
    text = "\n".join(lines[cell.body[0][0] - 1 :]) if cell.body else ""
    ours = grafting.cells_of(document, cell.exercise) if cell.exercise else []
    return Place(f"{document.path.name}, cell {cell.number}", cell.exercise, text, bool(ours) and cell is ours[-1])


def _filled(place: Place, waiting: dict[str, list[str]]) -> list[dict[str, Any]]:
    mine = waiting.get(place.exercise or "", [])
    taken = [mine.pop(0) for _ in range(len(mine) if place.last else min(1, len(mine)))] or [place.given]
    names = [place.name] + [f"{place.name}, continued {number}" for number in range(1, len(taken))]
    givens = [place.given] + [""] * (len(taken) - 1)
    return [
        {"name": name, "source": source, "given": given, "exercise": place.exercise}
        for name, source, given in zip(names, taken, givens, strict=True)
    ]


class Judge:
    """Grades submission after submission. A context manager; one thread uses it, and any may leave it.

    Raises TitoError where grading cannot begin: no box, or tests that cannot be collected.
    """

    def __init__(
        self,
        project: Project,
        module: Module,
        seed: int = 0,
        limit_seconds: float = 120.0,
        unsafe: bool = False,
        exercise: str | None = None,
    ) -> None:
        self._project, self._module, self._seed = project, module, seed
        self._limit, self._unsafe = limit_seconds, unsafe
        self._exercises = [item for item in module.exercises if exercise in (None, item.id)]
        self._edition = Edition(project, module)
        self._tests: running.Tests | None = None
        self._collected: dict[str, Any] = {}
        self._sound = set[str]()  # exercises that the reference has passed here
        self._left = False

    def __enter__(self) -> Judge:
        protection = box.protection()
        if protection.kind == "none" and not self._unsafe:
            raise TitoError(f"{protection.reason}: {protection.fix}; or grade with --unsafe those whom you trust")
        self._folder = tempfile.TemporaryDirectory(prefix="tito_grade_", ignore_cleanup_errors=True)
        try:
            Path(self._folder.name).chmod(0o755)  # who is in the box is another user
            given.lay_out(self._project, self._edition.targets, self._edition.given, Path(self._folder.name))
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        self._stop()
        self._folder.cleanup()

    def grade(self, submission: Submission) -> Grade:
        """The grade of one that could be read. Raises MachineryError when the grader itself failed: no one's grade."""
        begun = time.monotonic()
        records, outcomes = self._outcomes(submission.cells, self._exercises)
        self._check_failures(records, outcomes)
        remarks = (*submission.remarks, *self._explained(records, outcomes), *((UNBOXED,) if self._unsafe else ()))
        seconds, lost = time.monotonic() - begun, any(record.lost for record in records.values())
        return Grade(submission.name, outcomes, "graded", seconds, remarks, submission.digest, lost)

    def _outcomes(
        self, cells: dict[str, tuple[str, ...]], exercises: list[Exercise]
    ) -> tuple[dict[str, Record], tuple[Outcome, ...]]:
        """What the tests of these exercises say of these cells. Raises MachineryError where it is the judge's own."""
        modules = self._edition.with_cells(cells)
        records = {item.id: verdicts.record(self._project, self._module, item) for item in exercises}
        self._run(modules, records)
        for record in records.values():
            for told in record.failures_of("judge"):
                raise MachineryError(f"{record.exercise}: {told}")
        judged = Verdicts(self._project, self._module, _Lines(modules), discreet=True)
        return records, tuple(judged.outcome(item, records[item.id]) for item in exercises)

    def _check_failures(self, records: dict[str, Record], outcomes: tuple[Outcome, ...]) -> None:
        """Raise MachineryError for a failure that the reference has as well, here and now: it is no student's.

        Asked once for each exercise that somebody fails; and again where a test's own code raised an exception, which
        may have been its answer to the student's, or a fault of this process since. A stub says itself that it is one.
        """
        failed = {outcome.id for outcome in outcomes if outcome.status in ("failed", "timeout")}
        asked = failed - self._sound | {name for name in failed if records[name].failures_of("unknown")}
        control = [item for item in self._exercises if item.id in asked and self._edition.reference]
        for outcome in self._outcomes(self._edition.reference, control)[1] if control else ():
            if outcome.status != "passed":
                raise MachineryError(f"{outcome.id}: the reference fails as well: {outcome.message}")
            self._sound.add(outcome.id)

    def _explained(self, records: dict[str, Record], outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
        """What exercises failed for that they would have had on their author's machine."""
        failures = {o.id: records[o.id].exceptions for o in outcomes if o.status != "passed"}
        return offered.explained(failures, self._project.package_name, lambda name: self._given.has(name))

    @cached_property
    def _given(self) -> Given:
        return self._edition.laid_out(self._project)

    def _run(self, modules: dict[str, list[dict[str, Any]]], records: dict[str, Record]) -> None:
        """Hear what the tests say of these cells; a judge that hangs costs the exercise whose test it ran."""
        listener = Listener(self._project, records.values(), self._limit * SHARE)
        left = self._limit
        while wanted := [name for name, record in records.items() if not record.complete]:
            tests = self._tests or self._restarted()
            clock = Clock(tests.pid)
            listener.hear(self._collected)
            request = {"modules": modules, "exercises": self._edition.exercises, "wanted": wanted}
            tests.tell(request | {"seconds": left, "seed": self._seed})
            while (event := self._event(tests, clock, left))["event"] != "graded":
                if event["event"] in ("gone", "broken", "end"):
                    said = tests.last_line()
                    self._stop()
                    raise MachineryError(f"the tests' process ended: {event['message']}{said}")
                listener.hear(event)
                if event["event"] == "late":
                    self._stop()
                    break
            left = max(0.0, left - clock.time())

    def _restarted(self) -> running.Tests:
        if self._left:
            raise MachineryError("the judge was left")
        try:
            return self._start()
        except TitoError as error:  # it has started before
            raise MachineryError(str(error)) from None

    def _event(self, tests: running.Tests, clock: Clock, left: float) -> dict[str, Any]:
        """The next event; `late` where it takes too long: its clock ends a box, but not what it computes itself."""
        since = clock.time()
        patience = max(0.0, min(self._limit * SHARE, left - since)) + SLACK_SECONDS
        while (spent := clock.time() - since) < patience:
            event = tests.event(min(LISTENING_SECONDS, patience - spent))
            if event["event"] != "late":
                return event
            if clock.waited > self._limit * BUSY:
                self._stop()
                raise MachineryError(
                    f"the machine is too busy: it kept the tests waiting for {clock.waited:.0f} seconds"
                )
        return event

    def _start(self) -> running.Tests:
        """Start pytest and let it collect."""
        files = [str(file) for item in self._exercises for file in self._files(item)]
        seed = ["--hypothesis-seed", str(self._seed)]
        tests = running.Tests(self._project, "tito.grading.judging.sitting", [*PYTEST, *seed, *files], **HASHING)
        self._tests = tests
        tests.tell({"given": self._folder.name, "unsafe": self._unsafe, "test_seconds": self._limit * SHARE})
        event = tests.event(running.START_SECONDS)
        if event["event"] != "collected":
            told = event.get("message") or f"{event['failure']['type']}: {event['failure']['text']}"
            where = f"{self._project.shown(Path(event['file']))}: " if "file" in event else ""
            said = tests.last_line()
            self._stop()
            raise TitoError(f"the tests cannot be run: {where}{told}{said}")
        self._collected = event
        return tests

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

    def __init__(self, modules: dict[str, list[dict[str, Any]]]) -> None:
        self._cells = {cell["name"]: cell for cells in modules.values() for cell in cells}

    def __call__(self, file: str, line: int) -> Located | None:
        cell = self._cells.get(file)
        if cell is None:
            return None
        lines = cell["source"].split("\n")
        text = lines[line - 1].strip() if line <= len(lines) else ""
        return f"{file}, line {line}", cell["exercise"], text
