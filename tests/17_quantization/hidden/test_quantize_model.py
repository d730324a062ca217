"""Networks of any depth, against the float network with a derived bound."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tito.testing.student_fixture import type_name

SEEDS = st.integers(0, 9999)
HOW = [pytest.param(how, marks=pytest.mark.part(f"quantize_{how}")) for how in ("dynamic", "static")]


def drawn(seed):
    """Weights, biases and inputs of a random network: 1 to 4 layers, some without bias."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 8, rng.integers(2, 6))
    shapes = zip(sizes[1:], sizes, strict=False)
    weights = [(rng.normal(size=(n, k)) * rng.uniform(0.1, 1, (n, 1))).astype(np.float32) for n, k in shapes]
    biases = [rng.normal(size=len(w)).astype(np.float32) if rng.random() < 0.7 else None for w in weights]
    return weights, biases, rng.normal(size=(16, sizes[0])).astype(np.float32)


def network(student, weights, biases, nested=False):
    layers = []
    for w, b in zip(weights, biases, strict=True):
        layer = student.Linear(w.shape[1], w.shape[0], b is not None)
        layer.load_state_dict({"weight": w} | ({} if b is None else {"bias": b}))
        layers += [layer, student.ReLU()]
    layers.pop()
    if nested and len(layers) > 2:
        return student.Sequential(student.Sequential(*layers[:2]), student.Sequential(*layers[2:]))
    return student.Sequential(*layers)


def float_run(weights, biases, x):
    """What each layer is given, and the answer, in float64."""
    inputs = []
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        inputs.append(x)
        x = x.astype(np.float64) @ w.T + (0 if b is None else b)
        x = np.maximum(x, 0) if i < len(weights) - 1 else x
    return inputs, x


def bound(weights, biases, x):
    """How far quantizing may move the answer: through each layer the error of its input, of its scale, of its weights.

    With e the error on the way in and s the scale: a number within the range comes out within e + s / 2,
    saturated or not, for saturating moves it towards the range. ReLU makes no error larger.
    """
    inputs, _ = float_run(weights, biases, x)
    error = np.zeros_like(x, np.float64)
    for x_in, w, b in zip(inputs, weights, biases, strict=True):
        step = (max(x_in.max(), 0) - min(x_in.min(), 0) + 2 * error.max()) / 255
        error = error + step / 2 * 1.01
        w, s_w = np.abs(w.astype(np.float64)), np.abs(w).max(1) / 127
        rounded = (np.abs(x_in) + error).sum(1, keepdims=True) * s_w / 2 + step * s_w / 2
        error = error @ w.T + rounded + 2.0**-20 * (np.abs(x_in) @ w.T + (0 if b is None else np.abs(b)))
    return error


@pytest.mark.part("quantize_dynamic")
@given(seed=SEEDS, nested=st.booleans())
def test_a_dynamic_model_is_near_the_float_model(student, seed, nested):
    weights, biases, x = drawn(seed)
    got = student.quantize_dynamic(network(student, weights, biases, nested))(x).data
    error = np.abs(got - float_run(weights, biases, x)[1])
    assert (error <= bound(weights, biases, x)).all(), f"off by {error.max()}"


@pytest.mark.part("quantize_static")
@given(seed=SEEDS, nested=st.booleans(), parts=st.integers(1, 4))
def test_a_static_model_is_near_the_float_model_on_what_it_was_calibrated_with(student, seed, nested, parts):
    weights, biases, x = drawn(seed)
    model = student.quantize_static(network(student, weights, biases, nested), np.array_split(x, parts))
    error = np.abs(model(x).data - float_run(weights, biases, x)[1])
    assert (error <= bound(weights, biases, x)).all(), f"off by {error.max()}"


