"""quantize_dynamic and quantize_static. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, returned, works

from tito.testing.student_fixture import type_name

DYNAMIC = "a QuantizedLinear for each Linear, None for every other module"
STATIC = "observe_layers, run every batch through its result, quantize_observed, fuse_chain, return"
SIZES = (6, 5, 4)
HOW = [pytest.param(how, marks=pytest.mark.part(f"quantize_{how}")) for how in ("dynamic", "static")]


def numbers(seed, *shape):
    """Sixteenths in [-1, 1]: their float32 sums and products are exact, in any order."""
    return (np.random.default_rng(seed).integers(-16, 17, shape) / 16).astype(np.float32)


X = numbers(100, 7, SIZES[0])


def linear(student, seed, n_in, n_out, bias=True):
    layer = student.Linear(n_in, n_out, bias)
    state = {"weight": numbers(seed, n_out, n_in)} | ({"bias": numbers(seed + 50, n_out)} if bias else {})
    layer.load_state_dict(state)
    return layer


def network(student):
    """Linear, ReLU, Linear; their weights are numbers(1) and numbers(2), their biases numbers(51) and numbers(52)."""
    return student.Sequential(linear(student, 1, *SIZES[:2]), student.ReLU(), linear(student, 2, *SIZES[1:]))


def hidden(x):
    """What the second layer of the float network is given."""
    return np.maximum(x @ numbers(1, SIZES[1], SIZES[0]).T + numbers(51, SIZES[1]), 0)


def kinds(model):
    return [type_name(layer) for layer in model.layers]


def dynamic(student, model, *args, **options):
    with works("quantize_dynamic(model)", DYNAMIC):
        quantized = student.quantize_dynamic(model, *args, **options)
    returned("quantize_dynamic", quantized, "layer")
    return quantized


def static(student, model, batches, *args, **options):
    with works("quantize_static(model, batches)", STATIC):
        quantized = student.quantize_static(model, batches, *args, **options)
    returned("quantize_static", quantized, "layer")
    return quantized


@pytest.mark.part("quantize_dynamic")
def test_every_linear_layer_becomes_a_quantized_one_and_the_rest_stays(student):
    model = student.Sequential(linear(student, 1, 6, 5), student.ReLU(), student.Sequential(linear(student, 2, 5, 4)))
    got = dynamic(student, model)
    outer, inner = kinds(got), kinds(got.layers[2])
    wanted = ["QuantizedLinear", "ReLU", "Sequential"]
    assert outer == wanted, f"expected layers {wanted}, got {outer}: {DYNAMIC}"
    assert inner == ["QuantizedLinear"], f"expected a QuantizedLinear in the inner Sequential, got {inner}: {DYNAMIC}"
    alone = type_name(dynamic(student, linear(student, 1, 6, 5)))
    assert alone == "QuantizedLinear", f"expected a QuantizedLinear for a Linear by itself, got {alone}: {DYNAMIC}"


@pytest.mark.part("quantize_dynamic")
def test_a_dynamic_layer_has_the_weights_and_bias_of_the_float_layer(student):
    got = dynamic(student, network(student))
    for i, seed in ((0, 1), (2, 2)):
        weight = numbers(seed, *got.layers[i].weight.shape)
        step = np.abs(weight).max(1, keepdims=True) / 127
        call = f"the weights of layer {i}"
        check(call, got.layers[i].weight.dequantize(), weight, "m.weight.data", within=step / 2 + 1e-6)
        static = "the layer is static: a dynamic one has input_qparams None, the third argument of quantized_layer"
        assert got.layers[i].input_qparams is None, f"layer {i}: {static}"
        check(f"the bias of layer {i}", got.layers[i].bias, numbers(seed + 50, len(weight)), "bias_of(m) is the bias")


@pytest.mark.part("quantize_dynamic")
def test_a_dynamic_model_computes_what_its_layers_compute(student):
    got = dynamic(student, network(student))
    with works("model(x)", "a dynamic QuantizedLinear has no input_qparams and no output_qparams"):
        y = got(X)
    assert not hasattr(y, "qparams"), "a dynamic model's result is a Tensor of reals, got codes: pass no output_qparams"
    first, second = (
        student.QuantizedLinear(numbers(s, n, k), numbers(s + 50, n)) for s, n, k in ((1, 5, 6), (2, 4, 5))
    )
    wanted = second(np.maximum(first(X).data, 0)).data
    check("the dynamic model's answer", y.data, wanted, "each input must get its own range: input_qparams stays None")


@pytest.mark.part("quantize_static")
def test_in_a_static_chain_clipping_does_what_relu_did(student):
    got = kinds(static(student, network(student), [X]))
    assert "Linear" not in got, f"layers became {got}: a Linear is left, in float; did you quantize the observed model?"
    assert "Observed" not in got, (
        f"layers became {got}: they still only watch; quantize_observed(observed, axis) is missing"
    )
    assert "ReLU" not in got, f"layers became {got}: the ReLU is still there; fuse_chain(quantized) is missing"
    behind = "the range behind it does not begin at 0: each Linear must be watched where it stands, behind its ReLU"
    assert "OnCodes" not in got, f"layers became {got}: a ReLU is left, for {behind}"
    assert got == ["QuantizedLinear", "QuantizedLinear"], f"layers became {got}, wanted two QuantizedLinear: {STATIC}"


@pytest.mark.parametrize("how", HOW)
def test_a_layer_without_bias_is_quantized_without(student, how):
    model = student.Sequential(linear(student, 3, 6, 4, bias=False))
    x = numbers(7, 5, 6)
    none = "bias_of(m) is None for such a layer; QuantizedLinear takes None"
    got = dynamic(student, model) if how == "dynamic" else static(student, model, [x])
    with works(f"a {how} model without bias", none):
        y = got(np.zeros((2, 6), np.float32)).data
    check(f"a {how} layer without bias, of zeros", y, np.zeros((2, 4)), none)


@pytest.mark.parametrize("how", HOW)
def test_the_float_model_stays_as_it_was(student, how):
    model = network(student)
    before = model(X).data
    dynamic(student, model) if how == "dynamic" else static(student, model, [X])
    got = kinds(model)
    changed = "quantizing makes a *new* model (map_modules does); the float one was changed in place"
    assert got == ["Linear", "ReLU", "Linear"], f"the float model's layers became {got}: {changed}"
    check("the float model's answer afterwards", model(X).data, before, changed)


@pytest.mark.parametrize("how", HOW)
def test_no_float_weights_are_left(student, how):
    model = network(student)
    got = dynamic(student, model) if how == "dynamic" else static(student, model, [X])
    arrays = student.model_arrays(got)
    large = {name: str(a.dtype) for name, a in arrays.items() if a.size >= 20}
    assert sorted(large.values()) == ["int8", "int8"], (
        f"wanted two int8 weights and nothing else of that size, got {large}"
    )


@pytest.mark.parametrize("how", HOW)
def test_the_weights_type_and_axis_are_passed_on(student, how):
    model = network(student)
    int4 = student.INT4
    if how == "dynamic":
        got = dynamic(student, model, int4, None)
    else:
        got = static(student, model, [X], student.MinMaxObserver, int4, None)
    weight = got.layers[0].weight
    check("bits of the weights", weight.qparams.int_type.bits, 4, "pass weight_type on to QuantizedLinear")
    one = "pass axis on to QuantizedLinear: one scale for all rows"
    step = np.float32(np.abs(numbers(1, 5, 6)).max() / 7)
    check("the weights' scale for axis None", weight.qparams.scale, step, one)
    check("bytes of the 30 weights", weight.stored.nbytes, 15, "two codes of 4 bits a byte")


@pytest.mark.parametrize("how", HOW)
def test_a_rule_gives_a_layer_a_type_of_its_own_or_leaves_it_in_float(student, how):
    layers = [linear(student, 1, *SIZES[:2]), linear(student, 2, *SIZES[1:]), linear(student, 3, 4, 4)]
    model, options = student.Sequential(*layers), {"rules": {"layers.0": student.INT4, "layers.1": None}}
    got = dynamic(student, model, **options) if how == "dynamic" else static(student, model, [X], **options)
    by_rule = "take the type from the rules: `wanted` here, and `rules` for observe_layers"
    wanted = ["QuantizedLinear", "Linear", "QuantizedLinear"]
    assert kinds(got) == wanted, f"layers.1 has the rule None: expected {wanted}, got {kinds(got)}: {by_rule}"
    bits = [got.layers[i].weight.qparams.int_type.bits for i in (0, 2)]
    check("bits of layers.0 with the rule INT4, and of layers.2 without one", bits, [4, 8], by_rule)


@pytest.mark.parametrize("how", HOW)
def test_without_a_type_only_the_layers_with_a_rule_are_quantized(student, how):
    model, rules = network(student), {"layers.2": student.INT8}
    if how == "dynamic":
        got = kinds(dynamic(student, model, None, 0, rules))
    else:
        got = kinds(static(student, model, [X], student.MinMaxObserver, None, 0, rules))
    wanted = ["Linear", "ReLU", "QuantizedLinear"]
    assert got == wanted, f"weight_type None, a rule for layers.2 alone: expected {wanted}, got {got}: use the rules"


def normalized(student):
    """BatchNorm2d, Flatten, Linear, in training mode. In evaluation mode the norm divides by sqrt(1 + eps) alone."""
    core = {kind.__name__: kind for kind in student.Module.__subclasses__()}
    return student.Sequential(core["BatchNorm2d"](2), core["Flatten"](), linear(student, 4, 8, 3))


@pytest.mark.part("quantize_static")
def test_calibration_runs_in_evaluation_mode(student):
    model, images = normalized(student), 3 * numbers(30, 5, 2, 2, 2) + 1
    got = static(student, model, [images])
    seen = images / np.sqrt(1 + model.layers[0].eps)
    wanted, _ = oracle.qparams(float(seen.min()), float(seen.max()), -128, 127)
    training = (
        "run the batches inside `with evaluating(observed)`: in training mode a BatchNorm2d divides by the batch's"
    )
    check("the scale behind a BatchNorm2d", got.layers[2].input_qparams.scale, wanted, training, within=1e-6 * wanted)
    for name, norm in (("new", got.layers[0]), ("float", model.layers[0])):
        check(f"the running mean of the {name} model afterwards", norm.running_mean, [0.0, 0.0], training)


@pytest.mark.part("quantize_static")
def test_the_float_model_stays_in_training_mode(student):
    model = normalized(student)
    static(student, model, [numbers(30, 5, 2, 2, 2)])
    modes = [model.training, *(layer.training for layer in model.layers)]
    put_back = "`with evaluating(observed)` puts every mode back after it; model.eval() does not"
    assert modes == [True] * 4, f"the float model was in training mode, now its modes are {modes}: {put_back}"


@pytest.mark.part("quantize_static")
def test_the_first_range_spans_every_batch(student):
    batches = [X[:2], 3 * X[2:4], X[4:]]
    p = static(student, network(student), batches).layers[0].input_qparams

    def scale(*used):
        return oracle.qparams(min(float(b.min()) for b in used), max(float(b.max()) for b in used), -128, 127)[0]

    slips = {
        "only the first batch was observed: run every batch through the wrapped model": scale(batches[0]),
        "only the last batch was observed: run every batch through the wrapped model": scale(batches[2]),
    }
    with works("layers[0].input_qparams.scale", "a static layer has calibrated input_qparams"):
        got = p.scale
    check(
        "the scale of the first layer's input",
        got,
        scale(*batches),
        "for batch in batches: observed(batch)",
        slips=slips,
    )


@pytest.mark.part("quantize_static")
def test_the_second_range_spans_what_the_second_layer_is_given(student):
    p = static(student, network(student), [X[:4], X[4:]]).layers[1].input_qparams
    wanted = oracle.qparams(0.0, float(hidden(X).max()), -128, 127)
    seen = "each Linear must be watched where it stands, behind the ReLU: wrap with observe_layers"
    slips = {
        f"that is the range of the network's own input: {seen}": oracle.qparams(
            float(X.min()), float(X.max()), -128, 127
        )
    }
    check("(scale, zero point) of the second layer's input", (p.scale, p.zero_point), wanted, seen, slips=slips)


@pytest.mark.part("quantize_static")
def test_a_static_model_computes_what_its_layers_compute(student):
    got = static(student, network(student), [X])
    y = got(X)
    assert not hasattr(y, "qparams"), "the network's answer is a Tensor of reals: its last layer has no output_qparams"
    p1, p2 = (student.choose_qparams(float(v.min()), float(v.max())) for v in (X, hidden(X)))
    first = student.QuantizedLinear(numbers(1, 5, 6), numbers(51, 5), p1, p2)
    second = student.QuantizedLinear(numbers(2, 4, 5), numbers(52, 4), p2)
    check("the static model's answer", y.data, second(first(X)).data, STATIC)
    between = got.layers[0](X)
    assert hasattr(between, "qparams"), (
        "between two static layers travel codes, got reals: fuse_chain(quantized) is missing"
    )


@pytest.mark.part("quantize_static")
def test_another_calibration_gives_another_answer(student):
    model = network(student)
    near, far = (static(student, model, [X * reach])(X).data for reach in (1, 20))
    assert (near != far).any(), (
        "calibrated on x and on 20 * x, the model gave the same answer: what was observed is not used"
    )
    error = [np.abs(y - model(X).data).max() for y in (near, far)]
    assert error[0] < error[1], (
        f"a range 20 times too wide must cost accuracy: errors {error[0]:.3g} and {error[1]:.3g}"
    )


@pytest.mark.part("quantize_static")
@pytest.mark.parametrize("name", ["MinMaxObserver", "MovingAverageObserver"])
def test_the_observer_that_was_asked_for_is_used(student, name):
    batches = [X, 3 * X]
    got = static(student, network(student), batches, observer=getattr(student, name))
    lo, hi = float(X.min()), float(X.max())
    factor = 3 if name == "MinMaxObserver" else 0.9 + 0.1 * 3
    wanted, _ = oracle.qparams(factor * lo, factor * hi, -128, 127)
    slips = {
        "each batch must be run once": (1.362 * (hi - lo)) / 255,
        "batches must be run in their order, one by one": (2.8 * (hi - lo)) / 255,
        "the widest range counted: run batches one by one, watched by what observer() makes": (3 * (hi - lo)) / 255,
    }
    call = f"the first scale by {name} after [x, 3 * x]"
    check(
        call,
        got.layers[0].input_qparams.scale,
        wanted,
        "observe_layers makes one with observer()",
        slips=slips,
        within=1e-6 * wanted,
    )


@pytest.mark.part("quantize_static")
def test_each_layer_has_an_observer_of_its_own(student):
    model = student.Sequential(linear(student, 8, 6, 6), linear(student, 9, 6, 6))
    got = static(student, model, [X, X / 4])
    scales = [float(layer.input_qparams.scale) for layer in got.layers]
    between = X @ numbers(8, 6, 6).T + numbers(58, 6)
    wanted = [(v.max() - v.min()) / 255 for v in (X, between)]
    check("the scales of two layers in a row", scales, wanted, "observe_layers makes one for each Linear", within=1e-7)


@pytest.mark.part("quantize_static")
def test_without_batches_there_is_nothing_to_calibrate_with(student):
    with pytest.raises(ValueError, match="has seen no numbers"):
        student.quantize_static(network(student), [])


@pytest.mark.part("quantize_dynamic")
def test_a_convolution_is_quantized_dynamically_too(student):
    model = student.Sequential(student.Conv2d(2, 3, 3), student.ReLU())
    got = kinds(dynamic(student, model))
    both = "every Linear and Conv2d that rules give a type: quantized_layer makes the integer form of both"
    assert got == ["QuantizedConv2d", "ReLU"], f"expected ['QuantizedConv2d', 'ReLU'], got {got}: {both}"


@pytest.mark.part("quantize_dynamic")
def test_layers_of_one_shape_keep_their_own_weights(student):
    got = dynamic(student, student.Sequential(linear(student, 8, 6, 6), linear(student, 9, 6, 6)))
    for i, seed in ((0, 8), (1, 9)):
        weight = numbers(seed, 6, 6)
        own = "it has another layer's: make a new quantized layer for each, whatever their shapes"
        step = np.abs(weight).max(1, keepdims=True) / 127
        call = f"the weights of layer {i} of two of one shape"
        check(call, got.layers[i].weight.dequantize(), weight, own, within=step / 2 + 1e-6)
