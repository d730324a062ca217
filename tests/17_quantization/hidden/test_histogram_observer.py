"""Both costs for any histogram, against a scalar specification; the observer that minimizes them, by brute force."""

import math

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any)
OBJECTIVES = [
    pytest.param("mse", marks=pytest.mark.part("expected_mse")),
    pytest.param("entropy", marks=pytest.mark.part("kl_divergence")),
]


@pytest.mark.part("expected_mse")
@given(counts=COUNTS, scale=st.floats(0.015625, 2, width=32), zero_point=st.integers(-128, 127))
def test_the_expected_error_is_the_specification_s(student, counts, scale, zero_point):
    centers = (np.arange(len(counts)) - len(counts) / 2 + 0.5) / 4
    got = student.expected_mse(np.array(counts), centers, student.QParams(scale, zero_point))
    wanted = oracle.expected_mse(counts, centers.tolist(), scale, zero_point, -128, 127)
    assert math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-12)


@pytest.mark.part("expected_mse")
@given(seed=st.integers(0, 999))
def test_the_expected_error_is_the_error_of_the_repeated_centers(student, seed):
    rng = np.random.default_rng(seed)
    counts, centers = rng.integers(0, 9, 30), np.sort(rng.normal(size=30))
    counts[0] += 1
    p = student.QParams(0.21, 3, student.IntType(4))
    x = np.repeat(centers, counts)
    error = np.mean((x - student.dequantize(student.quantize(x, p), p)) ** 2)
    assert math.isclose(student.expected_mse(counts, centers, p), error, rel_tol=1e-9)


@pytest.mark.part("kl_divergence")
@given(counts=COUNTS, seed=st.integers(0, 999), lowest=st.integers(-128, 100))
def test_the_divergence_is_the_specification_s(student, counts, seed, lowest):
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(lowest, min(lowest + 20, 127) + 1, len(counts)))
    clipped = np.array(counts)
    clipped[0] += rng.integers(0, 30)
    clipped[-1] += rng.integers(0, 30)
    got = student.kl_divergence(np.array(counts), codes.astype(np.int8), clipped)
    wanted = oracle.kl_divergence(counts, codes.tolist(), clipped.tolist())
    assert math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-7)


@pytest.mark.part("kl_divergence")
@given(counts=COUNTS, cells=st.integers(1, 5))
def test_merging_cells_costs_something_only_where_they_differ(student, counts, cells):
    codes = np.arange(len(counts)) // cells
    got = student.kl_divergence(np.array(counts), codes, np.array(counts))
    assert got >= -1e-7, "a divergence is never negative"
    even = np.repeat(counts, cells)
    even_codes = np.arange(even.size) // cells
    assert abs(student.kl_divergence(even, even_codes, even)) <= 1e-7


