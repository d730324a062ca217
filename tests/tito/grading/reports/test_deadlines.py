"""How late a submission is, and what that takes off: counted anew here, in whole seconds of UTC."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tito.course.module import Module
from tito.grading.grade import Grade
from tito.grading.handed_in import HandedIn, Source
from tito.grading.reports.deadlines import FILE_DATE, Deadlines, Penalty, Terms

from .reported import Page, grade, grades_of, machinery, pages, refused, rows, slip, written

BERLIN = ZoneInfo("Europe/Berlin")
DUE = datetime(2026, 3, 6, 23, 59, tzinfo=BERLIN)
TEN = Penalty(Decimal(10), Decimal(50), in_percent=True)
RULES = Deadlines(Terms(DUE), BERLIN, penalty=TEN)
TOML = """
timezone = "Europe/Berlin"
due = 2026-03-06T23:59:00
cutoff = 2026-03-20T23:59:00
penalty = { percent_a_day = 10, at_most = 50 }
"""


def days(rules: Deadlines, when: datetime, source: Source = "nbgrader") -> int | None:
    return rules.lateness("jane", HandedIn(when, source)).days


def lost(rules: Deadlines, told: HandedIn | None, earned: str = "20") -> tuple[str, str]:
    """The points that lateness takes off, and the reason; empty texts where it takes none."""
    entry = rules.adjustment("jane", rules.lateness("jane", told), Decimal(earned))
    return (str(entry.points), entry.reason) if entry else ("", "")


def handed(module: Module, name: str, told: HandedIn | None) -> Grade:
    return replace(grade(module, name), handed_in=told)


def put(out: Path, text: str) -> None:
    out.mkdir(exist_ok=True)
    (out / "deadlines.toml").write_text(text, encoding="utf-8")


# How many days


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        (timedelta(days=-3), 0),
        (timedelta(0), 0),
        (timedelta(seconds=1), 1),
        (timedelta(days=1), 1),
        (timedelta(days=1, seconds=1), 2),
        (timedelta(days=40), 40),
    ],
)
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-8)), BERLIN], ids=str)
def test_a_day_is_late_from_its_first_second_in_whatever_zone_it_is_told(
    after: timedelta, wanted: int, zone: timezone | ZoneInfo
) -> None:
    due = datetime(2026, 1, 6, 12, tzinfo=UTC)  # no clock changes within 40 days
    rules = Deadlines(Terms(due.astimezone(BERLIN)), BERLIN)
    assert days(rules, (due + after).astimezone(zone)) == wanted


def test_where_the_clocks_change_a_day_ends_at_the_hour_of_the_deadline() -> None:
    for due, short_or_long in ((datetime(2026, 3, 28, 23, 59), 23), (datetime(2026, 10, 24, 23, 59), 25)):
        rules = Deadlines(Terms(due.replace(tzinfo=BERLIN)), BERLIN)
        first_day = due.replace(tzinfo=BERLIN).astimezone(UTC) + timedelta(hours=short_or_long)
        assert first_day.astimezone(BERLIN).hour == 23, "the day of the change has 23 or 25 hours"
        assert (days(rules, first_day), days(rules, first_day + timedelta(seconds=1))) == (1, 2)


def test_grace_is_given_at_the_end_of_every_day() -> None:
    rules = replace(RULES, grace=timedelta(minutes=15))
    for after, wanted in ((15, 0), (16, 1), (24 * 60 + 15, 1), (24 * 60 + 16, 2)):
        assert days(rules, DUE + timedelta(minutes=after)) == wanted, f"{after} minutes after the deadline"
    rules = replace(RULES, grace=timedelta(days=1))
    assert [days(rules, DUE + timedelta(hours=hours)) for hours in (24, 25, 48, 49)] == [0, 1, 1, 2]


def test_a_time_without_a_zone_is_taken_by_the_clocks_of_the_course() -> None:
    rules = replace(RULES, file_dates=True)
    assert days(rules, datetime(2026, 3, 6, 23, 59), FILE_DATE) == 0
    assert days(rules, datetime(2026, 3, 7, 0, 0), FILE_DATE) == 1


# What it costs


@pytest.mark.parametrize(
    ("late", "earned", "points", "reason"),
    [
        (2, "20", "-4.00", "2 days late: -20 %"),
        (1, "20", "-2.00", "1 day late: -10 %"),
        (9, "20", "-10.00", "9 days late: -50 %"),
        (1, "0.15", "-0.01", "1 day late: -10 %"),  # the rest of a hundredth is left
        (1, "0.05", "", ""),
        (3, "0", "", ""),
        (0, "20", "", ""),
    ],
)
def test_per_cent_are_taken_of_what_was_earned_up_to_the_most(late: int, earned: str, points: str, reason: str) -> None:
    told = HandedIn(DUE + timedelta(days=late), "nbgrader")
    found, why = lost(RULES, told, earned)
    assert (found and Decimal(found), why) == (points and Decimal(points), reason)


def test_points_are_taken_off_as_far_as_there_are_any() -> None:
    rules = replace(RULES, penalty=Penalty(Decimal("1.5"), Decimal(4), in_percent=False))
    assert lost(rules, HandedIn(DUE + timedelta(days=2), "nbgrader")) == ("-3.0", "2 days late: -3 points")
    assert lost(rules, HandedIn(DUE + timedelta(days=5), "nbgrader")) == ("-4", "5 days late: -4 points")
    assert lost(rules, HandedIn(DUE + timedelta(days=5), "nbgrader"), "1")[0] == "-1"


def test_late_days_are_used_up_before_anything_is_taken_off() -> None:
    rules = replace(RULES, everybody=Terms(DUE, late_days=2))
    assert lost(rules, HandedIn(DUE + timedelta(days=2), "nbgrader")) == ("", "")
    told = HandedIn(DUE + timedelta(days=3), "nbgrader")
    assert lost(rules, told) == ("-2.00", "3 days late, 2 of them free: -10 %")
    assert rules.lateness("jane", told).told.endswith("3 days late, 2 of 2 late days used.")


def test_after_the_cutoff_nothing_is_left() -> None:
    cutoff = DUE + timedelta(days=7)
    rules = replace(RULES, everybody=Terms(DUE, cutoff, late_days=30))
    assert lost(rules, HandedIn(cutoff, "nbgrader")) == ("", "")
    said = lost(rules, HandedIn(cutoff + timedelta(seconds=1), "nbgrader"))
    assert said == ("-20", "handed in after 2026-03-13 23:59 CET: no points")


def test_without_a_penalty_lateness_is_shown_and_costs_nothing() -> None:
    rules, told = replace(RULES, penalty=None), HandedIn(DUE + timedelta(days=2), "nbgrader")
    assert rules.lateness("jane", told).words == "2 days" and lost(rules, told) == ("", "")


# Whose word


def test_a_file_s_date_is_shown_and_takes_points_off_only_where_the_instructor_says_so() -> None:
    told = HandedIn(DUE + timedelta(days=2), FILE_DATE)
    late = RULES.lateness("jane", told)
    assert late.words == "2 days" and "file_dates = true" in late.note and lost(RULES, told) == ("", "")
    by = "2 days late, by the file's date: -20 %"
    assert lost(replace(RULES, file_dates=True), told) == ("-4.00", by)
    closed = replace(RULES, everybody=Terms(DUE, DUE + timedelta(minutes=1)), grace=timedelta(hours=1))
    assert lost(closed, HandedIn(DUE + timedelta(minutes=2), FILE_DATE)) == ("", "")


def test_canvas_mark_is_one_day_and_says_that_more_is_not_known() -> None:
    assert lost(RULES, HandedIn(None, "Canvas", True)) == ("-2.00", "1 day late, marked so by Canvas: -10 %")
    assert "not by how much" in RULES.lateness("jane", HandedIn(None, "Canvas", True)).note
    assert lost(RULES, HandedIn(None, "Canvas", False)) == ("", "")
    free = replace(RULES, everybody=Terms(DUE, late_days=1))
    assert (
        lost(free, HandedIn(None, "Canvas", True)) == ("", "")
        and free.lateness("j", HandedIn(None, "Canvas", True)).free
    )


def test_canvas_mark_says_nothing_of_who_has_an_extension() -> None:
    own = {"jane": Terms(DUE + timedelta(days=3), reason="ill"), "joe": Terms(DUE, late_days=4, reason="his last")}
    rules, mark = replace(RULES, own=own), HandedIn(None, "Canvas", True)
    late = rules.lateness("jane", mark)
    assert (
        (late.days, late.words) == (None, "unknown") and "write handed_in" in late.note and lost(rules, mark)[0] == ""
    )
    assert rules.lateness("joe", mark).days == 1, "who has the same deadline is late where Canvas says so"


def test_the_instructor_s_word_stands_above_every_other() -> None:
    rules = replace(RULES, own={"jane": Terms(DUE, handed_in=DUE + timedelta(days=1), reason="by e-mail")})
    for told in (None, HandedIn(None, "Canvas", True), HandedIn(DUE + timedelta(days=9), "Gradescope")):
        assert lost(rules, told) == ("-2.00", "1 day late: -10 %")


def test_what_nobody_knows_costs_nothing_and_is_noted() -> None:
    late = RULES.lateness("jane", None)
    assert (late.days, late.words) == (None, "unknown") and late.note and lost(RULES, None) == ("", "")
    assert late.told == "When it was handed in is not known; due 2026-03-06 23:59 CET."


def test_an_extension_is_one_student_s_alone() -> None:
    rules = replace(RULES, own={"jane": Terms(DUE + timedelta(days=3), reason="ill")})
    told = HandedIn(DUE + timedelta(days=2), "nbgrader")
    assert (rules.lateness("jane", told).days, rules.lateness("joe", told).days) == (0, 2)


# In the reports


def test_lateness_is_in_the_table_on_the_class_page_and_on_the_student_s(tmp_path: Path, module: Module) -> None:
    put(tmp_path, TOML + '[student.joe]\ndue = 2026-03-09T23:59:00\nreason = "<b>ill</b>"\n')
    came = HandedIn(datetime(2026, 3, 8, 12, tzinfo=UTC), "Gradescope")
    grades = [handed(module, name, came) for name in ("jane", "joe")]
    files = written(tmp_path, module, [*grades, handed(module, "zoe", None)])
    jane, joe, zoe = grades_of(files).values()
    full, cost = Decimal(module.points), Decimal(module.points) / 5
    assert Decimal(jane["points"]) == full - cost and Decimal(jane["adjustment"]) == -cost
    assert (jane["late"], jane["reason"]) == ("2 days", "2 days late: -20 %")
    assert (jane["handed_in"], jane["handed_in_by"]) == ("2026-03-08 13:00 CET", "Gradescope")
    assert (joe["late"], joe["points"], joe["adjustment"]) == ("", str(full), "")
    assert (zoe["late"], zoe["handed_in"], zoe["points"]) == ("unknown", "", str(full))
    found = pages(files)
    index = found["index.html"].text
    assert (
        "Due 2026-03-06 23:59 CET." in index and "1 in time, 1 late, 1 unknown." in index and "Gradescope: 2" in index
    )
    assert "joe: due 2026-03-09 23:59 CET" in index and "<b>ill</b>" in index and "Nobody knows" in index
    page = found["students/jane.html"].text
    assert "Handed in 2026-03-08 13:00 CET (Gradescope); due 2026-03-06 23:59 CET: 2 days late." in page
    assert "-1 point: 2 days late: -20 %" in page
    page = found["students/joe.html"].text
    assert "due 2026-03-09 23:59 CET." in page and "<b>ill</b>" in page and "jane" not in page
    assert Decimal(rows(files["canvas.csv"], "utf-8")[2][-1]) == full - cost


def test_the_share_is_taken_of_the_points_with_the_adjustments(tmp_path: Path, module: Module) -> None:
    put(tmp_path, TOML)
    (tmp_path / "adjustments.csv").write_text("submission,exercise,points,reason\njane,,5,spoke\n", encoding="utf-8")
    told = HandedIn(DUE + timedelta(days=1), "nbgrader")
    jane = replace(grade(module, "jane", slip("x"), slip("y")), handed_in=told)
    row = grades_of(written(tmp_path, module, [jane]))["jane"]
    assert (row["points"], row["adjustment"], row["reason"]) == ("4.5", "4.5", "spoke; 1 day late: -10 %")


def test_without_the_file_no_page_and_no_column_tells_a_time(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module, [handed(module, "jane", HandedIn(DUE, "nbgrader"))])
    jane = grades_of(files)["jane"]
    assert {jane[name] for name in ("late", "handed_in", "handed_in_by")} == {""}
    assert b"2026" not in b"".join(files.values()), "the date of a file must not change the reports"


def test_who_was_not_graded_or_refused_loses_nothing(tmp_path: Path, module: Module) -> None:
    put(tmp_path, TOML)
    told = HandedIn(DUE + timedelta(days=30), "nbgrader")
    grades = [replace(one, handed_in=told) for one in (machinery("m"), refused(module, "r"))]
    found = grades_of(written(tmp_path, module, grades))
    assert [(row["points"], row["adjustment"], row["late"]) for row in found.values()] == [
        ("", "", ""),
        ("0", "", "after the cut-off"),
    ]


def test_what_the_instructor_wrote_of_a_student_is_text_on_every_page(tmp_path: Path, module: Module) -> None:
    put(tmp_path, TOML + '[student.jane]\nlate_days = 1\nreason = "<script>x</script>\\u202e=1"\n')
    files = written(tmp_path, module, [handed(module, "jane", HandedIn(DUE, "nbgrader"))])
    for name, data in files.items():
        assert name == "deadlines.toml" or b"<script" not in data and "\u202e".encode() not in data
    assert not [page for page in pages(files).values() if page.all("script")]
    assert "⟨U+202E⟩" in Page(files["students/jane.html"]).text
