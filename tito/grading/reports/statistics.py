"""A class seen from above: the points, the hard exercises, the slips that many people make, what took long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, median

from tito.course.module import Exercise, Module
from tito.grading.grade import Grade
from tito.grading.reports.adjustments import Standing
from tito.testing.outcome import Status

BARS = 10  # of the histogram, at most
NO_SLIPS = ("unwritten", "blocked")  # reasons


@dataclass(frozen=True)
class Points:
    """How the points are spread over those submissions that were graded."""

    bars: tuple[int, ...]  # submissions, by equal parts of the full points
    mean: float
    median: float
    full: int  # submissions that reached the full points


def spread(standings: Iterable[Standing], of: int) -> Points | None:
    """None where nothing was graded."""
    points = [entry.points for entry in standings if entry.grade.status == "graded" and entry.points is not None]
    if not points:
        return None
    bars = [0] * min(BARS, of)
    for value in points:
        bars[min(int(value * len(bars) / of), len(bars) - 1)] += 1
    return Points(tuple(bars), fmean(points), float(median(points)), sum(value >= of for value in points))


@dataclass(frozen=True)
class Tally:
    """How the graded submissions did at one exercise."""

    exercise: Exercise
    counts: dict[Status, int]
    stopped: int  # submissions for which it is the first that does not pass

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def share(self) -> float:
        """Of the submissions, how many pass: 0 to 1."""
        return self.counts["passed"] / max(self.total, 1)

    @property
    def words(self) -> list[str]:
        return counted(self.counts)


WORDS: dict[Status, str] = {
    "passed": "passed",
    "failed": "failed",
    "timeout": "out of time",
    "not started": "not started",
}


def counted(counts: Mapping[Status, int]) -> list[str]:
    """`["3 passed", "1 failed"]`: what there is, in words."""
    return [f"{counts[status]} {word}" for status, word in WORDS.items() if counts[status]]


def tallies(module: Module, grades: Sequence[Grade]) -> list[Tally]:
    """Every exercise, the hardest first; equally hard ones in the module's order."""
    graded = [grade for grade in grades if grade.status == "graded"]
    outcomes = [outcome for grade in graded for outcome in grade.outcomes]
    counts = Counter((outcome.exercise, outcome.status) for outcome in outcomes)
    first = (next((o.exercise for o in grade.outcomes if o.status != "passed"), "") for grade in graded)
    stopped = Counter(first)
    made = [
        Tally(exercise, {status: counts[exercise.id, status] for status in WORDS}, stopped[exercise.id])
        for exercise in module.exercises
    ]
    return sorted((tally for tally in made if tally.total), key=lambda tally: tally.share)


@dataclass(frozen=True)
class Slip:
    """A claim that does not hold for several submissions, and the message that most of them got."""

    claim: str
    message: str
    count: int


def slips(module: Module, grades: Iterable[Grade], at_least: int = 2) -> list[tuple[Exercise, list[Slip]]]:
    """The slips that several submissions share, by exercise in the module's order, the most common first."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for grade in grades:
        for outcome in grade.outcomes:
            if grade.status == "graded" and outcome.status != "passed" and outcome.reason not in NO_SLIPS:
                messages = found.setdefault(outcome.exercise, {}).setdefault(outcome.heading, Counter())
                messages[outcome.body.partition("\n")[0]] += 1
    ordered = [(exercise, _ordered(found.get(exercise.id, {}), at_least)) for exercise in module.exercises]
    return [(exercise, common) for exercise, common in ordered if common]


def _ordered(claims: dict[str, Counter[str]], at_least: int) -> list[Slip]:
    common = [(claim, messages) for claim, messages in claims.items() if messages.total() >= at_least]
    made = [Slip(claim, _most_common(messages), messages.total()) for claim, messages in common]
    return sorted(made, key=lambda slip: (-slip.count, slip.claim))


def _most_common(messages: Counter[str]) -> str:
    """Of several that are equally common, the first in the alphabet."""
    return min(messages, key=lambda text: (-messages[text], text))


def slowest(grades: Iterable[Grade], count: int = 5) -> list[Grade]:
    return sorted((g for g in grades if g.seconds > 0), key=lambda grade: (-grade.seconds, grade.submission))[:count]


def middle_seconds(grades: Iterable[Grade]) -> float:
    """The median time of those that were graded; 0 where there are none."""
    return median([grade.seconds for grade in grades if grade.status == "graded"] or [0.0])


def full_points(module: Module, grades: Iterable[Grade]) -> int:
    """What could be earned: the module's points, or those of the exercises that were graded where others were not."""
    return next((grade.max_points for grade in grades if grade.status == "graded"), module.points)


def percent(part: float | Decimal, of: float | Decimal) -> int:
    """A share in whole percent; 100 only where nothing is missing, 0 only where there is nothing."""
    share = round(100 * float(part) / float(of)) if of else 0
    return min(max(share, 1 if part > 0 else 0), 100 if part >= of else 99)
