"""Where the error comes from, against float64 sums in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import BatchNorm1d, BatchNorm2d, Conv2d, Flatten, Identity, Linear, Module, ReLU, Sequential
from tinytorch.quantization import (
    INT4,
    INT8,
    IntType,
    LayerError,
    LayerErrors,
    activation_sensitivity,
    assign_bits,
    compare_layers,
    convert,
    equalize,
    fold_batch_norm,
    fold_batch_norms,
    outputs,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    quantize_weights,
    sensitivity,
    sqnr_db,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 16)).astype(np.float32)
X[0, 3] = 4000  # which takes nearly all of 256 codes
Y = RNG.integers(0, 4, 64)


def network() -> Sequential:
    rng = np.random.default_rng(1)
    model = Sequential(Linear(16, 24, rng=rng), ReLU(), Linear(24, 4, rng=rng))
    model.layers[0].weight.data[:, 3] = 0  # type: ignore[attr-defined]
    return model


def db(wanted: Any, got: Any) -> float:
    """Signal to noise, in float64."""
    wanted, got = np.asarray(wanted, np.float64), np.asarray(got, np.float64)
    return float(10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()))


def rounded_rows(weight: Any, bits: int) -> Any:
    step = np.abs(weight).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.rint(weight / step) * step


def rounded(x: Any, bits: int) -> Any:
    lo, hi = min(x.min(), 0), max(x.max(), 0)
    step = (hi - lo) / (2**bits - 1)
    zero = np.rint(-lo / step)
    return (np.clip(np.rint(x / step) + zero, 0, 2**bits - 1) - zero) * step


def forward(weights: list[Any], x: Any, round_first: int = 0, round_second: int = 0) -> Any:
    """The network in float64, its inputs rounded to so many bits; 0: as they are."""
    x = rounded(x, round_first) if round_first else x
    first, second = weights
    hidden = np.maximum(x @ first.T + network().layers[0].bias.data, 0)  # type: ignore[attr-defined]
    hidden = rounded(hidden, round_second) if round_second else hidden
    return hidden @ second.T + network().layers[2].bias.data  # type: ignore[attr-defined]


WEIGHTS = [network().layers[i].weight.data.astype(np.float64) for i in (0, 2)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_sensitivity_rounds_the_weights_of_one_layer_and_nothing_else(bits: int) -> None:
    """The input was quantized as well, and its one outlier hid what 8, 4 and 2 bits do to the weights."""
    first, second = sensitivity(network(), X, Y, [IntType(bits)])
    exact = forward(WEIGHTS, X.astype(np.float64))
    assert first.sqnr_db == pytest.approx(db(exact, forward([rounded_rows(WEIGHTS[0], bits), WEIGHTS[1]], X)), abs=1e-2)
    assert second.sqnr_db == pytest.approx(
        db(exact, forward([WEIGHTS[0], rounded_rows(WEIGHTS[1], bits)], X)), abs=1e-2
    )
    assert min(first.sqnr_db, second.sqnr_db) > 4 * bits - 6


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activation_sensitivity_rounds_the_input_of_one_layer_and_nothing_else(bits: int) -> None:
    first, second = activation_sensitivity(network(), X, Y, [IntType(bits)])
    exact = forward(WEIGHTS, X.astype(np.float64))
    assert first.sqnr_db == pytest.approx(db(exact, forward(WEIGHTS, X, round_first=bits)), abs=1e-2)
    assert second.sqnr_db == pytest.approx(db(exact, forward(WEIGHTS, X, round_second=bits)), abs=1e-2)
    assert (first.layer, first.nbytes, second.nbytes) == ("layers.0", 16 * bits // 8, 24 * bits // 8)
    assert first.sqnr_db < 3, "an outlier that no weight uses takes all codes, and only the bias is left"


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activation_sensitivity_per_row_rounds_each_row_by_its_own_range(bits: int) -> None:
    """And each image of a convolution: what is loud in one of them costs the others nothing."""
    rows, one_scale = (activation_sensitivity(network(), X, Y, [IntType(bits)], per_row) for per_row in (True, False))
    exact = forward(WEIGHTS, X.astype(np.float64))
    for row, how in zip(rows, ("round_first", "round_second"), strict=True):
        each = [forward(WEIGHTS, X[i : i + 1], **{how: bits}) for i in range(len(X))]
        assert row.sqnr_db == pytest.approx(db(exact, np.concatenate(each)), abs=1e-2)
    assert rows[0].sqnr_db > one_scale[0].sqnr_db
    convolution = Sequential(Conv2d(1, 2, 3, rng=np.random.default_rng(0)), Flatten())
    images = RNG.normal(size=(6, 1, 5, 5)).astype(np.float32)
    (quiet,) = activation_sensitivity(convolution, images, np.zeros(6, int), [IntType(bits)], per_row=True)
    each = [rounded(image, bits)[None].astype(np.float32) for image in images]
    by_hand = db(outputs(convolution, images), outputs(convolution, np.concatenate(each)))
    assert quiet.sqnr_db == pytest.approx(by_hand, abs=1e-2)


def test_bits_are_not_taken_from_the_layer_that_minds() -> None:
    """The first layer's weights need their bits, the second's are exact in 2: all rows looked alike at -0.04 dB."""
    model = network()
    model.layers[2].weight.data[...] = np.sign(model.layers[2].weight.data)  # type: ignore[attr-defined]
    types = [IntType(2), INT8]
    table = sensitivity(model, X, Y, types)
    sizes = {(row.layer, row.int_type): row.nbytes for row in table}
    assert assign_bits(table, sizes["layers.0", INT8] + sizes["layers.2", types[0]]) == {
        "layers.0": INT8,
        "layers.2": types[0],
    }


def test_quantize_weights_rounds_convolutions_too_and_leaves_the_given_model() -> None:
    model = Sequential(Conv2d(1, 2, 2, rng=np.random.default_rng(0)), Flatten(), Linear(8, 3))
    before, x = model.state_dict(), RNG.normal(size=(5, 1, 3, 3)).astype(np.float32)
    made = quantize_weights(model, {"layers.0": IntType(3)})
    weight = made.state_dict()["layers.0.weight"]
    assert all(len(np.unique(row)) <= 8 for row in weight)
    assert np.allclose(weight.reshape(2, 4), rounded_rows(before["layers.0.weight"].reshape(2, 4).astype(float), 3))
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
    assert outputs(made, x).shape == (5, 3)


@pytest.mark.parametrize("measure", [sensitivity, activation_sensitivity])
def test_both_find_layers_of_every_kind_and_refuse_what_has_none(measure: Any) -> None:
    model = Sequential(Sequential(Conv2d(1, 2, 2), Flatten()), Linear(8, 3))
    x = RNG.normal(size=(5, 1, 3, 3)).astype(np.float32)
    rows = measure(model, x, np.zeros(5, int), [IntType(4), INT8])
    assert [row.layer for row in rows] == ["layers.0.layers.0"] * 2 + ["layers.1"] * 2
    nothing: Module = Sequential(ReLU())
    with pytest.raises(ValueError, match="nothing to quantize"):
        measure(nothing, x, np.zeros(5, int), [INT8])
    with pytest.raises(TypeError, match="int_types must be a list of them"):
        measure(model, x, np.zeros(5, int), INT8)


def planted(channel: int, times: float) -> Sequential:
    """A network of three layers; one output channel of the first is so many times as large as it was."""
    rng = np.random.default_rng(2)
    model = Sequential(
        *(layer for _ in range(2) for layer in (Linear(32, 32, rng=rng), ReLU())), Linear(32, 5, rng=rng)
    )
    model.layers[0].weight.data[channel] *= times  # type: ignore[attr-defined]
    return model


INPUTS = RNG.normal(size=(300, 32)).astype(np.float32)
WAYS = {
    "static": lambda m: quantize_static(m, [INPUTS]),
    "dynamic": quantize_dynamic,
    "int4 weights": lambda m: quantize_static(m, [INPUTS], weight_type=INT4),
    "prepared": lambda m: prepare_qat(m, [INPUTS]),
    "converted": lambda m: convert(prepare_qat(m, [INPUTS])),
}


def first_line(errors: LayerErrors) -> str:
    return str(errors).partition("\n")[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("channel", "times"), [(0, 60), (31, 60), (17, 2000)])
def test_a_planted_outlier_in_one_input_channel_is_named_in_the_first_line(
    way: str, channel: int, times: float
) -> None:
    model = planted(channel, times)
    errors = compare_layers(model, WAYS[way](model), [INPUTS[:100], (INPUTS[100:], None)])
    said = first_line(errors)
    assert said.startswith("layers.2 (") and ", inputs: " in said and f"; channel {channel} is " in said, said


def test_an_outlier_in_the_data_is_the_first_layers() -> None:
    model, x = planted(0, 1), INPUTS.copy()
    x[7, 21] = 900
    said = first_line(compare_layers(model, quantize_static(model, [x]), [x]))
    assert said.startswith("layers.0 (QuantizedLinear), inputs: ") and "; channel 21 is " in said


def test_an_outlier_between_convolutions_is_found_in_the_folded_model_under_the_unfolded_ones_names() -> None:
    rng = np.random.default_rng(3)
    layers = Conv2d(1, 8, 3, padding=1, rng=rng), BatchNorm2d(8), ReLU(), Conv2d(8, 4, 3, rng=rng), Flatten()
    model = Sequential(*layers, Linear(144, 3, rng=rng)).eval()
    layers[1].weight.data[5] = 80
    x = RNG.normal(size=(20, 1, 8, 8)).astype(np.float32)
    errors = compare_layers(model, quantize_static(fold_batch_norms(model), [x]), [x])
    assert first_line(errors).startswith("layers.3 (QuantizedConv2d), inputs: ")
    assert "; channel 5 is " in first_line(errors)
    assert {row.layer for row in errors} == {"layers.0", "layers.3", "layers.5"}


class ConvThenNorm(Module):
    """Layers of an own module: only a run shows that the norm follows the convolution."""

    def __init__(self, wide: int = 8) -> None:
        rng = np.random.default_rng(4)
        self.conv, self.norm = Conv2d(3, wide, 3, rng=rng), BatchNorm2d(wide)
        self.norm.weight.data[...] = rng.normal(size=wide)
        self.norm.running_mean[...], self.norm.running_var[...] = rng.normal(size=wide), rng.uniform(0.1, 4, wide)

    def forward(self, x: Any) -> Any:
        return self.norm(self.conv(x)).relu()


class LinearThenNorm(Module):
    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.norm, self.linear = BatchNorm1d(6), Linear(3, 6, rng=rng)
        self.norm.weight.data[...], self.norm.running_var[...] = rng.normal(size=6), rng.uniform(0.1, 4, 6)

    def forward(self, x: Any) -> Any:
        return self.norm(self.linear(x))


PIXELS = RNG.normal(size=(12, 3, 7, 7)).astype(np.float32)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("model", "x"),
    [
        (ConvThenNorm(), PIXELS),
        (Sequential(ConvThenNorm(3), Conv2d(3, 4, 2), BatchNorm2d(4)), PIXELS),
        (LinearThenNorm(), PIXELS[:, :, 0, 0]),
    ],
    ids=["own module", "own module before a Sequential's pair", "rows"],
)
def test_batch_norms_folded_by_a_run_are_folded_by_the_same_run(model: Module, x: Any) -> None:
    """The float model's weights were compared with those that hold its norm, and a healthy layer was blamed."""
    model.eval()
    for batches in ([x], iter([x])):
        errors = compare_layers(model, quantize_static(fold_batch_norms(model, [x]), [x]), batches)
        assert min(row.weights.sqnr_db for row in errors) > 40, errors


