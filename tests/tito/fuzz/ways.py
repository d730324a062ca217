"""Five ways from a student's work to points: test, submit, grade, Gradescope, nbgrader. Each reads for real."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tito.course import exporting
from tito.course.edition import Edition
from tito.course.module import Exercise, Module, load_module, module_names
from tito.course.project import Project
from tito.errors import TitoError
from tito.grading.grade import Grade, MachineryError
from tito.grading.intake import collecting
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission
from tito.learning import rehearsal, submission
from tito.releasing import formats, gradescope_autograder, nbgrader, release
from tito.testing import runner
from tito.testing.exports import Exports
from tito.testing.outcome import Outcome

from ... import copying
from .kernel import Kernel
from .kinds import Files
from .memory import Memory, meaning
from .page import Page

COURSE = Path(__file__).parent / "course"
ROOT = Path(__file__).parents[3]  # the course that this repository is
FORKS = hasattr(os, "fork")  # without it, on Windows, a notebook's cells are not run as nbgrader runs them


@dataclass(frozen=True)
class Result:
    """What one way gives: points, what it says of each exercise, and what it says of the work as a whole."""

    points: dict[str, int]
    messages: dict[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    refused: str = ""


class Ways:
    """The course in its editions, and what runs the tests. A context manager."""

    def __init__(self, folder: Path, memory: Memory, source: Path = COURSE) -> None:
        self._folder, self._memory, self._open = folder, memory, ExitStack()
        self.real = source == ROOT
        self.here = Project(folder / "instructor's course")
        copying.copy(source, ["."], self.here.root, without=[".*"])
        self.module = load_module(self.here, module_names(self.here)[0])
        exporting.write(self.here, exporting.make(self.here, self.module))
        self.ids = [exercise.id for exercise in self.module.exercises]

    def __enter__(self) -> Ways:
        self._edition = Project(self._released("student"))
        self._container = self._unpacked(self._released("gradescope"))
        books = self._released("nbgrader")
        self._test_cells = {
            entry.path.stem: [cell for cell in nbgrader._page(self.here, self.module, entry)["cells"] if _tests(cell)]
            for entry in self.module.notebooks
        }
        if FORKS:
            self._kernel = Kernel(books / "source" / self.module.name, self.here.root)
            self._open.callback(self._kernel.close)
        unsafe = bubblewrap.protection().kind == "none"
        self._judge = self._open.enter_context(Judge(Edition(self.here, self.module), Options(unsafe=unsafe)))
        self._given = {
            path: path.read_bytes() for path in self._edition.root.rglob("*") if path.is_file() and path.suffix == ".py"
        }
        self._open.enter_context(remembered(self._memory))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def test(self, home: Files) -> tuple[Result, runner.Result | None]:
        """`tito test` in the student's edition, in which these notebooks lie."""
        module = self._at_home(home)
        try:
            found = runner.whole(self._edition, module)
        except TitoError as error:
            return self._nothing(str(error)), None
        return self._of(found.exercises, tuple(rehearsal.lacking(self._edition, module))), found

    def submit(self, tested: runner.Result | None) -> tuple[Result, Path | None]:
        """`tito submit` after that (`--untested` where it cannot be tested): its manifest's points, and its archive."""
        module = self._module_at_home()
        try:
            made = submission.make(self._edition, module, tested)
            told = rehearsal.lacking(self._edition, module)
            if tested:
                tried = rehearsal.rehearse(self._edition, module, made, tested)
                made, told = submission.make(self._edition, module, tried.result), [*told, *tried.remarks]
        except TitoError as error:
            return self._nothing(str(error)), None
        submission.write(self._edition, made)
        with zipfile.ZipFile(made.path) as archive:
            manifest = json.loads(archive.read(submission.MANIFEST))
        status = manifest["exercises"]
        points = {item.id: item.points * (status.get(item.id) == "passed") for item in self.module.exercises}
        told += [*made.remarks, *(f"nothing of {exercise} is in it" for exercise in made.missing)]
        # submit prints how each exercise stands, and `tito test`, which it follows, prints why
        why = {outcome.exercise: outcome.message for outcome in tested.exercises} if tested else {}
        return Result(points, why, tuple(told), "" if tested else "not tested"), made.path

    def grade(self, files: Files) -> Result:
        """`tito grade` of a folder in which these files lie."""
        folder = self._written(files, "handed in")
        return self.grade_path(folder)

    def grade_path(self, path: Path) -> Result:
        try:
            found = collecting.collect(Edition(self.here, self.module), path)
        except TitoError as error:
            return self._nothing(str(error))
        if len(found) != 1:
            return self._nothing(f"{len(found)} submissions were found: {', '.join(one.name for one in found)}")
        if found[0].refused:
            return self._nothing(found[0].refused, found[0].remarks)
        outcomes = self._memory.recall(["grade", _meanings(found[0])], lambda: self._judge.grade(found[0]).outcomes)
        return self._of(outcomes, found[0].remarks)

    def gradescope(self, files: Files) -> Result:
        """The autograder in its container, these files in its submission folder."""
        folder = self._written(files, "submission")
        module = load_module(self._container, self.module.name)
        try:
            told = gradescope_autograder.grade(
                self._container, module, folder, self._container.root.parent / "withheld"
            )
        except (TitoError, MachineryError) as error:
            return self._nothing(str(error))
        return self._of_gradescope(told)

    def _of_gradescope(self, told: dict[str, Any]) -> Result:
        names = [test["name"].partition(":")[0] for test in told["tests"]]
        points = {name: test["score"] for name, test in zip(names, told["tests"], strict=True)}
        messages = {name: test["output"] for name, test in zip(names, told["tests"], strict=True)}
        return Result(points, messages, tuple(told.get("output", "").split("\n")))

    def nbgrader(self, pages: list[Page]) -> Result:
        """What autograde runs: all cells of the student's notebooks, then the instructor's test cells."""
        points, messages = dict[str, int](), dict[str, str]()
        for page in pages:
            tests = self._test_cells[page.stem]
            cells = page.as_nbgrader(tests)["cells"]
            code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code" or _graded(cell)]
            asked = ["nbgrader", [meaning(source) for source in code]]
            raised = self._memory.recall(asked, lambda code=code: self._kernel.run(code))  # type: ignore[misc]
            for cell, message in zip(tests, raised[-len(tests) :], strict=True):
                exercise = cell["id"].removeprefix("test-")
                points[exercise] = 0 if message else cell["metadata"]["nbgrader"]["points"]
                messages[exercise] = message
        return Result({name: points[name] for name in self.ids}, messages)

    def _released(self, kind: str) -> Path:
        folder = self._folder / kind
        release.write(formats.make(self.here, self.module, kind), folder, kind, self.module)
        return folder

    def _unpacked(self, made: Path) -> Project:
        with zipfile.ZipFile(made / "autograder.zip") as archive:
            archive.extractall(made / "source")
        return Project(made / "source" / "course")

    def _module_at_home(self) -> Module:
        return load_module(self._edition, self.module.name)

    def _at_home(self, home: Files) -> Module:
        """Put the course back to how it was given, and these notebooks into it."""
        folder = self._edition.module(self.module.name)
        for path in [*folder.glob("*_dev.*"), *self._edition.root.glob("*.zip")]:
            path.unlink()
        shutil.rmtree(self._edition.personal, ignore_errors=True)
        for path, data in self._given.items():
            path.write_bytes(data)
        for path in folder.glob("*_dev.py"):
            path.unlink()
        for name, file in home.items():
            (folder / name).write_bytes(file.data)
        return self._module_at_home()

    def _written(self, files: Files, name: str) -> Path:
        """The files on disk, as old as they are said to be."""
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path, file in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)
            os.utime(target, (time.time() - 3600 * file.hours,) * 2)
        return folder

    def _of(self, outcomes: tuple[Outcome, ...], told: tuple[str, ...] = ()) -> Result:
        return Result({o.exercise: o.points for o in outcomes}, {o.exercise: o.message for o in outcomes}, told)

    def _nothing(self, why: str, told: tuple[str, ...] = ()) -> Result:
        return Result(dict.fromkeys(self.ids, 0), told=(*told, why), refused=why)


