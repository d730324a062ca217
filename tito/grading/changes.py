"""What a report said of points, and what has changed from one to the next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tito.grading.conditions import Conditions
from tito.grading.grade import Grade

MOST_REASONS = 3  # in one sentence


@dataclass(frozen=True)
class Score:
    """What an exercise earned, and the claim of the test to look at first where one failed."""

    points: int
    max_points: int
    claim: str


@dataclass(frozen=True)
class Reported:
    """What a report said: under which conditions, and by a submission's name the digest of its cells and its scores."""

    conditions: Conditions
    digests: Mapping[str, str]
    scores: Mapping[str, Mapping[str, Score]]  # name -> exercise -> score

    def points(self, name: str) -> int | None:
        """None where it had no grade."""
        return sum(score.points for score in self.scores[name].values()) if name in self.scores else None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Reported:
        scores = {
            name: {exercise: Score(**score) for exercise, score in own.items()} for name, own in data["scores"].items()
        }
        return cls(Conditions.from_json(data["conditions"]), data["digests"], scores)


@dataclass(frozen=True)
class Change:
    """Points that are others than in the report before; None of an exercise that was not in it."""

    when: str
    submission: str
    exercise: str
    old: int | None
    new: int
    test: str  # the claim that fails now, or that failed before
    reason: str

    def __str__(self) -> str:
        """
        >>> str(Change("", "ada", "double", 2, 0, "zero stays zero", "tests of double changed"))
        'ada, double: 2 -> 0 points, by "zero stays zero" (tests of double changed)'
        """
        old = "none" if self.old is None else self.old
        test = f', by "{self.test}"' if self.test else ""
        return f"{self.submission}, {self.exercise}: {old} -> {self.new} points{test} ({self.reason})"


def reported(conditions: Conditions, grades: Iterable[Grade], before: Reported | None) -> Reported:
    """What a report of these grades says. Who has no grade in it, or is not in it, stands as in the report before."""
    digests, scores = dict(before.digests if before else {}), dict(before.scores if before else {})
    for grade in grades:
        if grade.status != "machinery":
            digests[grade.submission], scores[grade.submission] = grade.digest, _scores(grade)
    return Reported(conditions, digests, scores)


def _scores(grade: Grade) -> dict[str, Score]:
    return {seen.exercise: Score(seen.points, seen.max_points, seen.heading) for seen in grade.outcomes}


def between(before: Reported, now: Reported, again: Collection[str], when: str) -> list[Change]:
    """Whose points changed, of those who are in both reports. again: those who were graded again by name."""
    found = list[Change]()
    for name in sorted(before.scores.keys() & now.scores.keys()):
        own = ["asked for by --regrade"] if name in again else []
        own += ["handed in again"] if before.digests[name] != now.digests[name] else []
        for exercise, new in now.scores[name].items():
            old = before.scores[name].get(exercise)
            if old is None or old.points != new.points:
                reasons = [*own, *now.conditions.changes(before.conditions, exercise), *_worth(old, new)]
                test, reason = _test(old, new), listed(reasons) or "graded again"
                found.append(Change(when, name, exercise, old.points if old else None, new.points, test, reason))
    return found


def _worth(old: Score | None, new: Score) -> list[str]:
    if old is None or old.max_points == new.max_points:
        return []
    return [f"worth {new.max_points} points instead of {old.max_points}"]


def _test(old: Score | None, new: Score) -> str:
    """Points are lost where a test fails now, and gained where one failed before."""
    if old is None or new.points < old.points:
        return new.claim or (old.claim if old else "")
    return old.claim or new.claim


def listed(reasons: Sequence[str]) -> str:
    """The first reasons, and how many more there are.

    >>> listed(["tito changed", "Python changed", "numpy changed", "pytest changed"])
    'tito changed, Python changed, numpy changed, and 1 more'
    """
    more = len(reasons) - MOST_REASONS
    return ", ".join([*reasons[:MOST_REASONS], *([f"and {more} more"] if more > 0 else [])])
