"""Codes and back for any numbers and quantization parameters, against a scalar specification."""

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

ANY = st.floats(width=32, allow_nan=False)
NEAR = st.floats(-300, 300, width=32)
SCALES = st.floats(2.0**-60, 2.0**60, width=32)
TYPES = st.tuples(st.integers(2, 8), st.booleans())


@st.composite
def parameters(draw, scales=SCALES):
    bits, signed = draw(TYPES)
    qmin = -(2 ** (bits - 1)) if signed else 0
    return draw(scales), draw(st.integers(qmin, qmin + 2**bits - 1)), bits, signed


def made(student, qparams):
    scale, zero_point, bits, signed = qparams
    int_type = student.IntType(bits, signed)
    return student.QParams(scale, zero_point, int_type), int_type.qmin, int_type.qmax


@pytest.mark.part("quantize")
@given(xs=st.lists(ANY, max_size=20), qparams=parameters())
def test_every_code_is_the_specification_s(student, xs, qparams):
    p, qmin, qmax = made(student, qparams)
    got = student.quantize(np.array(xs, np.float32), p)
    assert got.tolist() == [oracle.code(x, qparams[0], qparams[1], qmin, qmax) for x in xs]
    assert got.dtype == (np.int8 if qparams[3] else np.uint8)


@pytest.mark.part("quantize")
@given(
    k=st.lists(st.integers(-140, 140), min_size=1), qparams=parameters(st.sampled_from([2.0**-9, 0.5, 1.0, 2.0, 64.0]))
)
@example(k=[0, 1], qparams=(1.0, 1, 8, True))
def test_ties_go_to_the_even_integer_before_the_zero_point(student, k, qparams):
    p, qmin, qmax = made(student, qparams)
    ties = np.array(k) + 0.5
    got = student.quantize(ties * qparams[0], p)
    wanted = [min(max(n + n % 2 + qparams[1], qmin), qmax) for n in k]
    assert got.tolist() == wanted, f"scale {qparams[0]}, zero point {qparams[1]}, ties {ties.tolist()}"


@pytest.mark.part("quantize")
@given(xs=st.lists(st.floats(-1, 1), min_size=1), qparams=parameters())
def test_numbers_in_range_come_back_within_half_a_step(student, xs, qparams):
    p, qmin, qmax = made(student, qparams)
    scale, zero_point = qparams[:2]
    lo, hi = (scale * (end - zero_point) for end in (qmin, qmax))
    x = np.clip(np.array(xs) * scale * 256, lo, hi).astype(np.float32)
    error = np.abs(scale * (student.quantize(x, p).astype(np.float64) - zero_point) - x)
    bound = scale / 2 + 4 * np.spacing(np.abs(x).max())  # float32 rounds the quotient and the product
    assert (error <= bound).all(), f"{x[error.argmax()]} moved by {error.max() / scale} steps"


@pytest.mark.part("quantize")
@given(qparams=parameters())
def test_zero_gets_the_zero_point(student, qparams):
    p, *_ = made(student, qparams)
    assert student.quantize(np.zeros(3), p).tolist() == [qparams[1]] * 3


@pytest.mark.part("dequantize")
@given(qparams=parameters())
def test_the_zero_point_stands_for_zero_exactly(student, qparams):
    p, *_ = made(student, qparams)
    codes = np.full(3, qparams[1], np.int8 if qparams[3] else np.uint8)
    assert student.dequantize(codes, p).tolist() == [0.0] * 3


@pytest.mark.part("quantize")
@given(xs=st.lists(ANY, min_size=2, max_size=30), qparams=parameters())
def test_a_larger_number_never_gets_a_smaller_code(student, xs, qparams):
    p, *_ = made(student, qparams)
    codes = student.quantize(np.sort(np.array(xs, np.float32)), p).astype(int)
    assert (np.diff(codes) >= 0).all()