@pytest.mark.filterwarnings("ignore:not folded")
def test_batch_norms_that_stayed_are_not_folded_and_what_was_folded_by_hand_is_refused() -> None:
    model = Sequential(ConvThenNorm(3), Conv2d(3, 4, 2), BatchNorm2d(4)).eval()
    partly = compare_layers(model, quantize_static(fold_batch_norms(model), [PIXELS]), [PIXELS])
    assert min(row.weights.sqnr_db for row in partly) > 40, partly
    unfolded = compare_layers(model, quantize_static(model, [PIXELS]), [PIXELS])
    assert min(row.weights.sqnr_db for row in unfolded) > 40, unfolded
    by_hand = Sequential(fold_batch_norms(model.layers[0], [PIXELS]), *model.layers[1:])
    with pytest.raises(ValueError, match=r"has the batch norms layers.2, the first layers.0.norm, layers.2, and fold"):
        compare_layers(model, quantize_static(by_hand, [PIXELS]), [PIXELS])
    replaced = Sequential(by_hand.layers[0], fold_batch_norm(*model.layers[1:]), Identity())  # type: ignore[arg-type]
    assert compare_layers(model, quantize_static(replaced, [PIXELS]), [PIXELS])


@pytest.mark.parametrize("way", WAYS)
def test_weights_that_are_not_the_float_models_are_refused(way: str) -> None:
    """Of an equalized model every layer would be blamed, although each is healthy."""
    model = planted(0, 60)
    model.layers[2].weight.data[:, 7] *= 300  # type: ignore[attr-defined]
    equal = equalize(model)
    assert min(row.weights.sqnr_db for row in compare_layers(equal, WAYS[way](equal), [INPUTS])) > 10
    with pytest.raises(ValueError, match="the weights of layer 'layers.*' are not the float model's, rounded"):
        compare_layers(model, WAYS[way](equal), [INPUTS])


