"""A batch: what the journal does not know of a submission is graded by a pool, and journalled at once.

The journal knows exercise by exercise, so that a changed test costs its own exercise. Where tests were cut short, the
outcomes of one run stand or fall together: such a submission is graded in all exercises or in none.

The main thread alone writes and speaks. A failure of the grader's own is no grade, so the next run tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from tito.course.module import Module
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade, joined
from tito.grading.journal import Journal
from tito.grading.submission import Submission
from tito.testing.outcome import Finding, outcome_of


@dataclass(frozen=True)
class Task:
    """A submission, and the exercises in which it is to be graded."""

    submission: Submission
    exercises: tuple[str, ...]


Pool = Callable[[list[Task]], Generator[tuple[Task, Grade]]]
"""Does tasks in any order, and gives each grade as it is made. Closing it ends everything that it started."""


def exercises_of(tasks: Iterable[Task]) -> tuple[str, ...]:
    """All exercises that these tasks ask for."""
    return tuple(dict.fromkeys(name for task in tasks for name in task.exercises))


class Batch:
    """Submissions under conditions. What the journal has of them is known at once; `run` grades the rest.

    tasks: what is to be graded; the same cells once, whoever handed them in.
    """

    def __init__(
        self,
        journal: Journal,
        module: Module,
        conditions: Conditions,
        submissions: Sequence[Submission],
        again: Iterable[str] = (),
    ) -> None:
        self.submissions, self.conditions, self.again = submissions, conditions, frozenset(again)
        self.tasks = list[Task]()
        self._journal, self._exercises = journal, {exercise.id: exercise for exercise in module.exercises}
        self._found = dict[str, Grade]()  # by name
        self._alike = dict[str, list[Submission]]()  # by the digest of their cells
        for one in submissions:
            if one.refused:
                self._found[one.name] = refusal(module, conditions.options.exercise, one)
            else:
                self._alike.setdefault(one.digest, []).append(one)
        for one, *others in self._alike.values():
            asked = any(each.name in self.again for each in (one, *others))
            known = {} if asked else journal.known(conditions.keys(one))
            if missing := tuple(name for name in conditions.judged if name not in known):
                self.tasks.append(Task(one, missing))
            else:
                self._note(one, known.values())

    def names(self, one: Submission) -> list[str]:
        """Of all who handed in the same cells."""
        return [each.name for each in self._alike[one.digest]]

    @property
    def grades(self) -> list[Grade]:
        """What is known so far, in the order of the submissions."""
        return [self._found[one.name] for one in self.submissions if one.name in self._found]

    def run(self, pool: Pool) -> Generator[Grade]:
        """Everybody else's grade, each as soon as it is known and safe."""
        in_all = list[Task]()
        yield from self._run(pool, self.tasks, in_all)
        yield from self._run(pool, in_all, [])

    def _run(self, pool: Pool, tasks: list[Task], in_all: list[Task]) -> Iterator[Grade]:
        """in_all: gets tasks for those who were cut short in some exercises, and are to be graded in all."""
        with closing(pool(tasks)) as graded:
            for task, grade in graded:
                one, everything = task.submission, self.conditions.judged
                if grade.cut_short and len(task.exercises) < len(everything):
                    in_all.append(Task(one, everything))
                    continue
                keys = self.conditions.keys(one)
                self._journal.keep(keys, grade)
                known = self._journal.known(keys) if grade.status == "graded" else {}
                yield from self._note(one, known.values() or [grade])

    def _note(self, one: Submission, grades: Iterable[Grade]) -> list[Grade]:
        """The grades of these cells, joined, as everybody's own, with the points that exercises have now."""
        grade, group = joined(list(grades)), self._alike[one.digest]
        outcomes = tuple(seen.with_points_of(self._exercises[seen.exercise]) for seen in grade.outcomes)
        for each in group:
            own = replace(grade, submission=each.name, outcomes=outcomes, digest=each.digest, handed_in=each.handed_in)
            self._found[each.name] = replace(own, remarks=(*each.remarks, *grade.remarks))
        return [self._found[each.name] for each in group]


def refusal(module: Module, exercise: str | None, one: Submission) -> Grade:
    """Nothing that could be read: no points, and every exercise says why."""
    chosen = [item for item in module.exercises if exercise in (None, item.id)]
    outcomes = (outcome_of(item, Finding("refused", "", one.refused)) for item in chosen)
    remarks = (one.refused, *one.remarks)
    return Grade(one.name, tuple(outcomes), "refused", 0.0, remarks, one.digest, handed_in=one.handed_in)
