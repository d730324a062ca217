"""Shards that were graded apart make the reports of one batch, or a sentence says why they cannot. Judges are fakes."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest

from tito.course.module import load_module
from tito.errors import TitoError, WrongCall
from tito.grading import local_pool, merging
from tito.grading.about import About, roll
from tito.grading.batch import Batch
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade, MachineryError
from tito.grading.journal import NAME, Journal
from tito.grading.options import Options, Shard
from tito.grading.submission import Submission
from tito.testing.outcome import Outcome

from ..toy_course import Course

CONDITIONS = Conditions("01_toy", Options(seed=0), {"tito": "1"}, {"given code": "1"}, {"double": {}})
CELLS = [number // 2 if number < 10 else number for number in range(20)]  # the first ten in pairs
CLASS = [Submission(f"student {number:02}", {"double": (f"# {n}",)}, ("remark",)) for number, n in enumerate(CELLS)]
CLASS.append(Submission("unreadable", {}, (), "not a notebook"))
OF, WHOLE = 3, Shard()


class FakeJudge:
    broken = "nobody"

    def __init__(self, exercises: Sequence[str]) -> None:
        pass

    def __enter__(self) -> FakeJudge:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def grade(self, submission: Submission, exercises: Collection[str] = ()) -> Grade:
        if submission.name == self.broken:
            raise MachineryError("broken")
        detail = f"{len(submission.cells['double'][0])} characters"
        outcome = Outcome("passed", detail=detail, exercise="double", title="", points=2, max_points=2)
        return Grade(submission.name, (outcome,), "graded", 0.1)


class GradePart(Protocol):
    """What the fixture `graded` is."""

    def __call__(
        self,
        name: str,
        shard: Shard = ...,
        conditions: Conditions = ...,
        everybody: Sequence[Submission] = ...,
        judge: type[FakeJudge] = ...,
        stop: int | None = ...,
    ) -> tuple[Path, list[Grade]]: ...


class Merge(Protocol):
    """What the fixture `merge` is."""

    def __call__(self, *folders: Path, out: str = "merged") -> list[Grade]: ...


@pytest.fixture
def graded(tmp_path: Path, course: Course) -> GradePart:
    """Grade a part of the class into a folder, up to `stop` grades."""
    module = load_module(course.project, "01_toy")

    def graded(
        name: str,
        shard: Shard = WHOLE,
        conditions: Conditions = CONDITIONS,
        everybody: Sequence[Submission] = CLASS,
        judge: type[FakeJudge] = FakeJudge,
        stop: int | None = None,
    ) -> tuple[Path, list[Grade]]:
        out, mine = tmp_path / name, [one for one in everybody if shard.holds(one.name)]
        with Journal(out) as journal:
            journal.open_batch(About(conditions, shard, roll(everybody)), mine)
            whole = Batch(journal, module, conditions, mine)
            with closing(whole.run(local_pool.pool(judge, 1, 120.0))) as grades:
                for number, _ in enumerate(grades, 1):
                    if number == stop:
                        break
        return out, whole.grades

    return graded


@pytest.fixture
def shards(graded: GradePart) -> list[Path]:
    """The folders of all parts, each graded to its end."""
    return [graded(f"part {number}", Shard(number, OF))[0] for number in range(1, OF + 1)]


@pytest.fixture
def merge(tmp_path: Path, course: Course) -> Merge:
    def merge(*folders: Path, out: str = "merged") -> list[Grade]:
        with Journal(tmp_path / out) as journal:
            merged = merging.merge(folders, journal)
            whole = Batch(journal, load_module(course.project, "01_toy"), merged.about.conditions, merged.submissions)
            list(whole.run(merged.pool))
            return whole.grades

    return merge


def test_shards_make_what_one_run_makes(graded: GradePart, shards: list[Path], merge: Merge) -> None:
    assert merge(*shards) == graded("whole")[1]
    assert [merge(*reversed(shards), out="reversed")] == [merge(*shards)], "the order of the folders must not matter"


def test_a_merged_folder_goes_on_as_one_batch(
    graded: GradePart, shards: list[Path], merge: Merge, tmp_path: Path
) -> None:
    merge(*shards)

    class Never(FakeJudge):
        def grade(self, submission: Submission, exercises: Collection[str] = ()) -> NoReturn:
            raise AssertionError(f"{submission.name} was graded already")

    shutil.copytree(tmp_path / "merged", tmp_path / "again")
    assert graded("again", judge=Never)[1] == graded("whole")[1]


def test_merging_leaves_the_shards_as_they_are(shards: list[Path], merge: Merge) -> None:
    assert merge(*shards) == merge(*shards, out="a second time")


def test_a_missing_shard_is_named(shards: list[Path], merge: Merge) -> None:
    with pytest.raises(TitoError, match="missing: shard 2/3; name the --out of every shard"):
        merge(shards[0], shards[2])


def test_one_shard_twice_is_named(shards: list[Path], merge: Merge, tmp_path: Path) -> None:
    shutil.copytree(shards[0], tmp_path / "copy")
    with pytest.raises(TitoError, match=r"part 1 and .*copy both are shard 1/3"):
        merge(*shards, tmp_path / "copy")
    assert merge(*shards, shards[0]), "the same folder named twice is no contradiction"


def changed(change: dict[str, Any]) -> Conditions:
    """Other conditions: what is an option of grading is changed there."""
    own = {name: value for name, value in change.items() if hasattr(CONDITIONS, name)}
    options = {name: value for name, value in change.items() if name not in own}
    return replace(CONDITIONS, **own, options=replace(CONDITIONS.options, **options))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed: 0 and 1"),
        ({"limit_seconds": 5.0}, "time limit: 120.0 and 5.0"),
        ({"exercise": "double"}, "exercise: None and double"),
        ({"unsafe": True}, "protection .--unsafe.: False and True"),
        ({"course": {"given code": "2"}}, "version of the tests or notebooks"),
        ({"grader": {"tito": "2"}}, "version of tito, Python"),
    ],
)
def test_shards_graded_differently_are_refused(
    graded: GradePart,
    shards: list[Path],
    merge: Merge,
    change: dict[str, Any],
    said: str,
) -> None:
    other, _ = graded("other", Shard(2, OF), changed(change))
    with pytest.raises(TitoError, match=f"part 1 and .*other differ in their {said}.*; grade one of them again"):
        merge(shards[0], other, shards[2])


def test_shards_of_different_classes_are_refused(graded: GradePart, shards: list[Path], merge: Merge) -> None:
    other, _ = graded("other", Shard(2, OF), everybody=[*CLASS, Submission("late", {})])
    with pytest.raises(TitoError, match="they were given different submissions"):
        merge(shards[0], other, shards[2])


def test_shards_of_different_counts_are_refused(graded: GradePart, shards: list[Path], merge: Merge) -> None:
    other, _ = graded("other", Shard(2, 4))
    with pytest.raises(TitoError, match="not parts of one batch"):
        merge(shards[0], other, shards[2])


def test_a_shard_that_was_killed_is_named(graded: GradePart, shards: list[Path], merge: Merge) -> None:
    other, _ = graded("killed", Shard(2, OF), stop=1)
    with pytest.raises(TitoError, match=r"killed is not finished: \d+ of \d+ submissions have no grade"):
        merge(shards[0], other, shards[2])


def test_a_failure_of_a_shards_grader_stays_marked(graded: GradePart, shards: list[Path], merge: Merge) -> None:
    class Broken(FakeJudge):
        broken = next(one.name for one in CLASS[10:] if Shard(2, OF).holds(one.name))

    other, grades = graded("broken", Shard(2, OF), judge=Broken)
    failed = {grade.submission for grade in grades if grade.status == "machinery"}
    merged = merge(shards[0], other, shards[2])
    assert failed and {grade.submission for grade in merged if grade.status == "machinery"} == failed


def test_what_is_no_journal_is_named(shards: list[Path], merge: Merge, tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match=f"holds no {NAME}"):
        merge(shards[0], tmp_path)


def test_a_shard_is_not_overwritten_by_the_merged_batch(shards: list[Path], merge: Merge) -> None:
    with pytest.raises(WrongCall, match="both --out and a shard"):
        merge(*shards, out=shards[0].name)


def test_a_shard_is_not_overwritten_by_another(shards: list[Path]) -> None:
    for wanted in (About(CONDITIONS, Shard(2, OF), ""), About(replace(CONDITIONS, module="02"), Shard(1, OF), "")):
        with (
            Journal(shards[0]) as journal,
            pytest.raises(WrongCall, match="give this one an --out of its own"),
        ):
            merging.check_same(journal, wanted)
