"""`tito status` tells where one stands and what is next."""

from __future__ import annotations

import json
import os

from ..toy_course import NOTEBOOK, Course, Solve


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


def test_how_long_ago_is_told_in_one_unit(edition: Course) -> None:
    old = (edition.root / NOTEBOOK).stat().st_mtime - 2 * 3600 - 100
    os.utime(edition.root / NOTEBOOK, (old, old))
    assert "was saved 2 hours ago." in edition.tito("status").out


def test_before_any_test_status_knows_nothing_and_says_so(edition: Course) -> None:
    assert "not tested" in edition.tito("status").out
