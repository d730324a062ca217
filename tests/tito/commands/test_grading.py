"""`tito grade` and `tito merge` as an instructor meets them. Most judges are fakes; those in processes are real."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.errors import Status
from tito.grading import journal
from tito.grading.grade import Grade, MachineryError
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.sandbox import bubblewrap
from tito.grading.sandbox.bubblewrap import Protection
from tito.grading.submission import Submission
from tito.testing.outcome import Finding, outcome_of

from ..toy_course import ROOT, Course, Said

CELL = "# %%\n#| export\n#| exercise: {}\n{}\n"
DOUBLE = "def double(x):\n    return {}  # {}"


@dataclass
class Calls:
    """What the fake judges were asked, and whom they fail at."""

    graded: list[str] = field(default_factory=list)
    made_with: list[Options] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)


class GradeCommand(Protocol):
    """What the fixture `grade` is."""

    def __call__(self, *options: str, out: str = "out", status: Status = Status.DONE) -> Said: ...


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Fake judges: a submission that multiplies by 2 earns the points of `double`."""
    calls = Calls()

    class FakeJudge:
        def __init__(self, edition: Edition, options: Options) -> None:
            calls.made_with.append(options)
            self.chosen = [one for one in edition.module.exercises if options.exercise in (None, one.id)]

        def __enter__(self) -> FakeJudge:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def grade(self, submission: Submission) -> Grade:
            calls.graded.append(submission.name)
            if submission.name in calls.broken:
                raise MachineryError("the judge fell over")
            right = "2 * x" in "".join(submission.cells.get("double", ()))
            outcomes = (
                outcome_of(
                    one, Finding("passed") if right and one.id == "double" else Finding("claim", "it works", "no")
                )
                for one in self.chosen
            )
            return Grade(submission.name, tuple(outcomes), "graded", 0.1, (), submission.digest)

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
        said = course.tito("grade", "01_toy", str(handed_in), "--out", str(tmp_path / out), *options)
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
    grade("--seed", "7", "--limit-seconds", "5", "--exercise", "double", "--unsafe")
    assert calls.made_with[-1] == Options(seed=7, limit_seconds=5.0, unsafe=True, exercise="double")
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
    assert not (tmp_path / "out").exists() and calls.graded == []
    grade("--unsafe")
    assert calls.made_with[0].unsafe
    assert "--unsafe" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


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
    said.refuses("2 of 4 submissions are graded and kept", "the same command goes on", status=Status.INTERRUPTED)
    assert not (tmp_path / "out" / "grades.csv").exists(), "half a class must not look like a whole one"


def test_a_wrong_line_in_the_adjustments_is_told_before_anybody_is_graded(
    calls: Calls, grade: GradeCommand, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    table = tmp_path / "out" / "adjustments.csv"
    table.write_text("submission,exercise,points,reason\nadda,,1,late\n", encoding="utf-8")
    grade(status=Status.FAILED).refuses("adjustments.csv, line 2", "no submission 'adda' (the nearest is 'ada')")
    assert calls.graded == [] and [path.name for path in (tmp_path / "out").iterdir()] == ["adjustments.csv"]


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
