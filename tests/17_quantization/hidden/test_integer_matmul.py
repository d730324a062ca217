"""Integer products of any codes, against Python's integers."""

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

DTYPES = st.sampled_from([np.int8, np.uint8])
SIZES = st.integers(0, 6)


def codes(rng, dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


@given(m=SIZES, k=SIZES, n=SIZES, types=st.tuples(DTYPES, DTYPES), seed=st.integers(0, 9999), vectors=st.booleans())
def test_the_result_is_that_of_endless_integers(student, m, k, n, types, seed, vectors):
    rng = np.random.default_rng(seed)
    a, b = codes(rng, types[0], m, k), codes(rng, types[1], k, n)
    za, zb = (rng.integers(-128, 256, shape) for shape in (((m, 1), (n,)) if vectors else ((), ())))
    got = student.integer_matmul(a, b, za, zb)
    rows, columns = np.broadcast_to(za, (m, 1)).ravel().tolist(), np.broadcast_to(zb, (n,)).tolist()
    assert got.tolist() == oracle.matmul(a.tolist(), b.tolist(), rows, columns) and got.dtype == np.int32


@pytest.mark.parametrize("k", [255, 256, 517, 519, 1023, 1025, 1041, 3000])
@pytest.mark.parametrize("types", [(np.int8, np.int8), (np.uint8, np.int8), (np.uint8, np.uint8)])
def test_sums_beyond_what_float32_holds_are_exact(student, k, types):
    """Odd sums beyond 2**24 show it where a float32 product was not cut into blocks."""
    a, b = (np.full(shape, np.iinfo(t).max, t) for t, shape in zip(types, ((1, k), (k, 1)), strict=True))
    a[0, -1], b[-1, 0] = 1, 1
    assert student.integer_matmul(a, b).tolist() == oracle.matmul(a.tolist(), b.tolist(), [0], [0])
    low_a, low_b = np.full_like(a, np.iinfo(types[0]).min), np.full_like(b, np.iinfo(types[1]).min)
    assert student.integer_matmul(low_a, low_b, 3, 5).tolist() == oracle.matmul(
        low_a.tolist(), low_b.tolist(), [3], [5]
    )


@given(seed=st.integers(0, 9999), za=st.integers(-128, 127), zb=st.integers(-128, 127))
def test_turning_the_product_over_turns_the_result_over(student, seed, za, zb):
    rng = np.random.default_rng(seed)
    a, b = codes(rng, np.int8, 3, 5), codes(rng, np.int8, 5, 4)
    product, turned = student.integer_matmul(a, b, za, zb), student.integer_matmul(b.T, a.T, zb, za)
    assert (product == turned.T).all()


@given(seed=st.integers(0, 9999), cut=st.integers(0, 7))
def test_splitting_k_splits_the_sum(student, seed, cut):
    rng = np.random.default_rng(seed)
    a, b = codes(rng, np.uint8, 2, 7), codes(rng, np.int8, 7, 3)
    parts = [student.integer_matmul(a[:, s], b[s], 128, -3) for s in (slice(cut), slice(cut, None))]
    assert (parts[0] + parts[1] == student.integer_matmul(a, b, 128, -3)).all()


@given(seed=st.integers(0, 9999), batch=st.lists(st.integers(1, 3), max_size=2).map(tuple))
def test_a_stack_is_multiplied_one_by_one(student, seed, batch):
    rng = np.random.default_rng(seed)
    a, b = codes(rng, np.int8, *batch, 2, 4), codes(rng, np.uint8, 4, 3)
    got = student.integer_matmul(a, b, -7, 200)
    assert got.shape == (*batch, 2, 3)
    for index in np.ndindex(batch):
        assert (got[index] == student.integer_matmul(a[index], b, -7, 200)).all()


def edge(last, sign):
    """Plus or minus 33025 * 255 * 255 + 255 * 129 + last: the largest int32 where last is 127; and the zero points."""
    a = np.full((1, 33_027), 255, np.uint8)
    b = np.full((33_027, 1), 255 if sign > 0 else 0, np.uint8)
    a[0, -1] = last
    b[-2:] = [[129], [1]] if sign > 0 else [[126], [254]]
    return a, b, 0, 0 if sign > 0 else 255


def test_the_largest_and_the_smallest_int32_are_results_and_the_next_are_refused(student):
    assert student.integer_matmul(*edge(127, 1)).tolist() == [[2**31 - 1]]
    assert student.integer_matmul(*edge(128, -1)).tolist() == [[-(2**31)]]
    for last, sign in ((128, 1), (129, -1)):
        with pytest.raises(OverflowError):
            student.integer_matmul(*edge(last, sign))


def test_one_sum_too_large_among_many_is_refused(student):
    a, b, *_ = edge(255, 1)
    with pytest.raises(OverflowError):
        student.integer_matmul(np.vstack([np.zeros_like(a), a]), b)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int64])
def test_what_is_not_codes_is_refused(student, dtype):
    with pytest.raises(TypeError, match="int8 or uint8"):
        student.integer_matmul(np.ones((1, 2), dtype), np.ones((2, 1), np.int8))


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((3,), (3, 1)), ((1, 3), (3,))])
def test_shapes_that_do_not_fit_are_refused(student, shapes):
    with pytest.raises(ValueError, match="wanted a"):
        student.integer_matmul(*(np.ones(shape, np.int8) for shape in shapes))
