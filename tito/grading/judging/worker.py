"""The subprocess of a `Judge`: pytest that has collected once, and runs the tests for submission after submission.

Run as `python -m tito.grading.judging.worker PYTEST_ARGUMENTS`. Each line on its standard input is a submission;
what happens is told on standard output, as by `tito.testing.pytest_reporter`. It holds the tests and their answers,
and never a student's code.
"""

from __future__ import annotations

import gc
import os
import queue
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tito.grading.judging import memory
from tito.grading.judging.replay import replaying
from tito.grading.judging.submission_run import NoSandbox, SubmissionRun
from tito.grading.sandbox import system_calls
from tito.grading.sandbox.client import SandboxLost
from tito.testing import protocol, pytest_reporter, student_fixture
from tito.testing.outcome import is_hidden
from tito.testing.protocol import Request
from tito.testing.proxies import Student

RARELY = (50_000, 20, 100)  # objects and rounds between two searches for garbage: hypothesis makes much, soon let go


class Worker:
    """A pytest plugin: the loop over submissions, and the student behind the wall."""

    def __init__(self, reporter: pytest_reporter.Reporter, requests: Iterator[Request], run: SubmissionRun) -> None:
        self._reporter, self._requests, self._run = reporter, requests, run
        self._broken = ""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[student_fixture.OPENED] = self._opened

    def _opened(self, root: Path, test_file: Path) -> Student:
        exercise = _exercise(test_file)
        try:
            return Student(self._run.opened(exercise), f"the notebook of {exercise}")
        except (SandboxLost, NoSandbox) as error:  # pytest's fixtures do not recover from what is no Exception
            self._broken = str(error) if isinstance(error, NoSandbox) else self._broken
            pytest.fail(str(error), pytrace=False)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item in session.items:
            if isinstance(item, pytest.Function):
                item.obj = replaying(item)
        gc.collect()
        gc.freeze()  # what was collected stays: not to be looked through again and again
        gc.set_threshold(*RARELY)
        memory.limit()
        terminal: Any = session.config.pluginmanager.getplugin("terminalreporter")
        for request in self._requests:
            self._grade(session, request)
            if self._broken:
                self._reporter.send(protocol.Broken(self._broken))
                return True
            self._reporter.send(protocol.Graded())
            terminal.stats.clear()  # it would remember every test of every submission
        return True

    def _grade(self, session: pytest.Session, request: Request) -> None:
        """Hidden tests come last, of all exercises: what the code learns from them it can tell to no visible one, whose
        failures are shown in its words."""
        self._run.begin(request)
        wanted = (item for item in session.items if _exercise(item.path) in request.wanted)
        items, sent = sorted(wanted, key=lambda item: is_hidden(item.nodeid)), set[str]()
        for item, following in zip(items, [*items[1:], None], strict=True):
            exercise = _exercise(item.path)
            self._run.test_begins(item.path, is_hidden(item.nodeid))
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._run.test_ends(exercise, item.nodeid)
            if exercise in self._run.lost and exercise not in sent:
                sent.add(exercise)
                self._reporter.send(self._run.lost[exercise])
        self._run.finish()
        for exercise, failure in self._run.unloaded.items():
            if exercise in request.wanted:
                self._reporter.send(protocol.Unloaded(exercise, failure))


def _exercise(file: Path) -> str:
    return file.stem.removeprefix("test_")


def _lines() -> Iterator[str]:
    """The lines of standard input. At its end the judge is gone; so are we, whatever runs, and what it laid out."""
    waiting: queue.Queue[str] = queue.Queue()
    lines = os.fdopen(os.dup(0), encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def read() -> None:
        first = lines.readline()
        waiting.put(first)
        for line in lines:
            waiting.put(line)
        if first:
            shutil.rmtree(protocol.setup_of(first).given, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield waiting.get()


def main(arguments: list[str]) -> int:
    system_calls.leave_session_keyring()
    reporter = pytest_reporter.Reporter(pytest_reporter.channel())
    lines = _lines()
    run = SubmissionRun(protocol.setup_of(next(lines)))
    requests = map(protocol.request_of, lines)
    return int(pytest.main(arguments, plugins=[reporter, memory.MemoryOfTests(), Worker(reporter, requests, run)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
