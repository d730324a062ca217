"""The fixture `student` in plain pytest: which code it judges, and how it is told when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tito.errors import TitoError
from tito.testing.student_fixture import open_file

from ..toy_course import Course, frames_of


def pytest_in(course: Course, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Plain pytest in a course's folder, as a person types it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    env = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=course.root, env=env, capture_output=True, encoding="utf-8")


def test_plain_pytest_judges_what_the_notebook_was_exported_to(course: Course) -> None:
    course.tito("export", "01")
    course.write("tests/01_toy/test_nothing.py", "def test_no_exercise(student): ...\n")
    done = pytest_in(course)
    assert "5 passed, 1 error" in done.stdout, done.stdout
    assert "01_toy has no exercise 'nothing'" in done.stdout, "a test that is no exercise's has no code to judge"


def test_before_an_export_the_fixture_says_what_to_run(course: Course) -> None:
    done = pytest_in(course, "tests/01_toy/test_double.py")
    assert "toy/sums.py does not exist yet: run `tito export` first" in done.stdout
    assert done.returncode == 1 and "passed" not in done.stdout


def test_another_file_is_judged_in_its_place(course: Course) -> None:
    course.tito("export", "01")
    course.write("wrong.py", "def double(x):\n    return x\n")
    done = pytest_in(course, "tests/01_toy/test_double.py", "--student-file", "wrong.py")
    assert "expected 6, got 3: is it x + x?" in done.stdout and "2 failed" in done.stdout


def test_a_failure_shows_the_line_of_the_judged_code_and_not_of_the_door(course: Course) -> None:
    course.change("modules/source/01_toy/toy_dev.py", "return 2 * x", "return 2 * x / 0")
    course.tito("export", "01")
    done = pytest_in(course, "tests/01_toy/test_double.py::test_a_number_comes_back_twice")
    assert "return 2 * x / 0" in done.stdout and "ZeroDivisionError" in done.stdout
    assert "door.py" not in done.stdout, done.stdout


def test_a_copy_of_the_package_that_is_in_the_way_is_named(course: Course) -> None:
    course.tito("export", "01")
    course.write("elsewhere/toy/__init__.py", "")
    course.write("elsewhere/toy/sums.py", "def double(x): return 2 * x\n")
    course.write("tests/01_toy/conftest.py", "import sys\nsys.path.insert(0, 'elsewhere')\nimport toy.sums\n")
    done = pytest_in(course, "tests/01_toy/test_double.py")
    assert "another copy is in the way" in done.stdout and "passed" not in done.stdout


def test_a_file_is_judged_under_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "answer.py"
    path.write_text(
        "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\n\ncount = [0]\n", encoding="utf-8"
    )
    first, second = open_file(path), open_file(path)
    assert first.P(1).x == 1 and first.P != second.P


def test_a_file_that_fails_while_it_is_loaded_tells_where(tmp_path: Path) -> None:
    path = tmp_path / "answer.py"
    path.write_text("x = 1\ny = x / 0\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as raised:
        open_file(path)
    assert frames_of(raised.value)[-1] == (str(path), 2)
    with pytest.raises(TitoError, match="is not a Python file that could be judged"):
        open_file(tmp_path / "missing.py")
