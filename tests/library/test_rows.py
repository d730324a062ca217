"""Dynamic quantization per row: a request's answer does not depend on who shares its batch.

The oracle is the dynamic layer with one scale for its whole input, run on each row, or each image, alone.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import (
    GELU,
    Conv1d,
    Conv2d,
    Dataset,
    Flatten,
    LayerNorm,
    Linear,
    Module,
    ReLU,
    Residual,
    SelfAttention,
    Sequential,
    accuracy,
    load_state,
    save_state,
)
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT8,
    IntType,
    MinMaxObserver,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedTensor,
    Rule,
    assign_bits,
    choose_qparams,
    compare_layers,
    convert,
    dynamic_quantize,
    explain,
    outputs,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    quantized_layer,
    sensitivity,
    sqnr_db,
)

Array = np.ndarray[Any, np.dtype[Any]]
TYPES = [INT8, INT4, IntType(2), IntType(3, narrow=True)]


def rows_of_many_sizes(*shape: int, seed: int = 0) -> Array:
    """Normal numbers; the largest of the rows are a million times the smallest, one is all zeros."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, (shape[0], *[1] * (len(shape) - 1)))
    x[shape[0] // 2] = 0
    return x.astype(np.float32)


def one_by_one(model: Any, x: Array) -> Array:
    """What the model gives for each of x alone."""
    return np.concatenate([model(x[i : i + 1]).data for i in range(len(x))])


def layers_of(n_in: int, n_out: int, **how: Any) -> tuple[QuantizedLinear, QuantizedLinear]:
    """A layer with a scale for each row, and the same one with a scale for its whole input."""
    rng = np.random.default_rng(n_in)
    weight, bias = rng.normal(size=(n_out, n_in)), rng.normal(size=n_out)
    return QuantizedLinear(weight, bias, per_row=True, **how), QuantizedLinear(weight, bias, **how)


@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("weight_type", TYPES, ids=str)
def test_a_row_gets_what_a_dynamic_layer_gives_for_it_alone(weight_type: IntType, axis: int | None) -> None:
    by_rows, by_tensor = layers_of(37, 11, weight_type=weight_type, axis=axis)
    x = rows_of_many_sizes(23, 37)
    assert np.array_equal(by_rows(x).data, one_by_one(by_tensor, x))
    assert not np.array_equal(by_rows(x).data, by_tensor(x).data), "the test's rows are too much alike"


def test_a_rows_answer_is_the_same_alone_in_any_batch_in_any_order_and_in_tokens() -> None:
    by_rows, _ = layers_of(37, 11)
    x = rows_of_many_sizes(24, 37)
    wanted, order = by_rows(x).data, np.random.default_rng(1).permutation(24)
    assert np.array_equal(one_by_one(by_rows, x), wanted)
    assert np.array_equal(by_rows(x[order]).data, wanted[order])
    assert np.array_equal(by_rows(x[5:9]).data, wanted[5:9])
    assert np.array_equal(by_rows(x.reshape(2, 3, 4, 37)).data, wanted.reshape(2, 3, 4, 11))
    assert np.array_equal(by_rows(x[7]).data, wanted[7]), "a single row [C]"


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 3e38], ids=str)
def test_a_row_of_zeros_or_of_any_size_is_as_alone(size: float) -> None:
    by_rows, by_tensor = layers_of(8, 3)
    x = rows_of_many_sizes(5, 8)
    x[1:3] = np.linspace(-1, 1, 8, dtype=np.float32) * np.float32(size)
    with np.errstate(over="ignore"):
        assert np.array_equal(by_rows(x).data, one_by_one(by_tensor, x))


