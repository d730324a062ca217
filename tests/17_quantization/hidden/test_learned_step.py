"""Learned steps against scalar formulas in float64, for any scale and zero point."""

import numpy as np
import oracle_17 as oracle
from hypothesis import given
from hypothesis import strategies as st


@given(
    seed=st.integers(0, 10_000), bits=st.integers(2, 8), scale=st.floats(2.0**-10, 2.0**10, width=32),
    positive=st.booleans(), count=st.integers(1, 1000),
)  # fmt: skip
def test_values_and_both_gradients_are_the_formulas(student, seed, bits, scale, positive, count):
    rng = np.random.default_rng(seed)
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    zero_point = qmin if positive else 0
    values = (rng.uniform(1.5 * qmin - zero_point, 1.5 * qmax - zero_point, 30) * scale).astype(np.float32)
    grad = rng.normal(size=30).astype(np.float32)
    x, s = student.Tensor(values, True), student.Tensor(np.array([scale], np.float32), True)
    out = student.learned_step_quantize(x, s, zero_point, student.IntType(bits), count)
    out.backward(grad)
    slope = size = 0.0
    for v, g, y, got in zip(values.tolist(), grad.tolist(), out.data.tolist(), x.grad.tolist(), strict=True):
        steps = oracle.f32(v / scale)
        q = round(steps) + zero_point
        inside = qmin <= q <= qmax
        kept = min(max(q, qmin), qmax) - zero_point
        assert y == oracle.f32(kept * scale) and got == (g if inside else 0), f"{v} by scale {scale}"
        slope += g * (kept - steps if inside else kept)
        size += abs(g) * (abs(kept) + abs(steps) + 1)
    damping = (count * (qmax - zero_point)) ** -0.5
    assert abs(s.grad[0] - slope * damping) <= 40 * 2.0**-24 * size * damping + 1e-12


@given(seed=st.integers(0, 10_000))
def test_rows_learn_alone(student, seed):
    rng = np.random.default_rng(seed)
    values, scale = rng.normal(0, 3, (3, 8)).astype(np.float32), rng.uniform(0.1, 2, (3, 1)).astype(np.float32)
    x, s = student.Tensor(values, True), student.Tensor(scale, True)
    student.learned_step_quantize(x, s, 0, student.IntType(4), 8).sum().backward()
    for i in range(3):
        row, own = student.Tensor(values[i], True), student.Tensor(scale[i], True)
        student.learned_step_quantize(row, own, 0, student.IntType(4), 8).sum().backward()
        assert np.allclose(s.grad[i], own.grad, rtol=1e-5, atol=1e-6) and x.grad[i].tolist() == row.grad.tolist()


@given(
    seed=st.integers(0, 10_000),
    bits=st.integers(2, 8),
    axis=st.sampled_from([None, 0]),
    bias=st.booleans(),
)
def test_a_converted_layer_with_learned_steps_differs_by_half_a_step_of_its_bias(student, seed, bits, axis, bias):
    rng = np.random.default_rng(seed)
    n, k = rng.integers(1, 7, 2).tolist()
    layer = student.Linear(k, n, bias)
    state = {"weight": rng.normal(size=(n, k)).astype(np.float32)} | (
        {"bias": rng.normal(size=n).astype(np.float32)} if bias else {}
    )
    layer.load_state_dict(state)
    x = rng.normal(rng.normal(), 2, (5, k)).astype(np.float32)
    model = student.prepare_qat(student.Sequential(layer), [x], student.IntType(bits), axis=axis, learned=True).eval()
    fake, p = model(x).data, model.layers[0]
    integer = student.convert(model)(x).data
    unit = float(p.input.qparams.scale) * p.weight.qparams.scale.ravel()
    sizes = np.abs(x).max() * np.abs(state["weight"]).sum(1) + np.abs(state.get("bias", np.zeros(n)))
    assert (np.abs(integer - fake) <= unit / 2 + (k + 8) * 2.0**-22 * sizes + 1e-6).all()
