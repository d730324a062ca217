"""Two people's solutions beside each other, with the parts marked that correspond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tito.grading.reports import escaping, statistics
from tito.grading.similarity import Pair

MOST_CHARACTERS = 20_000  # of a solution that are shown
Part = tuple[str, bool]  # as it is shown; whether the other side has it too


STEP, MOST_STEPS = 4, 5  # of indentation: characters, and how many of them a line that is broken keeps


@dataclass(frozen=True)
class ShownLine:
    """A line of a solution; where the page is too narrow for it, what hangs over stands `steps` to the right."""

    steps: int
    parts: Sequence[Part]


@dataclass(frozen=True)
class Comparison:
    """One exercise of a couple: how alike, and both solutions."""

    id: str
    percent: int
    first: Sequence[ShownLine]
    second: Sequence[ShownLine]


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
        return statistics.percent(self.pairs[0].score, 1)

    @property
    def exercises(self) -> list[Comparison]:
        return [
            Comparison(
                pair.exercise,
                statistics.percent(pair.score, 1),
                lines(parts(pair.first_text, [first for first, _ in pair.blocks])),
                lines(parts(pair.second_text, [second for _, second in pair.blocks])),
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
        start, end = max(start, at), min(end, MOST_CHARACTERS)
        gap = text[at : min(start, MOST_CHARACTERS)]
        if gap:
            made.append((_shown(gap), False))
        if end > start:
            before = made.pop()[0] if made and made[-1][1] else ""  # a span that goes on is one part
            made.append((before + _shown(text[start:end]), True))
        at = max(at, start, end)
    left = len(text) - MOST_CHARACTERS
    return [*made, (f"\n… ({left} more characters)", False)] if left > 0 else made


def lines(cut: Iterable[Part]) -> list[ShownLine]:
    """A text in parts, line by line; blanks at a line's beginning are not marked.

    >>> lines([("if x:\\n", False), ("    y = 1\\n", True)])[1].parts
    [('    ', False), ('y = 1', True)]
    """
    rows: list[list[Part]] = [[]]
    for part, same in cut:
        for place, piece in enumerate(part.split("\n")):
            if place:
                rows.append([])
            word = piece if rows[-1] else piece.lstrip(" ")
            blanks = piece[: len(piece) - len(word)]
            rows[-1] += [one for one in ((blanks, False), (word, same)) if one[0]]
    return [ShownLine(_steps("".join(part for part, _ in row)), row) for row in rows]


def _steps(line: str) -> int:
    return min((len(line) - len(line.lstrip(" "))) // STEP, MOST_STEPS)


def _shown(part: str) -> str:
    return escaping.shown(part, lines=len(part) + 1, width=MOST_CHARACTERS)
