"""Mutants judged: pytest collects an exercise's tests once, and forks a process for each mutant to run them in."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tito.course.project import PYPROJECT, Project
from tito.testing.first_failure import FirstFailure

from ..solutions import exports

QUIET = ["-x", "-q", "--tb=no", "--capture=sys", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
MEMORY = 4 << 30  # bytes that a mutant may address beyond those it was born with
SURVIVED = ""


@dataclass(frozen=True)
class Verdict:
    """killed_by: the test that failed first, or how the process ended; SURVIVED where every test passed."""

    killed_by: str
    by_hidden: bool = False


class Forks:
    """A pytest plugin: a process for each text, in which the tests run on that text; at most `jobs` at a time."""

    def __init__(self, texts: list[str], jobs: int, seconds: int, folder: Path) -> None:
        self.texts, self.jobs, self.seconds, self.folder = texts, jobs, seconds, folder
        self.number: int | None = None  # of the text, in a process of its own

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        gc.collect()
        gc.freeze()
        running = 0
        for number in range(len(self.texts)):
            if running == self.jobs:
                os.wait()
                running -= 1
            if os.fork() == 0:
                self.number = number
                self._begin(session)
                return None  # pytest's own loop goes on in the new process
            running += 1
        for _ in range(running):
            os.wait()
        return True

    def _begin(self, session: pytest.Session) -> None:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        with contextlib.suppress(ValueError):  # the limit that stands is lower
            resource.setrlimit(resource.RLIMIT_CPU, (self.seconds, self.seconds + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.alarm(20 * self.seconds)  # a process that waits takes no time of the processor
        student = self.folder / f"mutant_{self.number}.py"
        student.write_text(self.texts[self.number or 0], encoding="utf-8")
        session.config.option.student_file = str(student)


def preload(project: Project, module: str) -> None:
    """Import what the exported files are and import, so that no process forked later does it again."""
    sys.path.insert(0, str(project.root))
    for exported in (exported for exported in exports(project, module) if exported.target.is_file()):
        importlib.import_module(".".join(exported.target.relative_to(project.root).with_suffix("").parts))


def judge(project: Project, module: str, exercise: str, texts: list[str], jobs: int, seconds: int) -> list[Verdict]:
    """Run the visible tests, then the hidden ones, on each text, up to the first failure."""
    preload(project, module)
    tests = [test for test in project.test_files(module, exercise) if test.is_file()]
    with tempfile.TemporaryDirectory() as name:
        forks, first = Forks(texts, jobs, seconds, Path(name)), FirstFailure()
        where = ["--rootdir", str(project.root), "-c", str(project.root / PYPROJECT)]
        with Path(os.devnull).open("w", encoding="utf-8") as silence, contextlib.redirect_stdout(silence):
            status = pytest.main([*QUIET, *where, *map(str, tests)], plugins=[forks, first])
        if forks.number is not None:
            told = first.test if first.failure or not first.ran else SURVIVED
            (Path(name) / f"{forks.number}.told").write_text(told or SURVIVED, encoding="utf-8")
            os._exit(0)
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            raise RuntimeError(f"the tests of {exercise} cannot be collected: pytest ended with status {int(status)}")
        return [_verdict(Path(name) / f"{number}.told") for number in range(len(texts))]


def _verdict(told: Path) -> Verdict:
    if not told.is_file():
        return Verdict("the limit of time or memory")
    test = told.read_text(encoding="utf-8")
    return Verdict(test, "/hidden/" in test)


def seconds_of(project: Project, module: str, exercise: str, reference: str) -> int:
    """The time that a mutant gets: several times what the reference takes. RuntimeError where that fails."""
    begun = time.monotonic()
    (verdict,) = judge(project, module, exercise, [reference], 1, 600)
    if verdict.killed_by != SURVIVED:
        raise RuntimeError(f"the reference of {exercise} fails {verdict.killed_by}")
    return 5 + 5 * int(time.monotonic() - begun)
