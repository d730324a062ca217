"""A file that has the name of something that others import: it is named as the cause."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tito.course import shadowing

from ..toy_course import Course

MINE = "print('my own')\n"


@pytest.mark.parametrize(
    "name",
    ["copy.py", "json.py", "numpy.py", "random.py", "typing.py", "numpy/__init__.py", "pytest.py", "hypothesis.py"],
)
def test_a_file_that_is_imported_in_the_place_of_another_is_named(course: Course, name: str) -> None:
    course.write(name, MINE)
    shown = name.removesuffix("__init__.py")
    said = course.tito("test", "01", "--exercise", "double")
    if said.status:  # what asks for typing or random may come before the course's folder is looked at
        assert f"{shown} in the course's folder is imported by everything that asks for" in said.out + said.err
        assert "rename it, and try again." in said.out + said.err
    doctor = course.tito("doctor")
    assert doctor.status == 1 and shown.rstrip("/") in doctor.out and "Fix: rename it" in doctor.out


def test_export_names_it_too(course: Course) -> None:
    course.write("numpy.py", MINE)
    said = course.tito("export", "01")
    assert said.status == 0 and "numpy.py in the course's folder is imported by everything that asks for" in said.out


def test_two_are_named_in_one_sentence(course: Course) -> None:
    course.write("json.py", MINE)
    course.write("copy.py", MINE)
    course.tito("test", "01").refuses("copy.py, json.py in the course's folder are imported by", "rename them")


@pytest.mark.parametrize(
    "name", ["test.py", "my_copy.py", "numpy/readme.txt", "numpys.py", "toy.py", "tests/__init__.py"]
)
def test_other_names_are_nobodys_business(course: Course, name: str) -> None:
    course.write(name, MINE)
    assert shadowing.warning(course.project) == ""


def test_a_name_that_another_course_has_too_is_no_packages(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the clone, installed as it stands, has the edition's hatch_build.py."""
    other = tmp_path / "other"
    shutil.copytree(course.root, other)
    for root in (other, course.root):
        (root / "hatch_building.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(other))
    assert shadowing.warning(course.project) == ""


@pytest.mark.parametrize("name", ["copy.py", "typing.py"])
def test_python_m_tito_does_not_import_what_lies_where_one_stands(course: Course, name: str) -> None:
    course.write(name, "raise SystemExit('imported')\n")
    command = [sys.executable, "-m", "tito", "export", "01"]
    done = subprocess.run(command, cwd=course.root, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
