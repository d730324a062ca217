"""`tito grade` and `tito merge` as an instructor meets them. Most judges are fakes; those in processes are real."""

from __future__ import annotations

import csv
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.errors import Status, TitoError
from tito.grading import journal
from tito.grading.grade import Grade, MachineryError
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.sandbox import bubblewrap
from tito.grading.sandbox.bubblewrap import Protection
from tito.grading.submission import Submission
from tito.testing.outcome import Finding, outcome_of

from ..toy_course import ROOT, Course, Said, squeezed

CELL = "# %%\n#| export\n#| exercise: {}\n{}\n"
DOUBLE = "def double(x):\n    return {}  # {}"


@dataclass
class Calls:
    """What the fake judges were asked, and how they judge."""

    graded: list[str] = field(default_factory=list)
    made_with: list[Options] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    cut_short: set[str] = field(default_factory=set)  # whose tests are
    right: str = "2 * x"  # what a right answer holds
    asked: dict[str, list[str]] = field(default_factory=dict)  # name -> exercises
    made_for: set[str] = field(default_factory=set)  # the exercises of the last judge


class GradeCommand(Protocol):
    """What the fixture `grade` is."""

    def __call__(self, *options: str, out: str = "out", status: Status = Status.DONE) -> Said: ...


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Fake judges: a submission that multiplies by 2 earns the points of `double`."""
    calls = Calls()

    class FakeJudge:
        def __init__(self, edition: Edition, options: Options, exercises: Sequence[str]) -> None:
            calls.made_with.append(options)
            calls.made_for = set(exercises)
            self.exercises = edition.module.exercises

        def __enter__(self) -> FakeJudge:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def grade(self, submission: Submission, exercises: Sequence[str]) -> Grade:
            calls.graded.append(submission.name)
            if submission.name in calls.broken:
                raise MachineryError("the judge fell over")
            calls.asked.setdefault(submission.name, []).extend(exercises)
            right = calls.right in "".join(submission.cells.get("double", ()))
            outcomes = (
                outcome_of(
                    one, Finding("passed") if right and one.id == "double" else Finding("claim", "it works", "no")
                )
                for one in self.exercises
                if one.id in exercises
            )
            short = submission.name in calls.cut_short
            return Grade(submission.name, tuple(outcomes), "graded", 0.1, (), submission.digest, cut_short=short)

    monkeypatch.setattr("tito.grading.api.Judge", FakeJudge)
    monkeypatch.setattr(bubblewrap, "protection", lambda: Protection("sandbox"))
    return calls


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    """A folder a student: ada and bob are right, each in a way of their own; eve is not; zoe's is no notebook."""
    folder = tmp_path / "handed in"
    for name, answer in {"ada": "2 * x", "bob": "2 * x", "eve": "x"}.items():
        (folder / name).mkdir(parents=True)
        text = CELL.format("double", DOUBLE.format(answer, name))
        (folder / name / "toy_dev.py").write_text(text, encoding="utf-8")
    (folder / "zoe").mkdir()
    (folder / "zoe" / "toy_dev.ipynb").write_text("{", encoding="utf-8")
    return folder


