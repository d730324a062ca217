"""Cohen's kappa beside a count by hand, and beside what textbooks print."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tito.grading.reports.marking.agreement import kappa


def by_the_table(pairs: list[tuple[int, int]], categories: int) -> float | None:
    """From the table of counts, as textbooks do: observed minus expected, over 1 minus expected."""
    table = [[Fraction(0)] * categories for _ in range(categories)]
    for one, other in pairs:
        table[one][other] += Fraction(1, len(pairs))
    observed = sum(table[c][c] for c in range(categories))
    expected = sum(sum(table[c]) * sum(line[c] for line in table) for c in range(categories))
    return None if expected == 1 else float((observed - expected) / (1 - expected))


@pytest.mark.parametrize("seed", range(30))
def test_kappa_is_what_the_table_of_counts_gives(seed: int) -> None:
    chance = random.Random(seed)
    categories = chance.randint(1, 5)
    first = [chance.randrange(categories) for _ in range(chance.randint(1, 60))]
    second = [one if chance.random() < 0.6 else chance.randrange(categories) for one in first]
    pairs = list(zip(first, second, strict=True))
    wanted, got = by_the_table(pairs, categories), kappa(pairs)
    assert (got is None) == (wanted is None)
    assert got is None or abs(got - (wanted or 0.0)) < 1e-12


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}, 0.40),  # Wikipedia, Cohen's kappa
        ({("yes", "yes"): 45, ("yes", "no"): 15, ("no", "yes"): 25, ("no", "no"): 15}, 0.1304),  # the same, 60 of 100
        ({("yes", "yes"): 25, ("yes", "no"): 35, ("no", "yes"): 5, ("no", "no"): 35}, 0.2593),
    ],
)
def test_kappa_is_what_is_printed_elsewhere(counts: dict[tuple[str, str], int], wanted: float) -> None:
    got = kappa([pair for pair, count in counts.items() for _ in range(count)])
    assert got is not None and round(got, 4) == wanted


def test_two_who_always_gave_the_same_one_have_no_kappa_and_who_never_agree_have_less_than_none() -> None:
    assert kappa([(1, 1)] * 5) is None
    assert kappa([(0, 1), (1, 0)]) == -1.0
    assert kappa([(0, 0), (1, 1), (2, 2)]) == 1.0
