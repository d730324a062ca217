"""adjustments.csv: what the instructor adds or takes off counts at every report, and a slip in it is one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest

from tito.course.module import Module
from tito.errors import TitoError
from tito.grading.grade import Grade, GradeStatus
from tito.grading.reports import adjustments, standing
from tito.grading.reports.standing import Standing
from tito.testing.outcome import Outcome, Reason

HEAD = "submission,exercise,points,reason\n"


def grade(name: str, points: int = 3, status: GradeStatus = "graded") -> Grade:
    reason: Reason = "passed" if points else "claim"
    return Grade(name, (Outcome(reason, exercise="double", title="Double", points=points, max_points=5),), status, 1.0)


def standings(out: Path, module: Module, grades: Iterable[Grade]) -> list[Standing]:
    grades = list(grades)
    return standing.read(out, module, [grade.submission for grade in grades]).standings(grades)


def points(out: Path, module: Module, *grades: Grade) -> dict[str, Decimal | None]:
    return {entry.name: entry.points for entry in standings(out, module, grades)}


def put(out: Path, text: str, encoding: str = "utf-8") -> None:
    out.mkdir(exist_ok=True)
    (out / adjustments.FILE).write_bytes(text.encode(encoding))


def refusal(out: Path, module: Module, *names: str) -> str:
    with pytest.raises(TitoError) as caught:
        standings(out, module, [grade(name) for name in names or ("jane",)])
    said = str(caught.value)
    assert "\n" not in said, f"one sentence, in one line: {said!r}"
    return said


def test_points_are_added_and_taken_off_and_the_tests_grade_stays(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + "jane,double,1.5,clear comments\njane,,-1,a day late\njoe,,+2,shown in class\n")
    jane, joe = standings(tmp_path, module, [grade("joe"), grade("jane")])
    assert (jane.name, jane.points, jane.grade.points) == ("jane", Decimal("3.5"), 3)
    assert jane.reasons == "double: clear comments; a day late"
    assert (joe.name, joe.points) == ("joe", Decimal(5))


def test_without_a_file_everybody_has_what_the_tests_gave(tmp_path: Path, module: Module) -> None:
    assert points(tmp_path, module, grade("jane"), grade("joe", 0)) == {"jane": 3, "joe": 0}


def test_nobody_falls_below_zero_and_anybody_may_rise_above_the_full_points(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + "jane,,-100,copied\njoe,,10,found a bug in the course\n")
    assert points(tmp_path, module, grade("jane"), grade("joe")) == {"jane": 0, "joe": 13}


def test_decimals_are_exact(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + "jane,,0.1,a\njane,,0.2,b\n")
    assert points(tmp_path, module, grade("jane", 0)) == {"jane": Decimal("0.3")}


def test_a_refused_submission_can_be_given_points_by_hand(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + "jane,,4,graded on paper\n")
    assert points(tmp_path, module, grade("jane", 0, "refused")) == {"jane": 4}


def test_a_failure_of_the_grader_stays_without_points(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + "jane,,4,by hand\n")
    assert points(tmp_path, module, Grade("jane", (), "machinery", 0.0)) == {"jane": None}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("submission;exercise;points;reason\r\nMüller;;2,5;gute Idee, spät\r\n;;;\r\n", "utf-8-sig"),
        ("submission\texercise\tpoints\treason\nMüller\t\t2.5\tgute Idee, spät\n", "utf-8"),
        ('Reason,Points,Submission,Exercise\n"gute Idee, spät",2.50,Müller,\n', "utf-8"),
        ('submission,exercise,points,reason,\n\nMüller,,2.5,"gute Idee, spät",,\n', "utf-8"),
        ('submission,exercise,points,reason\n"Müller",,\N{MINUS SIGN}2.5,x\nMüller,,5,"gute Idee, spät"', "utf-8"),
    ],
    ids=["semicolons and decimal commas", "tabs", "another order", "empty columns", "a typographic minus"],
)
def test_what_spreadsheets_make_of_the_file_is_read(tmp_path: Path, module: Module, text: str, encoding: str) -> None:
    put(tmp_path, text, encoding)
    (entry,) = standings(tmp_path, module, [grade("Müller")])
    assert entry.adjusted == Decimal("2.5")
    assert entry.adjustments[-1].reason == "gute Idee, spät"


def test_a_reason_may_have_several_lines(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + 'jane,,1,"first\nsecond"\njoe,,x,why\n')
    assert "line 4" in refusal(tmp_path, module, "jane", "joe"), "the lines of a file, not the rows of a table, count"


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("jane,duoble,1,why", ["line 2", "no exercise 'duoble'", "the nearest is 'double'"]),
        ("jane,,two,why", ["line 2", "points must be a number", "'two'"]),
        ("jane,,nan,why", ["points must be a number", "'nan'"]),
        ("jane,,1e9,why", ["points must be a number", "'1e9'"]),
        ("jane,,99999,why", ["points must be a number", "'99999'"]),
        ("jane,,,why", ["points must be a number"]),
        ("jane,,1,", ["line 2", "the reason is missing"]),
        ("jane,,1,late, but ill", ["line 2", "wanted 4 cells, got 5", "quotes"]),
        ("jane,,1", ["line 2", "wanted 4 cells, got 3"]),
        ('jane,,1,"left open', ["line 2", "quote"]),
        ("jane,\x1b[2J\u202e,1,why", ["␛[2J⟨U+202E⟩"]),
        ("withdrawn,,two,why", ["line 2", "points must be a number"]),
        ("withdrawn,duoble,1,why", ["line 2", "no exercise 'duoble'"]),
    ],
)
def test_a_slip_is_one_sentence_that_names_the_line(tmp_path: Path, module: Module, row: str, parts: list[str]) -> None:
    put(tmp_path, HEAD + row + "\n")
    said = refusal(tmp_path, module)
    for part in (adjustments.FILE, *parts):
        assert part in said, f"expected {part!r} in: {said}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("withdrawn", "'withdrawn', so"),
        ("jnae", "'jnae' (the nearest is 'jane'), so"),
        ("\x1b[2J\u202e", "'␛[2J⟨U+202E⟩', so"),
        ("", "'', so"),
    ],
)
def test_a_line_for_nobody_warns_and_the_other_lines_count(
    tmp_path: Path, module: Module, name: str, told: str
) -> None:
    put(tmp_path, HEAD + f"{name},,1,why\njane,,1,why\n")
    said = standing.read(tmp_path, module, ["jane"])
    assert said.warnings == (f"adjustments.csv, line 2: there is no submission {told} this line changes nothing",)
    assert [(one.submission, one.points) for one in said.adjustments] == [("jane", Decimal(1))]


@pytest.mark.parametrize("head", ["name,points\n", "", "submission,exercise,points\n", HEAD.replace("\n", ",more\n")])
def test_other_columns_are_refused(tmp_path: Path, module: Module, head: str) -> None:
    put(tmp_path, head)
    assert "the columns must be submission,exercise,points,reason" in refusal(tmp_path, module)


def test_another_encoding_is_named_with_its_fix(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + "Müller,,1,spät\n", "latin-1")
    assert "CSV UTF-8" in refusal(tmp_path, module)


def test_a_name_may_be_copied_from_grades_csv_where_it_was_defused(tmp_path: Path, module: Module) -> None:
    put(tmp_path, HEAD + "'=1+1,,1,why\n")
    assert points(tmp_path, module, grade("=1+1")) == {"=1+1": 4}


def test_an_empty_table_is_put_down_once_and_then_left_alone(tmp_path: Path, module: Module) -> None:
    out = tmp_path / "new"
    adjustments.begin(out)
    assert points(out, module, grade("jane")) == {"jane": 3}, "an empty table adjusts nothing"
    put(out, HEAD + "jane,,1,why\n")
    adjustments.begin(out)
    assert points(out, module, grade("jane")) == {"jane": 4}, "the instructor's file was overwritten"
