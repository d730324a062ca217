"""Moodle's grading worksheet, read as Moodle's importer reads it, and the columns of Gradescope's scores."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from tito.course.module import Module
from tito.grading.grade import Grade
from tito.grading.handed_in import HandedIn
from tito.grading.reports import worksheets
from tito.grading.reports.adjustments import Adjustment
from tito.grading.reports.deadlines import Deadlines, Penalty, Terms
from tito.grading.reports.standing import Instructions, Standing
from tito.grading.roster import Person

from .reported import HOSTILE, Page, grade, machinery, refused, rows, slip, written

BERLIN = ZoneInfo("Europe/Berlin")
DEADLINES = Deadlines(
    Terms(datetime(2026, 3, 6, 23, 59, tzinfo=BERLIN)), BERLIN, penalty=Penalty(Decimal(10), None, in_percent=True)
)
JANE = Person("Jane Doe", "jane@example.org", sis="s1", moodle="4711")


def standings(*grades: Grade, people: Mapping[str, Person], adjusted: tuple[Adjustment, ...] = ()) -> list[Standing]:
    return Instructions(adjusted, DEADLINES).standings(grades, people)


def as_moodle_reads(data: bytes) -> dict[str, tuple[str, str]]:
    """What Moodle's importgradeslib.php does: the number behind `Participant `, the grade, the feedback."""
    table = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    columns = next(table)
    number, points, feedback = (columns.index(name) for name in ("Identifier", "Grade", "Feedback comments"))
    assert "Last modified (grade)" in columns, "Moodle refuses a table without it"
    return {row[number][len("Participant ") :]: (row[points], row[feedback]) for row in table}


def test_moodle_finds_each_student_and_takes_the_points_with_adjustments(module: Module) -> None:
    adjusted = (Adjustment("jane", "double", Decimal("0.5"), "fine & <short>"),)
    told = grade(module, "jane", slip("two is doubled", "wanted <2>, got 3"))
    data = worksheets.moodle_csv(module, standings(told, people={"jane": JANE}, adjusted=adjusted))
    assert rows(data)[1][:8] == [
        *("Participant 4711", "Jane Doe", "jane@example.org", "Submitted for grading"),
        *("3.5", str(module.points), "Yes", ""),
    ]
    points, feedback = as_moodle_reads(data)["4711"]
    lines = [html.unescape(line) for line in feedback.split("<br>")]
    assert points == "3.5" and "<2>" not in feedback and "<short>" not in feedback
    assert lines == [
        "double 0 of 2: two is doubled: wanted <2>, got 3 toy_dev.py:12: return x",
        "Adjustment of 0.5 points: double: fine & <short>",
    ]


def test_moodle_s_times_are_written_as_moodle_writes_them(module: Module) -> None:
    told = replace(grade(module, "jane"), handed_in=HandedIn(datetime(2026, 3, 6, 22, 59, tzinfo=UTC), "nbgrader"))
    row = rows(worksheets.moodle_csv(module, standings(told, people={"jane": JANE})))[1]
    assert row[7:9] == ["Friday, 6 March 2026, 11:59 PM", ""]


def test_without_a_roster_the_participant_is_that_of_moodle_s_folder(module: Module) -> None:
    names = ["Jane_van_Doe_4711_assignsubmission_file_", "curiemarie_47110", "Jane_Doe_4712"]
    found = standings(*(grade(module, name) for name in names), people={})
    data = worksheets.moodle_csv(module, found)
    assert [row[:2] for row in rows(data)[1:]] == [["Participant 4711", "Jane van Doe"]], (
        "a number that may be Canvas' or a team's would give somebody else the points"
    )
    (warning,) = worksheets.without_participant(found)
    assert warning == ("moodle.csv has no row for 2 whose participant is not known: Jane_Doe_4712, curiemarie_47110")
    assert list(worksheets.without_participant(found[::2])) == [], "a class without Moodle is not told of it"


def test_who_was_not_graded_has_no_row_and_a_refused_one_reads_why(module: Module) -> None:
    people = {"m": Person(moodle="1"), "r": Person(moodle="2")}
    found = as_moodle_reads(
        worksheets.moodle_csv(module, standings(machinery("m"), refused(module, "r"), people=people))
    )
    assert found == {"2": ("0", "it is no archive")}


