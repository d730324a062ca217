"""The subprocess of `tito test`: runs pytest and tells what happens, one JSON line at a time, where no print can reach.

Run as `python -m tito.reporting PYTEST_ARGUMENTS`. Its real standard output carries the lines; what pytest and judged
code print goes to standard error. It ends when its standard input is closed, so that it never outlives `tito test`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytest

from tito import door, processes

LAST_FRAMES = 50  # of an endless recursion only the end is told


class JudgesOwn(Exception):
    """Raised where no answer of the student's can be the reason: no one's failure."""


class Reporter:
    """Sends collected, uncollected, start, stuck, finish, broken and end, each with what belongs to it."""

    def __init__(self, channel: TextIO) -> None:
        self._channel = channel
        self._outcome = "passed"
        self._failure: dict[str, Any] | None = None
        self._patience = float(os.environ.get(processes.PATIENCE_OF_TESTS, "inf"))
        self._watchdog: threading.Timer | None = None
        self._lock = threading.Lock()

    def send(self, event: str, **values: Any) -> None:
        with self._lock:  # the watchdog speaks too
            self._channel.write(json.dumps({"event": event} | values) + "\n")
            self._channel.flush()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.send("collected", tests=[[str(item.path), item.nodeid] for item in session.items])

    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, call: pytest.CallInfo[Any], report: object
    ) -> None:
        if isinstance(report, pytest.CollectReport) and call.excinfo is not None:
            self.send("uncollected", file=str(node.path), failure=describe(call.excinfo.value, node.path))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._outcome, self._failure = "passed", None
        door.unwritten.clear()
        self.send("start", test=nodeid)
        if self._patience < float("inf"):
            self._watchdog = threading.Timer(self._patience, self._tell_where)
            self._watchdog.daemon = True
            self._watchdog.start()

    def _tell_where(self) -> None:
        """A test takes long: where is it now?"""
        steps = list(traceback.walk_stack(sys._current_frames().get(threading.main_thread().ident or 0)))[::-1]
        frames = [(frame.f_code.co_filename, line) for frame, line in steps]
        loading = [(frame.f_code.co_filename, line) for frame, line in steps if frame.f_code.co_name == door.MODULE]
        self.send("stuck", frames=frames[-LAST_FRAMES:], loading=loading)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.skipped or hasattr(report, "wasxfail"):
            self._outcome = "skipped"
        elif report.failed and self._outcome == "passed":
            self._outcome = "failed"
            self._failure = describe(call.excinfo.value, item.path) if call.excinfo else None
        return report

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self._watchdog:
            self._watchdog.cancel()
        stubs = [describe(error, Path()) for error in door.unwritten]
        self.send("finish", test=nodeid, outcome=self._outcome, failure=self._failure, stubs=stubs)

    def pytest_internalerror(self, excrepr: object) -> None:
        self.send("broken", message=str(excrepr).strip().rsplit("\n", 1)[-1])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.send("end", message=f"pytest ended with status {int(exitstatus)}")


def describe(error: BaseException, test_file: Path) -> dict[str, Any]:
    """An exception as plain data: its type, its text without pytest's explanation, where it came through, and whose.

    `loading` are the lines of modules that were being run, where it was raised while the judged module was loaded.
    """
    if isinstance(error, pytest.Collector.CollectError) and error.__cause__:
        error = error.__cause__  # pytest wraps what importing a test file raised
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error)
    if text.startswith("pytest: reading from stdin") or (isinstance(error, EOFError) and "reading a line" in text):
        text = "the code calls input(), but while tests run there is nobody who could type"
    if isinstance(error, AssertionError) and not text.startswith("assert "):
        text = text.split("\nassert ")[0]  # what follows the author's message is pytest's view of the expression
    frames = [(str(file), line) for file, line in getattr(error, "student_frames", ())]
    return {
        "type": type(error).__name__,
        "text": text,
        "frames": frames[-LAST_FRAMES:],
        "loading": [(str(file), line) for file, line in getattr(error, "loading", ())],
        "test_line": _line_in(error, test_file),
        "whose": _whose(error),
    }


def _whose(error: BaseException) -> str:
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
    door.tell_every_end()
    return int(pytest.main(arguments, plugins=[reporter]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
