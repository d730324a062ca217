"""A process that judges files of students' code: many short pytest runs, which share what Python has imported.

    python tests/first_failure.py ROOT

Reads a line of JSON `{"student": FILE, "tests": [FILE, ...]}` from standard input, runs the tests up to the first
failure, and writes one line of JSON: that failure's text, or "" where there is none.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tito.course.project import PYPROJECT
from tito.testing.pytest_reporter import failure_of

QUIET = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]  # the last collects garbage


class First:
    """A pytest plugin that keeps the text of the first failure."""

    def __init__(self) -> None:
        self.text, self.ran = "", 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.ran += report.when == "call"
        if report.failed and not self.text and call.excinfo:
            failure = failure_of(call.excinfo.value, item.path)
            self.text = f"{item.name}: {failure.type}: {failure.text}"
        return report


def first_failure(root: Path, student: str, tests: list[str]) -> str:
    """Run test files against a student's file, up to the first failure."""
    first = First()
    where = ["--rootdir", str(root), "-c", str(root / PYPROJECT), "--student-file", student]
    status = pytest.main([*QUIET, *where, *tests], plugins=[first])
    return first.text if first.ran else f"no test ran: pytest ended with status {int(status)}"


def main(root: Path) -> None:
    answers = sys.stdout
    for line in sys.stdin:
        asked = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            told = first_failure(root, asked["student"], asked["tests"])
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
