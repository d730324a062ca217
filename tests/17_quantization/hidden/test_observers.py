"""Observers of any batches, against the same range found by brute force; and the histogram they stand on."""

import math
from fractions import Fraction

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

REALS = st.floats(-1e6, 1e6, width=32)
BATCHES = st.lists(st.lists(REALS, max_size=8), min_size=1, max_size=8).filter(any)


def each(*names):
    """Each of these classes, as a test of that part of the exercise."""
    return [pytest.param(name, marks=pytest.mark.part(name)) for name in names]


def seen(observer, batches):
    for batch in batches:
        observer.observe(np.array(batch, np.float32))
    return [float(end) for end in observer.range()]


@pytest.mark.part("MinMaxObserver")
@given(batches=BATCHES)
def test_min_max_is_that_of_all_numbers_together(student, batches):
    every = [x for batch in batches for x in batch]
    assert seen(student.MinMaxObserver(), batches) == [min(every), max(every)]


@pytest.mark.part("MinMaxObserver")
@given(seed=st.integers(0, 999), axis=st.integers(-3, 2))
def test_min_max_of_each_slice_is_that_of_all_batches_together(student, seed, axis):
    x = np.random.default_rng(seed).normal(3, 2, (5, 3, 4)).astype(np.float32)
    parts = [x, x * 2 - 3, -x]
    observer = student.MinMaxObserver(axis)
    for part in parts:
        observer.observe(part)
    lo, hi = observer.range()
    others = tuple(a for a in range(3) if a != axis % 3)
    assert (lo == np.minimum.reduce([p.min(others, keepdims=True) for p in parts])).all()
    assert (hi == np.maximum.reduce([p.max(others, keepdims=True) for p in parts])).all()


@pytest.mark.part("MovingAverageObserver")
@given(batches=BATCHES, momentum=st.floats(0, 0.99))
def test_the_moving_average_follows_its_formula(student, batches, momentum):
    got = seen(student.MovingAverageObserver(momentum), batches)
    full = [batch for batch in batches if batch]
    wanted = [oracle.moving_average([end(batch) for batch in full], momentum) for end in (min, max)]
    largest = max(abs(x) for batch in full for x in batch)
    assert np.allclose(got, wanted, rtol=0, atol=1e-6 * largest)


@pytest.mark.part("PercentileObserver")
@given(batches=BATCHES, percentile=st.floats(0.5, 100))
@example(batches=[[-8.0, 1.0]], percentile=50.0)
@example(batches=[[0.0, -0.0], [0.0]], percentile=99.9)
def test_the_percentile_is_that_of_the_magnitudes_to_one_cell(student, batches, percentile):
    every = [x for batch in batches for x in batch]
    share = Fraction(percentile) * len(every) / 100
    if share.denominator != 1 and abs(share - round(share)) < Fraction(1, 10**6):
        return  # float64 may take this share for a whole number, or not
    lo, hi = seen(student.PercentileObserver(percentile), batches)
    exact = oracle.percentile_magnitude(every, percentile)
    cell = 4 / 4096 * max(max(map(abs, every)), 2.0**-126)  # as Histogram promises
    assert lo >= min(every) and hi <= max(every), "never wider than what was seen"
    for end, limit in ((-lo, -min(every)), (hi, max(every))):
        assert end == limit or exact <= end <= exact + cell, (
            f"[{lo}, {hi}], but {percentile} % of magnitudes reach {exact}"
        )
        assert end >= min(limit, exact), f"[{lo}, {hi}] gives up numbers of magnitude {exact} and less"


