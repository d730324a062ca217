"""A judge that is made anew when it fails."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from tito.errors import TitoError
from tito.grading.grade import Grade, MachineryError
from tito.grading.submission import Submission

TRIES = 3  # of one submission, before the grader's own failure is marked


class Judging(Protocol):
    """A judge as its owner sees it. Leaving it, from any thread, ends its processes: `grade` then raises."""

    def __enter__(self) -> Judging: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> object: ...

    def grade(self, submission: Submission, exercises: Collection[str] = ()) -> Grade: ...


class NoJudge(TitoError):
    """The grader cannot start at all, whoever is graded: the batch stops."""


class RetryingJudge:
    """Tries each submission up to TRIES times, each time with a new judge; then the failure is marked.

    A sandbox can be lost through the student's code, and through whoever kills from outside: an administrator, or a
    kernel short of memory. So a grade with a lost sandbox is looked at again, where half of the time is left, and then
    stands.
    """

    def __init__(self, make_judge: Callable[[], Judging], limit_seconds: float) -> None:
        self._make, self._limit = make_judge, limit_seconds
        self._judge: Judging | None = None
        self._closed = False

    def grade(self, submission: Submission, exercises: Collection[str] = ()) -> Grade:
        """In all exercises or in these. Raises TitoError where no judge can be started: no submission's doing."""
        bare = replace(submission, remarks=())  # they belong to the person, the grade to the cells
        reason = ""
        for _ in range(TRIES):
            judge = self._started()
            try:
                grade = judge.grade(bare, exercises)
                return judge.grade(bare, exercises) if grade.lost and grade.seconds < self._limit / 2 else grade
            except Exception as error:  # whatever it is, one submission must not stop the others
                reason = str(error) or type(error).__name__
                self._let_go()
        return Grade(submission.name, (), "machinery", 0.0, (f"the grader failed {TRIES} times: {reason}",))

    def close(self) -> None:
        """From any thread, and for good."""
        self._closed = True
        self._let_go()

    def _started(self) -> Judging:
        reason = ""
        for _ in range(TRIES):
            if self._closed:
                break
            try:
                self._judge = self._judge or self._make().__enter__()
            except (MachineryError, OSError) as error:
                reason = str(error)
                continue
            if not self._closed:
                return self._judge
            self._let_go()
        if self._closed:
            raise MachineryError("stopped")
        raise NoJudge(f"the grader could not be started ({reason}): `tito doctor` looks for the reason")

    def _let_go(self) -> None:
        judge, self._judge = self._judge, None
        if judge is not None:
            with suppress(OSError):
                judge.__exit__(None, None, None)