def test_codes_and_parameters_of_slices_are_those_of_each_slice_alone() -> None:
    """The scales by hand, in plain Python; then every slice of tensors of one to four axes."""
    codes, p = dynamic_quantize([[-1.0, 0.0, 0.5, 2.0], [0.0, 0.0, 510.0, 1.0]], axis=0)
    assert p.scale.tolist() == [[float(np.float32(3) / np.float32(255))], [2.0]] and p.int_type == UINT8
    assert p.zero_point.tolist() == [[85], [0]] and codes.tolist() == [[0, 85, 127, 255], [0, 0, 255, 0]]
    x = rows_of_many_sizes(4, 3, 2, 5)
    for axis in (0, 1, -1, (0, 1), (0, 2, 3), (0, 1, 2, 3)):
        codes, p = dynamic_quantize(x, axis)
        kept = [a % 4 for a in np.atleast_1d(axis)]
        for at in np.ndindex(*(n if a in kept else 1 for a, n in enumerate(x.shape))):
            piece = tuple(i if a in kept else slice(None) for a, i in enumerate(at))
            alone, own = dynamic_quantize(x[piece])
            assert np.array_equal(codes[piece], alone)
            assert p.scale[at] == own.scale and p.zero_point[at] == own.zero_point
    assert dynamic_quantize(np.ones(3), ())[1].scale.shape == (1,)
    with pytest.raises(np.exceptions.AxisError):
        dynamic_quantize(x, 4)


def images_of(kind: str) -> tuple[Module, Array]:
    rng = np.random.default_rng(3)
    if kind == "signals":
        return Conv1d(4, 6, 3, padding=1, rng=rng), rows_of_many_sizes(6, 4, 9)
    options: dict[str, dict[str, Any]] = {
        "padding": {"padding": (2, 1)},
        "groups": {"groups": 2, "padding": 1},
        "stride and dilation": {"stride": (1, 2), "dilation": 2},
    }
    return Conv2d(4, 6, 3, rng=rng, **options[kind]), rows_of_many_sizes(6, 4, 9, 8)


@pytest.mark.parametrize("kind", ["padding", "groups", "stride and dilation", "signals"])
@pytest.mark.parametrize("weight_type", TYPES[:3], ids=str)
def test_an_image_or_a_signal_gets_what_it_gets_alone(kind: str, weight_type: IntType) -> None:
    layer, x = images_of(kind)
    model = Sequential(layer)
    by_rows, by_tensor = (quantize_dynamic(model, weight_type, per_row=per_row) for per_row in (True, False))
    assert np.array_equal(by_rows(x).data, one_by_one(by_tensor, x))
    assert np.array_equal(by_rows(x[::-1]).data, by_rows(x).data[::-1])
    assert by_rows(x[:0]).shape[0] == 0


def transformer() -> tuple[Module, Array]:
    rng = np.random.default_rng(4)
    feed = Sequential(LayerNorm(16), Linear(16, 32, rng=rng), GELU(), Linear(32, 16, rng=rng))
    attend = Sequential(LayerNorm(16), SelfAttention(16, 4, rng=rng))
    return Sequential(Residual(attend), Residual(feed), Linear(16, 5, rng=rng)), rows_of_many_sizes(6, 7, 16)


def network() -> tuple[Module, Array]:
    rng = np.random.default_rng(5)
    body = Conv2d(2, 4, 3, padding=1, rng=rng), ReLU(), Conv2d(4, 4, 3, rng=rng), ReLU(), Flatten()
    return Sequential(*body, Linear(64, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng)), rows_of_many_sizes(9, 2, 6, 6)


@pytest.mark.parametrize("make", [transformer, network])
def test_a_request_to_a_whole_network_does_not_depend_on_the_others(make: Callable[[], tuple[Module, Array]]) -> None:
    floats, x = make()
    model = quantize_dynamic(floats, per_row=True)
    fast = accelerate(model)
    wanted = model(x).data
    for served in (model, fast):
        assert np.array_equal(one_by_one(served, x), wanted)
        assert np.array_equal(served(x[::-1]).data[::-1], wanted)
        louder = x.copy()
        louder[3] *= 1000
        others = [i for i in range(len(x)) if i != 3]
        assert np.array_equal(served(louder).data[others], wanted[others])
    assert not np.array_equal(one_by_one(quantize_dynamic(floats), x), quantize_dynamic(floats)(x).data)


