"""A batch: whom the journal does not know is graded by workers, one thread and one judge each, and journalled at once.

The main thread alone writes and speaks. A failure of the grader's own is tried again with a new judge, then marked; it
is no grade, so the journal does not keep it and the next run tries again.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import os
import queue
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tito.course import Module
from tito.errors import TitoError, WrongCall
from tito.grading.grade import Grade, MachineryError
from tito.grading.intake import Submission
from tito.grading.journal import Conditions, Journal
from tito.testing import Outcome

TRIES = 3  # of one submission, before the grader's own failure is marked
ENDING_SECONDS = 10.0  # for a thread to notice that its judge is gone


class Judging(Protocol):
    """A judge as a worker owns it. Leaving it, from any thread, ends its processes: `grade` then raises."""

    def __enter__(self) -> Judging: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> object: ...

    def grade(self, submission: Submission) -> Grade: ...


class NoJudge(TitoError):
    """The grader cannot start at all, whoever is graded: the batch stops."""


def check_box(unsafe: bool) -> None:
    """Raises WrongCall, with the fix, where this machine cannot hold a stranger's code."""
    from tito.grading.judging import box

    here = box.protection()
    if here.kind == "none" and not unsafe:
        raise WrongCall(f"{here.reason}, so a stranger's code could reach everything; {here.fix}, or add --unsafe")


@dataclass(frozen=True)
class Shard:
    """One of `of` parts of a batch, counted from 1. A name falls to the same part on every machine."""

    number: int = 1
    of: int = 1

    def holds(self, name: str) -> bool:
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shard_of(text: str) -> Shard:
    """`2/3` -> the second of three."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise WrongCall(f"--shard must be I/N with I from 1 to N, as 2/3 is; got '{text}'")
    return Shard(int(match[1]), int(match[2]))


def check_places(submissions: Path, out: Path, json_path: Path | None) -> None:
    """Refuse reports that cannot be written, or lie among the submissions: the next run would take them for one."""
    if out.exists() and not out.is_dir():
        raise WrongCall(f"--out {out} is a file: name a folder for the reports")
    if json_path is not None and json_path.is_dir():
        raise WrongCall(f"--json {json_path} is a folder: name a file")
    if submissions.is_dir() and out.resolve().is_relative_to(submissions.resolve()):
        raise WrongCall(f"--out {out} lies inside {submissions}, where it would be taken for a submission: move it out")


def check_address(address: str) -> None:
    """Refuse what cannot be the address of a Dask scheduler."""
    if not re.fullmatch(r"[a-z]+://\S+", address):
        raise WrongCall(f"--dask must be an address such as tcp://HOST:8786, got '{address}'")


def check_names(names: Iterable[str], submissions: Iterable[Submission]) -> None:
    """Refuse a --regrade of nobody, with the nearest name."""
    known = [one.name for one in submissions]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f" (the nearest is '{near[0]}')" if near else ""
            raise WrongCall(f"--regrade '{name}': no submission has this name{hint}; grades.csv lists all names")


Pool = Callable[[list[Submission]], Generator[tuple[Submission, Grade]]]
"""Grades submissions in any order, as they are done. Closing it ends everything that it started."""


class Batch:
    """Submissions under conditions. What the journal has of them is known at once; `run` grades the rest."""

    def __init__(
        self,
        journal: Journal,
        module: Module,
        conditions: Conditions,
        submissions: Sequence[Submission],
        again: Iterable[str] = (),
    ) -> None:
        self.submissions = submissions
        self._journal, self._conditions = journal, conditions
        self._found = dict[str, Grade]()  # by name
        self._alike = dict[str, list[Submission]]()  # the same cells are graded once, whoever handed them in
        self._todo = list[Submission]()
        for one in submissions:
            if one.refused:
                self._found[one.name] = refusal(module, conditions.exercise, one)
            else:
                self._alike.setdefault(conditions.key(one), []).append(one)
        wanted = frozenset(again)
        for key, group in self._alike.items():
            known = None if any(one.name in wanted for one in group) else journal.grade(key)
            if known is None:
                self._todo.append(group[0])
            else:
                self._note(group, known)

    @property
    def grades(self) -> list[Grade]:
        """What is known so far, in the order of the submissions."""
        return [self._found[one.name] for one in self.submissions if one.name in self._found]

    def run(self, pool: Pool) -> Generator[Grade]:
        """Everybody else's grade, each as soon as it is known and safe."""
        with closing(pool(self._todo)) as graded:
            for one, grade in graded:
                key = self._conditions.key(one)
                self._journal.keep(key, grade)
                yield from self._note(self._alike[key], grade)

    def _note(self, group: list[Submission], grade: Grade) -> list[Grade]:
        """The grade of these cells, as everybody's own."""
        for one in group:
            remarks = (*one.remarks, *grade.remarks)
            self._found[one.name] = replace(grade, submission=one.name, remarks=remarks, digest=one.digest)
        return [self._found[one.name] for one in group]


