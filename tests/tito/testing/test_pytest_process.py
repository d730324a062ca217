"""What the pytest process says of itself reaches the person in words, with the course's own paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from tito.testing import pytest_process

from ..toy_course import Course


def test_what_pytest_says_of_an_error_keeps_its_first_letter(course: Course) -> None:
    course.write("tests/01_toy/conftest.py", "raise RuntimeError('Every letter counts')\n")
    course.tito("test", "01").refuses("Every letter counts")
    course.write("tests/01_toy/conftest.py", "pytest_plugins = ['no_such_plugin_E']\n")
    said = course.tito("test", "01")
    assert "RROR" not in said.err.replace("ERROR", "") and "no_such_plugin_E" in said.err


def test_only_files_of_the_course_are_named_from_its_folder(course: Course, tmp_path: Path) -> None:
    inside, outside = course.root / "tests" / "test_a.py", tmp_path / "test_b.py"
    assert pytest_process._from_root(course.project, str(inside)) == str(Path("tests", "test_a.py"))
    assert pytest_process._from_root(course.project, str(outside)) == str(outside)
    assert pytest_process._from_root(course.project, "--hypothesis-seed") == "--hypothesis-seed"


@pytest.mark.parametrize("name", ["PYTEST_PLUGINS", "PYTEST_ADDOPTS"])
def test_a_persons_own_settings_of_pytest_reach_no_test(
    course: Course, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "-no_such_plugin")
    assert course.tito("test", "01", "--exercise", "double").status == 0