def test_outputs_are_the_same_in_batches_of_any_size() -> None:
    floats, x = network()
    model = quantize_dynamic(floats, per_row=True)
    wanted = outputs(model, x)
    assert all(np.array_equal(outputs(model, x, batch_size=size), wanted) for size in (1, 2, 7, 100))


def test_without_rows_there_is_nothing_and_no_error() -> None:
    by_rows, _ = layers_of(5, 3)
    for shape in ((0, 5), (2, 0, 5), (0, 0, 5)):
        assert by_rows(np.zeros(shape, np.float32)).shape == (*shape[:-1], 3)


def test_what_has_no_code_is_refused_in_the_words_of_a_dynamic_layer() -> None:
    floats, images = network()
    for layer, other, x in (
        (*layers_of(8, 3), rows_of_many_sizes(5, 8)),
        (quantize_dynamic(floats, per_row=True), quantize_dynamic(floats), images),
    ):
        for bad in (np.nan, np.inf, -np.inf):
            x = x.copy()
            x[2].flat[1] = bad
            said = []
            for each in (layer, other):
                with pytest.raises(ValueError, match="must not hold NaN|must be finite") as caught:
                    each(x)
                said.append(str(caught.value))
            assert said[0] == said[1]
            x[2].flat[1] = 0


def test_codes_are_handed_out_as_by_the_same_layer_on_each_row() -> None:
    out = choose_qparams(-5, 9)
    by_rows, by_tensor = layers_of(12, 4, output_qparams=out)
    x = rows_of_many_sizes(9, 12)
    y = by_rows(x)
    assert isinstance(y, QuantizedTensor) and y.qparams is out
    assert np.array_equal(y.q, np.concatenate([by_tensor(x[i : i + 1]).q for i in range(9)]))


def test_codes_are_taken_with_one_scale_or_one_for_each_row_and_no_other() -> None:
    by_rows, by_tensor = layers_of(12, 4)
    x = rows_of_many_sizes(9, 12)
    one = QuantizedTensor.from_float(x, UINT8)
    assert np.array_equal(by_rows(one).data, by_tensor(one).data)
    codes, p = dynamic_quantize(x, 0)
    assert np.array_equal(by_rows(QuantizedTensor(codes, p)).data, by_rows(x).data)
    for layer, t in ((by_rows, QuantizedTensor.from_float(x, UINT8, axis=1)), (by_tensor, QuantizedTensor(codes, p))):
        for each in (layer, accelerate(layer)):
            with pytest.raises(ValueError, match="one scale"):
                each(t)
    floats, images = network()
    conv = quantize_dynamic(floats, per_row=True).get("layers.0")
    codes, p = dynamic_quantize(images, 0)
    assert np.array_equal(conv(QuantizedTensor(codes, p)).data, conv(images).data)
    with pytest.raises(ValueError, match="one scale"):
        conv(QuantizedTensor(*dynamic_quantize(images, (0, 1))))


def test_an_outlier_in_the_batch_costs_the_others_nothing(trained_mlp: Sequential, digits: Dataset) -> None:
    """One image of 500 is 50 times as bright: with one scale for all, the others' pixels keep a few codes."""
    x, y = digits.x_test.copy(), digits.y_test[1:]
    by_rows, by_tensor = quantize_dynamic(trained_mlp, per_row=True), quantize_dynamic(trained_mlp)
    clean, wanted = by_rows(x[1:]).data, trained_mlp(x[1:]).data
    x[0] *= 50
    of_rows, of_tensor = by_rows(x).data[1:], by_tensor(x).data[1:]
    for name, got in (("per row", of_rows), ("per tensor", of_tensor)):
        right = np.mean(got.argmax(1) == y)
        print(f"{name}: {sqnr_db(wanted, got):.1f} dB and {right:.1%} of the others right beside an image times 50")
    assert np.array_equal(of_rows, clean)
    assert sqnr_db(wanted, of_rows) > sqnr_db(wanted, of_tensor) + 20
    assert np.mean(of_rows.argmax(1) == y) > np.mean(of_tensor.argmax(1) == y)


