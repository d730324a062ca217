"""The subprocess of a `Judge`: pytest that has collected once, and runs the tests for submission after submission.

Run as `python -m tito.grading.judging.sitting PYTEST_ARGUMENTS`. Each line on its standard input is a submission;
what happens is told on standard output, as by `tito.reporting`. It holds the tests and their answers, and never a
student's code.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tito import reporting, student
from tito.door import Student
from tito.grading.judging.bench import Bench, NoBox
from tito.grading.judging.remote import Lost
from tito.grading.judging.replay import replaying

RARELY = (50_000, 20, 100)  # objects and rounds between two searches for garbage: hypothesis makes much, soon let go


class Sitting:
    """A pytest plugin: the loop over submissions, and the student behind the wall."""

    def __init__(self, reporter: reporting.Reporter, requests: Iterator[dict[str, Any]], bench: Bench) -> None:
        self._reporter, self._requests, self._bench = reporter, requests, bench
        self._broken = ""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[student.OPENED] = self._opened

    def _opened(self, root: Path, test_file: Path) -> Student:
        exercise = _exercise(test_file)
        try:
            return Student(self._bench.opened(exercise), f"the notebook of {exercise}")
        except (Lost, NoBox) as error:  # pytest's fixtures do not recover from what is no Exception
            self._broken = str(error) if isinstance(error, NoBox) else self._broken
            pytest.fail(str(error), pytrace=False)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item in session.items:
            if isinstance(item, pytest.Function):
                item.obj = replaying(item)
        gc.collect()
        gc.freeze()  # what was collected stays: not to be looked through again and again
        gc.set_threshold(*RARELY)
        terminal: Any = session.config.pluginmanager.getplugin("terminalreporter")
        for request in self._requests:
            self._grade(session, request)
            if self._broken:
                self._reporter.send("broken", message=self._broken)
                return True
            self._reporter.send("graded")
            terminal.stats.clear()  # it would remember every test of every submission
        return True

    def _grade(self, session: pytest.Session, request: dict[str, Any]) -> None:
        self._bench.begin(request)
        items, told = [item for item in session.items if _exercise(item.path) in request["wanted"]], set[str]()
        for item, following in zip(items, [*items[1:], None], strict=True):
            exercise = _exercise(item.path)
            self._bench.test_begins(item.path)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._bench.test_ends(exercise, item.nodeid)
            if exercise in self._bench.lost and exercise not in told:
                told.add(exercise)
                self._reporter.send("lost", exercise=exercise, **asdict(self._bench.lost[exercise]))
        self._bench.finish()
        for exercise, failure in self._bench.unloaded.items():
            if exercise in request["wanted"]:
                self._reporter.send("unloaded", exercise=exercise, failure=failure)


def _exercise(file: Path) -> str:
    return file.stem.removeprefix("test_")


def _lines() -> Iterator[dict[str, Any]]:
    """Requests from standard input. At its end the judge is gone; so are we, whatever runs, and what it laid out."""
    waiting: queue.Queue[str] = queue.Queue()
    lines = os.fdopen(os.dup(0), encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def read() -> None:
        first = lines.readline()
        waiting.put(first)
        for line in lines:
            waiting.put(line)
        if first:
            shutil.rmtree(json.loads(first)["given"], ignore_errors=True)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(waiting.get())


def main(arguments: list[str]) -> int:
    reporter = reporting.Reporter(reporting.channel())
    requests = _lines()
    setup = next(requests)
    bench = Bench(Path(setup["given"]), setup["unsafe"], setup["test_seconds"])
    return int(pytest.main(arguments, plugins=[reporter, Sitting(reporter, requests, bench)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
