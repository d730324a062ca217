"""Hints come one by one, for the exercise one is at."""

from __future__ import annotations

from ..toy_course import Course, Solve


def test_hints_come_one_by_one_and_those_that_were_shown_stay(edition: Course) -> None:
    all_three = [
        "double: Twice a number",
        "hint 1 of 3: What is x + x?",
        "hint 2 of 3: Python multiplies with *.",
        "hint 3 of 3: return 2 * x, nearly",
    ]
    said = [edition.tito("hint").out.strip().split("\n") for _ in range(4)]
    assert said == [all_three[:2], all_three[:3], all_three, [*all_three, "There is no further hint."]]


def test_a_hint_is_for_the_exercise_one_is_at(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.tito("test", "01")
    assert edition.tito("hint").out.startswith("counter: ")
    assert edition.tito("hint", "double").out.startswith("double: ")
    edition.tito("hint", "duoble").refuses("no exercise 'duoble' (the nearest is 'double')", status=2)


def test_when_all_is_passed_there_is_nothing_to_hint_at(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    solve(edition, "counter")
    edition.tito("test", "01")
    assert "nothing left to hint at" in edition.tito("hint").out
