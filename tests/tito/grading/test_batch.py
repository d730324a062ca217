"""A batch grades everybody once, loses nothing, marks its own failures, and ends what it started. Judges are fakes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from tito.course.module import load_module
from tito.errors import TitoError, WrongCall
from tito.grading import api, local_pool
from tito.grading.batch import Batch
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade, MachineryError
from tito.grading.journal import Journal
from tito.grading.judging.retrying import NoJudge, RetryingJudge
from tito.grading.options import Options, Shard
from tito.grading.submission import Submission
from tito.testing.outcome import Outcome, Reason

from ..toy_course import Course

CONDITIONS = Conditions("01_toy", Options(), {"tito": "1"}, {"given code": "1"}, {"double": {"tests of double": "1"}})


def handed_in(name: str, source: str = "") -> Submission:
    return Submission(name, {"double": (source or f"# {name}'s own",)}, (f"{name} was remarked on",))


CLASS = [handed_in(f"student {number:02}") for number in range(12)]


@dataclass
class Fakes:
    """Makes judges that tell the length of the source, and remembers what happened to them."""

    behave: Callable[[Submission, int], None] = lambda submission, judge: None
    graded: list[str] = field(default_factory=list)
    made: list[FakeJudge] = field(default_factory=list)

    def __call__(self, exercises: Sequence[str] = ()) -> FakeJudge:
        self.made.append(FakeJudge(self, len(self.made)))
        return self.made[-1]

    @property
    def all_ended(self) -> bool:
        return all(judge.ended.is_set() for judge in self.made)


class FakeJudge:
    def __init__(self, fakes: Fakes, number: int) -> None:
        self.fakes, self.number, self.ended = fakes, number, threading.Event()
        self.owners = set[int]()

    def __enter__(self) -> FakeJudge:
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()

    def grade(self, submission: Submission, exercises: Collection[str] = ()) -> Grade:
        assert not self.ended.is_set(), "a judge that was left must not be asked again"
        self.owners.add(threading.get_ident())
        self.fakes.behave(submission, self.number)
        self.fakes.graded.append(submission.name)
        detail = f"{len(''.join(submission.cells['double']))} characters"
        outcome = Outcome("passed", detail=detail, exercise="double", title="Twice", points=2, max_points=2)
        return Grade(submission.name, (outcome,), "graded", 0.1, (*submission.remarks, "judged"), submission.digest)


class Run(Protocol):
    """What the fixture `run` is."""

    def __call__(
        self,
        fakes: Callable[[Sequence[str]], FakeJudge],
        submissions: Sequence[Submission] = ...,
        jobs: int = ...,
        again: Collection[str] = ...,
        conditions: Conditions = ...,
    ) -> list[Grade]: ...


@pytest.fixture
def run(tmp_path: Path, course: Course) -> Run:
    """Run a batch to its end; returns the grades."""

    def run(
        fakes: Callable[[Sequence[str]], FakeJudge],
        submissions: Sequence[Submission] = CLASS,
        jobs: int = 3,
        again: Collection[str] = (),
        conditions: Conditions = CONDITIONS,
    ) -> list[Grade]:
        with Journal(tmp_path) as journal:
            module = load_module(course.project, "01_toy")
            whole = Batch(journal, module, conditions, submissions, again)
            with closing(whole.run(local_pool.pool(fakes, jobs, CONDITIONS.options.limit_seconds))) as graded:
                for grade in graded:
                    one = next(s for s in submissions if s.name == grade.submission)
                    assert grade.status == "machinery" or journal.known(conditions.keys(one)), (
                        "shown before it was safe"
                    )
            return whole.grades

    return run


@pytest.mark.parametrize("jobs", [1, 2, 5, 40])
def test_everybody_is_graded_once_and_listed_in_order(run: Run, jobs: int) -> None:
    fakes = Fakes()
    grades = run(fakes, jobs=jobs)
    assert [grade.submission for grade in grades] == [one.name for one in CLASS]
    assert sorted(fakes.graded) == [one.name for one in CLASS]
    assert len(fakes.made) <= jobs and fakes.all_ended
    assert all(len(judge.owners) <= 1 for judge in fakes.made), "a judge must belong to one thread"


def test_the_same_cells_are_graded_once_and_each_keeps_name_and_remarks(run: Run) -> None:
    fakes = Fakes()
    grades = run(fakes, [handed_in("ada", "same"), handed_in("bob", "same"), handed_in("eve", "other")])
    assert sorted(fakes.graded) == ["ada", "eve"]
    assert [(g.submission, g.outcomes[0].detail, g.remarks) for g in grades] == [
        ("ada", "4 characters", ("ada was remarked on", "judged")),
        ("bob", "4 characters", ("bob was remarked on", "judged")),
        ("eve", "5 characters", ("eve was remarked on", "judged")),
    ]


def test_a_second_run_grades_nobody_and_says_the_same(run: Run) -> None:
    first, fakes = run(Fakes()), Fakes()
    assert run(fakes) == first
    assert fakes.made == []


def test_a_new_name_is_no_reason_to_grade_again(run: Run) -> None:
    run(Fakes())
    fakes = Fakes()
    renamed = [replace(one, name=f"new {one.name}") for one in CLASS]
    assert [grade.submission for grade in run(fakes, renamed)] == [one.name for one in renamed]
    assert fakes.graded == []


def test_other_conditions_are_graded_anew(run: Run) -> None:
    run(Fakes())
    fakes = Fakes()
    run(fakes, conditions=replace(CONDITIONS, options=Options(seed=1)))
    assert len(fakes.graded) == len(CLASS)


def test_a_regrade_grades_the_one_named(run: Run) -> None:
    run(Fakes())
    fakes = Fakes()
    run(fakes, again=["student 03"])
    assert fakes.graded == ["student 03"]


def test_a_regrade_of_shared_cells_counts_for_everybody_who_has_them(run: Run) -> None:
    pair = [handed_in("ada", "same"), handed_in("bob", "same")]
    run(Fakes(), pair)
    fakes = Fakes()
    run(fakes, pair, again=["bob"])
    assert len(fakes.graded) == 1


def failing(*names: str, times: int = 99) -> Callable[[Submission, int], None]:
    """Behaviour: the grader fails at these submissions, so many times each."""
    left = dict.fromkeys(names, times)

    def behave(submission: Submission, judge: int) -> None:
        if left.get(submission.name, 0) > 0:
            left[submission.name] -= 1
            raise MachineryError(f"judge {judge} broke")

    return behave


def test_a_failure_of_the_grader_is_tried_again_with_a_new_judge(run: Run) -> None:
    fakes = Fakes(failing("student 03", times=2))
    grades = run(fakes, jobs=1)
    assert {grade.status for grade in grades} == {"graded"}
    assert len(fakes.made) == 3 and fakes.all_ended


def test_a_lasting_failure_is_marked_has_no_points_and_costs_nobody_else(run: Run) -> None:
    fakes = Fakes(failing("student 03"))
    grades = {grade.submission: grade for grade in run(fakes, jobs=1)}
    failed = grades.pop("student 03")
    assert (failed.status, failed.outcomes) == ("machinery", ())
    assert "the grader failed 3 times: judge 2 broke" in failed.remarks
    assert {grade.status for grade in grades.values()} == {"graded"}
    assert fakes.all_ended


def test_a_marked_failure_is_tried_again_by_the_next_run(run: Run) -> None:
    run(Fakes(failing("student 03")))
    fakes = Fakes()
    assert {grade.status for grade in run(fakes)} == {"graded"}
    assert fakes.graded == ["student 03"]


def test_a_failed_regrade_leaves_the_old_grade(run: Run) -> None:
    first = run(Fakes())
    assert run(Fakes(failing("student 03")), again=["student 03"])[3].status == "machinery"
    assert run(Fakes()) == first


@pytest.mark.parametrize("error", [ZeroDivisionError("our own"), OSError("no more processes"), TitoError("no test")])
def test_whatever_goes_wrong_with_one_submission_costs_nobody_else(run: Run, error: Exception) -> None:
    def behave(submission: Submission, judge: int) -> None:
        if submission.name == "student 03":
            raise error

    statuses = {grade.submission: grade.status for grade in run(Fakes(behave))}
    assert statuses.pop("student 03") == "machinery"
    assert set(statuses.values()) == {"graded"}


def seen(grades: Sequence[Grade], again: int) -> Grade:
    """A judge that gives these grades of ada one after the other; returns the one that counts, and how many it gave."""
    left = list(grades)

    class Judge(FakeJudge):
        def grade(self, submission: Submission, exercises: Collection[str] = ()) -> Grade:
            return left.pop(0)

    judge = RetryingJudge(lambda: Judge(Fakes(), 0), limit_seconds=10.0)
    grade = judge.grade(handed_in("ada"))
    assert len(grades) - len(left) == again
    return grade


def graded(points: int, detail: str = "", seconds: float = 1.0, lost: bool = False) -> Grade:
    reason: Reason = "passed" if points else "ended" if lost else "exception"
    claim = "" if points else "it works"
    outcome = Outcome(reason, claim, detail, exercise="double", title="Twice", points=points, max_points=2)
    return Grade("ada", (outcome,), "graded", seconds, lost=lost)


LOST = graded(0, "Python itself ended (signal 9)", lost=True)


def test_a_sandbox_that_was_killed_from_outside_costs_no_points() -> None:
    assert seen([LOST, graded(2)], again=2).points == 2


def test_a_sandbox_that_is_lost_again_is_the_students() -> None:
    assert seen([LOST, LOST, graded(2)], again=2).points == 0


def test_no_other_failure_is_looked_at_twice() -> None:
    said = "RuntimeError: Python itself ended"  # says who?
    assert seen([graded(0, said), graded(2)], again=1).points == 0


def test_a_lost_sandbox_never_takes_more_than_the_limit_twice_over() -> None:
    assert seen([replace(LOST, seconds=6.0), graded(2)], again=1).points == 0


@pytest.mark.skipif(sys.platform != "linux", reason="a thread is kept on a processor on Linux only")
@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_as_many_workers_as_processors_have_one_each_and_fewer_may_go_anywhere(run: Run, jobs: int) -> None:
    everywhere, places = os.sched_getaffinity(0), set[frozenset[int]]()
    two, everybody = frozenset(sorted(everywhere)[:2]), threading.Barrier(jobs)

    def behave(submission: Submission, judge: int) -> None:
        everybody.wait(10)
        places.add(frozenset(os.sched_getaffinity(0)))

    os.sched_setaffinity(0, two)
    try:
        run(Fakes(behave), CLASS[:jobs], jobs=jobs)
        assert os.sched_getaffinity(0) == two, "the main thread stays free"
    finally:
        os.sched_setaffinity(0, everywhere)
    assert places == ({two} if jobs < len(two) else {frozenset({place}) for place in two})


def test_what_could_not_be_read_has_no_points_and_needs_no_judge(run: Run) -> None:
    fakes = Fakes()
    [grade] = run(fakes, [Submission("eve", {}, ("remark",), "eve's file is not a notebook")])
    assert (grade.status, grade.points, grade.max_points) == ("refused", 0, 5)
    assert {outcome.message for outcome in grade.outcomes} == {"eve's file is not a notebook"}
    assert fakes.made == []


def test_a_refusal_is_never_taken_for_an_empty_submission(run: Run) -> None:
    grades = run(Fakes(), [Submission("ada", {"double": ()}), Submission("eve", {"double": ()}, (), "unreadable")])
    assert [grade.status for grade in grades] == ["graded", "refused"]


def test_a_judge_that_never_starts_stops_the_batch(run: Run) -> None:
    started = []

    class Broken(FakeJudge):
        def __enter__(self) -> NoReturn:
            started.append(self)
            raise MachineryError("no pytest")

    with pytest.raises(NoJudge, match="could not be started .no pytest."):
        run(lambda _: Broken(Fakes(), 0), jobs=1)
    assert len(started) == 3


def test_a_mistake_in_the_course_stops_the_batch_with_its_sentence_and_keeps_what_is_done(run: Run) -> None:
    class Spoilt(FakeJudge):
        def __enter__(self) -> FakeJudge:
            if self.number == 1:
                raise TitoError("test_double.py cannot be run")
            return self

    def make(exercises: Sequence[str]) -> FakeJudge:
        first.made.append(Spoilt(first, len(first.made)))
        return first.made[-1]

    first = Fakes(failing("student 03"))
    with pytest.raises(TitoError, match=r"test_double.py cannot be run"):
        run(make, jobs=1)
    assert first.made[0].ended.is_set()
    second = Fakes()
    run(second)
    assert sorted(first.graded + second.graded) == [one.name for one in CLASS], "graded twice, or not at all"


def test_stopping_ends_judges_that_are_at_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work = threading.Barrier(4)

    def hang(submission: Submission, judge: int) -> None:
        at_work.wait(30)
        assert fakes.made[judge].ended.wait(30), "this judge was not ended"
        raise MachineryError("its process is gone")

    def ctrl_c(*waiting: object, **how: object) -> NoReturn:
        at_work.wait(30)
        raise KeyboardInterrupt

    fakes = Fakes(hang)
    monkeypatch.setattr(local_pool, "wait", ctrl_c)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(fakes, jobs=3)
    assert len(fakes.made) == 3 and fakes.all_ended
    assert threading.active_count() == threads, "a thread was left behind"


def test_a_judge_that_starts_while_the_batch_stops_is_ended_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    starting, stopped = threading.Event(), threading.Event()

    class Slow(FakeJudge):
        def __enter__(self) -> FakeJudge:
            starting.set()
            assert stopped.wait(30)
            return self

    fakes = Fakes()
    slow = Slow(fakes, 0)

    def ctrl_c(*waiting: object, **how: object) -> NoReturn:
        assert starting.wait(30)
        threading.Timer(0.2, stopped.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(local_pool, "wait", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        run(lambda _: slow, jobs=1)
    assert slow.ended.is_set() and fakes.graded == []


def test_a_full_disk_stops_the_batch_and_ends_its_judges(tmp_path: Path, course: Course) -> None:
    fakes, many = Fakes(), [handed_in(f"student {number:03}") for number in range(200)]
    with Journal(tmp_path) as journal:
        whole = Batch(journal, load_module(course.project, "01_toy"), CONDITIONS, many)
        journal._rows.execute("PRAGMA max_page_count = 1")  # SQLite then says what it says on a full disk
        with pytest.raises(TitoError, match="the disk is full"):
            list(whole.run(local_pool.pool(fakes, 2, CONDITIONS.options.limit_seconds)))
    assert fakes.all_ended


def test_shards_part_a_class_and_nobody_is_in_two() -> None:
    for count in (1, 2, 7, 100):
        parts = [{one.name for one in CLASS if Shard(number, count).holds(one.name)} for number in range(1, count + 1)]
        assert sorted(name for part in parts for name in part) == [one.name for one in CLASS]


def test_a_name_falls_to_the_same_shard_everywhere() -> None:
    told = {name: [n for n in range(1, 6) if Shard(n, 5).holds(name)] for name in ("ada", "Grace", "Linus", "学生")}
    assert told == {"ada": [4], "Grace": [1], "Linus": [5], "学生": [1]}, "shards of two releases would not fit"


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/3/5", "１/３ "])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WrongCall, match="--shard must be I/N"):
        Shard.from_text(text)


def test_reports_among_the_submissions_are_refused(tmp_path: Path) -> None:
    api.check_folder(tmp_path / "in", tmp_path / "out")
    for out in (tmp_path, tmp_path / "deep" / "out", tmp_path / "x" / ".."):
        with pytest.raises(WrongCall, match="lies inside"):
            api.check_folder(tmp_path, out)


def test_a_regrade_of_nobody_names_who_may_be_meant() -> None:
    with pytest.raises(WrongCall, match="the nearest is 'student 03'"):
        api.check_names(["studnt 03"], CLASS)
