"""Two people's solutions beside each other, with the parts marked that correspond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tito.grading.reports import figures, strangers
from tito.grading.similarity import Pair

MOST_LETTERS = 20_000  # of a solution that are shown
Part = tuple[str, bool]  # as it is shown; whether the other side has it too


@dataclass(frozen=True)
class Exercise:
    """One exercise of a couple: how alike, and both solutions in parts."""

    id: str
    percent: int
    first: Sequence[Part]
    second: Sequence[Part]


@dataclass(frozen=True)
class Couple:
    """Two submissions, and their exercises that are alike, the most alike first."""

    first: str
    second: str
    page: str  # the name of the file, without ending
    pairs: tuple[Pair, ...]

    @property
    def percent(self) -> int:
        """Of the exercise that is most alike."""
        return figures.percent(self.pairs[0].score, 1)

    @property
    def exercises(self) -> list[Exercise]:
        return [
            Exercise(
                pair.exercise,
                figures.percent(pair.score, 1),
                parts(pair.first_text, [first for first, _ in pair.blocks]),
                parts(pair.second_text, [second for _, second in pair.blocks]),
            )
            for pair in self.pairs
        ]


def couples(pairs: Iterable[Pair], pages: Mapping[str, str]) -> list[Couple]:
    """The pairs by people: who is alike in more exercises stands first, then who is more alike."""
    ordered = sorted(pairs, key=lambda pair: (pair.first, pair.second, -pair.score, pair.exercise))
    made = []
    for (first, second), found in groupby(ordered, key=lambda pair: (pair.first, pair.second)):
        made.append(Couple(first, second, f"{pages[first]} & {pages[second]}", tuple(found)))
    return sorted(made, key=lambda couple: (-len(couple.pairs), -couple.pairs[0].score, couple.first, couple.second))


def parts(text: str, spans: Iterable[tuple[int, int]]) -> list[Part]:
    """A text cut where a span (start, end) begins or ends; spans may overlap.

    >>> parts("y = a + b", [(4, 6), (5, 9)])
    [('y = ', False), ('a + b', True)]
    """
    made, at = list[Part](), 0
    for start, end in [*sorted(spans), (len(text), len(text))]:
        start, end = max(start, at), min(end, MOST_LETTERS)
        gap = text[at : min(start, MOST_LETTERS)]
        if gap:
            made.append((_shown(gap), False))
        if end > start:
            before = made.pop()[0] if made and made[-1][1] else ""  # a span that goes on is one part
            made.append((before + _shown(text[start:end]), True))
        at = max(at, start, end)
    left = len(text) - MOST_LETTERS
    return [*made, (f"\n… ({left} more characters)", False)] if left > 0 else made


def _shown(part: str) -> str:
    return strangers.shown(part, lines=len(part) + 1, width=MOST_LETTERS)
