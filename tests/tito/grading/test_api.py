"""Grading from Python: the same as the commands, with nothing printed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tito.errors import WrongCall
from tito.grading import api
from tito.grading.api import grade_batch, merge_batches
from tito.grading.grade import Grade
from tito.grading.options import Options, Shard

from ..toy_course import Course

UNSAFE = Options(unsafe=True, exercise="double", limit_seconds=60.0)
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
