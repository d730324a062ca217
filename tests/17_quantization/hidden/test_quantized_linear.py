"""QuantizedLinear of any weights, against the float layer with a derived bound; and its two given helpers."""

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

SEEDS = st.integers(0, 9999)
FLOAT = 2.0**-20  # float32 rounds a handful of times; relative to the largest terms


def drawn(seed):
    """x [rows, in], weight [out, in] with rows of very different size, bias [out] of about the size of the output."""
    rng = np.random.default_rng(seed)
    rows, n_in, n_out = rng.integers(1, 6, 3)
    x = rng.normal(rng.normal(), 1, (rows, n_in)) * 10.0 ** rng.integers(-2, 3)
    weight = rng.normal(size=(n_out, n_in)) * 10.0 ** rng.integers(-2, 2, (n_out, 1))
    bias = rng.normal(size=n_out) * np.abs(weight).max(1) * np.abs(x).max()
    return (v.astype(np.float32) for v in (x, weight, bias))


def bound(x, weight, bias, s_x):
    """|x - x_hat| <= s_x / 2, |w - w_hat| <= s_w / 2, and the int32 bias moves by half a unit s_x * s_w."""
    x, weight = (np.abs(v.astype(np.float64)) for v in (x, weight))
    s_w = weight.max(1) / 127
    moved = x.sum(1, keepdims=True) * s_w / 2 + weight.sum(1) * s_x / 2 + x.shape[1] * s_x * s_w / 4 + s_x * s_w / 2
    return moved * 1.01 + FLOAT * (x @ weight.T + np.abs(bias))  # the last code may lie half a step and a float inside


@given(seed=SEEDS, axis=st.sampled_from([0, None]))
def test_a_dynamic_layer_is_near_the_float_layer(student, seed, axis):
    x, weight, bias = drawn(seed)
    got = student.QuantizedLinear(weight, bias, axis=axis)(x).data
    s_x = (max(x.max(), 0) - min(x.min(), 0)) / 255
    size = weight if axis == 0 else np.broadcast_to(np.abs(weight).max(), weight.shape)
    error = np.abs(got - (x.astype(np.float64) @ weight.T + bias))
    assert (error <= bound(x, size, bias, s_x)).all(), f"off by {error.max()}"


@given(seed=SEEDS)
def test_a_static_layer_is_near_the_float_layer_on_what_it_was_calibrated_with(student, seed):
    x, weight, bias = drawn(seed)
    p = student.choose_qparams(float(x.min()), float(x.max()))
    got = student.QuantizedLinear(weight, bias, p)(x).data
    error = np.abs(got - (x.astype(np.float64) @ weight.T + bias))
    assert (error <= bound(x, weight, bias, float(p.scale))).all(), f"off by {error.max()}"


@given(seed=SEEDS)
def test_a_layer_that_hands_on_codes_adds_half_a_step_of_theirs(student, seed):
    x, weight, bias = drawn(seed)
    y = x.astype(np.float64) @ weight.T + bias
    p_x, p_y = (student.choose_qparams(float(v.min()), float(v.max())) for v in (x, y))
    for static in (True, False):
        out = student.QuantizedLinear(weight, bias, p_x if static else None, p_y)(x)
        error = np.abs(out.dequantize() - y)
        limit = bound(x, weight, bias, max(float(p_x.scale), np.ptp(np.append(x, 0)) / 255)) + float(p_y.scale) * 0.51
        assert (error <= limit).all(), f"static {static}: off by {error.max()}, {error.max() / p_y.scale} steps"


@given(seed=SEEDS)
def test_the_integers_are_the_specification_s(student, seed):
    x, weight, bias = drawn(seed)
    lo, hi = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    s_x, z_x = oracle.qparams(lo, hi, -128, 127)
    codes = [[oracle.code(v, s_x, z_x, -128, 127) for v in row] for row in x.tolist()]
    s_w, w = oracle.symmetric_rows(weight.tolist())
    unit = np.array(s_w) * s_x
    acc = np.array(oracle.sums(codes, z_x, w)) + np.rint(bias / unit)
    got = student.QuantizedLinear(weight, bias, student.QParams(s_x, z_x))(x).data
    assert (np.abs(got - acc * unit) <= unit * 1.01 + 2.0**-22 * np.abs(acc * unit)).all()  # 1: a bias on a tie


@given(seed=SEEDS, static=st.booleans())
def test_each_sample_is_computed_as_if_alone_when_the_scale_is_fixed(student, seed, static):
    x, weight, bias = drawn(seed)
    p = student.choose_qparams(float(x.min()), float(x.max()))
    linear = student.QuantizedLinear(weight, bias, p, student.QParams(0.5, 3) if static else None)
    values = (lambda y: y.q) if static else (lambda y: y.data)
    together = values(linear(x))
    for i, row in enumerate(x):
        assert (values(linear(row)) == together[i]).all()
    order = np.random.default_rng(seed).permutation(len(x))
    assert (values(linear(x[order])) == together[order]).all()


@given(seed=SEEDS)
def test_codes_in_are_what_reals_on_the_marks_would_be(student, seed):
    _, weight, bias = drawn(seed)
    p = student.QParams(0.25, -7)
    codes = np.random.default_rng(seed).integers(-128, 128, (4, weight.shape[1])).astype(np.int8)
    linear = student.QuantizedLinear(weight, bias, p)
    given_codes = linear(student.QuantizedTensor(codes, p)).data
    assert (given_codes == linear(((codes + 7.0) / 4).astype(np.float32)).data).all()


@given(xs=st.lists(st.floats(-1e6, 1e6, width=32), max_size=12))
def test_dynamic_quantize_is_the_onnx_rule(student, xs):
    codes, p = student.dynamic_quantize(np.array(xs, np.float32))
    scale, zero_point = oracle.dynamic_qparams([*xs, 0.0])
    assert float(p.scale) == scale and (p.zero_point == zero_point or scale == 1)
    assert codes.tolist() == [oracle.code(x, float(p.scale), int(p.zero_point), 0, 255) for x in xs]


@pytest.mark.parametrize("tiny", [0.0, 1e-9, 1e-30])
def test_a_row_that_says_less_than_its_bias_gives_its_bias(student, tiny):
    weight, bias = np.array([[1.0, 1.0], [tiny, tiny]], np.float32), np.array([1.0, 0.45], np.float32)
    for input_qparams in (None, student.QParams(1.0, 0), student.QParams(1e-3, 0)):
        y = student.QuantizedLinear(weight, bias, input_qparams)(np.zeros((1, 2), np.float32)).data
        assert np.allclose(y[0, 1], 0.45, rtol=1e-6), "the bias of a row of zeros is no whole number of input steps"


def test_sums_too_large_for_int32_name_their_channel_and_k(student):
    weight = np.zeros((2, 70_000), np.float32)
    weight[1] = 1
    with pytest.raises(OverflowError, match="channel 1: its sum of K = 70000"):
        student.QuantizedLinear(weight, None, student.QParams(1e-3, 0))


def test_a_layer_keeps_nothing_of_the_arrays_it_was_given(student):
    weight, bias, x = np.eye(3, dtype=np.float32), np.ones(3, np.float32), np.ones((1, 3), np.float32)
    linear = student.QuantizedLinear(weight, bias)
    before = linear(x).data
    weight[:], bias[:] = 7, 7
    assert (linear(x).data == before).all()