@pytest.mark.parametrize("way", WAYS)
def test_two_models_in_the_wrong_order_are_told_so(way: str) -> None:
    model = planted(0, 1)
    with pytest.raises(ValueError, match=r"must be the float one, but layers.0 is a \w+: are the two swapped\?"):
        compare_layers(WAYS[way](model), model, [INPUTS])
    with pytest.raises(ValueError, match=r"must be the float one, but layers.0 is a \w+$"):
        compare_layers(WAYS[way](model), quantize_dynamic(model), [INPUTS])
    pair = ConvThenNorm().eval()
    with pytest.raises(ValueError, match=r"but conv is a QuantizedConv2d: are the two swapped\?"):
        compare_layers(quantize_dynamic(fold_batch_norms(pair, [PIXELS])), pair, [PIXELS])


def test_channels_of_zeros_are_listed() -> None:
    model = planted(0, 1)
    for channel in (2, 30):
        model.layers[0].weight.data[channel] = 0  # type: ignore[attr-defined]
        model.layers[0].bias.data[channel] = -1  # type: ignore[attr-defined]
    x = INPUTS.copy()
    x[:, 4:16] = 0
    errors = compare_layers(model, quantize_static(model, [x]), [x])
    lines = str(errors).splitlines()[-3:]
    assert sorted(lines) == [
        "layers.0, inputs: always 0 in channels 4, 5, 6, 7, 8, 9, 10, 11 and 4 more",
        "layers.0, outputs: always 0 in channels 2, 30",
        "layers.2, inputs: always 0 in channels 2, 30",
    ]
    assert "always 0" not in str(compare_layers(planted(0, 1), quantize_dynamic(planted(0, 1)), [INPUTS]))


