"""pareto_front and assign_bits. From simplest to hardest; the first that fails is the one you are shown."""

import itertools
import sys
from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest
from checks_17 import check, works

EXTEND = "for each layer: every plan so far, extended by every row of the layer; then without_losers(...)"
BEST = "the last plan on the front whose bytes fit the budget: nbytes <= byte_budget"


def made(student, rows):
    """Sensitivity rows of (layer, bits, bytes, dB)."""
    return [student.Sensitivity(layer, student.IntType(bits), nbytes, db, 0.9) for layer, bits, nbytes, db in rows]


TWO = [("a", 2, 10, 10.0), ("a", 4, 20, 20.0), ("b", 2, 100, 30.0), ("b", 4, 200, 40.0)]


def noise(db):
    return 10 ** (-db / 10)


def every_plan(rows):
    """(bytes, noise, bits by layer) of every combination."""
    layers = dict.fromkeys(row[0] for row in rows)
    for chosen in product(*([row for row in rows if row[0] == layer] for layer in layers)):
        bits = {layer: b for layer, b, _, _ in chosen}
        yield sum(row[2] for row in chosen), sum(noise(row[3]) for row in chosen), bits


def true_front(rows):
    """Plans that no other one beats, of all there are; by bytes."""
    front = list[tuple[int, float, dict[str, int]]]()
    for plan in sorted(every_plan(rows), key=lambda plan: plan[:2]):
        if not front or plan[1] < front[-1][1] * (1 - 1e-12):
            front.append(plan)
    return front


def front(student, rows):
    with works("pareto_front(table)", EXTEND):
        plans = student.pareto_front(made(student, rows))
    assert plans is not None, "pareto_front returned None: is a `return` missing?"
    return [(nbytes, total, {layer: t.bits for layer, t in choice.items()}) for nbytes, total, choice in plans]


def assigned(student, rows, budget):
    with works(f"assign_bits(table, {budget})", BEST):
        choice = student.assign_bits(made(student, rows), budget)
    assert isinstance(choice, dict), (
        f"assign_bits must return the choices of a plan, a dict, got a {type(choice).__name__}"
    )
    return {layer: t.bits for layer, t in choice.items()}


def same_choice(call, got, wanted, hint, slips):
    """An assertion about bits by layer, which names the slip."""
    reason = next((slip for slip, wrong in slips.items() if got == wrong), hint)
    assert got == wanted, f"{call}: expected bits {wanted}, got {got}: {reason}"