class Commands(Ways):
    """The same five ways through the commands that people call, each a process; nothing is remembered."""

    def test(self, home: Files) -> tuple[Result, bool]:  # type: ignore[override]
        self._at_home(home)
        report = self._folder / "test.json"
        report.unlink(missing_ok=True)
        done = self._tito(self._edition, "test", self.module.name, "--json", str(report))
        if not report.is_file():
            return self._nothing(done.stderr.strip()), False
        outcomes = tuple(Outcome.from_json(one) for one in json.loads(report.read_text(encoding="utf-8"))["exercises"])
        return self._of(outcomes), True

    def submit(self, tested: Any) -> tuple[Result, Path | None]:
        done = self._tito(self._edition, "submit", self.module.name, *([] if tested else ["--untested"]))
        archive = self._edition.root / f"{self.module.name}_submission.zip"
        if not archive.is_file():
            return self._nothing(done.stderr.strip()), None
        with zipfile.ZipFile(archive) as packed:
            status = json.loads(packed.read(submission.MANIFEST))["exercises"]
        points = {item.id: item.points * (status.get(item.id) == "passed") for item in self.module.exercises}
        return Result(points, told=tuple(done.stdout.split("\n")), refused="" if tested else "not tested"), archive

    def grade_path(self, path: Path) -> Result:
        out, report = self._folder / "grades", self._folder / "grades.json"
        shutil.rmtree(out, ignore_errors=True)
        report.unlink(missing_ok=True)
        unsafe = ["--unsafe"] if bubblewrap.protection().kind == "none" else []
        options = ["--out", str(out), "--json", str(report), "--seed", "0", *unsafe]
        done = self._tito(self.here, "grade", self.module.name, str(path), *options)
        if not report.is_file():
            return self._nothing(done.stderr.strip())
        grades = [Grade.from_json(one) for one in json.loads(report.read_text(encoding="utf-8"))["grades"]]
        if len(grades) != 1:
            return self._nothing(f"{len(grades)} submissions were found")
        if grades[0].status != "graded":
            return self._nothing(grades[0].remarks[-1], grades[0].remarks)
        return self._of(grades[0].outcomes, grades[0].remarks)

    def gradescope(self, files: Files) -> Result:
        folder, results = self._written(files, "submission"), self._folder / "results.json"
        command = [
            sys.executable,
            "-m",
            "tito.releasing.gradescope_autograder",
            self.module.name,
            str(folder),
            str(results),
        ]
        subprocess.run(command, cwd=self._container.root, env=self._environment(), capture_output=True, check=True)
        told = json.loads(results.read_text(encoding="utf-8"))
        if not told.get("tests"):
            return self._nothing(told["output"])
        return self._of_gradescope(told)

    def _tito(self, where: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tito", "--project", str(where.root), *arguments]
        return subprocess.run(command, cwd=where.root, env=self._environment(), capture_output=True, encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "1000"}


class RememberingJudge:
    """A Judge that grades cells that none has judged, and goes on to the next case: the course is put back for each."""

    def __init__(self, memory: Memory, running: Judges, edition: Edition, options: Options) -> None:
        self._memory, self._running, self._edition, self._options = memory, running, edition, options

    def __enter__(self) -> RememberingJudge:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def grade(
        self, read: Submission, exercises: Collection[str] = (), on_exercise: Callable[[], None] = lambda: None
    ) -> Grade:
        project, module = self._edition.project, self._edition.module
        hidden = sorted(path.name for path in project.module_tests(module.name).glob("hidden/*.py"))
        where = [project.root.name, hidden]
        asked = ["judge", *where, _meanings(read)]
        known = self._memory.recall(asked, lambda: self._judge(str(where)).grade(read))
        return dataclasses.replace(known, submission=read.name, remarks=read.remarks, digest=read.digest)

    def _judge(self, where: str) -> Judge:
        if where not in self._running.judges:
            judge = Judge(self._edition, self._options)
            self._running.judges[where] = self._running.open.enter_context(judge)
        return self._running.judges[where]


@dataclass
class Judges:
    """The judges that run, by the tests that they run."""

    open: ExitStack
    judges: dict[str, Judge] = field(default_factory=dict)


@contextmanager
def remembered(memory: Memory) -> Iterator[None]:
    """Within, the tests of one content run once: those of an export, and those of submit's and Gradescope's judges."""
    run = runner.run

    def recalling(
        project: Project, module: Module, exports: Exports, exercises: list[Exercise], *rest: Any
    ) -> Iterator[Outcome]:
        asked = ["test", [_told(file, project) for file in exports.files], [item.id for item in exercises]]
        yield from memory.recall(asked, lambda: list(run(project, module, exports, exercises, *rest)))

    with patch.object(runner, "run", recalling), ExitStack() as running:
        judge = partial(RememberingJudge, memory, Judges(running))
        with patch.object(gradescope_autograder, "Judge", judge), patch.object(rehearsal, "Judge", judge):
            yield


def _meanings(submission: Submission) -> dict[str, list[str]]:
    return {name: [meaning(cell) for cell in cells] for name, cells in submission.cells.items()}


def _told(file: Any, project: Project) -> list[Any]:
    """What of an exported file the outcome depends on: its place and meaning, and what else the export says of it."""
    aside = ("document", "origin", "text", "target")
    more = {part.name: repr(getattr(file, part.name)) for part in dataclasses.fields(file) if part.name not in aside}
    return [project.shown(file.target), meaning(file.text), more]


def _graded(cell: dict[str, Any]) -> bool:
    """nbgrader makes a cell that it knows code again, whatever it has become."""
    return "grade_id" in cell["metadata"].get("nbgrader", {})


def _tests(cell: dict[str, Any]) -> bool:
    return bool(cell["metadata"].get("nbgrader", {}).get("locked"))
