"""A class seen from above: the points, the hard exercises, the slips that many people make, what took long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, median

from tito.course.module import Exercise, Module
from tito.grading.grade import Grade
from tito.grading.reports.standing import Standing
from tito.testing.outcome import Outcome, PartOutcome, Status

BARS = 10  # of the histogram, at most


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


def slips(module: Module, grades: Iterable[Grade]) -> list[tuple[Exercise, list[Slip]]]:
    """The slips that several submissions share, by exercise in the module's order, the most common first."""
    found = dict[str, list[tuple[str, str]]]()
    for grade in grades:
        for outcome in grade.outcomes if grade.status == "graded" else ():
            found.setdefault(outcome.exercise, []).extend(slips_of(outcome))
    ordered = [(exercise, common_slips(found.get(exercise.id, []), 2)) for exercise in module.exercises]
    return [(exercise, common) for exercise, common in ordered if common]


def slips_of(found: Outcome | PartOutcome) -> list[tuple[str, str]]:
    """What did not hold, each once: the claim, or what stands for it, and the first line of the message."""
    if isinstance(found, Outcome) and found.told_by_part:
        return list(dict.fromkeys(slip for part in found.parts for slip in slips_of(part)))
    if found.status in ("passed", "not started"):
        return []
    heading = found.heading if isinstance(found, Outcome) else found.claim
    return [(heading, found.body.partition("\n")[0])]


def common_slips(slips: Iterable[tuple[str, str]], at_least: int = 1) -> list[Slip]:
    """Each claim with how often it did not hold, and the most common message; the most common claim first."""
    claims = dict[str, Counter[str]]()
    for claim, message in slips:
        claims.setdefault(claim, Counter())[message] += 1
    made = [Slip(claim, _most_common(messages), messages.total()) for claim, messages in claims.items()]
    return sorted((slip for slip in made if slip.count >= at_least), key=lambda slip: (-slip.count, slip.claim))


def _most_common(messages: Counter[str]) -> str:
    """Of several that are equally common, the first in the alphabet."""
    return min(messages, key=lambda text: (-messages[text], text))


def slowest(grades: Iterable[Grade], count: int = 5) -> list[Grade]:
    return sorted((g for g in grades if g.seconds > 0), key=lambda grade: (-grade.seconds, grade.submission))[:count]


def middle_seconds(grades: Iterable[Grade]) -> float:
    """The median time of those that were graded; 0 where there are none."""
    return median([grade.seconds for grade in grades if grade.status == "graded"] or [0.0])


def full_points(module: Module, standings: Sequence[Standing]) -> int:
    """What could be earned: the module's points, or those of the exercises that were graded where others were not; and
    those of the questions in words."""
    exercises = next((entry.grade.max_points for entry in standings if entry.grade.status == "graded"), module.points)
    return exercises + max((entry.max_words for entry in standings), default=0)


@dataclass(frozen=True)
class Punctuality:
    """How many submissions came in time, and by whose word their times are known."""

    counts: tuple[tuple[str, int], ...]
    sources: tuple[tuple[str, int], ...]


def punctuality(standings: Iterable[Standing]) -> Punctuality:
    lates = [entry.late for entry in standings if entry.late]
    words = Counter("unknown" if late.days is None else "late" if late.words else "in time" for late in lates)
    sources = Counter(late.source for late in lates if late.source)
    return Punctuality(
        tuple((word, words[word]) for word in ("in time", "late", "unknown") if words[word]),
        tuple(sorted(sources.items())),
    )


def percent(part: float | Decimal, of: float | Decimal) -> int:
    """A share in whole percent; 100 only where nothing is missing, 0 only where there is nothing."""
    share = round(100 * float(part) / float(of)) if of else 0
    return min(max(share, 1 if part > 0 else 0), 100 if part >= of else 99)