def random_table(seed, layers=4, types=(2, 3, 4, 8)):
    """More bits mostly, but not always, mean less noise."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 400, layers)
    return [
        (f"layers.{i}", bits, int(size * bits // 8) + 1, float(6 * bits + rng.normal(0, 6)))
        for i, size in enumerate(sizes)
        for bits in types
    ]


@pytest.mark.part("pareto_front")
def test_one_layer_offers_its_rows(student):
    got = front(student, TWO[:2])
    check("bytes of the plans of one layer", [p[0] for p in got], [10, 20], EXTEND)
    slips = {"noises are powers, row.noise, not decibels": [10.0, 20.0], "the noise of the plan is missing": [0.0, 0.0]}
    wanted = [noise(10.0), noise(20.0)]
    check("noises of the plans of one layer", [p[1] for p in got], wanted, EXTEND, slips=slips, within=1e-12)
    choices = [p[2] for p in got]
    assert choices == [{"a": 2}, {"a": 4}], f"choices must be layer -> type, expected bits 2 and 4 for a, got {choices}"


@pytest.mark.part("pareto_front")
def test_a_row_that_another_beats_is_dropped(student):
    rows = [("a", 2, 10, 10.0), ("a", 3, 15, 8.0), ("a", 4, 20, 20.0), ("a", 8, 20, 19.0)]
    kept = "15 bytes with more noise than 10 bytes, and the worse of two with 20: without_losers(...) drops both"
    check("bytes of the plans", [p[0] for p in front(student, rows)], [10, 20], kept)


@pytest.mark.part("pareto_front")
def test_plans_of_two_layers_add_up(student):
    got = front(student, TWO)
    quiet = {"noises add up: noise + row.noise": noise(30)}
    check("the noise of the smallest plan", got[0][1], noise(10) + noise(30), EXTEND, slips=quiet, within=1e-12)
    slips = {
        "losers were kept: 210 bytes make more noise than 120": [110, 120, 210, 220],
        "one plan alone was extended: extend *every* plan by every row": [110, 210],
        "only neighbouring rows were combined: extend every plan by *every* row": [110, 220],
    }
    check("bytes of the plans of two layers", [p[0] for p in got], [110, 120, 220], EXTEND, slips=slips)
    wanted = [noise(10) + noise(30), noise(20) + noise(30), noise(20) + noise(40)]
    check("noises of the plans of two layers", [p[1] for p in got], wanted, "noises add up", within=1e-12)
    choices = [p[2] for p in got]
    assert choices == [{"a": 2, "b": 2}, {"a": 4, "b": 2}, {"a": 4, "b": 4}], (
        f"choices of the plans: got {choices}: {EXTEND}"
    )


@pytest.mark.part("pareto_front")
@pytest.mark.parametrize("seed", range(6))
def test_the_front_is_that_of_all_combinations(student, seed):
    rows = random_table(seed)
    got, wanted = front(student, rows), true_front(rows)
    check("bytes of the plans", [p[0] for p in got], [p[0] for p in wanted], EXTEND)
    sizes = [p[1] for p in wanted]
    check("noises of the plans", [p[1] for p in got], sizes, EXTEND, within=1e-9 * np.array(sizes))


@contextmanager
def at_most(lines, hint):
    """Fails where more lines of Python than these are run, in this process."""
    count = itertools.count(1)

    def on_line(frame, event, argument):
        if next(count) > lines:
            raise RuntimeError(f"more than {lines} lines were run")
        return on_line

    before = sys.gettrace()
    sys.settrace(on_line)
    try:
        yield
    except RuntimeError as error:
        raise AssertionError(f"{error}: {hint}") from None
    finally:
        sys.settrace(before)


@pytest.mark.part("pareto_front")
def test_losers_are_dropped_layer_by_layer(student):
    """Of 6**12 combinations at most 73 plans are left behind each layer: their bytes are whole, from 24 to 96."""
    rows = [(f"layers.{i}", b, b, 6.0 * b - i % 3) for i in range(12) for b in (2, 3, 4, 5, 6, 8)]
    table = made(student, rows)
    every = "every combination was made before any was dropped: without_losers(...) belongs inside the loop over layers"
    with at_most(200_000, every):
        plans = student.pareto_front(table)
    check("bytes of the smallest and of the largest plan", [plans[0][0], plans[-1][0]], [24, 96], EXTEND)


@pytest.mark.part("assign_bits")
def test_the_bytes_go_where_they_count(student):
    """130 bytes: 4 bits for the small layer, which minds most; 2 for the large one."""
    slips = {
        "the budget is exceeded": {"a": 4, "b": 4},
        "that is the smallest plan; a better one fits": {"a": 2, "b": 2},
    }
    same_choice("assign_bits(table, 130)", assigned(student, TWO, 130), {"a": 4, "b": 2}, BEST, slips)


@pytest.mark.part("assign_bits")
@pytest.mark.parametrize(
    ("budget", "wanted"), [(110, (2, 2)), (119, (2, 2)), (120, (4, 2)), (219, (4, 2)), (220, (4, 4)), (9999, (4, 4))]
)
def test_the_best_plan_that_fits_is_chosen(student, budget, wanted):
    wanted = dict(zip("ab", wanted, strict=True))
    size = {("a", 2): 10, ("a", 4): 20, ("b", 2): 100, ("b", 4): 200}
    got = assigned(student, TWO, budget)
    total = sum(size[layer, bits] for layer, bits in got.items())
    assert total <= budget, (
        f"assign_bits(table, {budget}): the plan takes {total} bytes, the budget is exceeded: {BEST}"
    )
    exact = f"a plan of exactly the budget fits: <=, not <; {BEST}" if budget in (110, 120, 220) else BEST
    same_choice(f"assign_bits(table, {budget})", got, wanted, exact, {})


@pytest.mark.part("assign_bits")
def test_the_best_step_now_may_block_a_better_plan(student):
    """Greedy: raising a gains most noise a byte, but then neither b nor c can be raised, which together gain more."""
    rows = [
        ("a", 2, 10, 10.0), ("a", 4, 16, 12.2),
        ("b", 2, 10, 11.0), ("b", 4, 15, 13.0),
        ("c", 2, 10, 11.0), ("c", 4, 15, 13.0),
    ]  # fmt: skip
    best = min((plan for plan in every_plan(rows) if plan[0] <= 40), key=lambda plan: plan[1])[2]
    greedy = {"a": 4, "b": 2, "c": 2}
    assert best == {"a": 2, "b": 4, "c": 4}
    blocked = (
        "a greedy choice, layer by layer or step by step, is not the best: try every combination, as the front does"
    )
    same_choice("assign_bits(table, 40)", assigned(student, rows, 40), best, blocked, {blocked: greedy})


@pytest.mark.part("assign_bits")
@pytest.mark.parametrize("seed", range(6))
def test_no_combination_that_fits_is_better(student, seed):
    rows = random_table(100 + seed)
    size, loud = (
        {(row[0], row[1]): value for row in rows for value in [f(row)]} for f in (lambda r: r[2], lambda r: noise(r[3]))
    )
    least, most = (sum(f(r[2] for r in rows if r[0] == f"layers.{i}") for i in range(4)) for f in (min, max))
    for budget in np.linspace(least, most, 7).astype(int).tolist():
        got = assigned(student, rows, budget)
        best = min(plan[1] for plan in every_plan(rows) if plan[0] <= budget)
        total = sum(size[item] for item in got.items())
        assert total <= budget, (
            f"assign_bits(table, {budget}): the plan takes {total} bytes, the budget is exceeded: {BEST}"
        )
        mine = sum(loud[item] for item in got.items())
        assert mine <= best * (1 + 1e-9), f"assign_bits(table, {budget}): noise {mine:.4g}, but {best:.4g} fits: {BEST}"


@pytest.mark.part("assign_bits")
def test_every_layer_gets_a_type(student):
    rows = [(f"layers.{i}", b, 8 * b, 6.0 * b - i % 3) for i in range(8) for b in (2, 3, 4, 8)]
    got = assigned(student, rows, 8 * 8 * 4)
    assert list(got) == [f"layers.{i}" for i in range(8)], f"every layer needs a type, got {got}: {EXTEND}"


@pytest.mark.part("pareto_front")
def test_a_budget_below_the_smallest_plan_is_refused(student):
    with pytest.raises(ValueError, match="110"):
        student.assign_bits(made(student, TWO), 109)


@pytest.mark.part("pareto_front")
@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_rows_of_the_same_bytes_the_quieter_counts(student, turn):
    """Whichever stands first in the table."""
    rows = [("a", 2, 10, 20.0), ("a", 3, 10, 10.0), ("b", 4, 10, 30.0)][::turn]
    got = [(nbytes, bits) for nbytes, _, bits in front(student, rows)]
    same = f"rows of one layer may take the same bytes; none may be left out before without_losers: {EXTEND}"
    assert got == [(20, {"a": 2, "b": 4})], f"the front of two rows of 10 bytes: got {got}: {same}"