def test_a_column_of_a_weight_that_takes_the_codes_of_all_others_is_named() -> None:
    model = planted(0, 1)
    model.layers[2].weight.data[:, 9] *= 200  # type: ignore[attr-defined]
    said = first_line(compare_layers(model, quantize_weight_only(model, INT4, None), [INPUTS]))
    assert said.startswith("layers.2 (WeightOnlyLinear), weights by input: ") and "; channel 9 is " in said


def test_a_row_that_takes_the_codes_of_all_others_is_named_where_one_scale_serves_all() -> None:
    model = planted(0, 1)
    model.layers[4].weight.data[3] *= 200  # type: ignore[attr-defined]
    said = first_line(compare_layers(model, quantize_dynamic(model, axis=None), [INPUTS]))
    assert said.startswith("layers.4 (QuantizedLinear), weights by ") and "; channel 3 is " in said


def test_a_range_that_calibration_did_not_see_is_clipped_and_comes_first() -> None:
    model = planted(0, 1)
    made = quantize_static(model, [INPUTS / 20])
    row = compare_layers(model, made, [INPUTS])[0]
    p = made.get("layers.0").input_qparams  # type: ignore[attr-defined]
    lo, hi = (float(p.scale) * (q - int(p.zero_point)) for q in (-128.5, 127.5))
    assert row.layer == "layers.0"
    assert row.inputs.clipped == pytest.approx(np.mean((lo > INPUTS) | (hi < INPUTS)), abs=1e-3)


def test_the_numbers_are_those_of_float64_sums() -> None:
    """Of the first layer: weights, inputs and outputs, whole and channel by channel."""
    model = planted(3, 60)
    made = quantize_static(model, [INPUTS])
    row = next(row for row in compare_layers(model, made, [INPUTS[:40], INPUTS[40:]]) if row.layer == "layers.0")
    weight, bias = (t.data.astype(np.float64) for t in model.layers[0].parameters())
    rounded_weight = rounded_rows(weight, 8)
    p = made.get("layers.0").input_qparams  # type: ignore[attr-defined]
    step, zero = float(p.scale), int(p.zero_point)
    x = INPUTS.astype(np.float64)
    x_hat = (np.clip(np.rint(x / step) + zero, -128, 127) - zero) * step
    assert row.inputs.sqnr_db == pytest.approx(db(x, x_hat), abs=1e-3)
    assert row.weights.sqnr_db == pytest.approx(db(weight, rounded_weight), abs=1e-3)
    for c in row.inputs.channels:
        column = x[:, c.channel]
        assert c.sqnr_db == pytest.approx(db(column, x_hat[:, c.channel]), abs=1e-3)
        assert (c.lo, c.hi) == (column.min(), column.max())
        peaks = np.abs(x).max(axis=0)
        assert c.times_median == pytest.approx(peaks[c.channel] / np.median(peaks))
    wanted = np.maximum(x @ weight.T + bias, 0)  # its ReLU has become part of it
    out = made.get("layers.0").output_qparams  # type: ignore[attr-defined]
    got = np.clip(np.rint((x_hat @ rounded_weight.T + bias) / float(out.scale)), 0, 255) * float(out.scale)
    assert row.outputs.sqnr_db == pytest.approx(db(wanted, got), abs=0.05)
    assert [c.sqnr_db for c in row.inputs.channels] == sorted(c.sqnr_db for c in row.inputs.channels)


