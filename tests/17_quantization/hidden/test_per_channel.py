"""Ranges along any axes and groups of any size, slice by slice; and what is quantized by them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.part("value_range")
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data(), seed=st.integers(0, 999))
def test_every_slice_has_its_own_smallest_and_largest(student, shape, data, seed):
    x = np.random.default_rng(seed).normal(5, 3, shape).astype(np.float32)
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    negative = data.draw(st.booleans())
    axis = tuple(a - len(shape) if negative else a for a in axes)
    lo, hi = student.value_range(x, axis if len(axis) > 1 else axis[0])
    assert lo.shape == hi.shape == tuple(n if a in axes else 1 for a, n in enumerate(shape))
    for index in itertools.product(*(range(n) for n in lo.shape)):
        part = x[tuple(i if a in axes else slice(None) for a, i in enumerate(index))]
        values = sorted(part.ravel().tolist()) if part.ndim else [float(part)]
        assert (lo[index], hi[index]) == (values[0], values[-1])


@pytest.mark.part("value_range")
@given(xs=st.lists(st.floats(-1e30, 1e30), min_size=1))
def test_the_whole_range_is_a_pair_of_numbers(student, xs):
    lo, hi = student.value_range(np.array(xs))
    assert np.shape(lo) == np.shape(hi) == () and (lo, hi) == (min(xs), max(xs))


@pytest.mark.part("split_groups")
@given(rows=st.integers(1, 5), columns=st.integers(1, 20), size=st.integers(1, 24))
def test_groups_hold_each_row_in_order_and_then_zeros(student, rows, columns, size):
    x = np.arange(1, rows * columns + 1).reshape(rows, columns)
    got = student.split_groups(x, size)
    assert got.shape == (rows, (columns + size - 1) // size, size)
    for row, groups in zip(x.tolist(), got.reshape(rows, -1).tolist(), strict=True):
        assert groups == row + [0] * (len(groups) - columns)


@pytest.mark.part("split_groups")
@pytest.mark.parametrize(("x", "size"), [(np.zeros(3), 2), (np.zeros((2, 2, 2)), 2), (np.zeros((2, 2)), 0)])
def test_groups_need_a_matrix_and_a_size(student, x, size):
    with pytest.raises(ValueError, match="groups need"):
        student.split_groups(x, size)


def by_own_range(student, x, bits, symmetric=True, axis=None):
    """The codes of x and their scale, by the range of all of it, or of each slice along `axis`."""
    p = student.choose_qparams(*student.value_range(x, axis), student.IntType(bits), symmetric)
    return student.quantize(x, p), p.scale


@pytest.mark.part("value_range")
@given(seed=st.integers(0, 999), bits=st.sampled_from([4, 8]), symmetric=st.booleans())
def test_a_row_alone_is_quantized_as_in_its_matrix(student, seed, bits, symmetric):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(4, 7)) * 10.0 ** rng.integers(-4, 5, (4, 1))).astype(np.float32)
    whole, scale = by_own_range(student, x, bits, symmetric, 0)
    for i, row in enumerate(x):
        alone, own_scale = by_own_range(student, row, bits, symmetric)
        assert whole[i].tolist() == alone.tolist()
        assert scale[i, 0] == own_scale


@pytest.mark.part("split_groups")
@given(seed=st.integers(0, 999), columns=st.integers(1, 40), size=st.sampled_from([1, 4, 32]))
def test_a_group_alone_is_quantized_as_in_its_matrix(student, seed, columns, size):
    x = np.random.default_rng(seed).normal(size=(3, columns)).astype(np.float32)
    whole, scale = by_own_range(student, student.split_groups(x, size), 4, True, (0, 1))
    for group, begin in enumerate(range(0, columns, size)):
        for i in range(3):
            part = x[i, begin : begin + size]
            alone, own_scale = by_own_range(student, part, 4)
            assert whole[i, group, : part.size].tolist() == alone.tolist() and scale[i, group, 0] == own_scale


@pytest.mark.part("value_range")
@given(seed=st.integers(0, 999))
def test_a_scale_for_each_row_is_never_coarser(student, seed):
    """The largest error a row is at most half its own step, and its step is at most that of the whole tensor."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(5, 9)) * rng.uniform(0.01, 10, (5, 1))).astype(np.float32)
    (_, one), (q, each) = (by_own_range(student, x, 8, True, axis) for axis in (None, 0))
    assert (each <= one).all()
    error = np.abs(q * each - x)
    assert (error <= each / 2 + 4 * np.spacing(np.abs(x).max(1, keepdims=True))).all()


@pytest.mark.part("value_range")
def test_a_small_row_is_not_flattened_by_a_large_one(student):
    x = np.array([[1.0, -2.0], [0.01, 0.002]], np.float32)
    flat, fine = ((q * scale)[1] for q, scale in (by_own_range(student, x, 8, True, axis) for axis in (None, 0)))
    assert np.unique(np.abs(flat)).size <= 2 and abs(flat[1] - x[1, 1]) >= 0.001, flat
    assert np.abs(fine - x[1]).max() <= 0.01 / 254 + 1e-7, fine


@pytest.mark.part("split_groups")
def test_a_tensor_of_groups_may_have_no_rows(student):
    q, _ = by_own_range(student, student.split_groups(np.zeros((0, 5), np.float32), 2), 4, True, (0, 1))
    assert q.shape == (0, 3, 2)
