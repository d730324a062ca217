"""FakeQuantized and convert. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, returned, works

from tito.testing.student_fixture import may_change, type_name

FORWARD = "a copy of the layer, its weight passed through self.weight, is called with self.input(x)"
CONVERT = "QuantizedTensor(codes of the weight, its qparams), then quantized_layer(m.layer, weight, m.input.qparams)"
WEIGHT = np.array([[0.5, -0.25, 1.0], [0.125, 0.0625, -0.03]], np.float32)
BIAS = np.array([0.5, -1.25], np.float32)
X = np.array([[1.0, 0.25, 0.5], [-0.75, 0.375, 2.0]], np.float32)


def linear(student, weight=WEIGHT, bias=BIAS):
    layer = student.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer


def prepared(student, layer, bits=4, axis=0):
    """The layer FakeQuantized: weights of `bits` bits, symmetric; inputs int8, by a moving average."""
    weight = student.FakeQuantize(student.IntType(bits), symmetric=True, axis=axis)
    return student.FakeQuantized(layer, weight, student.FakeQuantize(observer=student.MovingAverageObserver()))


def forward(module, x):
    with works("FakeQuantized(layer, weight, input)(x)", FORWARD):
        y = module(x)
    returned("_rounded", y, "Tensor")
    return y


class Parts:
    """What a FakeQuantized Linear should compute, and what it computes when a part of it is forgotten."""

    def __init__(self, x=X, weight=WEIGHT, bits=4):
        self.s_x, self.z_x = oracle.qparams(float(x.min()), float(x.max()), -128, 127)
        self.x_q = np.array([[oracle.code(v, self.s_x, self.z_x, -128, 127) for v in row] for row in x.tolist()])
        scales, codes = oracle.symmetric_rows(weight.tolist(), 2 ** (bits - 1) - 1)
        self.s_w, self.w_q = np.array(scales), np.array(codes)
        self.x_hat = self.s_x * (self.x_q - self.z_x)
        self.w_hat = self.w_q * self.s_w[:, None]


@pytest.mark.part("FakeQuantized")
def test_the_layer_multiplies_rounded_inputs_and_weights(student):
    parts = Parts()
    y = forward(prepared(student, linear(student)), X)
    slips = {
        "the weight was not rounded: self.weight(self.layer.weight)": parts.x_hat @ WEIGHT.T + BIAS,
        "the input was not rounded: self.input(x)": X @ parts.w_hat.T + BIAS,
        "nothing was rounded: this is the float layer": X @ WEIGHT.T + BIAS,
        "the bias is missing: call a copy of the layer": parts.x_hat @ parts.w_hat.T,
    }
    check("FakeQuantized(linear)(x)", y.data, parts.x_hat @ parts.w_hat.T + BIAS, FORWARD, slips=slips, within=2.0**-20)


@pytest.mark.part("FakeQuantized")
def test_the_layer_is_rounded_in_evaluation_mode_too(student):
    parts, module = Parts(), prepared(student, linear(student))
    forward(module, X)
    y = forward(module.eval(), X)
    slips = {"in evaluation mode nothing was rounded: the error must be there in both modes": X @ WEIGHT.T + BIAS}
    wanted = parts.x_hat @ parts.w_hat.T + BIAS
    check("FakeQuantized(linear).eval()(x)", y.data, wanted, FORWARD, slips=slips, within=2.0**-20)


@pytest.mark.part("FakeQuantized")
def test_the_quantizer_of_the_input_sees_each_batch_once(student):
    module = prepared(student, linear(student))
    for x in (X, 3 * X):
        forward(module, x)
    wanted, _ = oracle.qparams(1.2 * float(X.min()), 1.2 * float(X.max()), -128, 127)
    once = "its moving average saw something else than x, then 3 * x: call self.input(x) once in a forward pass"
    check("the input's scale after x, 3 * x", module.input.qparams.scale, wanted, once, within=1e-6)


@pytest.mark.part("FakeQuantized")
def test_the_layer_keeps_its_float_weight(student):
    layer = linear(student)
    module = prepared(student, layer)
    forward(module, X)
    kept = (
        "the layer's own weight was replaced by the rounded one: round that of a copy(self.layer), train the float one"
    )
    check("layer.weight after a forward pass", module.layer.weight.data, WEIGHT, kept)
    names = [name for name, _ in module.named_parameters()]
    assert names == ["layer.weight", "layer.bias"], (
        f"what is trained must be the float layer's weight and bias, got {names}"
    )


@pytest.mark.part("FakeQuantized")
def test_the_gradient_reaches_the_float_weight(student):
    parts, layer = Parts(), linear(student)
    module = prepared(student, layer)
    grad = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    with works("FakeQuantized(linear)(x).backward()", FORWARD):
        forward(module, X).backward(grad)
    lost = "no gradient reached layer.weight: pass the Tensor through self.weight, not its .data in a new one"
    assert module.layer.weight.grad is not None, lost
    slips = {"the gradient is that of the input before rounding: self.input(x)": grad.T @ X, lost: np.zeros((2, 3))}
    got = module.layer.weight.grad
    check("the gradient of layer.weight", got, grad.T @ parts.x_hat, FORWARD, slips=slips, within=2.0**-20)
    assert module.layer.bias.grad is not None, "no gradient reached layer.bias: the copy of the layer keeps its bias"
    check("the gradient of layer.bias", module.layer.bias.grad, grad.sum(0), FORWARD)


@pytest.mark.part("FakeQuantized")
def test_the_gradient_reaches_the_input(student):
    parts, x = Parts(), student.Tensor(X, True)
    grad = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    forward(prepared(student, linear(student)), x).backward(grad)
    assert x.grad is not None, "no gradient reached x, so layers before this one learn nothing: self.input(x)"
    slips = {"the gradient is that of the weight before rounding": grad @ WEIGHT}
    check("the gradient of x", x.grad, grad @ parts.w_hat, FORWARD, slips=slips, within=2.0**-20)


@pytest.mark.part("FakeQuantized")
def test_the_gradient_is_the_slope_over_whole_steps(student):
    """Central differences: a weight moved one step of its row's scale each way moves its code by exactly one.

    The largest weight of a row stays, for it makes the scale.
    """
    grad = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    module = prepared(student, linear(student))
    forward(module, X).backward(grad)
    step, slopes = np.abs(WEIGHT).max(1) / 7, np.zeros((2, 3))

    def f(n, k, by):
        moved = WEIGHT.copy()
        moved[n, k] += np.float32(by)
        return float((forward(prepared(student, linear(student, moved)), X).data * grad).sum())

    small = np.abs(WEIGHT) < np.abs(WEIGHT).max(1, keepdims=True) * 0.7
    for n, k in np.argwhere(small):
        slopes[n, k] = (f(n, k, step[n]) - f(n, k, -step[n])) / (2 * step[n])
    got = np.where(small, module.layer.weight.grad, 0)
    check("the gradient of layer.weight, against differences", got, slopes, FORWARD, within=2.0**-19 / step[:, None])


@pytest.mark.part("FakeQuantized")
def test_a_convolution_is_rounded_likewise(student):
    conv = student.Conv2d(2, 3, 3, stride=2, padding=1)
    x = np.random.default_rng(1).normal(size=(2, 2, 5, 6)).astype(np.float32)
    module = prepared(student, conv, 3)
    got = forward(module, x).data
    with works("the copy of a Conv2d", FORWARD):
        w_hat = student.fake_quantize(conv.weight, module.weight.qparams).data
        rounded = student.Conv2d(2, 3, 3, stride=2, padding=1)
        rounded.load_state_dict({"weight": w_hat, "bias": conv.bias.data})
        wanted = rounded(student.fake_quantize(student.Tensor(x), module.input.qparams)).data
    check(
        "FakeQuantized(conv)(x)", got, wanted, f"stride and padding stay in a copy of the layer: {FORWARD}", within=1e-5
    )


def network(student, **options):
    """Two Linear layers, prepared with weights of 4 bits."""
    second = np.array([[1.0, -0.5], [0.25, 0.75], [-0.3, 0.1]], np.float32)
    model = student.Sequential(linear(student), linear(student, second, None))
    return student.prepare_qat(model, [X, 2 * X], **{"weight_type": student.IntType(4), **options})


def converted(student, model):
    with works("convert(model)", CONVERT):
        got = student.convert(model)
    returned("convert", got, "layer")
    return got


@pytest.mark.part("convert")
def test_every_prepared_layer_becomes_an_integer_layer(student):
    got = [type_name(layer) for layer in converted(student, network(student)).layers]
    assert got == ["QuantizedLinear", "QuantizedLinear"], f"layers became {got}, wanted two QuantizedLinear: {CONVERT}"


@pytest.mark.part("convert")
@pytest.mark.parametrize("axis", [0, None])
def test_weight_codes_are_those_that_training_saw(student, axis):
    got = converted(student, network(student, axis=axis)).layers[0].weight
    check(
        "bits of the weights", got.qparams.int_type.bits, 4, "the weight's type is that of m.weight.qparams, not INT8"
    )
    rows = WEIGHT.tolist() if axis == 0 else [WEIGHT.ravel().tolist()]
    scales, codes = oracle.symmetric_rows(rows, 7)
    same = "the qparams must be m.weight.qparams, which training used"
    check(f"the weight's scale, axis {axis}", np.ravel(got.qparams.scale), scales, same, within=1e-9)
    slips = {"these are codes by another scale: quantize(weight, m.weight.qparams)": got.dequantize()}
    check(f"the weight's codes, axis {axis}", got.q, np.reshape(codes, WEIGHT.shape), same, slips=slips)


@pytest.mark.part("convert")
def test_the_scale_of_the_weight_follows_the_last_training_step(student):
    """After a step the weights are other ones: the codes are those of the weights as they are now."""
    model = network(student)
    model.layers[0].layer.load_state_dict({"weight": 3 * WEIGHT, "bias": BIAS})
    got = converted(student, may_change(model)).layers[0].weight  # whose quantizer sees the new weights
    within = np.abs(3 * WEIGHT).max(1, keepdims=True) / 14 + 1e-6
    check(
        "the weights, dequantized",
        got.dequantize(),
        3 * WEIGHT,
        "the weights of m.layer, as they are now",
        within=within,
    )


@pytest.mark.part("convert")
def test_the_qparams_of_the_input_are_those_training_used(student):
    model = network(student)
    got = converted(student, model).layers[0].input_qparams
    assert got is not None, "the layer is dynamic: pass the input's, m.input.qparams, on to quantized_layer"
    wanted, weights = model.layers[0].input.qparams, model.layers[0].weight.qparams
    slips = {"that is the weight's scale; the input's is m.input.qparams": weights.scale.ravel()[0]}
    check("the scale of the input", got.scale, wanted.scale, "m.input.qparams", slips=slips)
    check("the zero point of the input", got.zero_point, wanted.zero_point, "m.input.qparams")


@pytest.mark.part("convert")
def test_the_bias_comes_along(student):
    model = network(student)
    s_x, s_w = model.layers[0].input.qparams.scale, model.layers[0].weight.qparams.scale.ravel()
    got = converted(student, model).layers[0].bias
    check(
        "the int32 bias of the first layer", got, np.rint(BIAS / (s_x * s_w)), "quantized_layer takes it from m.layer"
    )


@pytest.mark.part("convert")
@pytest.mark.parametrize("axis", [0, None])
def test_the_integer_network_computes_what_was_trained(student, axis):
    """Both add the bias in whole steps of s_x * s_w. float32 rounds sums that int32 does not, and so a hidden code may
    fall on the other side of a tie; each moves the result by one step times a weight."""
    model = network(student, axis=axis)
    got = converted(student, model)
    trained = model.eval()(X).data
    first, second = model.layers
    hidden = float(second.input.qparams.scale) * np.abs(second.weight.qparams.scale * 7).max() * 2
    with works("convert(model)(x)", CONVERT):
        y = got(X).data
    check("convert(model)(x)", y, trained, f"qparams and codes must be those of training: {CONVERT}", within=hidden)
    near = np.abs(y - trained) <= 1e-5
    assert near.mean() >= 0.5, (
        f"only {near.mean():.0%} of the outputs agree to 1e-5: qparams and codes must be those of training"
    )


@pytest.mark.part("convert")
def test_the_prepared_model_can_be_trained_on(student):
    model = network(student)
    before, kinds_before = model.eval()(X).data, [type_name(layer) for layer in model.layers]
    converted(student, model)
    kinds = [type_name(layer) for layer in model.layers]
    assert kinds == kinds_before, f"the prepared model's layers became {kinds}: convert makes a new model"
    check("the prepared model's answer afterwards", model(X).data, before, "convert must not change the prepared model")


@pytest.mark.part("FakeQuantized")
@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_and_one_number_pass(student, rows):
    weight = np.array([[0.7]], np.float32)
    y = forward(prepared(student, linear(student, weight, None)), np.ones((rows, 1), np.float32))
    check(f"FakeQuantized(linear) of {rows} rows", y.data, np.full((rows, 1), 0.7), FORWARD, within=1e-6)
