from __future__ import annotations

from pathlib import Path

import pytest

from tito.cli import main
from tito.course.project import find_project
from tito.errors import TitoError, WrongCall

from ..toy_course import Course


def test_the_root_is_found_from_any_folder_inside(course: Course) -> None:
    assert find_project(course.root / "modules" / "source" / "01_toy").root == course.root
    assert find_project(course.root).root == course.root


def test_outside_of_a_course_the_sentence_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match="--project DIR, or get one: `tito new quantization`"):
        find_project(tmp_path)


def test_a_course_is_found_from_the_current_folder_and_from_the_environment(
    course: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(course.root / "tests")
    assert main(["export", "01_toy"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["export", "01_toy"]) == 2, "the folder above the course is not in it"
    monkeypatch.setenv("TITO_PROJECT", str(course.root))
    assert main(["export", "01_toy"]) == 0


def test_the_package_is_the_one_that_pyproject_names(course: Course) -> None:
    assert course.project.package == course.root / "toy"
    course.change("pyproject.toml", '[tool.tito]\npackage = "toy"\n', "")
    with pytest.raises(TitoError, match=r'\[tool.tito\] package = "NAME"; got \'a-toy-course\''):
        _ = course.project.package
    course.change("pyproject.toml", '"a-toy-course"', '"toy"')
    assert course.project.package == course.root / "toy", "without a table of ours the project's name is the package's"


def test_a_pyproject_that_is_not_toml_is_told_with_its_line(course: Course) -> None:
    course.write("pyproject.toml", "[project\n")
    course.tito("export", "01").refuses("pyproject.toml is not valid TOML", "line 1")


def test_paths_are_shown_relative_to_the_root_with_forward_slashes(course: Course) -> None:
    assert course.project.shown(course.root / "tests" / "a.py") == "tests/a.py"
    assert course.project.shown(Path("/elsewhere/a.py")) == str(Path("/elsewhere/a.py"))
