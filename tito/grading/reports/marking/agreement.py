"""How far two graders agree: the share of answers to which both gave the same points, and Cohen's kappa."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    first: str
    second: str
    answers: int  # that both have marked
    same: int  # with the same points
    kappa: float | None  # 1: always, 0: as often as by chance; None where chance alone would always agree


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two graders' categories, one pair an answer.

    >>> kappa([(1, 1), (1, 1), (0, 0), (0, 1)])
    0.5
    """
    count = len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(first[category] * second[category] for category in first)  # times count squared
    if chance == count * count:
        return None
    same = sum(one == other for one, other in pairs)
    return (same * count - chance) / (count * count - chance)