def refusal(module: Module, exercise: str | None, one: Submission) -> Grade:
    """Nothing that could be read: no points, and every exercise says why."""
    chosen = [item for item in module.exercises if exercise in (None, item.id)]
    outcomes = (Outcome(item.id, item.title, 0, item.points, "failed", one.refused) for item in chosen)
    return Grade(one.name, tuple(outcomes), "refused", 0.0, (one.refused, *one.remarks), one.digest)


def local(make_judge: Callable[[], Judging], jobs: int, limit_seconds: float) -> Pool:
    """A pool of threads on this machine, each with a judge of its own."""

    def pool(submissions: list[Submission]) -> Generator[tuple[Submission, Grade]]:
        waiting, done = deque(submissions), queue.Queue[tuple[Submission, Grade] | BaseException]()
        places = itertools.islice(_processors(jobs), min(jobs, len(submissions)))
        workers = [_Worker(Patient(make_judge, limit_seconds), waiting, done, place) for place in places]
        try:
            for worker in workers:
                worker.start()
            for _ in submissions:
                yield _next(done)
        finally:
            waiting.clear()
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join(ENDING_SECONDS)

    return pool


def _processors(jobs: int) -> Iterator[int | None]:
    """One for each worker in turn; None where fewer work than there are processors, and on other systems than Linux."""
    known = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    return itertools.cycle(known if 1 < len(known) <= jobs else [None])


def _next(done: queue.Queue[tuple[Submission, Grade] | BaseException]) -> tuple[Submission, Grade]:
    """Waits in short steps: on Windows Ctrl-C is not heard during a wait."""
    while True:
        with suppress(queue.Empty):
            got = done.get(timeout=0.5)
            if isinstance(got, BaseException):
                raise got
            return got


class _Worker(threading.Thread):
    """Takes one submission after the other, until there is none or it is stopped.

    What it starts stays on its processor. A judge and its box take turns, tens of thousands of times a submission, and
    to wake another processor each time would take longer than most answers.
    """

    def __init__(
        self,
        patient: Patient,
        waiting: deque[Submission],
        done: queue.Queue[tuple[Submission, Grade] | BaseException],
        processor: int | None,
    ) -> None:
        super().__init__(daemon=True)
        self._patient, self._waiting, self._done, self._processor = patient, waiting, done, processor

    def run(self) -> None:
        try:
            if sys.platform == "linux" and self._processor is not None:
                os.sched_setaffinity(0, {self._processor})  # this thread's, and of every process that it starts
            for submission in iter(self._take, None):
                self._done.put((submission, self._patient.grade(submission)))
        except BaseException as error:
            self._done.put(error)  # raised again in the main thread
        finally:
            self.stop()

    def stop(self) -> None:
        self._patient.close()

    def _take(self) -> Submission | None:
        with suppress(IndexError):
            return self._waiting.popleft()
        return None


class Patient:
    """A judge that is made anew when it fails, up to TRIES times a submission; then the failure is marked.

    A box can be lost through the student's code, and through whoever kills from outside: an administrator, or a kernel
    short of memory. So a grade with a lost box is looked at again, where half of the time is left, and then stands.
    """

    def __init__(self, make_judge: Callable[[], Judging], limit_seconds: float) -> None:
        self._make, self._limit = make_judge, limit_seconds
        self._judge: Judging | None = None
        self._closed = False

    def grade(self, submission: Submission) -> Grade:
        """Raises TitoError where no judge can be started: that is no submission's doing."""
        bare = replace(submission, remarks=())  # they belong to the person, the grade to the cells
        said = ""
        for _ in range(TRIES):
            judge = self._started()
            try:
                grade = judge.grade(bare)
                return judge.grade(bare) if grade.lost and grade.seconds < self._limit / 2 else grade
            except Exception as error:  # whatever it is, one submission must not stop the others
                said = str(error) or type(error).__name__
                self._let_go()
        return Grade(submission.name, (), "machinery", 0.0, (f"the grader failed {TRIES} times: {said}",))

    def close(self) -> None:
        """From any thread, and for good."""
        self._closed = True
        self._let_go()

    def _started(self) -> Judging:
        said = ""
        for _ in range(TRIES):
            if self._closed:
                break
            try:
                self._judge = self._judge or self._make().__enter__()
            except (MachineryError, OSError) as error:
                said = str(error)
                continue
            if not self._closed:
                return self._judge
            self._let_go()
        if self._closed:
            raise MachineryError("stopped")
        raise NoJudge(f"the grader could not be started ({said}): `tito doctor` looks for the reason")

    def _let_go(self) -> None:
        judge, self._judge = self._judge, None
        if judge is not None:
            with suppress(OSError):
                judge.__exit__(None, None, None)
