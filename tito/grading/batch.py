"""A batch: whom the journal does not know is graded by a pool, and journalled at once.

The main thread alone writes and speaks. A failure of the grader's own is no grade, so the journal does not keep it and
the next run tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from tito.course.module import Module
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade
from tito.grading.journal import Journal
from tito.grading.submission import Submission
from tito.testing.outcome import Finding, outcome_of

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
                self._found[one.name] = refusal(module, conditions.options.exercise, one)
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
    outcomes = (outcome_of(item, Finding("refused", "", one.refused)) for item in chosen)
    return Grade(one.name, tuple(outcomes), "refused", 0.0, (one.refused, *one.remarks), one.digest)