def test_rows_are_sorted_typed_and_drawn() -> None:
    import matplotlib

    matplotlib.use("Agg")
    model = planted(3, 60)
    errors = compare_layers(model, quantize_static(model, [INPUTS]), [INPUTS])
    assert all(isinstance(row, LayerError) for row in errors) and repr(errors) == str(errors)
    worst = [row.worst.worst_db for row in errors]
    assert worst == sorted(worst)
    bars = [len(axis.patches) for axis in errors.plot("layers.4").axes]
    assert bars == [len(next(r for r in errors if r.layer == "layers.4").weights.channels), 32, 5]
    with pytest.raises(KeyError, match="no layer is named 'layers.1': the names are"):
        errors.plot("layers.1")


def test_a_layer_that_a_rule_leaves_in_float_loses_nothing() -> None:
    model = planted(3, 60)
    row = compare_layers(model, quantize_dynamic(model, rules={"layers.2": None}), [INPUTS])[-1]
    assert (row.layer, row.kind, row.weights.sqnr_db, row.inputs.sqnr_db) == ("layers.2", "Linear", np.inf, np.inf)


def test_neither_model_is_changed() -> None:
    model = planted(3, 60)
    made = prepare_qat(model, [INPUTS])
    before = [m.state_dict() for m in (model, made)]
    compare_layers(model, made, [100 * INPUTS])
    for state, m in zip(before, (model, made), strict=True):
        assert all(np.array_equal(a, state[name]) for name, a in m.state_dict().items()) and m.training


@pytest.mark.parametrize(
    ("other", "batches", "error", "said"),
    [
        (lambda m: accelerate(quantize_static(m, [INPUTS])), [INPUTS], ValueError, "given to accelerate"),
        (lambda m: Sequential(Linear(32, 5)), [INPUTS], ValueError, "the two models must be of one network"),
        (lambda m: planted(0, 1).layers[0], [INPUTS], ValueError, "must be of one network"),
        (quantize_dynamic, [], ValueError, "at least one batch"),
        (quantize_dynamic, [INPUTS[:0]], ValueError, "at least one batch"),
        (quantize_dynamic, INPUTS, TypeError, "wanted several batches, got one array"),
        (lambda m: None, [INPUTS], TypeError, r"wanted a Module of tinytorch\.core"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(other: Any, batches: Any, error: type[Exception], said: str) -> None:
    model = planted(0, 1)
    with pytest.raises(error, match=said):
        compare_layers(model, other(model), batches)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (2, 0), (0, 1, 2)])
def test_sqnr_db_along_axes_is_that_of_each_slice(axis: Any) -> None:
    x = RNG.normal(size=(3, 4, 5)) * 10.0 ** np.arange(-2, 3)
    x_hat = np.rint(x * 8) / 8
    got = sqnr_db(x, x_hat, axis=axis)
    kept = axis if isinstance(axis, tuple) else (axis,)
    wanted = np.empty([x.shape[a] for a in kept])
    for index in np.ndindex(wanted.shape):
        at: list[Any] = [slice(None)] * 3
        for a, i in zip(kept, index, strict=True):
            at[a] = i
        noise = ((x - x_hat)[tuple(at)] ** 2).sum()
        wanted[index] = 10 * np.log10((x[tuple(at)] ** 2).sum() / noise) if noise else np.inf
    assert got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-9)


def test_sqnr_db_along_an_axis_shows_what_the_whole_hides_and_refuses_what_is_no_axis() -> None:
    x = np.array([[1000.0, 0.4], [1000.0, 0.4], [0.0, 0.0]])
    assert sqnr_db(x, np.rint(x)) > 60 and sqnr_db(x, np.rint(x), axis=1).tolist() == [np.inf, 0.0]
    assert sqnr_db(x, x + [[0], [0], [1]], axis=0).tolist() == [np.inf, np.inf, -np.inf]
    for axis, error in (
        (2, np.exceptions.AxisError),
        (-3, np.exceptions.AxisError),
        (True, TypeError),
        ("0", TypeError),
    ):
        with pytest.raises(error):
            sqnr_db(x, x, axis=axis)  # type: ignore[arg-type]
