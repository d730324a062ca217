"""expected_mse and kl_divergence. From simplest to hardest; the first that fails is the one you are shown."""

import math

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, check_float, works

FORMULA = "sum p ln(p / q), p = clipped / sum, q = the mean count of the code's occupied cells / sum"

EMPTY = "empty cell took a share: the mean is over the *occupied* cells (counts > 0) of a code"

OBJECTIVES = [
    pytest.param("mse", marks=pytest.mark.part("expected_mse")),
    pytest.param("entropy", marks=pytest.mark.part("kl_divergence")),
]


def mse(student, counts, centers, *qparams):
    with works("expected_mse(...)", "(counts * squared errors of the centers).sum() / counts.sum()"):
        return student.expected_mse(np.array(counts), np.array(centers, np.float64), student.QParams(*qparams))


def kl(student, counts, codes, clipped, dtype=np.int8):
    with works("kl_divergence(...)", FORMULA):
        return student.kl_divergence(np.array(counts), np.array(codes, dtype), np.array(clipped))


@pytest.mark.part("expected_mse")
def test_a_cell_counts_as_often_as_it_holds_numbers(student):
    got = mse(student, [3, 1], [0.25, 2.5], 1.0, 0)
    slips = {
        "every cell counted once: weight its squared error by its count": 0.15625,
        "divide by all numbers, counts.sum(), not by the number of cells": 0.21875,
        "this is the sum: divide by counts.sum()": 0.4375,
        "the errors must be squared": 0.3125,
        "it is the mean squared error, no root": math.sqrt(0.109375),
    }
    call = "expected_mse([3, 1], [0.25, 2.5], QParams(1, 0))"
    check(call, got, 0.109375, "three errors of 1/4, one of 1/2", slips=slips)


@pytest.mark.part("expected_mse")
def test_numbers_beyond_the_range_cost_their_distance(student):
    got = mse(student, [1, 0, 1], [-130.0, 0.0, 129.0], 1.0, 0)
    check("expected_mse([1, 0, 1], [-130, 0, 129], QParams(1, 0))", got, 4.0, "(2**2 + 0 + 2**2) / 2", within=1e-7)


@pytest.mark.part("expected_mse")
def test_the_expected_error_agrees_with_the_formula_cell_by_cell(student):
    rng = np.random.default_rng(9)
    counts, centers = rng.integers(0, 50, 64), (np.arange(64) - 31.5) / 8
    for scale, zero_point in ((0.5, 0), (0.125, -3), (0.3, 100)):
        got = mse(student, counts, centers, scale, zero_point)
        wanted = oracle.expected_mse(counts.tolist(), centers.tolist(), scale, zero_point, -128, 127)
        check(f"expected_mse, scale {scale}", got, wanted, "the mean over all numbers", within=1e-6 * wanted + 1e-15)


@pytest.mark.part("kl_divergence")
def test_counts_that_are_even_within_each_code_lose_nothing(student):
    got = kl(student, [4, 4, 8], [0, 0, 1], [4, 4, 8])
    slips = {
        "q was not divided by its sum, counts.sum()": -math.log(16),
        "p was not divided by its sum, clipped.sum()": 16 * math.log(16),
        "each cell got its code's total, not the mean: divide by the number of its cells": -math.log(2) / 2,
    }
    check("kl_divergence([4, 4, 8], codes [0, 0, 1])", got, 0.0, FORMULA, slips=slips, within=1e-7)


@pytest.mark.part("kl_divergence")
def test_a_code_spreads_its_count_evenly(student):
    got = kl(student, [6, 2], [0, 0], [6, 2])
    wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    slips = {
        "p and q are swapped: sum p ln(p / q)": 0.5 * math.log(1 / 1.5) + 0.5 * math.log(2),
        "in nats: np.log, not np.log2": wanted / math.log(2),
        "in nats: np.log, not np.log10": wanted / math.log(10),
        "q is p itself: give every cell of a code their mean count": 0.0,
        "divide p and q by their sums first": 8 * wanted,
        "the sign: ln(p / q), not ln(q / p)": -wanted,
        "each cell got its code's total, not the mean: divide by the number of its cells": wanted - math.log(2),
    }
    check("kl_divergence([6, 2], codes [0, 0])", got, wanted, FORMULA, slips=slips, within=1e-7)