@pytest.mark.parametrize("name", each("MinMaxObserver", "PercentileObserver"))
@given(seed=st.integers(0, 999), percentile=st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_streaming_in_any_order_is_the_same_as_the_whole(student, name, seed, percentile):
    rng = np.random.default_rng(seed)
    x = (rng.standard_cauchy(300) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)
    parts = np.split(rng.permutation(x), sorted(rng.integers(0, 300, 5)))
    options = [percentile] if name == "PercentileObserver" else []
    whole, streamed = (getattr(student, name)(*options) for _ in range(2))
    assert seen(whole, [x]) == seen(streamed, parts)


@pytest.mark.part("PercentileObserver")
@given(seed=st.integers(0, 999), share=st.floats(1, 99), percentile=st.floats(1, 100))
def test_a_higher_percentile_never_gives_a_shorter_range(student, seed, share, percentile):
    x = np.random.default_rng(seed).laplace(size=500).astype(np.float32)
    low, high = (seen(student.PercentileObserver(p), [x]) for p in sorted((share, percentile)))
    assert high[0] <= low[0] and low[1] <= high[1]


@given(batches=BATCHES)
def test_the_histogram_counts_every_number_in_its_cell_whatever_the_batches(student, batches):
    every = np.array([x for batch in batches for x in batch], np.float32)
    whole, streamed = student.Histogram(64), student.Histogram(64)
    whole.add(every)
    for batch in batches:
        streamed.add(np.array(batch, np.float32))
    assert whole.limit == streamed.limit and whole.total == streamed.total == every.size
    assert whole.limit >= np.abs(every).max() and (whole.limit / 2 < np.abs(every).max() or whole.limit < 2e-38)
    assert (np.abs(np.cumsum(whole.counts) - np.cumsum(streamed.counts)) <= edges(every, whole)).all()
    centers, inside = whole.centers, np.flatnonzero(whole.counts)
    for i in inside:
        near = np.abs(every - centers[i]) <= whole.cell / 2
        assert near.sum() >= whole.counts[i] > 0, (
            f"cell {i} counts {whole.counts[i]}, but {near.sum()} numbers lie in it"
        )


def edges(x, histogram):
    """How many numbers lie exactly on the upper edge of each cell: when the limit doubles they may count below it."""
    upper = histogram.centers + histogram.cell / 2
    return np.array([(x == edge).sum() for edge in upper])


@pytest.mark.parametrize("largest", [1e-45, 1e-38, 1.0, 3e30, 3.4e38])
def test_the_histogram_reaches_any_number(student, largest):
    histogram = student.Histogram()
    histogram.add(np.array([largest, -largest / 2, 0], np.float32))
    assert histogram.total == 3 and histogram.counts.sum() == 3
    assert histogram.cell <= max(4 / 4096 * largest, 1e-41)


@pytest.mark.parametrize("name", each("MinMaxObserver", "MovingAverageObserver", "PercentileObserver"))
@pytest.mark.parametrize("x", [[np.nan], [np.inf], [0.0, -np.inf]])
def test_nan_and_infinity_are_refused(student, name, x):
    with pytest.raises(ValueError):
        getattr(student, name)().observe(np.array(x))


@pytest.mark.parametrize("name", each("MinMaxObserver", "MovingAverageObserver", "PercentileObserver"))
@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int32"])
def test_every_dtype_and_layout_is_read(student, name, dtype):
    x = np.array([[-3, 1], [2, 9]], dtype).T[::-1]
    x.flags.writeable = False
    lo, hi = (
        seen(getattr(student, name)(), [x])
        if name != "PercentileObserver"
        else seen(student.PercentileObserver(100), [x])
    )
    assert (lo, hi) == (-3, 9)


@pytest.mark.part("MovingAverageObserver")
@pytest.mark.parametrize("momentum", [-0.1, 1.0, 2.0])
def test_a_momentum_outside_0_to_1_is_refused(student, momentum):
    with pytest.raises(ValueError, match="momentum"):
        student.MovingAverageObserver(momentum)


@pytest.mark.part("PercentileObserver")
@pytest.mark.parametrize("percentile", [0.0, 100.5, -1.0])
def test_a_percentile_outside_0_to_100_is_refused(student, percentile):
    with pytest.raises(ValueError, match="percentile"):
        student.PercentileObserver(percentile)


@pytest.mark.part("MinMaxObserver")
@given(batches=BATCHES, bits=st.integers(2, 8), symmetric=st.booleans())
def test_the_qparams_are_those_of_the_range(student, batches, bits, symmetric):
    observer = student.MinMaxObserver()
    lo, hi = seen(observer, batches)
    p = observer.qparams(student.IntType(bits), symmetric)
    wanted = student.choose_qparams(lo, hi, student.IntType(bits), symmetric)
    assert p.scale == wanted.scale and p.zero_point == wanted.zero_point and not math.isnan(p.scale)