@pytest.mark.part("quantize_static")
@given(seed=SEEDS)
def test_every_scale_is_that_of_what_its_layer_is_given(student, seed):
    weights, biases, x = drawn(seed)
    inputs, _ = float_run(weights, biases, x)
    assume(all(seen.any() for seen in inputs))  # a layer that was given zeros alone takes each input's own range
    model = student.quantize_static(network(student, weights, biases), np.array_split(x, 3))
    assert len(model.layers) == len(weights)
    moved = np.zeros_like(x, np.float64)  # by float32, in which the model runs: large terms may leave a small sum
    for layer, seen, w, b in zip(model.layers, inputs, weights, biases, strict=True):
        scale, got = (max(seen.max(), 0) - min(seen.min(), 0)) / 255, float(layer.input_qparams.scale)
        slack = 1e-6 * scale + 2 * moved.max() / 255
        assert abs(got - scale) <= slack, f"scale {got}, not {scale}"
        moved = moved @ np.abs(w).T + 2.0**-20 * (np.abs(seen) @ np.abs(w).T + (0 if b is None else np.abs(b)))
    for layer, following in zip(model.layers, model.layers[1:], strict=False):
        assert layer.output_qparams == following.input_qparams, (
            "each layer hands on codes by the next one's input_qparams"
        )


@pytest.mark.parametrize("how", HOW)
@given(seed=SEEDS, bits=st.integers(2, 8), axis=st.sampled_from([0, None]))
def test_weights_have_the_type_and_scales_asked_for(student, how, seed, bits, axis):
    weights, biases, x = drawn(seed)
    model, t = network(student, weights, biases), student.IntType(bits)
    if how == "static":
        model = student.quantize_static(model, [x], student.MinMaxObserver, t, axis)
    else:
        model = student.quantize_dynamic(model, t, axis)
    quantized = [layer for layer in model.layers if type_name(layer) == "QuantizedLinear"]
    for layer, w in zip(quantized, weights, strict=True):
        assert layer.weight.qparams.int_type == t
        top = np.abs(w).max(None if axis is None else 1, keepdims=axis is not None)
        assert np.allclose(layer.weight.qparams.scale, top / t.qmax, rtol=1e-6)
        assert layer.weight.stored.nbytes == t.nbytes(w.shape)


@pytest.mark.parametrize("how", HOW)
@given(seed=SEEDS)
def test_no_float_weight_and_no_gradient_is_left(student, how, seed):
    weights, biases, x = drawn(seed)
    model = network(student, weights, biases)
    model = student.quantize_dynamic(model) if how == "dynamic" else student.quantize_static(model, [x])
    for name, array in student.model_arrays(model).items():
        assert array.dtype.kind != "f" or array.ndim < 2 or array.shape[1] == 1, f"{name}: {array.dtype}{array.shape}"
    assert len(model.parameters()) == 0


@pytest.mark.part("quantize_static")
def test_relu_stays_where_clipping_cannot_replace_it(student):
    weights, biases, x = [np.eye(3, dtype=np.float32)] * 2, [None, None], np.eye(3, dtype=np.float32)
    linear, relu = (network(student, weights, biases).layers[i] for i in (0, 1))
    for layers, wanted in (
        ([linear, relu], ["QuantizedLinear", "ReLU"]),
        ([relu, linear], ["ReLU", "QuantizedLinear"]),
        ([linear, linear], ["QuantizedLinear"] * 2),
        ([linear, relu, relu, linear], ["QuantizedLinear"] * 2),
    ):
        model = student.quantize_static(student.Sequential(*layers), [x, -x])
        assert [type_name(layer) for layer in model.layers] == wanted
        error = np.abs(model(x - 0.5).data - student.Sequential(*layers)(x - 0.5).data)
        assert error.max() <= 3 * (0.5 / 255 + 1 / 254), f"{wanted}: off by {error.max()}"


def test_weight_only_keeps_float_arithmetic_and_small_weights(student, rng):
    weights, biases = [rng.normal(size=(8, 40)).astype(np.float32)], [np.ones(8, np.float32)]
    x = rng.normal(size=(3, 40)).astype(np.float32)
    model = student.quantize_weight_only(network(student, weights, biases), student.INT4, 32)
    steps = np.abs(np.pad(weights[0], ((0, 0), (0, 24))).reshape(8, 2, 32)).max(2) / 7
    per_column = np.repeat(steps, 32, 1)[:, :40]
    limit = np.abs(x) @ (per_column / 2).T * 1.001 + 1e-4
    assert (np.abs(model(x).data - float_run(weights, biases, x)[1]) <= limit).all()
    assert model.layers[0].weight.stored.nbytes == 8 * 64 // 2


@pytest.mark.part("quantize_static")
def test_no_batches_is_refused(student):
    weights, biases, _ = drawn(1)
    with pytest.raises(ValueError, match="seen no numbers"):
        student.quantize_static(network(student, weights, biases), [])
