"""The subprocess of `tito test`: runs pytest and sends what happens, an event a line, where no print can reach.

Run as `python -m tito.testing.pytest_reporter PYTEST_ARGUMENTS`. Its real standard output carries the lines; what
pytest and judged code print goes to standard error. It ends when its standard input is closed, so that it never
outlives `tito test`.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytest

from tito import processes
from tito.testing import protocol, proxies, typing_in
from tito.testing.part_marks import parts_of
from tito.testing.printing import Printing
from tito.testing.protocol import Failure, Source, TestResult
from tito.testing.proxies import Opaque, take_unwritten
from tito.testing.student_fixture import LOADING
from tito.testing.withheld import Withheld

LAST_FRAMES = 50  # of an endless recursion only the end is told
LONGEST_TEXT = 20_000  # characters of an exception's text


class JudgesOwn(Exception):
    """Raised where no answer of the student's can be the reason: no one's failure."""


class Reporter:
    """A pytest plugin that sends the events of `protocol`."""

    def __init__(self, channel: TextIO) -> None:
        self._channel = channel
        self._result: TestResult = "passed"
        self._failure: Failure | None = None
        self._stubs: list[Failure] = []
        self._patience = float(os.environ.get(processes.PATIENCE_OF_TESTS, "inf"))
        self._watchdog: threading.Timer | None = None
        self._lock = threading.Lock()
        self.before_stuck: Callable[[], None] = lambda: None  # called when a test takes long

    def send(self, event: protocol.Event) -> None:
        with self._lock:  # the watchdog speaks too
            self._channel.write(protocol.line_of(event))
            self._channel.flush()

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[LOADING] = lambda line: self.send(protocol.Loading(line))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        tests = (protocol.CollectedTest(str(item.path), item.nodeid, parts_of(item)) for item in session.items)
        self.send(protocol.Collected(tuple(tests)))

    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, call: pytest.CallInfo[Any], report: object
    ) -> None:
        if isinstance(report, pytest.CollectReport) and call.excinfo is not None:
            failure = failure_of(call.excinfo.value, node.path)
            self.send(protocol.CollectionFailed(str(node.path), failure))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._result, self._failure, self._stubs = "passed", None, []
        self.send(protocol.Started(nodeid))
        if self._patience < float("inf"):
            self._watchdog = threading.Timer(self._patience, self._send_stack)
            self._watchdog.daemon = True
            self._watchdog.start()

    def _send_stack(self) -> None:
        """A test takes long: where is it now?"""
        self.before_stuck()
        steps = list(traceback.walk_stack(sys._current_frames().get(threading.main_thread().ident or 0)))[::-1]
        frames = tuple((frame.f_code.co_filename, line) for frame, line in steps)
        self.send(protocol.Stuck(frames[-LAST_FRAMES:]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        judged = (getattr(item, "funcargs", None) or {}).get("student")
        if isinstance(judged, Opaque):
            self._stubs += [failure_of(error, Path()) for error in take_unwritten(judged)]
        if report.skipped or hasattr(report, "wasxfail"):
            self._result = "skipped"
        elif report.failed and self._result == "passed":
            self._result = "failed"
            self._failure = failure_of(call.excinfo.value, item.path) if call.excinfo else None
        return report

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self._watchdog:
            self._watchdog.cancel()
        self.send(protocol.Finished(nodeid, self._result, self._failure, tuple(self._stubs)))

    def pytest_internalerror(self, excrepr: object) -> None:
        self.send(protocol.Broken(str(excrepr).strip().rsplit("\n", 1)[-1]))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.send(protocol.Ended(f"pytest ended with status {int(exitstatus)}"))


def failure_of(error: BaseException, test_file: Path) -> Failure:
    """An exception as plain data."""
    if isinstance(error, pytest.Collector.CollectError) and error.__cause__:
        error = error.__cause__  # pytest wraps what importing a test file raised
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error)[:LONGEST_TEXT]
    if text.startswith("pytest: reading from stdin") or (isinstance(error, EOFError) and "reading a line" in text):
        text = typing_in.INPUT
    if isinstance(error, AssertionError) and not text.startswith("assert "):
        text = text.split("\nassert ")[0]  # what follows the author's message is pytest's view of the expression
    frames = tuple((str(file), line) for file, line in getattr(error, "student_frames", ()))
    loading = tuple((str(file), line) for file, line in getattr(error, "loading", ()))
    line = _line_in(error, test_file)
    return Failure(type(error).__name__, text, frames[-LAST_FRAMES:], loading, line, source_of(error))


def source_of(error: BaseException) -> Source:
    """Whose an exception is: `student`, raised by the judged code; `test`, what a test says of an answer; `judge`.

    `unknown` is everything else that a test's own code raised: an answer may be the reason, or the test.
    """
    if hasattr(error, "student_frames"):
        return "student"
    if isinstance(error, JudgesOwn):
        return "judge"
    return "test" if isinstance(error, AssertionError | pytest.fail.Exception) else "unknown"


def _line_in(error: BaseException, file: Path) -> int | None:
    found, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(file):
            found = step.tb_lineno
        step = step.tb_next
    return found


def _end_with_parent() -> None:
    """Standard input is the line to `tito test`: nothing is read from it, but its end means that nobody listens."""
    line, nothing, end = os.dup(0), os.open(os.devnull, os.O_RDONLY), os._exit
    os.dup2(nothing, 0)

    def wait() -> None:
        with suppress(OSError):
            os.read(line, 1)
        end(1)

    threading.Thread(target=wait, daemon=True).start()


def channel() -> TextIO:
    """What was standard output: it carries the report, and what is printed goes to standard error."""
    line = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    return line


def main(arguments: list[str]) -> int:
    reporter = Reporter(channel())
    _end_with_parent()
    proxies.catch_every_end()
    printing = Printing(lambda _, lines, more: reporter.send(protocol.Printed(lines, more)))
    reporter.before_stuck = printing.stream.tell_rest
    return int(pytest.main(arguments, plugins=[reporter, printing, typing_in.NobodyTypes(), Withheld()]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
