"""Values and gradients of fake quantization against the scalar specification, for any scale and zero point."""

import numpy as np
import oracle_17 as oracle
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def parameters(draw):
    bits = draw(st.integers(2, 8))
    signed = draw(st.booleans())
    qmin = -(2 ** (bits - 1)) if signed else 0
    scale = draw(st.one_of(st.sampled_from([2.0**-7, 0.5, 1.0]), st.floats(2.0**-20, 2.0**20, width=32)))
    return scale, draw(st.integers(qmin, qmin + 2**bits - 1)), bits, signed


@given(
    steps=st.lists(st.floats(-400, 400, width=32), min_size=1, max_size=20),
    qparams=parameters(),
    seed=st.integers(0, 99),
)
def test_value_and_gradient_are_the_specification_s(student, steps, qparams, seed):
    scale, zero_point, bits, signed = qparams
    int_type = student.IntType(bits, signed)
    qmin, qmax = int_type.qmin, int_type.qmax
    values = (np.array(steps, np.float32) * np.float32(scale)).astype(np.float32)
    grad = np.random.default_rng(seed).normal(size=values.shape).astype(np.float32)
    x = student.Tensor(values, True)
    out = student.fake_quantize(x, student.QParams(scale, zero_point, int_type))
    out.backward(grad)
    for v, g, y, got in zip(values.tolist(), grad.tolist(), out.data.tolist(), x.grad.tolist(), strict=True):
        code = oracle.code(v, scale, zero_point, qmin, qmax)
        fits = qmin <= round(oracle.f32(oracle.f32(v) / oracle.f32(scale))) + zero_point <= qmax
        assert y == oracle.real(code, scale, zero_point), f"{v} by scale {scale}, zero point {zero_point}"
        assert got == (g if fits else 0), f"the gradient of {v} by scale {scale}, zero point {zero_point}: {got} of {g}"


@given(values=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20))
def test_what_was_rounded_once_stays(student, values):
    p = student.QParams(0.25, 3, student.IntType(5))
    once = student.fake_quantize(student.Tensor(np.array(values, np.float32)), p)
    assert student.fake_quantize(once, p).data.tolist() == once.data.tolist()


@given(seed=st.integers(0, 10_000))
def test_each_row_is_what_it_is_alone(student, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 3, (4, 6)).astype(np.float32)
    scale, zero = rng.uniform(0.01, 1, (4, 1)).astype(np.float32), rng.integers(-8, 8, (4, 1))
    x = student.Tensor(values, True)
    out = student.fake_quantize(x, student.QParams(scale, zero, student.INT8))
    out.sum().backward()
    for i in range(4):
        row = student.Tensor(values[i], True)
        alone = student.fake_quantize(row, student.QParams(scale[i, 0], zero[i, 0], student.INT8))
        alone.sum().backward()
        assert out.data[i].tolist() == alone.data.tolist() and x.grad[i].tolist() == row.grad.tolist()