@pytest.fixture
def grade(course: Course, handed_in: Path, tmp_path: Path) -> GradeCommand:
    def grade(*options: str, out: str = "out", status: Status = Status.DONE) -> Said:
        seed = () if "--seed" in options else ("--seed", "7")
        said = course.tito("grade", "01_toy", str(handed_in), "--out", str(tmp_path / out), *seed, *options)
        assert said.status == status, said
        return said

    return grade


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def written(folder: Path) -> dict[str, bytes]:
    """The reports with their bytes; the journal is no report."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != journal.NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_everybody_gets_a_row_and_whatever_the_points_the_status_is_0(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    said = grade()
    told = [
        (row["submission"], row["points"], row["max_points"], row["status"], row["double"])
        for row in rows(tmp_path / "out")
    ]
    assert told == [
        ("ada", "2", "5", "graded", "2"),
        ("bob", "2", "5", "graded", "2"),
        ("eve", "0", "5", "graded", "0"),
        ("zoe", "0", "5", "refused", "0"),
    ]
    assert sorted(calls.graded) == ["ada", "bob", "eve"]
    assert "3 graded, 1 could not be read" in said.out


def test_without_a_terminal_there_is_a_plain_line_a_submission(calls: Calls, grade: GradeCommand) -> None:
    lines = grade("--jobs", "1").out.splitlines()
    assert lines[0] == "4 submissions: 1 cannot be read"
    assert lines[1].startswith("zoe: "), "who it is, and why"
    assert [line for line in lines if re.match(r"\d of 4  ", line)] == [
        "2 of 4  ada  2 of 5 points",
        "3 of 4  bob  2 of 5 points",
        "4 of 4  eve  0 of 5 points",
    ]


def test_a_second_call_grades_nobody_and_writes_the_same_bytes(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    grade()
    first = written(tmp_path / "out")
    calls.graded.clear()
    assert "4 submissions: 1 cannot be read, 3 graded already" in grade().out
    assert calls.graded == []
    assert written(tmp_path / "out") == first


@pytest.mark.parametrize("options", [("--jobs", "1"), ("--jobs", "3"), ("--regrade", "eve", "--regrade", "ada")])
def test_the_bytes_do_not_depend_on_how_the_work_was_shared(
    calls: Calls, grade: GradeCommand, tmp_path: Path, options: tuple[str, ...]
) -> None:
    grade()
    if "--regrade" in options:
        grade(out="other")
    grade(*options, out="other")
    assert written(tmp_path / "other") == written(tmp_path / "out")


def test_a_late_submission_is_graded_alone(calls: Calls, grade: GradeCommand, handed_in: Path) -> None:
    grade()
    calls.graded.clear()
    (handed_in / "late").mkdir()
    text = CELL.format("double", DOUBLE.format("3 * x", "late"))
    (handed_in / "late" / "toy_dev.py").write_text(text, encoding="utf-8")
    grade()
    assert calls.graded == ["late"]


def test_a_regrade_grades_whom_it_names(calls: Calls, grade: GradeCommand) -> None:
    grade()
    calls.graded.clear()
    grade("--regrade", "eve")
    assert calls.graded == ["eve"]


def test_options_reach_the_judge_and_decide_what_counts_as_graded(calls: Calls, grade: GradeCommand) -> None:
    grade()
    grade("--seed", "8", "--limit-seconds", "5", "--exercise", "double", "--unsafe")
    assert calls.made_with[-1] == Options(seed=8, limit_seconds=5.0, unsafe=True, exercise="double")
    assert sorted(calls.graded) == ["ada", "ada", "bob", "bob", "eve", "eve"]


def test_one_exercise_alone_has_its_own_points(calls: Calls, grade: GradeCommand, tmp_path: Path) -> None:
    grade("--exercise", "double")
    assert [(row["points"], row["max_points"], row["counter"]) for row in rows(tmp_path / "out")][0] == ("2", "2", "")


def test_a_failure_of_the_grader_is_status_1_named_and_no_0(calls: Calls, grade: GradeCommand, tmp_path: Path) -> None:
    calls.broken.add("bob")
    said = grade(status=Status.FAILED)
    assert "bob: the grader failed 3 times: the judge fell over" in said.out
    bob = rows(tmp_path / "out")[1]
    assert (bob["points"], bob["double"], bob["status"]) == ("", "", "machinery")
    calls.broken.clear()
    calls.graded.clear()
    grade()
    assert calls.graded == ["bob"]


def test_without_a_sandbox_nobody_is_graded_and_the_fix_is_told(
    calls: Calls, grade: GradeCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nothing = Protection("none", "bubblewrap is not installed", "sudo apt-get install bubblewrap")
    monkeypatch.setattr(bubblewrap, "protection", lambda: nothing)
    said = grade(status=Status.WRONG_CALL)
    said.refuses("bubblewrap is not installed", "sudo apt-get install bubblewrap", "--unsafe", status=2)
    assert not (tmp_path / "out" / "grades.csv").exists() and calls.graded == []
    grade("--unsafe")
    assert calls.made_with[0].unsafe
    assert "--unsafe" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_a_seed_that_nobody_foresees_is_drawn_for_a_class_and_kept_with_it(
    calls: Calls, course: Course, handed_in: Path, tmp_path: Path
) -> None:
    def seed_of(out: str, *options: str) -> int | None:
        said = course.tito("grade", "01_toy", str(handed_in), "--out", str(tmp_path / out), *options)
        assert said.status == Status.DONE, said
        with journal.Journal(tmp_path / out) as kept:
            return kept.seed

    drawn = [seed_of(f"class {number}") for number in range(4)]
    assert len({*drawn}) == 4 and None not in drawn
    graded = len(calls.graded)
    assert [seed_of(f"class {number}") for number in range(4)] == drawn and len(calls.graded) == graded
    assert seed_of("class 0", "--seed", "3") == seed_of("class 0") == 3, "what was asked for last goes on"


def test_shards_without_a_common_seed_are_refused_with_the_cure(
    calls: Calls, course: Course, handed_in: Path, tmp_path: Path
) -> None:
    said = course.tito("grade", "01_toy", str(handed_in), "--out", str(tmp_path / "out"), "--shard", "1/2")
    said.refuses("shard 1/2 needs a seed, the same for all shards", "--seed N", status=2)
    assert not (tmp_path / "out").exists()


def test_the_result_for_other_programs_says_how_and_what(calls: Calls, grade: GradeCommand, tmp_path: Path) -> None:
    grade("--seed", "3", "--json", str(tmp_path / "result.json"))
    told = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert (told["conditions"]["options"]["seed"], told["conditions"]["module"]) == (3, "01_toy")
    assert [Grade.from_json(one).points for one in told["grades"]] == [2, 2, 0, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shard", "3/2"), "--shard must be I/N"),
        (("--exercise", "duoble"), "the nearest is 'double'"),
        (("--exercise", "double", "--exercise", "counter"), "--exercise takes one exercise, got double, counter"),
        (("--regrade", "adda"), "the nearest is 'ada'"),
        *((("--seed", seed), f"--seed must be from 0 to 4294967295, got {seed}") for seed in ("-1", "4294967296")),
        *((("--limit-seconds", text), "--limit-seconds must be from 1 to 86400, got") for text in ("nan", "inf", "0")),
        *((("--limit-seconds", text), "--limit-seconds must be from 1 to 86400, got") for text in ("-5", "1e300")),
        *((("--jobs", jobs), f"--jobs must be from 1 to 512, got {jobs}") for jobs in ("0", "-1", "1000000")),
        (("--dask", "localhost"), "--dask must be an address such as tcp://HOST:8786, got 'localhost'"),
        (("--json", "."), "--json . is a folder: name a file"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_status_2(
    calls: Calls, grade: GradeCommand, options: list[str], said: str, tmp_path: Path
) -> None:
    grade(*options, status=Status.WRONG_CALL).refuses(said, status=2)
    assert calls.graded == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--seed", "--limit-seconds", "--jobs"])
def test_what_is_no_number_is_refused_before_anybody_is_graded(
    calls: Calls, grade: GradeCommand, option: str, tmp_path: Path
) -> None:
    for text in ("1,5", "many", ""):
        grade(option, text, status=Status.WRONG_CALL)
    assert calls.graded == [] and not (tmp_path / "out").exists()


def test_reports_do_not_go_where_submissions_are(calls: Calls, course: Course, handed_in: Path) -> None:
    said = course.tito("grade", "01_toy", str(handed_in), "--out", str(handed_in / "out"))
    said.refuses("lies inside", status=2)


def test_submissions_that_are_not_there_are_named(calls: Calls, course: Course, tmp_path: Path) -> None:
    said = course.tito("grade", "01_toy", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    said.refuses("nowhere", status=2)


def test_a_folder_in_use_is_refused_with_a_sentence(
    calls: Calls, course: Course, grade: GradeCommand, tmp_path: Path
) -> None:
    with journal.Journal(tmp_path / "out"):
        grade(status=Status.FAILED).refuses("another `tito grade` is at work there")


def test_another_modules_reports_are_not_overwritten(
    calls: Calls, course: Course, grade: GradeCommand, tmp_path: Path
) -> None:
    grade()
    with journal.Journal(tmp_path / "out") as kept:
        about = kept.about()
        assert about
        kept.open_batch(replace(about, conditions=replace(about.conditions, module="02_other")), [])
    grade(status=Status.WRONG_CALL).refuses("holds module 02_other, not 01_toy", "--out", status=2)


def test_shards_merged_are_what_one_call_makes(
    calls: Calls, grade: GradeCommand, course: Course, tmp_path: Path
) -> None:
    grade()
    parts = [str(tmp_path / f"part {number}") for number in (1, 2, 3)]
    for number in (1, 2, 3):
        grade("--shard", f"{number}/3", out=f"part {number}")
    assert sum(len(rows(tmp_path / f"part {number}")) for number in (1, 2, 3)) == 4
    said = course.tito("merge", *parts, "--out", str(tmp_path / "merged"))
    assert said.status == Status.DONE, said
    assert written(tmp_path / "merged") == written(tmp_path / "out")
    assert len(calls.graded) == 6, "merging must not grade"


def test_a_merge_without_all_shards_writes_nothing(
    calls: Calls, grade: GradeCommand, course: Course, tmp_path: Path
) -> None:
    grade("--shard", "1/2", out="part")
    said = course.tito("merge", str(tmp_path / "part"), "--out", str(tmp_path / "merged"))
    said.refuses("missing: shard 2/2")
    assert not (tmp_path / "merged" / "grades.csv").exists()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    calls: Calls, grade: GradeCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tito.grading import progress_display

    def interrupted(grade: Grade) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress_display, "summary", interrupted)
    said = grade("--jobs", "1", status=Status.INTERRUPTED)
    said.refuses("1 of 4 submissions are graded and kept; ", "the same command goes on", status=Status.INTERRUPTED)
    assert not (tmp_path / "out" / "grades.csv").exists(), "half a class must not look like a whole one"


def test_a_wrong_line_in_the_adjustments_is_told_before_anybody_is_graded(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    table = tmp_path / "out" / "adjustments.csv"
    table.write_text("submission,exercise,points,reason\nada,duoble,1,late\n", encoding="utf-8")
    grade(status=Status.FAILED).refuses("adjustments.csv, line 2", "no exercise 'duoble' (the nearest is 'double')")
    assert calls.graded == [] and [path.name for path in (tmp_path / "out").iterdir()] == ["adjustments.csv"]


def test_a_line_of_the_adjustments_for_nobody_warns_and_everybody_is_graded(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    table = tmp_path / "out" / "adjustments.csv"
    table.write_text("submission,exercise,points,reason\nadda,,1,withdrew\nada,,1,spoke\n", encoding="utf-8")
    said = grade()
    assert "adjustments.csv, line 2: there is no submission 'adda' (the nearest is 'ada')" in squeezed(said.out)
    assert "there is no submission" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert {row["submission"]: row["adjustment"] for row in rows(tmp_path / "out")}["ada"] == "1"


DEADLINES = """
due = 2026-03-06T23:59:00Z
file_dates = true
penalty = { points_a_day = 0.5 }
"""


def dated(folder: Path, day: int) -> None:
    when = datetime(2026, 3, day, 12, tzinfo=UTC).timestamp()
    for path in folder.iterdir():
        os.utime(path, (when, when))


def test_a_wrong_line_in_the_deadlines_is_told_before_anybody_is_graded(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deadlines.toml").write_text(DEADLINES + "late_days = two\n", encoding="utf-8")
    grade(status=Status.FAILED).refuses("deadlines.toml is not valid TOML", "line 5")
    (tmp_path / "out" / "deadlines.toml").write_text(DEADLINES + "latedays = 2\n", encoding="utf-8")
    grade(status=Status.FAILED).refuses("deadlines.toml, line 5: latedays is no key", "the nearest is 'late_days'")
    assert calls.graded == [] and [path.name for path in (tmp_path / "out").iterdir()] == ["deadlines.toml"]


def test_two_with_the_same_cells_are_late_each_for_himself_and_a_new_date_grades_nobody_again(
    calls: Calls, grade: GradeCommand, handed_in: Path, tmp_path: Path
) -> None:
    (handed_in / "bob" / "toy_dev.py").write_bytes((handed_in / "ada" / "toy_dev.py").read_bytes())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deadlines.toml").write_text(DEADLINES, encoding="utf-8")
    for name, day in {"ada": 6, "bob": 8, "eve": 9}.items():
        dated(handed_in / name, day)

    def told() -> dict[str, tuple[str, str]]:
        return {row["submission"]: (row["late"], row["points"]) for row in rows(tmp_path / "out")}

    grade()
    assert told() | {"zoe": ("", "")} == {
        "ada": ("", "2"),
        "bob": ("2 days", "1"),
        "eve": ("3 days", "0"),
        "zoe": ("", ""),
    }
    graded = len(calls.graded)
    dated(handed_in / "ada", 7)
    grade()
    assert told()["ada"] == ("1 day", "1.5") and len(calls.graded) == graded, "a date is no part of the work"


def test_a_merge_knows_when_every_shard_s_submissions_came(
    calls: Calls, grade: GradeCommand, course: Course, handed_in: Path, tmp_path: Path
) -> None:
    for name, day in {"ada": 6, "bob": 8, "eve": 9}.items():
        dated(handed_in / name, day)
    for number in ("1", "2"):
        grade("--shard", f"{number}/2", out=f"part{number}")
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "deadlines.toml").write_text(DEADLINES, encoding="utf-8")
    parts = [str(tmp_path / f"part{number}") for number in ("1", "2")]
    assert course.tito("merge", *parts, "--out", str(tmp_path / "merged")).status == Status.DONE
    found = {row["submission"]: row["handed_in"] for row in rows(tmp_path / "merged")}
    assert (found["ada"], found["bob"]) == ("2026-03-06 12:00 UTC", "2026-03-08 12:00 UTC")


def test_a_table_names_every_exercise(calls: Calls, grade: GradeCommand, course: Course, tmp_path: Path) -> None:
    grade()
    module = load_module(course.project, "01_toy")
    assert set(rows(tmp_path / "out")[0]) >= {"submission", "points", "max_points", "status", "message"} | {
        exercise.id for exercise in module.exercises
    }


@pytest.mark.sandbox
def test_a_batch_killed_again_and_again_comes_through_with_the_same_bytes_and_leaves_no_process(course: Course) -> None:
    toy = ["--project", str(course.root), "--module", "01_toy", "--exercise", "double"]
    command = [sys.executable, "-m", "tests.e2e.kill_grading", *toy, "--kills", "8", "--people", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"outlived a kill +0$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.sandbox
def test_the_real_judge_says_that_a_sandbox_was_lost_as_the_batch_expects_it(course: Course) -> None:
    one = Submission("eve", {"double": ("def double(x):\n    import os\n    os._exit(0)",)})
    with Judge(Edition(course.project, load_module(course.project, "01_toy")), Options(exercise="double")) as judge:
        assert judge.grade(one).lost, "else a sandbox that was killed from outside would cost the student's points"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal")
def test_a_terminal_shows_how_many_are_graded_and_the_time_left() -> None:
    code = (
        "import time; from tito.grading import progress_display as display; from tito.grading.grade import Grade\n"
        "with display.following(3, 10) as show:\n"
        "    for number in range(4):\n"
        "        time.sleep(0.3); show(Grade(f'[red]ada {number}', (), 'graded', 0.1))\n"
    )
    read, write = os.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm", "COLUMNS": "90"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=write, env=env) as process:
        os.close(write)
        seen = b""
        with suppress(OSError):  # the end of a pseudo-terminal, on Linux
            while part := os.read(read, 4096):
                seen += part
    assert process.returncode == 0, seen
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    assert "7/10" in text and re.search(r"0:00:0\d", text), f"expected counts and the time left, got {text!r}"
    assert "[red]ada 3  0 of 0 points" in text, "a name must be shown as it is, whatever it holds"


COUNTER = "tests/01_toy/hidden/test_counter.py"


def again(said: Said) -> list[str]:
    """What is graded again, and why."""
    return [line.removeprefix("to be graded: ") for line in said.out.splitlines() if line.startswith("to be graded: ")]


def changes_of(out: Path) -> list[tuple[str, ...]]:
    """changes.csv without its dates."""
    with (out / "changes.csv").open(encoding="utf-8-sig", newline="") as stream:
        return [tuple(row[1:]) for row in list(csv.reader(stream))[1:]]


def test_a_changed_hidden_test_costs_its_exercise_only_and_is_named_before(
    calls: Calls, grade: GradeCommand, course: Course, tmp_path: Path
) -> None:
    grade()
    before = written(tmp_path / "out")
    calls.asked.clear()
    course.change(COUNTER, "add(5)", "add(6)")
    assert again(grade()) == ["hidden tests of counter changed: 3 submissions, that exercise only"]
    assert {name: sorted(asked) for name, asked in calls.asked.items()} == {
        name: ["counter"] for name in ("ada", "bob", "eve")
    }
    assert calls.made_for == {"counter"}, "the tests of other exercises need not be collected"
    after = written(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"index.html"}, "its foot names the conditions"
    course.change(COUNTER, "add(6)", "add(5)")
    assert again(grade()) == [] and len(calls.asked) == 3, "what was changed back is known still"


def test_points_and_hints_cost_nobody_and_points_are_told_from_what_to_what(
    calls: Calls, grade: GradeCommand, course: Course, tmp_path: Path
) -> None:
    grade()
    calls.asked.clear()
    course.change("modules/source/01_toy/module.toml", "points = 2", "points = 4")
    course.change("modules/source/01_toy/module.toml", "What is x + x?", "What are two x?")
    said = grade()
    assert again(said) == [] and not calls.asked
    assert "changed: ada, double: 2 -> 4 points (worth 4 points instead of 2)" in said.out
    told = [(name, "double", "2", "4", "", "worth 4 points instead of 2") for name in ("ada", "bob")]
    assert changes_of(tmp_path / "out") == told
    assert [row["points"] for row in rows(tmp_path / "out")] == ["4", "4", "0", "0"]


def test_whose_points_changed_by_which_test_stays_in_the_history_and_on_a_page(
    calls: Calls, grade: GradeCommand, course: Course, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    grade()
    assert changes_of(out) == [] and not (out / "changes.html").exists() and not (out / "earlier").exists()
    first = (out / "grades.csv").read_bytes()
    calls.right = "return x"
    course.change("tests/01_toy/test_double.py", "got == 6", "got == 3")
    assert 'changed: ada, double: 2 -> 0 points, by "it works" (tests of double changed)' in grade().out
    calls.right = "2 * x"
    course.change("tests/01_toy/test_double.py", "got == 3", "got  == 6")
    assert 'changed: eve, double: 2 -> 0 points, by "it works" (tests of double changed)' in grade().out
    why = ("it works", "tests of double changed")
    down, up = ("double", "2", "0", *why), ("double", "0", "2", *why)
    first_time, then = [("ada", *down), ("bob", *down), ("eve", *up)], [("ada", *up), ("bob", *up), ("eve", *down)]
    assert changes_of(out) == first_time + then
    kept = sorted((out / "earlier").iterdir())
    assert len(kept) == 2 and first in [path.read_bytes() for path in kept], "no grades.csv is lost"
    page = (out / "changes.html").read_text(encoding="utf-8")
    assert page.count("tests of double changed") == 6 and "students/eve.html" in page
    assert 'href="changes.html"' in (out / "index.html").read_text(encoding="utf-8")
    last = written(out)
    grade()
    assert written(out) == last, "the same journal makes the same bytes, dates and all"


def test_a_regrade_prints_old_and_new(calls: Calls, grade: GradeCommand, tmp_path: Path) -> None:
    grade()
    said = grade("--regrade", "ada")
    assert again(said) == ["asked for by --regrade: 1 submission, every exercise"]
    assert "ada: 2 points, as before" in said.out.splitlines() and changes_of(tmp_path / "out") == []
    calls.right = "nobody"
    said = grade("--regrade", "ada")
    assert "ada: 2 points before, 0 points now" in said.out.splitlines()
    assert changes_of(tmp_path / "out") == [("ada", "double", "2", "0", "it works", "asked for by --regrade")]


def test_a_regrade_that_fails_says_so_and_history_waits_for_a_grade(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    grade()
    calls.broken.add("ada")
    assert "ada: 2 points before, no grade now" in grade("--regrade", "ada", status=Status.FAILED).out
    calls.broken.clear()
    assert "3 graded already" in grade().out and changes_of(tmp_path / "out") == []


def test_who_hands_in_again_is_told_with_old_and_new_points(
    calls: Calls, grade: GradeCommand, handed_in: Path, tmp_path: Path
) -> None:
    grade()
    text = CELL.format("double", DOUBLE.format("2 * x", "eve, again"))
    (handed_in / "eve" / "toy_dev.py").write_text(text, encoding="utf-8")
    assert again(grade()) == ["handed in since the last report: 1 submission, every exercise"]
    assert changes_of(tmp_path / "out") == [("eve", "double", "0", "2", "it works", "handed in again")]


def test_all_causes_of_the_same_work_are_one_sentence(
    calls: Calls, grade: GradeCommand, course: Course, handed_in: Path
) -> None:
    grade()
    course.change("tests/01_toy/test_double.py", "got == 6", "got  == 6")
    course.change(COUNTER, "add(5)", "add(6)")
    course.write("tests/01_toy/conftest.py", "import close_01\n")
    course.write("tests/01_toy/close_01.py", "")
    assert again(grade()) == [
        "tests/01_toy/conftest.py added, tests/01_toy/close_01.py added: 3 submissions, every exercise",
        "tests of double changed: 3 submissions, that exercise only",
        "hidden tests of counter changed: 3 submissions, that exercise only",
    ]
    assert again(grade("--seed", "99")) == ["the seed changed: 3 submissions, every exercise"]


def test_who_was_cut_short_is_graded_in_all_exercises_or_in_none(
    calls: Calls, grade: GradeCommand, course: Course
) -> None:
    """What the exercises after it met is an outcome of that run: less time, or given code in the place of a cell."""
    calls.cut_short.add("bob")
    grade()
    calls.asked.clear()
    assert "3 graded already" in grade().out and not calls.asked
    course.change(COUNTER, "add(5)", "add(6)")
    assert again(grade()) == [
        "hidden tests of counter changed: 3 submissions, that exercise only",
        "in other exercises tests were cut short: 1 submission, double only",
    ]
    assert {name: sorted(asked) for name, asked in calls.asked.items()} == {
        "ada": ["counter"],
        "bob": ["counter", "double"],
        "eve": ["counter"],
    }


def test_who_is_cut_short_in_one_exercise_is_graded_in_all(calls: Calls, grade: GradeCommand, course: Course) -> None:
    grade()
    calls.asked.clear()
    calls.cut_short.add("bob")
    course.change(COUNTER, "add(5)", "add(6)")
    said = grade()
    assert calls.asked["bob"] == ["counter", "double", "counter"] and calls.asked["ada"] == ["counter"]
    assert len([line for line in said.out.splitlines() if re.match(r"\d of 4  bob", line)]) == 1


def test_what_a_whole_batch_knows_one_exercise_alone_knows_as_well(calls: Calls, grade: GradeCommand) -> None:
    grade()
    calls.asked.clear()
    assert "3 graded already" in grade("--exercise", "double").out and not calls.asked


def test_a_kill_between_grade_and_report_loses_no_change(
    calls: Calls, grade: GradeCommand, course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tito.grading.reports import writing

    grade()
    calls.right = "return x"
    course.change("tests/01_toy/test_double.py", "got == 6", "got == 3")

    def killed(*_: object, **__: object) -> NoReturn:
        raise TitoError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write", killed)
        grade(status=Status.FAILED)
    said = grade()
    assert again(said) == [] and "changed: ada, double: 2 -> 0 points" in said.out
    assert len(changes_of(tmp_path / "out")) == 3


def test_a_journal_of_an_earlier_tito_is_set_aside_with_a_sentence(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    rows = sqlite3.connect(tmp_path / "out" / journal.NAME)
    with rows:
        rows.execute("CREATE TABLE rows (kind TEXT, key TEXT, text TEXT, seal TEXT, PRIMARY KEY (kind, key))")
    rows.close()
    said = grade()
    assert "was written by another version of tito" in said.out and "3 graded" in said.out
    assert (tmp_path / "out" / journal.EARLIER).is_file()
