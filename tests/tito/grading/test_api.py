"""Grading from Python: the same as the commands, with nothing printed."""

from __future__ import annotations

import csv
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tito.errors import WrongCall
from tito.grading import api
from tito.grading.api import grade_batch, merge_batches
from tito.grading.grade import Grade
from tito.grading.journal import Journal
from tito.grading.options import Options, Shard

from ..toy_course import Course

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
UNSAFE = Options(seed=7, unsafe=True, exercise="double", limit_seconds=60.0)
CELL = "# %%\n#| export\n#| exercise: double\ndef double(x):\n    return {}\n"


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    folder = tmp_path / "handed in"
    for name, answer in {"ada": "2 * x", "eve": "x"}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "toy_dev.py").write_text(CELL.format(answer), encoding="utf-8")
    return folder


def test_three_lines_grade_a_class_and_say_nothing(
    course: Course, handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = grade_batch(course.project, "01_toy", handed_in, tmp_path / "out", UNSAFE)
    assert {grade.submission: grade.points for grade in report.grades} == {"ada": 2, "eve": 0}
    assert report.failures == [] and tuple(capsys.readouterr()) == ("", "")
    (wrong,) = report.grades[1].outcomes
    assert (wrong.exercise, wrong.reason, wrong.status, wrong.points, wrong.max_points) == (
        "double", "claim", "failed", 0, 2,
    )  # fmt: skip
    assert wrong.claim and wrong.detail and wrong.message == f"{wrong.claim}:\n{wrong.body}"
    with (report.out / "grades.csv").open(encoding="utf-8-sig", newline="") as table:
        assert [(row["submission"], row["points"]) for row in csv.DictReader(table)] == [("ada", "2"), ("eve", "0")]


def test_what_the_journal_knows_is_not_graded_again_and_shards_are_merged(
    course: Course, handed_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "1", tmp_path / "2"]
    for number, out in enumerate(places, 1):
        grade_batch(course.project, "01_toy", handed_in, out, UNSAFE, shard=Shard(number, 2))
    seen = []

    def nobody(*_: object) -> NoReturn:
        raise AssertionError("a judge was made, though all are known")

    monkeypatch.setattr(api, "Judge", nobody)

    def follow(start: api.Start) -> AbstractContextManager[Callable[[Grade], object]]:
        seen.append((start.total, len(start.known)))
        return api.unseen(start)

    grade_batch(course.project, "01_toy", handed_in, places[0], UNSAFE, shard=Shard(1, 2), follow=follow)
    merged = merge_batches(course.project, places, tmp_path / "all", follow)
    assert [grade.submission for grade in merged.grades] == ["ada", "eve"]
    assert all(total == known for total, known in seen) and seen[-1] == (2, 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": -1}, "seed must be from 0 to 4294967295, got -1"),
        ({"seed": 1 << 32}, "seed must be from 0"),
        ({"limit_seconds": float("inf")}, "limit_seconds must be from 1 to 86400, got inf"),
        ({"limit_seconds": float("nan")}, "limit_seconds must be from 1 to 86400, got nan"),
        ({"limit_seconds": 0.5}, "limit_seconds must be"),
    ],
)
def test_options_out_of_their_bounds_are_refused_before_anybody_is_graded(change: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongCall, match=told):
        Options(**change)


def test_an_exercise_that_is_none_is_refused_before_anything_is_written(
    course: Course, handed_in: Path, tmp_path: Path
) -> None:
    with pytest.raises(WrongCall, match="01_toy has no exercise 'duoble' .the nearest is 'double'."):
        grade_batch(course.project, "01_toy", handed_in, tmp_path / "out", Options(exercise="duoble"))
    assert not (tmp_path / "out").exists()


# Who may read it


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """A umask for the time of a test."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def open_to_others(out: Path) -> dict[str, str]:
    """What in a folder, and the folder itself, somebody else may read, write or enter, or its owner may not."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (out, *out.rglob("*"))}
    wanted = {path: 0o700 if path.is_dir() else 0o600 for path in modes}
    return {path.name: oct(mode) for path, mode in modes.items() if mode != wanted[path]}


@UNIX
@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777], indirect=True)
def test_whatever_is_in_out_is_for_its_owner_alone_whatever_the_umask(
    umask: None, course: Course, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)
    (folder / "ada.py").touch()
    (folder / "ada.py").chmod(0o600)
    (folder / "ada.py").write_text("x = 1", encoding="utf-8")
    graded = Journal(tmp_path / "a" / "b")
    try:
        assert open_to_others(tmp_path / "a") == {}, "while it is open, with its -wal"
        assert len(list((tmp_path / "a" / "b").iterdir())) == 2
    finally:
        graded.__exit__(None, None, None)
    grade_batch(course.project, "01_toy", folder, tmp_path / "a" / "b", UNSAFE)
    assert open_to_others(tmp_path / "a") == {}


@UNIX
def test_what_an_earlier_run_left_open_is_closed_and_a_folder_that_was_opened_stays_so(
    course: Course, tmp_path: Path
) -> None:
    (tmp_path / "ada.py").write_text("x = 1", encoding="utf-8")
    out = tmp_path / "out"
    grade_batch(course.project, "01_toy", tmp_path / "ada.py", out, UNSAFE)
    for path in out.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    out.chmod(0o750)
    grade_batch(course.project, "01_toy", tmp_path / "ada.py", out, UNSAFE)
    assert open_to_others(out) == {"out": "0o750", "adjustments.csv": "0o644"}, "what is the instructor's own"


@UNIX
def test_a_folder_with_other_things_in_it_keeps_its_mode(course: Course, tmp_path: Path) -> None:
    (tmp_path / "ada.py").write_text("x = 1", encoding="utf-8")
    for name, mode in (("notes.txt", 0o755), ("roster.csv", 0o700)):
        out = tmp_path / Path(name).stem
        out.mkdir()
        (out / name).write_text("name,submission\nAda,ada\n", encoding="utf-8")
        out.chmod(0o755)
        grade_batch(course.project, "01_toy", tmp_path / "ada.py", out, UNSAFE)
        assert stat.S_IMODE(out.stat().st_mode) == mode


@pytest.mark.parametrize("line", ["%%capture", "!ls", "files = !ls", "%timeit 2", "pip install numpy", "double?"])
def test_an_ipython_command_in_a_py_is_called_so_where_it_is_graded(course: Course, tmp_path: Path, line: str) -> None:
    """The same sentence as of `tito export` and `tito test`."""
    cell = CELL.format("2 * x").replace("def double", f"{line}\ndef double")
    (tmp_path / "ada.py").write_text(cell, encoding="utf-8")
    (grade,) = grade_batch(course.project, "01_toy", tmp_path / "ada.py", tmp_path / "out", UNSAFE).grades
    sentence = f"`{line}` is an IPython command, which can be neither exported nor graded: delete this line"
    assert sentence in grade.outcomes[0].message and "invalid syntax" not in grade.outcomes[0].message
