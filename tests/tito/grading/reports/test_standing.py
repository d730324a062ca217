"""A class of 300, partly right, late, with extensions and adjustments: every figure of every table counted anew."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from tito.course.module import Exercise, Module, Part
from tito.grading.grade import Grade
from tito.grading.handed_in import HandedIn
from tito.testing.outcome import Finding, outcome_of

from .reported import Page, grades_of, refused, rows, written

DUE = datetime(2026, 3, 20, 22, 59, tzinfo=UTC)  # 23:59 in Berlin
TOML = """
timezone = "Europe/Berlin"
due = 2026-03-20T23:59:00
grace_minutes = 10
late_days = 1
cutoff = 2026-03-27T23:59:00
penalty = { percent_a_day = 15, at_most = 40 }
"""
PASSED, FAILED = Finding("passed"), Finding("claim", "two is doubled", "wanted 2, got 3")
UNWRITTEN = Finding("unwritten", "", "not started yet")


@dataclass(frozen=True)
class Story:
    """What was made up of a student, and the points that are due by hand."""

    name: str
    grade: Grade
    adjustments: tuple[tuple[str, str], ...]  # exercise, points
    days_more: int  # of an extension
    late: str
    points: Fraction


def split(module: Module) -> Module:
    plain = [Exercise(f"e{number}", f"E {number}", number, ("a", "b", "c")) for number in (1, 2, 3)]
    parts = Exercise("parts", "Parts", 7, ("a", "b", "c"), (Part("left", 4), Part("right", 3)))
    return replace(module, notebooks=(replace(module.notebooks[0], exercises=(*plain, parts)),))


def lost(earned: Fraction, hours: float, days_more: int) -> tuple[str, Fraction]:
    """The column late, and what it costs: the free day first, then 15 % a day, at most 40; nothing after the end."""
    over = hours - 24 * days_more
    if over > 24 * 7:
        return "after the cut-off", earned
    days = 0
    while over > 24 * days + 10 / 60:
        days += 1
    cost = earned * min(15 * max(0, days - 1), 40) / 100
    return f"{days} day{'' if days == 1 else 's'}" if days else "", Fraction(int(cost * 100), 100)


def story(module: Module, dice: random.Random, number: int) -> Story:
    name, able = f"student {number:03}", dice.random()
    findings = {e.id: [dice.choices([PASSED, FAILED, UNWRITTEN], [able, 0.5, 0.2])[0] for _ in e.parts or [0]]
                for e in module.exercises}  # fmt: skip
    worth = {"e1": [1], "e2": [2], "e3": [3], "parts": [4, 3]}
    earned = sum(w for e, found in findings.items() for w, one in zip(worth[e], found, strict=True) if one is PASSED)
    hours = dice.choice([-30.0, -1.0, 0.0, 0.1, 0.2, 20.0, 24.1, 24.3, 50.0, 100.0, 167.0, 169.0])
    more = dice.choice([0, 0, 0, 2])
    adjustments = tuple((dice.choice(["", "e2"]), dice.choice(["0.5", "-1", "-20", "2.25"])) for _ in range(number % 3))
    before = max(Fraction(0), sum((Fraction(points) for _, points in adjustments), Fraction(earned)))
    outcomes = tuple(outcome_of(exercise, *findings[exercise.id]) for exercise in module.exercises)
    when = DUE + timedelta(hours=hours)
    made = Grade(name, outcomes, "graded", 1.0, handed_in=HandedIn(when, dice.choice(["nbgrader", "Gradescope"])))
    late, cost = lost(before, hours, more)
    return Story(name, made, adjustments, more, late, before - cost)


@pytest.fixture
def stories(module: Module) -> list[Story]:
    dice = random.Random(11)
    return [story(split(module), dice, number) for number in range(300)]


@pytest.fixture
def files(tmp_path: Path, module: Module, stories: list[Story]) -> dict[str, bytes]:
    lines = [f"{s.name},{exercise},{points},because" for s in stories for exercise, points in s.adjustments]
    table = "\n".join(["submission,exercise,points,reason", *lines])
    (tmp_path / "adjustments.csv").write_text(table, encoding="utf-8")
    due = {more: (DUE + timedelta(days=more)).strftime("%Y-%m-%dT%H:%M:%SZ") for more in (2,)}
    own = [f'[student."{s.name}"]\ndue = {due[2]}\nreason = "ill"\n' for s in stories if s.days_more]
    (tmp_path / "deadlines.toml").write_text(TOML + "".join(own), encoding="utf-8")
    return written(tmp_path, split(module), [one.grade for one in stories])


def test_the_class_holds_every_kind(stories: list[Story]) -> None:
    lates = {one.late for one in stories}
    assert lates >= {"", "1 day", "2 days", "3 days", "5 days", "7 days", "after the cut-off"}
    assert {bool(one.days_more) for one in stories} == {True, False} and any(not one.points for one in stories)


def test_every_student_s_points_and_lateness_are_those_of_the_count_by_hand(
    files: dict[str, bytes], stories: list[Story]
) -> None:
    found = grades_of(files)
    assert len(found) == 300
    for one in stories:
        row = found[one.name]
        assert (row["late"], Fraction(row["points"])) == (one.late, one.points), one
        tests = sum(Fraction(row[name]) for name in ("e1", "e2", "e3", "parts"))
        added = Fraction(row["adjustment"] or 0)
        assert max(Fraction(0), tests + added) == one.points, "the tests' points and what is added make the whole"


def test_every_other_table_and_page_has_the_same_points(files: dict[str, bytes], stories: list[Story]) -> None:
    canvas = {row[0]: Fraction(row[-1]) for row in rows(files["canvas.csv"], "utf-8")[2:]}
    head, *table = rows(files["gradescope.csv"], "utf-8")
    total, when = head.index("Total Score"), head.index("Lateness (H:M:S)")
    gradescope = {f"{row[0]} {row[1]}": row for row in table}
    parts = dict[str, int]()
    for row in rows(files["parts.csv"])[1:]:
        parts[row[0]] = parts.get(row[0], 0) + int(row[3])
        assert int(row[3]) + int(row[5]) == int(row[4])
    for one in stories:
        assert canvas[one.name] == Fraction(gradescope[one.name][total]) == one.points
        assert (gradescope[one.name][when] > "00:10:00") == bool(one.late)
        assert parts[one.name] == one.grade.points
        told = json.loads(files[f"gradescope/{one.name}.json"])
        assert Fraction(str(told["score"])) == one.points
        text = Page(files[f"students/{one.name}.html"]).text
        shown = f"{float(one.points):.2f}".rstrip("0").rstrip(".")
        assert f"{shown} of 13 points" in text and ("Your own terms: ill" in text) == bool(one.days_more)


def test_the_class_page_counts_who_was_late(files: dict[str, bytes], stories: list[Story]) -> None:
    late = sum(bool(one.late) for one in stories)
    assert f"{300 - late} in time, {late} late." in Page(files["index.html"]).text


def test_nothing_is_late_that_was_handed_in_by_nobody(tmp_path: Path, module: Module) -> None:
    (tmp_path / "deadlines.toml").write_text(TOML, encoding="utf-8")
    found = grades_of(written(tmp_path, module, [refused(module, "r")]))
    assert (found["r"]["late"], found["r"]["points"]) == ("unknown", "0")