def test_rules_say_which_layers_get_a_scale_for_each_row() -> None:
    floats, x = network()
    rules: dict[Any, Any] = {"layers.0": Rule(dynamic=True, per_row=True), Linear: INT4}
    made = quantize_dynamic(floats, rules=rules)
    assert [how for _, kind, how in explain(made) if kind.startswith("Quantized")] == [
        "int8 weights, dynamic per sample, gives float",
        "int8 weights, dynamic, gives float",
        "int4 weights, dynamic, gives float",
        "int4 weights, dynamic, gives float",
    ]
    rules = {"layers.2": Rule(dynamic=True, per_row=False), "layers.5": Rule(INT4), "layers.7": "dynamic"}
    made = quantize_dynamic(floats, rules=rules, per_row=True)
    assert [how for _, kind, how in explain(made) if kind.startswith("Quantized")] == [
        "int8 weights, dynamic per sample, gives float",
        "int8 weights, dynamic, gives float",
        "int4 weights, dynamic per row, gives float",
        "int8 weights, dynamic per row, gives float",
    ]
    rules = {"layers.5": Rule(INT4, dynamic=True, per_row=True), "layers.7": "dynamic"}
    made = quantize_static(floats, [x], rules=rules)
    assert [how for _, kind, how in explain(made) if kind.startswith("Quantized")][2:] == [
        "int4 weights, dynamic per row, gives float",
        "int8 weights, dynamic, gives float",
    ]
    assert quantize_static(floats, [x], rules={"*": Rule(dynamic=True, per_row=True)})(x).data.tolist() == (
        quantize_dynamic(floats, per_row=True)(x).data.tolist()
    )


def test_what_cannot_be_asked_for_is_refused_in_one_sentence() -> None:
    floats, x = network()
    with pytest.raises(ValueError, match=r"chosen by a dynamic layer: Rule\(dynamic=True, per_row=True\)"):
        Rule(per_row=True)
    with pytest.raises(TypeError, match="per_row must be True or False, got 'row'"):
        Rule(dynamic=True, per_row="row")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="per_row must be True or False, got 1"):
        quantize_dynamic(floats, per_row=1)  # type: ignore[arg-type]
    for make in (QuantizedLinear, QuantizedConv2d):
        weight = np.ones((2, 2) if make is QuantizedLinear else (2, 2, 1, 1))
        with pytest.raises(ValueError, match="chosen by a dynamic layer, got input_qparams: leave one of them out"):
            make(weight, None, choose_qparams(-1, 1), per_row=True)
    rules: dict[Any, Any] = {Linear: Rule(dynamic=True, per_row=True)}
    for refused in (lambda: prepare_qat(floats, [x], rules=rules), lambda: quantize_weight_only(floats, rules=rules)):
        with pytest.raises(ValueError, match="asks for dynamic, which only"):
            refused()


def test_a_layer_made_by_hand_is_the_one_that_the_quantizer_makes() -> None:
    floats, x = images_of("groups")
    made = quantize_dynamic(Sequential(floats), per_row=True)
    by_hand = Sequential(quantized_layer(floats, per_row=True))
    assert np.array_equal(by_hand(x).data, made(x).data) and repr(by_hand) == repr(made)
    linear = quantized_layer(Linear(4, 2), INT4, per_row=True)
    assert linear.per_row and "int4 per channel, dynamic per row)" in repr(linear)  # type: ignore[attr-defined]