def test_who_handed_in_nothing_is_missing_and_has_a_grade_only_by_hand(module: Module) -> None:
    absent = [Grade(name, (), "missing", 0.0, ("nothing was handed in",)) for name in ("a", "b")]
    people = {"a": Person(moodle="1"), "b": Person(moodle="2")}
    found = standings(*absent, people=people, adjusted=(Adjustment("b", "", Decimal(3), "oral exam"),))
    moodle = rows(worksheets.moodle_csv(module, found))[1:]
    assert [(row[0], row[3], row[4]) for row in moodle] == [("Participant 2", "No submission", "3")]
    gradescope = rows(worksheets.gradescope_csv(module, found), "utf-8")[1:]
    assert [(row[5], row[7]) for row in gradescope] == [("", "Missing"), ("3", "Missing")]


def test_gradescope_s_table_has_its_columns_and_one_for_each_part(module: Module) -> None:
    late = replace(grade(module, "jane"), handed_in=HandedIn(datetime(2026, 3, 8, 0, 0, 1, tzinfo=UTC), "Gradescope"))
    people = {"jane": JANE}
    found = standings(late, machinery("m"), refused(module, "submission_12"), people=people)
    head, jane, m, r = rows(worksheets.gradescope_csv(module, found), "utf-8")
    assert head[:4] == ["First Name", "Last Name", "SID", "Email"] and head[10] == "Lateness (H:M:S)"
    assert head[13:] == ["1: double (2.0 pts)", "2.1: counter: adds up (2.0 pts)", "2.2: counter: own total (1.0 pts)"]
    assert jane[:9] == ["Jane", "Doe", "s1", "jane@example.org", "", "4", "5", "Graded", ""], "5 points, 2 days late"
    assert jane[9:] == ["2026-03-08 01:00:01 +0100", "25:01:01", "", "", "2", "2", "1"]
    assert (m[5], m[7], m[13:]) == ("", "Ungraded", ["", "", ""])
    assert (r[5], r[7], r[8], r[13:]) == ("0", "Graded", "12", ["0", "0", "0"])


def test_first_and_last_names_are_told_apart_either_way(module: Module) -> None:
    names = {"a": "Curie, Marie", "b": "Marie Skłodowska Curie", "c": "Plato"}
    found = standings(*(grade(module, name) for name in names), people={k: Person(n) for k, n in names.items()})
    table = rows(worksheets.gradescope_csv(module, found), "utf-8")[1:]
    assert [row[:2] for row in table] == [["Marie", "Curie"], ["Marie Skłodowska", "Curie"], ["", "Plato"]]


def test_an_exercise_graded_alone_leaves_the_others_empty(module: Module) -> None:
    whole = grade(module, "jane")
    alone = replace(whole, outcomes=whole.outcomes[1:])
    row = rows(worksheets.gradescope_csv(module, standings(alone, people={})), "utf-8")[1]
    assert row[5:7] == ["3", "3"] and row[13:] == ["", "2", "1"]


def test_hostile_words_break_no_row_and_become_no_tag(module: Module) -> None:
    grades = [grade(module, text, ("failed", text, text)) for text in HOSTILE]
    people = {text: Person(text, text, sis=text, moodle=str(number)) for number, text in enumerate(HOSTILE)}
    found = standings(*grades, people=people)
    for data in (worksheets.moodle_csv(module, found), worksheets.gradescope_csv(module, found)):
        table = rows(data)
        assert len(table) == 1 + len(HOSTILE) and len({len(row) for row in table}) == 1
        for cell in (cell for row in table for cell in row):
            assert not cell.lstrip().startswith(("=", "+", "-", "@")), cell
    for _, feedback in as_moodle_reads(worksheets.moodle_csv(module, found)).values():
        assert {tag for tag, _ in Page(feedback.encode()).tags} <= {"br"}


def test_both_lie_beside_the_other_tables_and_hold_no_time_of_writing(tmp_path: Path, module: Module) -> None:
    one, two = (written(tmp_path / name, module, [grade(module, "jane")]) for name in ("one", "two"))
    for name in ("moodle.csv", "gradescope.csv"):
        assert one[name] == two[name]