@pytest.mark.part("kl_divergence")
def test_a_cell_without_p_costs_nothing(student):
    got = kl(student, [0, 5, 0, 5], [-2, -2, -1, -1], [0, 5, 0, 5])
    nan = "0 * log(0) is not a number to NumPy: sum only over the cells where p > 0"
    slips = {f"an {EMPTY}": math.log(2)}
    check("kl_divergence([0, 5, 0, 5], codes [-2, -2, -1, -1])", got, 0.0, nan, slips=slips, within=1e-7)


@pytest.mark.part("kl_divergence")
def test_only_occupied_cells_share_a_code(student):
    got = kl(student, [4, 0, 4, 8], [0, 0, 1, 1], [4, 0, 4, 8])
    wanted = 0.25 * math.log(4 / 6) + 0.5 * math.log(8 / 6)
    slips = {f"the {EMPTY}": wanted + 0.25 * math.log(2)}
    check("kl_divergence([4, 0, 4, 8], codes [0, 0, 1, 1])", got, wanted, FORMULA, slips=slips, within=1e-7)


@pytest.mark.part("kl_divergence")
def test_what_was_clipped_counts_in_p_and_not_in_q(student):
    got = kl(student, [4, 4], [0, 1], [4, 12])
    wanted = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    slips = {
        "p and q were made from the same counts: p must be made from clipped, q must be made from counts": 0.0,
        "p was not divided by its own sum, clipped.sum()": 0.5 * math.log(1) + 1.5 * math.log(3),
    }
    check("kl_divergence([4, 4], codes [0, 1], clipped [4, 12])", got, wanted, FORMULA, slips=slips, within=1e-7)


@pytest.mark.part("kl_divergence")
def test_mass_on_an_empty_cell_costs_much_but_not_infinity(student):
    got = kl(student, [4, 0], [0, 1], [4, 4])
    wanted = 0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-9)
    slips = {
        "where q is 0, 1e-9 stands for it": math.inf,
        "the cells where q is 0 were left out: there q is 1e-9": 0.5 * math.log(0.5),
    }
    assert not math.isnan(got), "got NaN: code 1 has no occupied cell, and 0 / 0 is NaN: divide by at least one cell"
    check("kl_divergence([4, 0], codes [0, 1], clipped [4, 4])", got, wanted, FORMULA, slips=slips, within=1e-6)


@pytest.mark.part("kl_divergence")
def test_one_number_counted_is_one_whole(student):
    got = kl(student, [1, 0], [0, 1], [1, 0])
    check("kl_divergence([1, 0], codes [0, 1])", got, 0.0, "q is divided by counts.sum(), 1", within=1e-7)


@pytest.mark.part("kl_divergence")
def test_a_range_in_which_nothing_was_counted_costs_much(student):
    got = kl(student, [0, 0], [0, 1], [4, 4])
    none = "counts.sum() is 0 where everything was clipped: divide by max(counts.sum(), 1)"
    check("kl_divergence([0, 0], clipped [4, 4])", got, math.log(0.5 / 1e-9), none, within=1e-6)


@pytest.mark.part("expected_mse")
def test_an_error_is_a_float(student):
    mse = student.expected_mse(np.array([3, 1]), np.array([0.25, 2.0]), student.QParams(1.0, 0))
    check_float("expected_mse([3, 1], [0.25, 2])", mse)


@pytest.mark.part("kl_divergence")
def test_a_divergence_is_a_float(student):
    check_float("kl_divergence([6, 2], codes [0, 0])", kl(student, [6, 2], [0, 0], [6, 2]))


