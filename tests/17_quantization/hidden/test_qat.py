"""Any small network: the integer one computes what the fake-quantized one does, to the rounding of its bias."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.part("convert")
@given(
    seed=st.integers(0, 10_000),
    bits=st.integers(2, 8),
    axis=st.sampled_from([None, 0]),
    bias=st.booleans(),
)
def test_one_converted_layer_differs_by_half_a_step_of_its_bias(student, seed, bits, axis, bias):
    rng = np.random.default_rng(seed)
    n, k = rng.integers(1, 7, 2).tolist()
    layer = student.Linear(k, n, bias)
    state = {"weight": rng.normal(size=(n, k)).astype(np.float32)} | (
        {"bias": rng.normal(size=n).astype(np.float32)} if bias else {}
    )
    layer.load_state_dict(state)
    x = rng.normal(rng.normal(), 2, (5, k)).astype(np.float32)
    model = student.prepare_qat(student.Sequential(layer), [x], student.IntType(bits), axis=axis).eval()
    fake, p = model(x).data, model.layers[0]
    integer = student.convert(model)(x).data
    unit = float(p.input.qparams.scale) * p.weight.qparams.scale.ravel()
    sizes = np.abs(x).max() * np.abs(state["weight"]).sum(1) + np.abs(state.get("bias", np.zeros(n)))
    assert (np.abs(integer - fake) <= unit / 2 + (k + 8) * 2.0**-22 * sizes + 1e-6).all()


@pytest.mark.part("FakeQuantized")
@given(seed=st.integers(0, 10_000), bits=st.integers(2, 8))
def test_gradients_of_a_rounded_layer_are_those_of_its_rounded_parts(student, seed, bits):
    rng = np.random.default_rng(seed)
    layer = student.Linear(4, 3)
    x = student.Tensor(rng.normal(size=(6, 4)).astype(np.float32), True)
    module = student.FakeQuantized(
        layer,
        student.FakeQuantize(student.IntType(bits), symmetric=True, axis=0),
        student.FakeQuantize(observer=student.MovingAverageObserver()),
    )
    grad = rng.normal(size=(6, 3)).astype(np.float32)
    module(x).backward(grad)
    w_hat = student.fake_quantize(layer.weight, module.weight.qparams).data
    x_hat = student.fake_quantize(x, module.input.qparams).data
    assert np.allclose(layer.weight.grad, grad.T @ x_hat, atol=1e-4), (
        "no weight that is quantized by its own range is clipped"
    )
    assert np.allclose(x.grad, grad @ w_hat, atol=1e-4)
    assert np.allclose(layer.bias.grad, grad.sum(0), atol=1e-4)
