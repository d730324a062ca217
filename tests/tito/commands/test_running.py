"""Commands that run a module's programs where there is no course: those that a wheel's `tito` carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tito.cli import main
from tito.course import project
from tito.errors import Status

from ..toy_course import Course


@pytest.fixture
def nowhere(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in no course, for a `tito` that carries the toy course."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    course.write("modules/source/01_toy/demo.py", "from pathlib import Path\nPath('here.txt').touch()\n")
    monkeypatch.setattr(project, "CARRIED", course.root)
    monkeypatch.chdir(folder)
    return folder


def test_a_program_of_the_carried_course_runs_where_the_person_stands(nowhere: Path, course: Course) -> None:
    before = course.files()
    assert main(["demo"]) == Status.DONE
    assert [path.name for path in nowhere.iterdir()] == ["here.txt"]
    assert course.files() == before, "nothing is exported into what is installed"


def test_a_folder_that_was_named_and_is_no_course_is_refused(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", str(nowhere), "demo"]) == Status.WRONG_CALL
    assert "no course found" in capsys.readouterr().err


def test_without_a_carried_course_there_is_none(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(project, "CARRIED", nowhere / "nothing")
    assert main(["demo"]) == Status.WRONG_CALL
    assert "no course found" in capsys.readouterr().err
