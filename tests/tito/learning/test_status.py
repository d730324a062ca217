"""`tito status` tells where one stands and what is next."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ..toy_course import NOTEBOOK, TABLE, Course, Solve, add_questions


def test_status_tells_points_hints_and_what_is_next(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.tito("test", "01")
    edition.tito("hint")
    said = edition.tito("status", "--json", str(edition.root / "status.json"))
    lines = said.out.split("\n")
    assert lines[0].split() == ["double", "2", "of", "2", "points", "passed"]
    assert lines[1].split(maxsplit=5)[:5] == ["counter", "0", "of", "3", "points"]
    assert lines[1].endswith("  not started: adds up (0 of 2), own total (0 of 1), 1 hint seen")
    assert (
        f"Next: counter, An object that counts, in {NOTEBOOK}. toy_dev.py was saved less than a minute ago." in said.out
    )
    report = json.loads(edition.read("status.json"))
    assert (report["points"], report["max_points"]) == (2, 5)
    assert report["exercises"][0]["status"] == "passed"


def test_status_says_that_an_exercise_was_changed_since_its_test(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.tito("test", "01")
    edition.change(NOTEBOOK, "return 2 * x", "return 5 * x")
    assert "passed, changed since" in edition.tito("status").out


def test_a_notebook_that_is_missing_is_named_and_only_its_exercises_count_as_changed(
    edition: Course, solve: Solve
) -> None:
    solve(edition, "double")
    edition.tito("test", "01")
    second = '[[notebook]]\nfile = "more_dev.py"\n[[notebook.exercise]]\nid = "more"\ntitle = "More"\npoints = 1\n'
    edition.write(TABLE, f"{edition.read(TABLE)}\n{second}hints = ['a', 'b', 'c']\n")
    edition.write(NOTEBOOK.replace("toy_dev.py", "more_dev.ipynb"), "{")
    said = edition.tito("status")
    assert said.status == 0 and "changed since" not in said.out and "more_dev.ipynb" in said.out.split("\n\n")[1]
    (edition.root / NOTEBOOK).unlink()
    said = edition.tito("status")
    assert said.status == 0 and "passed, changed since" in said.out
    assert f"{NOTEBOOK} is missing, and so is toy_dev.ipynb: `tito reset toy_dev.py` puts it back" in said.out


def test_how_long_ago_is_told_in_one_unit(edition: Course) -> None:
    old = (edition.root / NOTEBOOK).stat().st_mtime - 2 * 3600 - 100
    os.utime(edition.root / NOTEBOOK, (old, old))
    assert "was saved 2 hours ago." in edition.tito("status").out


def test_before_any_test_status_knows_nothing_and_says_so(edition: Course) -> None:
    assert "not tested" in edition.tito("status").out


def test_status_and_submit_tell_which_questions_have_no_answer(
    course: Course, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "questions" not in course.tito("status").out
    add_questions(course)
    folder = tmp_path / "given"
    assert course.tito("release", "01", "--to", str(folder)).status == 0
    given = Course(folder, capsys)
    assert "larger than half" not in given.read(NOTEBOOK), "the instructor's answers are not given out"
    for command in (["status"], ["submit", "--untested"]):
        assert "questions in words: 0 of 2 answered; not yet: overflow, state\n" in given.tito(*command).out
    given.change(NOTEBOOK, "*Your answer here.*", "At 64.")
    for command in (["status"], ["submit", "--untested"]):
        assert "questions in words: 1 of 2 answered; not yet: state\n" in given.tito(*command).out
    assert given.tito("status", "--json", str(folder / "status.json")).status == 0
    assert json.loads(given.read("status.json"))["questions"] == {"overflow": True, "state": False}
    assert course.tito("status").out.count("2 of 2 answered\n") == 1, "the instructor's own edition answers all"