@pytest.mark.part("expected_mse")
@given(counts=COUNTS, factor=st.integers(2, 9))
def test_more_of_the_same_data_changes_no_error(student, counts, factor):
    counts = np.array(counts)
    centers, p = np.arange(counts.size) / 3, student.QParams(0.5, 0)
    once, often = (student.expected_mse(n, centers, p) for n in (counts, counts * factor))
    assert math.isclose(once, often, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.part("kl_divergence")
@given(counts=COUNTS, factor=st.integers(2, 9))
def test_more_of_the_same_data_changes_no_divergence(student, counts, factor):
    counts = np.array(counts)
    codes = np.arange(counts.size) // 3
    once, often = (student.kl_divergence(n, codes, n) for n in (counts, counts * factor))
    assert math.isclose(once, often, rel_tol=1e-9, abs_tol=1e-12)


def root_mean_squares(student, x, ranges, int_type, symmetric):
    """The error of each range's codes, from the numbers themselves. A zero point on a tie is the student's."""
    qparams = student.choose_qparams(*np.array(ranges).T, int_type, symmetric)
    scales, qmin, qmax = qparams.scale, int_type.qmin, int_type.qmax
    zeros = np.broadcast_to(qparams.zero_point, scales.shape)
    for scale, zero in zip(scales.tolist(), zeros.tolist(), strict=True):
        codes = np.clip(np.rint(x / scale) + zero, qmin, qmax)
        yield float(np.sqrt(np.mean((x - scale * (codes - zero)) ** 2)))


DATA = {
    "normal with an outlier": lambda rng: np.append(rng.normal(size=3000), 12),
    "laplace": lambda rng: rng.laplace(size=3000),
    "one-sided": lambda rng: np.maximum(rng.normal(size=3000), 0),
    "far from 0": lambda rng: rng.normal(40, 1, 3000),
    "negative": lambda rng: -rng.exponential(size=3000),
}


@pytest.mark.part("expected_mse")
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (4, False), (4, True), (3, True)])
def test_the_mse_range_is_as_good_as_the_best_threshold_on_the_data_itself(student, rng, name, bits, symmetric):
    """|x - x_hat| changes by at most as much as x, and a center is within half a cell of its numbers: one cell."""
    x = DATA[name](rng).astype(np.float32).astype(np.float64)
    observer = student.HistogramObserver("mse", 40)
    for part in np.array_split(x, 7):
        observer.observe(part)
    int_type = student.IntType(bits)
    lo, hi = (float(end) for end in observer.range(int_type, symmetric))
    largest = np.abs(x).max()
    thresholds = [t for t in largest * np.arange(1, 41) / 40 if x.min() <= t and x.max() >= -t]
    tried = [(max(x.min(), -t), min(x.max(), t)) for t in thresholds]
    chosen, everything, *others = root_mean_squares(
        student, x, [(lo, hi), (x.min(), x.max()), *tried], int_type, symmetric
    )
    assert chosen <= min(others) + 4 / 4096 * largest, f"[{lo}, {hi}] costs {chosen}, the best threshold {min(others)}"
    assert chosen <= everything + 4 / 4096 * largest, "worse than min-max"


@pytest.mark.part("kl_divergence")
@pytest.mark.parametrize("bits", [4, 8])
def test_the_entropy_range_is_the_least_divergence_of_all_thresholds(student, rng, bits):
    x = np.append(rng.laplace(size=4000), 30).astype(np.float32)
    observer, histogram = student.HistogramObserver("entropy", 24), student.Histogram()
    observer.observe(x)
    histogram.add(x)
    counts, centers, cell = histogram.counts, histogram.centers, histogram.cell
    costs, ends = [], []
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for t in float(np.abs(x).max()) * np.arange(1, 25) / 24:
        lo, hi = max(float(x.min()), -t), min(float(x.max()), t)
        kept = (centers + cell / 2 > lo) & (centers - cell / 2 < hi)
        inside, clipped = counts[kept], counts[kept].copy()
        clipped[0] += counts[: np.argmax(kept)].sum()
        clipped[-1] += counts.sum() - clipped.sum()
        scale, zero = oracle.qparams(lo, hi, qmin, qmax)
        codes = [oracle.code(c, scale, zero, qmin, qmax) for c in centers[kept].tolist()]
        costs.append(oracle.kl_divergence(inside.tolist(), codes, clipped.tolist()))
        ends.append((lo, hi))
    got = tuple(float(end) for end in observer.range(student.IntType(bits)))
    assert got in ends and costs[ends.index(got)] <= min(costs) + 1e-6, (
        f"{got}, but the least is at {ends[np.argmin(costs)]}"
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("x", [[0.0], [5.0], [-5.0], [0.0, 0.0, 1e-40], [7.0, 7.0]])
def test_degenerate_data_has_a_range(student, objective, x):
    observer = student.HistogramObserver(objective, 16)
    observer.observe(np.array(x, np.float32))
    lo, hi = (float(end) for end in observer.range())
    assert np.float32(min(x)) <= lo <= hi <= np.float32(max(x))
    assert observer.qparams().scale > 0


@pytest.mark.parametrize("objective", OBJECTIVES)
@given(seed=st.integers(0, 99))
def test_streaming_is_the_same_as_the_whole(student, seed, objective):
    rng = np.random.default_rng(seed)
    x = rng.laplace(size=200).astype(np.float32)
    whole, streamed = (student.HistogramObserver(objective, 8) for _ in range(2))
    whole.observe(x)
    for part in np.array_split(rng.permutation(x), 5):
        streamed.observe(part)
    assert [float(v) for v in whole.range()] == [float(v) for v in streamed.range()]


def test_an_unknown_objective_is_refused(student):
    with pytest.raises(ValueError, match="objective"):
        student.HistogramObserver("l1")