def test_layers_say_that_each_row_or_sample_has_a_scale() -> None:
    made = [quantize_dynamic(Sequential(images_of(kind)[0]), per_row=True) for kind in ("groups", "signals")]
    assert [repr(m.layers[0]) for m in made] == [  # type: ignore[attr-defined]
        "QuantizedConv2d(4 -> 6, 3x3, padding 1, groups 2, int8 per channel, dynamic per sample)",
        "QuantizedConv1d(QuantizedConv2d(4 -> 6, 1x3, padding (0, 1), int8 per channel, dynamic per sample))",
    ]
    by_rows, _ = layers_of(6, 2)
    assert repr(by_rows) == "QuantizedLinear(6 -> 2, int8 per channel, dynamic per row)"
    fast = accelerate(Sequential(by_rows, ReLU()))
    assert repr(fast.layers[0]) == "AcceleratedLinear(6 -> 2, int8 per channel, dynamic per row, ReLU)"  # type: ignore[attr-defined]
    assert explain(fast) == [
        (
            "layers.0",
            "AcceleratedLinear",
            "int8 weights, dynamic per row, gives float, its ReLU in the same pass, compiled",
        )
    ]


@pytest.mark.parametrize("make", [transformer, network])
def test_copies_pickles_and_saved_states_keep_the_option(
    make: Callable[[], tuple[Module, Array]], tmp_path: Path
) -> None:
    floats, x = make()
    model = quantize_dynamic(floats, per_row=True)
    wanted, told = model(x).data, explain(model)
    save_state(model, tmp_path / "rows.npz")
    for p in floats.parameters():
        p.data = p.data * np.float32(0.5)
    loaded = quantize_dynamic(floats, per_row=True)
    load_state(loaded, tmp_path / "rows.npz")
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        assert np.array_equal(other(x).data, wanted) and explain(other) == told


def test_a_state_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    """In both directions: the arrays are the same, and the answers would not be."""
    floats, _ = network()
    kinds = [quantize_dynamic(floats, per_row=per_row) for per_row in (True, False)]
    for here, there in (kinds, kinds[::-1]):
        save_state(here, tmp_path / "state.npz")
        with pytest.raises(
            ValueError, match=r"quantized in another way, such as with a scale for each row \(per_row\)"
        ):
            load_state(there, tmp_path / "state.npz")


def test_a_batch_in_many_threads_gives_each_request_its_answer() -> None:
    floats, x = network()
    for served in (quantize_dynamic(floats, per_row=True), accelerate(quantize_dynamic(floats, per_row=True))):
        wanted = served(x).data
        parts = [slice(i % 9, i % 9 + 1 + i % 4) for i in range(60)]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda part, m=served: m(x[part]).data, parts))
        assert all(np.array_equal(got, wanted[part]) for got, part in zip(answers, parts, strict=True))


def test_compare_layers_sees_the_scales_of_rows(trained_mlp: Sequential, digits: Dataset) -> None:
    x = digits.x_test.copy()
    x[0] *= 50
    by_rows, by_tensor = (
        compare_layers(trained_mlp, quantize_dynamic(trained_mlp, per_row=per_row), [x[:1], x])
        for per_row in (True, False)
    )
    of_rows, of_tensor = ({row.layer: row.inputs for row in rows} for rows in (by_rows, by_tensor))
    assert all(of_rows[name].median_db > of_tensor[name].median_db for name in of_tensor)
    assert all(inputs.clipped == 0 for inputs in of_rows.values())


def test_bits_that_were_assigned_are_rules_for_it_too(trained_mlp: Sequential, digits: Dataset) -> None:
    table = sensitivity(trained_mlp, digits.x_test[:200], digits.y_test[:200], [INT8, INT4])
    types = assign_bits(table, byte_budget=4000)
    made = quantize_dynamic(trained_mlp, rules=types, per_row=True)
    assert {m.weight.qparams.int_type for m in made.layers if isinstance(m, QuantizedLinear)} == set(types.values())  # type: ignore[attr-defined]
    assert np.array_equal(made(digits.x_test).data[7], made(digits.x_test[7]).data)
    assert accuracy(made, digits.x_test, digits.y_test) > 0.9


def test_static_networks_keep_their_calibrated_scales() -> None:
    """The option is of dynamic layers: nothing else changes by it."""
    floats, x = network()
    model = quantize_static(floats, [x], MinMaxObserver)
    static: Any = model.get("layers.0")
    assert not static.per_row
    trained = convert(prepare_qat(floats, [x]))
    assert not any(getattr(m, "per_row", False) for _, m in trained.named_modules())