@pytest.mark.part("dequantize")
@given(qs=st.lists(st.integers(-8, 7), max_size=20), qparams=parameters())
def test_every_real_is_the_specification_s(student, qs, qparams):
    p, qmin, qmax = made(student, qparams)
    q = np.clip(np.array(qs, int) * 16, qmin, qmax).astype(np.int8 if qparams[3] else np.uint8)
    x = student.dequantize(q, p)
    assert x.tolist() == [oracle.real(int(v), qparams[0], qparams[1]) for v in q] and x.dtype == np.float32


@pytest.mark.part("quantize")
@given(qs=st.lists(st.integers(-8, 7), max_size=20), qparams=parameters())
def test_a_code_s_real_gets_the_code_back(student, qs, qparams):
    p, qmin, qmax = made(student, qparams)
    q = [min(max(16 * v, qmin), qmax) for v in qs]
    reals = np.array([oracle.real(v, qparams[0], qparams[1]) for v in q], np.float32)
    assert student.quantize(reals, p).tolist() == q


@pytest.mark.part("quantize")
@given(xs=st.lists(NEAR, min_size=1, max_size=12), seed=st.integers(0, 99))
def test_order_and_layout_do_not_matter(student, xs, seed):
    p = student.QParams(0.37, 11)
    x = np.array(xs, np.float32)
    order = np.random.default_rng(seed).permutation(x.size)
    assert student.quantize(x[order], p).tolist() == student.quantize(x, p)[order].tolist()
    assert student.quantize(np.repeat(x, 3)[::3], p).tolist() == student.quantize(x, p).tolist()


def rows_or_groups(student, seed, groups):
    """Numbers, their quantization parameters a row or a group, and of each number its own two."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 10.0 ** rng.integers(-3, 4, (3, 2, 1)), (3, 2, 5)).astype(np.float32)
    shape = (3, 2, 1) if groups else (3, 1, 1)
    scale, zero = rng.uniform(0.01, 3, shape).astype(np.float32), rng.integers(-128, 128, shape)
    own = zip(np.broadcast_to(scale, x.shape).flat, np.broadcast_to(zero, x.shape).flat, strict=True)
    return x, student.QParams(scale, zero), [(float(s), int(z)) for s, z in own]


@pytest.mark.part("quantize")
@given(seed=st.integers(0, 10_000), groups=st.booleans())
def test_rows_and_groups_are_measured_one_by_one(student, seed, groups):
    x, p, own = rows_or_groups(student, seed, groups)
    wanted = [oracle.code(float(v), s, z, -128, 127) for v, (s, z) in zip(x.flat, own, strict=True)]
    assert student.quantize(x, p).ravel().tolist() == wanted


@pytest.mark.part("dequantize")
@given(seed=st.integers(0, 10_000), groups=st.booleans())
def test_codes_of_rows_and_groups_are_read_one_by_one(student, seed, groups):
    x, p, own = rows_or_groups(student, seed, groups)
    codes = np.random.default_rng(seed).integers(-128, 128, x.shape).astype(np.int8)
    wanted = [oracle.real(int(q), s, z) for q, (s, z) in zip(codes.flat, own, strict=True)]
    assert student.dequantize(codes, p).ravel().tolist() == wanted


@pytest.mark.part("quantize")
def test_float64_beyond_float32_saturates(student):
    assert student.quantize(np.array([1e300, -1e300]), student.QParams(1.0, 3)).tolist() == [127, -128]


@pytest.mark.part("quantize")
@pytest.mark.parametrize("x", [[np.nan], [[0.0, np.nan]]])
def test_nan_is_refused_with_its_place(student, x):
    with pytest.raises(ValueError, match="NaN"):
        student.quantize(np.array(x), student.QParams(1.0, 0))


@pytest.mark.part("quantize")
def test_what_is_not_real_is_refused(student):
    with pytest.raises(TypeError, match="real numbers"):
        student.quantize(np.array([1j]), student.QParams(1.0, 0))
