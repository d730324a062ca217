"""`tito` without a command leads on from wherever one stands."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import pytest

from tito.cli import main
from tito.errors import Status

from ..toy_course import TABLE, Course, Solve


def test_where_there_is_no_course_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TITO_PROJECT", raising=False)
    assert main([]) == Status.DONE
    out = capsys.readouterr().out
    assert out.startswith("You are in no course.\n  To learn: tito new quantization") and "\nUsage: tito" in out


def test_a_student_is_led_from_exercise_to_exercise(
    edition: Course, solve: Solve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    first = edition.tito()
    assert first.status == Status.DONE
    assert ": 0 of 2 exercises passed, 0 of 5 points.\nNext: tito watch    double, Twice a number, in " in first.out
    monkeypatch.undo()
    solve(edition, "double")
    assert "\nNext: double, Twice a number, in " in edition.tito("export").out
    assert "\nNext: counter, An object that counts, in " in edition.tito("test", "double").out
    assert "\nNext: counter, An object that counts, in " in edition.tito("export").out
    assert ": 1 of 2 exercises passed, 2 of 5 points.\nNext: tito watch    counter, " in edition.tito().out
    solve(edition, "counter")
    assert "hand in with `tito submit 01_toy`" in edition.tito("test").out
    assert ": 2 of 2 exercises passed, 5 of 5 points.\nNext: tito submit\n" in edition.tito().out


def test_who_has_jupyterlab_and_has_not_begun_is_sent_to_start(
    edition: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: name == "jupyterlab")
    assert "\nNext: tito start    double" in edition.tito().out


def test_a_test_that_failed_and_an_instructors_are_not_followed_by_a_next_exercise(
    course: Course, edition: Course
) -> None:
    for one, command in ((edition, "test"), (course, "test"), (course, "export")):
        out = one.tito(command).out
        assert "Next: " not in out and "tito submit" not in out


def test_an_instructor_is_shown_release_and_grade(course: Course) -> None:
    out = course.tito().out
    assert (
        "  Give out: tito release 01_toy --to ../class\n  Grade:    tito grade 01_toy SUBMISSIONS --out grades\n" in out
    )


def test_a_course_that_cannot_be_read_is_sent_to_the_doctor(course: Course) -> None:
    course.write(TABLE, "title =")
    said = course.tito()
    assert said.status == Status.DONE and "\nNext: tito doctor\n" in said.out and TABLE in said.out


def test_the_commands_are_listed_by_what_they_are_for(course: Course) -> None:
    out = course.tito("--help").out
    places = [out.index(f"\n{title}:\n") for title in ("Learn", "Teach", "Use")]
    assert places == sorted(places)
    for name, group in {"new": 0, "submit": 0, "test": 0, "release": 1, "grade": 1, "quantize": 2, "doctor": 2}.items():
        at = out.index(f"\n  {name} ")
        assert at > places[group] and not any(places[group] < place < at for place in places), name
