"""The front and the assignment against all combinations, for any table."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(
    st.lists(st.tuples(st.integers(1, 60), st.integers(-10, 60)), min_size=1, max_size=4), min_size=1, max_size=4
)  # of each layer: (bytes, dB) of each type


def table(student, layers):
    return [
        student.Sensitivity(f"layers.{i}", student.IntType(2 + j), nbytes, float(db), 0.5)
        for i, rows in enumerate(layers)
        for j, (nbytes, db) in enumerate(rows)
    ]


def combinations(layers):
    """(bytes, noise) of every plan."""
    for chosen in product(*layers):
        yield sum(row[0] for row in chosen), math.fsum(10 ** (-row[1] / 10) for row in chosen)


def cost(layers, bits):
    chosen = [layers[int(name.removeprefix("layers."))][b - 2] for name, b in bits.items()]
    return sum(row[0] for row in chosen), math.fsum(10 ** (-row[1] / 10) for row in chosen)


@pytest.mark.part("pareto_front")
@given(layers=ROWS)
def test_the_front_is_what_no_combination_beats(student, layers):
    plans = student.pareto_front(table(student, layers))
    every = list(combinations(layers))
    for nbytes, noise, choice in plans:
        assert len(choice) == len(layers)
        told = cost(layers, {name: t.bits for name, t in choice.items()})
        assert nbytes == told[0] and math.isclose(noise, told[1], rel_tol=1e-9), "a plan must say what its choices cost"
        better = [p for p in every if p[0] <= nbytes and p[1] < noise * (1 - 1e-9)]
        assert not better, f"{nbytes} bytes, noise {noise}: beaten by {better[0]}"
    sizes, noises = [p[0] for p in plans], [p[1] for p in plans]
    assert sizes == sorted(set(sizes)) and noises == sorted(noises, reverse=True)
    assert sizes[0] == min(every)[0] and math.isclose(noises[-1], min(p[1] for p in every), rel_tol=1e-9)


@pytest.mark.part("assign_bits")
@given(layers=ROWS, share=st.floats(0, 1))
def test_no_assignment_within_the_budget_is_better(student, layers, share):
    every = list(combinations(layers))
    least, most = min(p[0] for p in every), max(p[0] for p in every)
    budget = least + int(share * (most - least))
    nbytes, noise = cost(
        layers, {name: t.bits for name, t in student.assign_bits(table(student, layers), budget).items()}
    )
    assert nbytes <= budget
    assert noise <= min(p[1] for p in every if p[0] <= budget) * (1 + 1e-9)
    with pytest.raises(ValueError, match=str(least)):
        student.assign_bits(table(student, layers), least - 1)