@pytest.mark.part("kl_divergence")
def test_codes_may_begin_anywhere_and_leave_gaps(student):
    counts, clipped = [3, 0, 5, 7, 2, 9], [8, 0, 5, 7, 2, 20]
    for codes, dtype in (([-128, -128, -100, -100, 126, 127], np.int8), ([0, 0, 100, 100, 254, 255], np.uint8)):
        wanted = oracle.kl_divergence(counts, codes, clipped)
        got = kl(student, counts, codes, clipped, dtype)
        check(f"kl_divergence with codes {codes}", got, wanted, FORMULA, within=1e-7)


@pytest.mark.part("kl_divergence")
def test_the_whole_distribution_agrees_with_the_formula_cell_by_cell(student):
    rng = np.random.default_rng(4)
    counts = rng.poisson(np.exp(3 - np.abs(np.arange(200) - 90) / 15))
    clipped = counts.copy()
    clipped[0], clipped[-1] = clipped[0] + 17, clipped[-1] + 5
    codes = np.arange(200) // 13 - 8
    wanted = oracle.kl_divergence(counts.tolist(), codes.tolist(), clipped.tolist())
    check("kl_divergence of 200 cells", kl(student, counts, codes, clipped), wanted, FORMULA, within=1e-7)


def root_mean_square(x, lo, hi, bits):
    """The error of the symmetric codes for [lo, hi], from the numbers themselves."""
    scale = max(-lo, hi) / (2 ** (bits - 1) - 1)
    codes = np.clip(np.rint(x / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return np.sqrt(np.mean((x - scale * codes) ** 2))


@pytest.mark.part("expected_mse")
@pytest.mark.parametrize("bits", [4, 8])
def test_the_mse_observer_finds_the_best_of_its_thresholds(student, bits):
    x = np.append(np.random.default_rng(2).normal(size=4000), 10).astype(np.float32).astype(np.float64)
    observer = student.HistogramObserver("mse", 128)
    observer.observe(x)
    with works("HistogramObserver('mse').range(...)", "expected_mse must return one number"):
        lo, hi = (float(end) for end in observer.range(student.IntType(bits), True))
    best = min(root_mean_square(x, max(x.min(), -t), t, bits) for t in 10 * np.arange(1, 129) / 128)
    chosen = root_mean_square(x, lo, hi, bits)
    cell = 4 / 4096 * 10  # a number lies within half a cell of its center, and so do both errors: one cell in all
    assert chosen <= best + cell, (
        f"for {bits} bits the range [{lo:.3g}, {hi:.3g}] costs {chosen:.4f} (root of the mean squared error), but the "
        f"best threshold costs {best:.4f}: expected_mse must rank thresholds as the data do: weighted, squared?"
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_chosen_range_follows_the_data(student, objective):
    x, ends = np.random.default_rng(6).laplace(size=3000).astype(np.float32), []
    for unit in (1, 4):
        observer = student.HistogramObserver(objective, 64)
        observer.observe(x * unit)
        with works(
            f"HistogramObserver('{objective}').range()", "expected_mse and kl_divergence must return one number"
        ):
            ends.append(float(observer.range()[1]))
    same = "in another unit, a power of two, cells and counts are the same, so the same cells must be chosen"
    check(f"the {objective} range of 4 * x over that of x", ends[1] / ends[0], 4.0, same, within=1e-6)


@pytest.mark.part("kl_divergence")
def test_cells_share_a_code_wherever_they_lie(student):
    counts, codes = [6, 1, 2, 7], [0, 1, 0, 1]
    wanted = oracle.kl_divergence(counts, codes, counts)
    apart = "the cells of a code need not be neighbours: np.bincount(code_index, weights=...)"
    check(f"kl_divergence({counts}, codes {codes})", kl(student, counts, codes, counts), wanted, apart, within=1e-9)


@pytest.mark.part("expected_mse")
def test_a_cell_may_hold_more_than_an_int16_counts(student):
    got = mse(student, [100_000, 50_000], [0.25, 2.5], 1.0, 0)
    wraps = "100000 wraps around in int16: leave the counts as they are"
    check("expected_mse([100000, 50000], [0.25, 2.5], QParams(1, 0))", got, 0.125, wraps)
