"""Item analysis: how each exercise, and each part of one, does its work as a question of a test.

Of those who began it: how many are right, whether they are the ones who are good elsewhere (discrimination, the
point-biserial correlation of being right with the points of all else), and which claims did not hold. Where few began
there is no figure, and the number is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation

from tito.course.module import Exercise, Module
from tito.grading.grade import Grade
from tito.grading.reports import statistics
from tito.grading.reports.statistics import Slip
from tito.testing.outcome import Outcome, PartOutcome

FEWEST = 10  # who began, for a share or a discrimination
FEWEST_EACH = 3  # right, and wrong, for a discrimination


@dataclass(frozen=True)
class Item:
    """How the graded submissions did at an exercise, or at a part of one."""

    exercise: Exercise
    part: str  # "": all of the exercise, which is right where all its parts are
    points: int
    submissions: int
    began: int
    right: int
    out_of_time: int
    discrimination: float | None
    slips: tuple[Slip, ...]  # the most common first

    @property
    def share(self) -> float | None:
        """Right of those who began, 0 to 1; None for too few."""
        return self.right / self.began if self.began >= FEWEST else None

    @property
    def why_none(self) -> str:
        """Why there is no discrimination; empty where there is one."""
        if self.discrimination is not None:
            return ""
        if self.began < FEWEST:
            return f"too few: {self.began} began"
        wrong = self.began - self.right
        if min(self.right, wrong) < FEWEST_EACH:
            return f"too few: {self.right} right, {wrong} wrong"
        return "all have the same points elsewhere"


def items(module: Module, grades: Iterable[Grade]) -> list[Item]:
    """Every exercise that was graded, in the module's order, each followed by its parts."""
    graded = [grade for grade in grades if grade.status == "graded"]
    made = list[Item]()
    for exercise in module.exercises:
        of_it = [(grade, one) for grade in graded for one in grade.outcomes if one.exercise == exercise.id]
        if of_it:
            made.append(_item(exercise, "", exercise.points, of_it))
        for part in exercise.parts:
            of_part = [(grade, one) for grade, outcome in of_it for one in outcome.parts if one.name == part.name]
            if of_part:
                made.append(_item(exercise, part.name, part.points, of_part))
    return made


def _item(exercise: Exercise, part: str, points: int, seen: Sequence[tuple[Grade, Outcome | PartOutcome]]) -> Item:
    began = [(grade, one) for grade, one in seen if any(status != "not started" for status in _statuses(one))]
    right = [one.status == "passed" for _, one in began]
    rest = [grade.points - one.points for grade, one in began]
    slips = statistics.common_slips(slip for _, one in began for slip in statistics.slips_of(one))
    return Item(
        exercise,
        part,
        points,
        len(seen),
        len(began),
        sum(right),
        sum("timeout" in _statuses(one) for _, one in began),
        _discrimination(right, rest),
        tuple(slips),
    )


def _statuses(found: Outcome | PartOutcome) -> list[str]:
    """Of an exercise of several parts, how each of them stands: who began one began it."""
    parts = found.parts if isinstance(found, Outcome) else ()
    return [part.status for part in parts] or [found.status]


def _discrimination(right: Sequence[bool], rest: Sequence[int]) -> float | None:
    """The point-biserial correlation, which is Pearson's with 1 for right and 0 for wrong; None for too few."""
    if len(right) < FEWEST or min(sum(right), len(right) - sum(right)) < FEWEST_EACH:
        return None
    try:
        return correlation(right, rest)
    except StatisticsError:  # all have the same rest
        return None
