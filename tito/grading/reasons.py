"""What is graded again and why, told before it begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from tito.grading.batch import Batch, Task
from tito.grading.changes import Reported, listed

Causes = dict[str, set[str]]  # cause -> the exercises that it concerns


def announced(before: Reported, batch: Batch) -> list[str]:
    """A sentence for all causes that concern the same submissions and exercises, beside what `before` reported."""
    found = defaultdict[str, dict[str, set[str]]](dict)  # cause -> name -> exercises
    for task in batch.tasks:
        for cause, exercises in _causes(before, batch, task).items():
            found[cause] |= dict.fromkeys(batch.names(task.submission), exercises)
    alike = defaultdict[tuple[frozenset[str], frozenset[str]], list[str]](list)
    for cause, who in found.items():
        alike[frozenset(who), frozenset().union(*who.values())].append(cause)
    every = batch.conditions.judged
    return [
        f"{listed(causes)}: {_counted(len(names), 'submission')}, {_these(exercises, causes, every)}"
        for (names, exercises), causes in alike.items()
    ]


def _causes(before: Reported, batch: Batch, task: Task) -> Causes:
    if batch.again.intersection(batch.names(task.submission)):
        return {"asked for by --regrade": set(task.exercises)}
    if task.submission.digest not in before.digests.values():
        return {"handed in since the last report": set(task.exercises)}
    found = defaultdict[str, set[str]](set)
    for exercise in task.exercises:
        for cause in batch.conditions.changes(before.conditions, exercise):
            found[cause].add(exercise)
    if others := set(task.exercises).difference(*found.values()):
        found["in other exercises tests were cut short" if found else "without a grade so far"] = others
    return found


def _these(exercises: Collection[str], causes: Sequence[str], every: Sequence[str]) -> str:
    if len(exercises) == len(every) > 1:
        return "every exercise"
    if len(exercises) > 1:
        return _counted(len(exercises), "exercise")
    (one,) = exercises
    return "that exercise only" if all(one in cause.split() for cause in causes) else f"{one} only"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
