"""The toy course in a folder of its own, which a test may spoil, and what commands say about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tito.cli import main
from tito.course.project import Project

from .. import copying

ROOT = Path(__file__).parents[2]  # the course that this repository is
TOY = Path(__file__).parent / "toy"
NOTEBOOK = "modules/source/01_toy/toy_dev.py"
PAGE = "modules/source/01_toy/toy_dev.ipynb"
TABLE = "modules/source/01_toy/module.toml"
TARGET = "toy/sums.py"
ODD_NAMES = ["CS [2026] $x", "-x", "$HOME a::b #1 100% *?{x} @\\ Übung 汉", 'it\'s "quoted"']  # of folders
STUB = 'raise NotImplementedError("exercise double: your code is not written yet")'


@dataclass
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str

    def refuses(self, *parts: str, status: int = 1) -> None:
        """One sentence on standard error, with these parts in it, and nothing else."""
        assert self.status == status, f"expected exit status {status}, got {self.status}: {self.err}"
        assert self.err.startswith("tito: ") and self.err.count("\n") == 1, f"expected one sentence, got: {self.err!r}"
        for part in parts:
            assert part in self.err, f"expected {part!r} in: {self.err}"


@dataclass
class Course:
    """A copy of the toy course that a test may spoil."""

    root: Path
    _capsys: pytest.CaptureFixture[str]

    @property
    def project(self) -> Project:
        return Project(self.root)

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    def change(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text, f"{name} does not hold {old!r}: the test is out of date"
        self.write(name, text.replace(old, new, 1))

    def line_of(self, name: str, part: str, nth: int = 1) -> int:
        """The number of the nth line that holds `part`."""
        return [number for number, line in enumerate(self.read(name).split("\n"), 1) if part in line][nth - 1]

    def files(self) -> dict[str, bytes]:
        """Every file of the course with its bytes: what must not change when a command refuses."""
        found = (path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in found}

    def tito(self, *arguments: str) -> Said:
        """Run a command in this process."""
        self._capsys.readouterr()
        status = main(["--project", str(self.root), *arguments])
        out, err = self._capsys.readouterr()
        return Said(status, out, err)


class Solve(Protocol):
    """What the fixture `solve` is."""

    def __call__(self, edition: Course, exercise: str) -> None: ...


def copy_toy(folder: Path) -> Path:
    root = folder / "a course für me"
    copying.copy(TOY, ["."], root, without=["sums.py"])
    return root


def frames_of(error: BaseException) -> list[tuple[str, int]]:
    """The student's steps that led to an exception, which is a builtin one: file and line, outermost first."""
    frames: list[tuple[str, int]] = vars(error)["student_frames"]
    return frames


def squeezed(text: str) -> str:
    """With one space in the place of many and of line ends."""
    return " ".join(text.split())


ENDS = """
# %%
#| export
#| exercise: ends
def lowest(numbers):
    ### BEGIN SOLUTION
    return min(numbers)
    ### END SOLUTION


# %%
#| export
#| exercise: ends
def highest(numbers):
    ### BEGIN SOLUTION
    return max(numbers)
    ### END SOLUTION
"""
ENDS_TABLE = """
[[notebook.exercise]]
id = "ends"
title = "Both ends"
points = 5
parts = { lowest = 3, highest = 2 }
hints = ["Which is the smallest?", "Which is the largest?", "min and max, nearly"]
"""
ENDS_TESTS = """
import pytest


@pytest.mark.part("lowest")
def test_the_smallest_is_found(student):
    got = student.lowest([2, 1, 3])
    assert got == 1, f"expected 1, got {got}"


@pytest.mark.part("highest")
def test_the_largest_is_found(student):
    got = student.highest([2, 1, 3])
    assert got == 3, f"expected 3, got {got}"
"""
QUESTIONS = """
# %% [markdown]
# ## Reflect

# %% [markdown]
# <!-- question: overflow -->
# 1. When does twice a number not fit?
#
# ### BEGIN SOLUTION
# When it is larger than half of the largest.
# ### END SOLUTION

# %% [markdown]
# <!-- question: state -->
# 2. What does a counter keep?
#
# ### BEGIN SOLUTION
# Its total.
# ### END SOLUTION
"""
QUESTIONS_TABLE = """
[[notebook.question]]
id = "overflow"
title = "Too large"

[[notebook.question]]
id = "state"
title = "What is kept"
"""
ENDS_FILE = "tests/01_toy/test_ends.py"
ENDS_HIDDEN = """
import pytest


@pytest.mark.part("highest")
def test_one_number_is_the_largest(student):
    assert student.highest([-7]) == -7
"""


def add_questions(course: Course) -> None:
    """Give the toy course two questions that are answered in words."""
    course.write(NOTEBOOK, course.read(NOTEBOOK) + QUESTIONS)
    course.write(TABLE, course.read(TABLE) + QUESTIONS_TABLE)


def add_ends(course: Course) -> None:
    """Give the toy course an exercise of two functions, each of which is a part."""
    course.write(NOTEBOOK, course.read(NOTEBOOK) + ENDS)
    course.write(TABLE, course.read(TABLE) + ENDS_TABLE)
    course.write(ENDS_FILE, ENDS_TESTS)
    course.write("tests/01_toy/hidden/test_ends.py", ENDS_HIDDEN)
