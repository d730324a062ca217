"""A process that judges files of students' code: many short pytest runs, which share what Python has imported.

    python -m tests.first_failure ROOT

Reads a line of JSON `{"student": FILE, "tests": [FILE, ...], "part": NAME}` from standard input, runs the tests up to
the first failure, all or those that bear on a part of their exercise, and writes one line of JSON: that failure's text,
or "" where there is none.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from tito.course.project import PYPROJECT
from tito.testing.first_failure import FirstFailure
from tito.testing.part_marks import bears_on, parts_of

QUIET = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]  # the last collects garbage


class OnlyPart:
    """A pytest plugin that leaves out the tests that do not bear on a part; with no part, none."""

    def __init__(self, part: str) -> None:
        self._part = part

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not self._part or bears_on(self._part, parts_of(item))]


def first_failure(root: Path, student: str, tests: list[str], part: str) -> str:
    """Run test files against a student's file, up to the first failure."""
    first = FirstFailure()
    where = ["--rootdir", str(root), "-c", str(root / PYPROJECT), "--student-file", student]
    status = pytest.main([*QUIET, *where, *tests], plugins=[first, OnlyPart(part)])
    if first.failure is not None:
        return f"{first.test}: {first.failure.type}: {first.failure.text}"
    return "" if first.ran else f"no test ran: pytest ended with status {int(status)}"


def main(root: Path) -> None:
    answers = sys.stdout
    for line in sys.stdin:
        asked = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            told = first_failure(root, asked["student"], asked["tests"], asked["part"])
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
