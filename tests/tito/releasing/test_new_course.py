"""`tito new`: the toy course as a wheel carries it, laid down in a new folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tito import files
from tito.cli import main
from tito.course import given_files
from tito.course.module import load_module
from tito.course.project import Project
from tito.errors import Status, TitoError
from tito.releasing import new_course, release

from ..toy_course import NOTEBOOK, Course

CARRIED = Path("site-packages", "tito", "course_files")


@pytest.fixture
def place(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to lay a course down, for a `tito` that is installed as a wheel of the toy course installs it."""
    course.tito("export", "01")
    site = tmp_path / "site-packages"
    carried = tmp_path / CARRIED
    shutil.copytree(course.root, carried)
    shutil.move(carried / "toy", site / "toy")
    (carried / "modules/source/01_toy/__pycache__").mkdir()
    (carried / "modules/source/01_toy/__pycache__/demo.pyc").touch()
    monkeypatch.setattr(new_course, "CARRIED", carried)
    monkeypatch.setattr(new_course, "INSTALLED", site)
    return tmp_path / "given"


def laid(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_student_gets_the_exercises_without_solutions(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(place)]) == Status.DONE
    assert "2 exercises, 5 points" in capsys.readouterr().out
    text = (place / NOTEBOOK).read_text(encoding="utf-8")
    assert "raise NotImplementedError" in text and "return 2 * x" not in text
    assert "raise NotImplementedError" in (place / "toy" / "sums.py").read_text(encoding="utf-8")
    assert not [name for name in laid(place) if "hidden" in name or "mistakes" in name or "__pycache__" in name]
    assert "Nothing is left to install" in (place / "README.md").read_text(encoding="utf-8")
    assert not given_files.missing(Project(place), "01_toy"), "it knows itself as a student's edition"


def test_an_instructor_gets_the_whole_course(place: Path, course: Course) -> None:
    assert main(["new", str(place), "--instructor"]) == Status.DONE
    assert laid(place) - {"README.md"} == course.files().keys() - {"README.md"}
    assert (place / NOTEBOOK).read_text(encoding="utf-8") == course.read(NOTEBOOK)
    assert main(["--project", str(place), "release", "01", "--to", str(place / "class")]) == Status.DONE


def test_a_release_from_a_wheel_brings_the_command_line_that_made_it(place: Path) -> None:
    """A student who has nothing but the edition installs from it."""
    assert main(["new", str(place), "--instructor"]) == Status.DONE
    table = place / "pyproject.toml"
    table.write_text(
        f'{table.read_text(encoding="utf-8")}\n[project.scripts]\ntito = "tito.cli:main"\n', encoding="utf-8"
    )
    project = Project(place)
    tree = release.student_edition(project, load_module(project, "01_toy"))
    assert "tito/cli.py" in tree and not [name for name in tree if "course_files" in name]


@pytest.mark.parametrize("edition", [[], ["--instructor"]], ids=["student", "instructor"])
def test_an_empty_folder_is_filled_where_it_stands(place: Path, edition: list[str]) -> None:
    place.mkdir()
    before = place.stat().st_ino
    assert main(["new", str(place), *edition]) == Status.DONE
    assert place.stat().st_ino == before and (place / NOTEBOOK).is_file()


@pytest.mark.parametrize("edition", [[], ["--instructor"]], ids=["student", "instructor"])
def test_a_folder_with_something_in_it_is_refused_and_left_alone(
    place: Path, edition: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    place.mkdir()
    (place / "mine.py").write_text("x = 1\n", encoding="utf-8")
    assert main(["new", str(place), *edition]) == Status.WRONG_CALL
    assert capsys.readouterr().err == f"tito: {place} is not empty: name a folder that is new or empty\n"
    assert laid(place) == {"mine.py"}
    assert main(["new", str(place / "mine.py"), *edition]) == Status.WRONG_CALL
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("edition", [[], ["--instructor"]], ids=["student", "instructor"])
def test_what_is_interrupted_leaves_nothing(
    place: Path, edition: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = laid(place.parent)
    monkeypatch.setattr(files, "write_whole", interrupted)
    assert main(["new", str(place), *edition]) == Status.INTERRUPTED
    assert laid(place.parent) == before and not place.exists()
    assert [*place.parent.glob(".*")] == []


def test_a_course_of_several_modules_asks_which(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = place.parent / CARRIED / "modules" / "source"
    shutil.copytree(source / "01_toy", source / "02_toy")
    assert main(["new", str(place)]) == Status.WRONG_CALL
    assert "01_toy, 02_toy. Name one with --module" in capsys.readouterr().err and not place.exists()


def test_a_clone_is_the_instructors_course_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(tmp_path / "course"), "--instructor"]) == Status.WRONG_CALL
    assert "is the instructor's course already" in capsys.readouterr().err


def test_without_a_course_to_carry_that_is_said(place: Path) -> None:
    shutil.rmtree(place.parent / CARRIED)
    with pytest.raises(TitoError, match="carries no course: install it from a wheel"):
        new_course.student(place)
