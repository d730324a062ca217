"""roster.csv: whose a submission is, who is missing, and what is wrong in the file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tito.errors import TitoError
from tito.grading.options import Shard
from tito.grading.reports import roster_csv
from tito.grading.reports.roster_csv import attendance
from tito.grading.roster import Person
from tito.grading.submission import Submission

from ...toy_course import Course, Said
from ..intake import layouts
from ..intake.handed import solved

ROSTER = """name,email,canvas,sis,login,moodle,submission
Ada Lovelace,ada@x.edu,47110,S-1,ada1,Participant 9001,ada|ada.lovelace
Bob O'Neill,bob@x.edu,47111,S-2,bob2,9002,
Cem Çelik,,,,,,cem
"""


def put(out: Path, text: str) -> Path:
    out.mkdir(exist_ok=True)
    (out / roster_csv.FILE).write_text(text, encoding="utf-8")
    return out


def sub(called: str, **known: str) -> Submission:
    return Submission(called, {}, person=Person(**known))


def people(out: Path, *submissions: Submission) -> dict[str, str]:
    return {one.name: one.person.name for one in attendance(out, submissions, Shard()).submissions}


@pytest.mark.parametrize(
    "one",
    [
        sub("ada"),
        sub("Ada.Lovelace"),
        sub("x", canvas="47110"),
        sub("x", moodle="9001"),
        sub("x", email="ADA@x.edu"),
        sub("x", sis="S-1"),
        sub("Ada Lovelace_9", name="Ada Lovelace"),
        sub("ada lovelace"),
    ],
)
def test_a_submission_is_found_by_any_of_its_names_and_ids(one: Submission, tmp_path: Path) -> None:
    found = attendance(put(tmp_path, ROSTER), [one], Shard())
    assert found.submissions[0].person == Person("Ada Lovelace", "ada@x.edu", "47110", "S-1", "ada1", "9001")
    assert [grade.submission for grade in found.missing] == ["Bob_O'Neill", "cem"] and found.warnings == ()


def test_two_of_one_full_name_are_not_found_by_it(tmp_path: Path) -> None:
    out = put(tmp_path, "name,email\nJo Smith,a@x.edu\nJo Smith,b@x.edu\n")
    found = attendance(out, [sub("Jo Smith", name="Jo Smith")], Shard())
    assert found.submissions[0].person.email == "" and len(found.missing) == 2 and len(found.warnings) == 1


def test_a_name_that_is_on_no_line_warns_with_the_nearest(tmp_path: Path) -> None:
    found = attendance(put(tmp_path, ROSTER), [sub("ada"), sub("cen")], Shard())
    whose = "roster.csv says not whose the submission 'cen' (the nearest is 'cem') is"
    assert found.warnings == (f"{whose}: write this name into the column submission",)


def test_nobody_is_missing_from_a_part_of_a_batch_or_without_a_roster(tmp_path: Path) -> None:
    assert attendance(put(tmp_path, ROSTER), [sub("ada")], Shard(1, 2)).missing == ()
    for text in ("name,email\n", None):
        out = put(tmp_path / "out", text) if text else tmp_path / "none"
        assert attendance(out, [sub("ada")], Shard()) == roster_csv.Attendance((sub("ada"),))


def test_who_is_missing_is_called_as_nobody_else_is(tmp_path: Path) -> None:
    out = put(tmp_path, "name,email\nAda,a@x.edu\n../x,b@x.edu\n,c@x.edu\n")  # an e-mail is no submission's name
    found = attendance(out, [sub("Ada", email="z@x.edu"), sub("c@x.edu", email="y@x.edu")], Shard())
    assert [grade.submission for grade in found.missing] == ["_x", "c@x.edu~2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,e-mail\nAda,a@x\n", "line 1: the columns must be some of name,email,canvas,sis,login,moodle,submission"),
        ("", "line 1: the columns must be some of"),
        ("name,name\nAda,Ada\n", "line 1: the columns must be"),
        ("name,canvas\nAda,x1\n", "line 2: canvas must be a number, got 'x1'"),
        ("name,moodle\nAda,Participant x\n", "line 2: moodle must be a number, got 'Participant x'"),
        ("name,canvas\nAda,7\nBob,7\n", "line 3: canvas '7' is on line 2 too: whose is it?"),
        ("name,email\nAda,a@x\nBob,A@x\n", "line 3: email 'A@x' is on line 2 too"),
        ("name,submission\nAda,a|b\nBob,b\n", "line 3: submission 'b' is on line 2 too"),
        ("name,submission\nAda\n", "line 2: wanted 2 cells, got 1"),
        ('name,submission\n"Ada,b\n', "not a table"),
    ],
)
def test_what_is_wrong_in_the_roster_is_one_sentence_that_names_the_line(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(TitoError) as error:
        roster_csv.read(put(tmp_path, text))
    assert told in str(error.value) and str(tmp_path / "roster.csv") in str(error.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_spreadsheets_roster_is_read(separator: str, tmp_path: Path) -> None:
    text = "\ufeff" + ROSTER.replace(",", separator).replace("\n", "\r\n") + separator * 6 + "\r\n"
    assert [it.person.name for it in roster_csv.read(put(tmp_path, text)).listed] == [
        "Ada Lovelace",
        "Bob O'Neill",
        "Cem Çelik",
    ]


@pytest.mark.parametrize("kind", ["canvas", "moodle", "email", "sis", "login"])
def test_two_submissions_of_one_row_in_a_gradebook_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(TitoError, match=r"a and b both have .* 47110, for which a gradebook has one row"):
        attendance(tmp_path, [sub("a", **{kind: "47110"}), sub("b", **{kind: "47110"})], Shard())


# The command


@pytest.fixture
def graded(course: Course, tmp_path: Path) -> tuple[Path, Said]:
    """Ada and a stranger hand in; Bob and Cem do not, of whom Cem is to have 0."""
    layouts.folders(tmp_path / "all", {"ada": {"toy_dev.py": solved()}, "eve": {"toy_dev.py": solved("return x + x")}})
    out = put(tmp_path / "out", ROSTER)
    zero = "submission,exercise,points,reason\ncem,,0,nothing was handed in\n"
    (out / "adjustments.csv").write_text(zero, encoding="utf-8")
    return out, course.tito("grade", "01_toy", str(tmp_path / "all"), "--out", str(out), "--unsafe")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_who_is_missing_is_told_everywhere_and_has_no_zero_but_by_an_adjustment(
    graded: tuple[Path, Said],
) -> None:
    out, said = graded
    assert said.status == 0, said.err
    assert "missing: Bob_O'Neill, cem" in said.out and "2 missing: nothing was handed in" in said.out
    assert "roster.csv says not whose the submission 'eve'" in said.out + said.err
    table = {row["submission"]: (row["points"], row["status"], row["message"]) for row in rows(out / "grades.csv")}
    assert table["Bob_O'Neill"] == ("", "missing", "nothing was handed in")
    assert table["cem"] == ("0", "missing", "nothing was handed in")
    canvas = {row["SIS User ID"]: row for row in rows(out / "canvas.csv") if row["ID"]}
    assert [(row["ID"], row["Student"]) for row in canvas.values()] == [("47110", "Ada Lovelace")]
    students = [row["Student"] for row in rows(out / "canvas.csv")]
    assert "Cem Çelik" in students and "Bob O'Neill" not in students
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'id="missing"' in page and "Bob O&#39;Neill" in page and "3 submissions" in page
    assert sorted(path.stem for path in (out / "students").iterdir()) == ["ada", "cem", "eve"]
    moodle = {row["Identifier"]: row["Email address"] for row in rows(out / "moodle.csv")}
    assert moodle == {"Participant 9001": "ada@x.edu"}
    assert (out / "roster.csv").read_text(encoding="utf-8") == ROSTER, "the grader never writes it"


def test_a_wrong_roster_stops_the_command_before_anybody_is_graded(course: Course, tmp_path: Path) -> None:
    layouts.folders(tmp_path / "all", {"ada": {"toy_dev.py": solved()}})
    out = put(tmp_path / "out", "name,canvas\nAda,x\n")
    said = course.tito("grade", "01_toy", str(tmp_path / "all"), "--out", str(out), "--unsafe")
    said.refuses("roster.csv, line 2: canvas must be a number")
    assert [path.name for path in out.iterdir()] == ["roster.csv"]


def test_two_canvas_ids_stop_the_command_before_anybody_is_graded(course: Course, tmp_path: Path) -> None:
    work = {"toy_dev.py": solved()}
    for name in ("curie_47110", "marie_47110"):
        layouts.write(tmp_path / "all" / name, work)
    said = course.tito("grade", "01_toy", str(tmp_path / "all"), "--out", str(tmp_path / "out"), "--unsafe")
    said.refuses("curie_47110 and marie_47110 both have Canvas' id 47110")


def test_several_is_an_option_of_the_command(course: Course, tmp_path: Path) -> None:
    layouts.write(tmp_path / "all", {"ada/toy_dev.py": solved()})
    report = tmp_path / "report.json"
    arguments = ["grade", "01_toy", str(tmp_path / "all"), "--out", str(tmp_path / "out"), "--unsafe"]
    assert course.tito(*arguments, "--several", "newest", "--json", str(report)).status == 0
    assert len(json.loads(report.read_text(encoding="utf-8"))["grades"]) == 1
    assert course.tito(*arguments, "--several", "oldest").status == 2
