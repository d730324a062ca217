"""Bytes, intervals and ratios of any kind, against their definitions."""

import math
import statistics

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

TIMES = st.floats(1e-6, 1e3)


@pytest.mark.part("model_nbytes")
@given(sizes=st.lists(st.integers(1, 20), min_size=2, max_size=5), bias=st.booleans())
def test_bytes_are_four_a_weight(student, sizes, bias):
    layers = [student.Linear(k, n, bias) for k, n in zip(sizes, sizes[1:], strict=False)]
    wanted = sum(4 * (k * n + n * bias) for k, n in zip(sizes, sizes[1:], strict=False))
    assert student.model_nbytes(student.Sequential(*layers)) == wanted
    assert student.model_nbytes(student.Sequential(*layers, student.ReLU(), *layers)) == wanted
    assert student.model_nbytes(student.Sequential(student.Sequential(*layers))) == wanted


@pytest.mark.part("model_nbytes")
@given(rows=st.integers(1, 9), columns=st.integers(1, 70), bits=st.integers(2, 8), group=st.sampled_from([None, 1, 32]))
def test_bytes_of_a_quantized_tensor_are_codes_and_qparams(student, rows, columns, bits, group):
    weight = np.ones((rows, columns), np.float32)
    t = student.IntType(bits)
    q = student.QuantizedTensor.from_float(weight, t, axis=0 if group is None else None, group_size=group)
    size = columns if group is None else min(group, columns)
    groups = math.ceil(columns / size)
    codes = t.nbytes((rows, groups * size))
    assert student.model_nbytes(student.WeightOnlyLinear(q)) == q.nbytes == codes + 4 * rows * groups + 4


@pytest.mark.part("model_nbytes")
def test_gradients_are_alive_and_count(student):
    model = student.Sequential(student.Linear(3, 2))
    model(np.ones((1, 3), np.float32)).sum().backward()
    assert student.model_nbytes(model) == 2 * 4 * (6 + 2)


def holding(student, tensor):
    """A module that has the tensor and nothing else: a Sequential uses its layers when it is called."""
    return student.Sequential(tensor)


@pytest.mark.part("model_nbytes")
def test_views_of_views_lead_to_their_owner(student):
    base = student.Tensor(np.zeros((10, 6, 5), np.float32))
    for view in (base[0][1], base.T, base[3].T, base.reshape(60, 5)[7]):
        assert student.model_nbytes(holding(student, view)) == 1200


@pytest.mark.part("accuracy_interval")
@given(total=st.integers(1, 20_000), share=st.floats(0, 1), z=st.floats(0.1, 4))
def test_the_interval_is_where_the_share_is_at_most_z_deviations_away(student, total, share, z):
    correct = round(share * total)
    lo, hi = student.accuracy_interval(correct, total, z)
    assert np.allclose((lo, hi), oracle.wilson(correct, total, z), rtol=0, atol=1e-9)
    assert 0 <= lo <= correct / total + 1e-12 and correct / total - 1e-12 <= hi <= 1


@pytest.mark.part("accuracy_interval")
@given(total=st.integers(1, 5000), share=st.floats(0, 1))
def test_right_and_wrong_are_each_other_s_mirror(student, total, share):
    correct = round(share * total)
    lo, hi = student.accuracy_interval(correct, total)
    there = student.accuracy_interval(total - correct, total)
    assert np.allclose((1 - hi, 1 - lo), there, rtol=0, atol=1e-9)


@pytest.mark.part("accuracy_interval")
@pytest.mark.parametrize(("n", "p"), [(50, 0.9), (200, 0.98), (500, 0.5)])
def test_the_interval_holds_the_truth_about_95_times_of_100(student, n, p):
    """Over all outcomes, weighted by how likely they are."""
    covered = 0.0
    for k in range(n + 1):
        lo, hi = student.accuracy_interval(k, n)
        if lo <= p <= hi:
            covered += math.comb(n, k) * p**k * (1 - p) ** (n - k)
    assert 0.93 <= covered <= 0.98, f"{n} images, true accuracy {p}: covered {covered:.3f}"


@pytest.mark.part("accuracy_interval")
@pytest.mark.parametrize(("correct", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_shares_that_cannot_be_are_refused(student, correct, total):
    with pytest.raises(ValueError, match="correct"):
        student.accuracy_interval(correct, total)


@pytest.mark.part("speedup")
@given(rounds=st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=15))
def test_the_speedup_is_the_median_of_the_ratios(student, rounds):
    slow, fast = (list(times) for times in zip(*rounds, strict=True))
    wanted = statistics.median(a / b for a, b in rounds)
    assert math.isclose(student.speedup(slow, fast), wanted, rel_tol=1e-12)
    assert math.isclose(student.speedup(np.array(slow) * 3, fast), 3 * wanted, rel_tol=1e-9)


@pytest.mark.part("speedup")
@given(times=st.lists(TIMES, min_size=1, max_size=9), noise=st.lists(st.floats(1, 100), min_size=9, max_size=9))
def test_noise_that_both_share_cancels(student, times, noise):
    slow = np.array(times) * noise[: len(times)]
    assert math.isclose(student.speedup(slow, slow / 4), 4.0, rel_tol=1e-12)


def test_every_model_takes_its_turn_in_every_round(student):
    x = student.Tensor(np.ones((2, 3), np.float32))
    seconds = student.time_interleaved([student.ReLU(), student.Linear(3, 2), student.ReLU()], x, 4)
    assert seconds.shape == (3, 4) and (seconds > 0).all()
