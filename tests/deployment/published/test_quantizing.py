"""What quantize_onnx writes: the module's own codes, in graphs that ONNX Runtime fuses, near the float model."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinytorch.deployment import Scheme, quantize_onnx
from tinytorch.deployment.extras import library
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT8,
    IntType,
    MinMaxObserver,
    PercentileObserver,
    QuantizedTensor,
    sqnr_db,
)

from .models import FLOAT16, answers, constants_of, model_of, network, numbers, operators_in

pytestmark = pytest.mark.engines
MATRIX = {"w": numbers(16, 8), "b": numbers(8, seed=1)}
PRODUCTS: dict[str, Callable[[], Any]] = {
    "Gemm": lambda: model_of("y = Gemm(x, w, b)", MATRIX, ("N", 16)),
    "Gemm, transposed": lambda: model_of(
        "y = Gemm(x, w, b)", MATRIX | {"w": numbers(8, 16)}, ("N", 16), attributes={"y": {"transB": 1}}
    ),
    "Gemm without bias": lambda: model_of("y = Gemm(x, w)", {"w": numbers(16, 8)}, ("N", 16)),
    "MatMul": lambda: model_of("y = MatMul(x, w)", MATRIX, (2, "N", 16)),
    "MatMul, weight first": lambda: model_of("y = MatMul(w, x)", {"w": numbers(9, 12)}, (12, "N")),
    "MatMul of many": lambda: model_of("y = MatMul(x, w)", {"w": numbers(3, 16, 8)}, (3, "N", 16)),
    "Conv": lambda: model_of("y = Conv(x, w, b)", {"w": numbers(6, 4, 3, 3), "b": numbers(6)}, ("N", 4, 9, 9)),
    "Conv of one axis": lambda: model_of("y = Conv(x, w, b)", {"w": numbers(6, 4, 5), "b": numbers(6)}, ("N", 4, 30)),
    "Conv in groups": lambda: model_of(
        "y = Conv(x, w)", {"w": numbers(8, 1, 3, 3)}, ("N", 8, 9, 9), attributes={"y": {"group": 8, "pads": [1] * 4}}
    ),
    "ConvTranspose": lambda: model_of("y = ConvTranspose(x, w)", {"w": numbers(4, 6, 3, 3)}, ("N", 4, 5, 5)),
}


def batch_for(model: Any, n: int = 32, seed: int = 7) -> Any:
    shape = [dim.dim_value or n for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return numbers(*shape, seed=seed)


@pytest.mark.parametrize("activations", ["static", "dynamic", "float"])
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("axis", [0, None])
def test_a_product_in_codes_is_near_the_float_one(name: str, activations: Any, axis: int | None) -> None:
    model = PRODUCTS[name]()
    x = batch_for(model)
    made = quantize_onnx(model, [x], activations=activations, axis=axis)
    assert sqnr_db(answers(model, x), answers(made.model, x)) > 30
    assert made.output_sqnr_db is not None and made.output_sqnr_db > 30
    assert [product.operator for product in made.products] == [name.split()[0].rstrip(",")]
    assert made.nbytes < made.nbytes_before + 400  # of a tiny model the words are most of it


def test_codes_scales_and_biases_are_the_modules_own() -> None:
    x = numbers(64, 16, seed=3)
    made = constants_of(quantize_onnx(PRODUCTS["Gemm"](), [x[:32], x[32:]]).model)
    observer = MinMaxObserver()
    observer.observe(x)
    of_x, of_w = observer.qparams(UINT8), QuantizedTensor.from_float(MATRIX["w"].T, INT8, axis=0)
    assert made["x.scale"] == of_x.scale and made["x.zero"] == of_x.zero_point
    np.testing.assert_array_equal(made["w.q"], of_w.q.T)
    np.testing.assert_array_equal(made["w.scale"], of_w.qparams.scale.ravel())
    (bias,) = [array for name, array in made.items() if name.endswith(".bias.q")]
    np.testing.assert_array_equal(bias, np.rint(MATRIX["b"] / np.float64(of_x.scale * of_w.qparams.scale.ravel())))


def test_observers_choose_the_ranges() -> None:
    x = numbers(64, 16, seed=3)
    x[0, 0] = 1000
    wide, narrow = (
        quantize_onnx(PRODUCTS["Gemm"](), [x], each, activations="static").products[0]
        for each in (MinMaxObserver, lambda: PercentileObserver(99.0))
    )
    assert wide.hi == 1000 and wide.clipped == 0
    assert narrow.hi is not None and narrow.hi < 10 and 0 < narrow.clipped < 0.02


def test_a_network_stays_on_codes_from_convolution_to_convolution(tmp_path: Path) -> None:
    model, x = network(), numbers(32, 3, 8, 8)
    made = quantize_onnx(model, [x])
    operators = operators_in(made.model, tmp_path)
    assert operators.count("QLinearConv") == 2 and "QGemm" in operators
    assert not {"Conv", "Relu", "BatchNormalization", "Gemm"}.intersection(operators)
    between = operators[operators.index("QLinearConv") + 1 :]
    assert "DequantizeLinear" not in between[: between.index("QLinearConv")]
    assert sqnr_db(answers(model, x), answers(made.model, x)) > 30


def test_a_shared_weight_is_stored_once() -> None:
    model = model_of("h = MatMul(x, w)\nr = Relu(h)\ny = MatMul(r, w)", {"w": numbers(16, 16)}, ("N", 16))
    ways: list[Any] = ["static", "dynamic", "float"]
    for activations in ways:
        made = quantize_onnx(model, [numbers(9, 16)], activations=activations)
        assert [name for name in constants_of(made.model) if name.endswith(".q")] == ["w.q"]


def test_an_embedding_is_looked_up_in_codes() -> None:
    model = model_of("y = Gather(w, x)", {"w": numbers(100, 16)}, ("N",), kind=7)
    model.graph.output[0].type.tensor_type.elem_type = 1
    ids = np.arange(50)
    made = quantize_onnx(model, [ids])
    assert constants_of(made.model)["w.q"].dtype == np.int8 and made.nbytes < 0.5 * made.nbytes_before
    rows = QuantizedTensor.from_float(numbers(100, 16), INT8, axis=0).dequantize()
    np.testing.assert_array_equal(answers(made.model, ids), rows[:50])


def test_four_bits_in_groups_become_a_product_of_four_bits(tmp_path: Path) -> None:
    model, x = model_of("y = MatMul(x, w)", {"w": numbers(64, 32)}, ("N", 64)), numbers(4, 64)
    made = quantize_onnx(model, int_type=INT4, group_size=32)
    assert made.output_sqnr_db is None, "nothing was measured"
    assert operators_in(made.model, tmp_path) == ["MatMulNBits"]
    rounded = QuantizedTensor.from_float(numbers(64, 32).T, INT4, group_size=32).dequantize().T
    np.testing.assert_allclose(constants_of(made.model)["w.scale"].shape, (2, 32))
    assert sqnr_db(x @ rounded, answers(made.model, x)) > 15


def test_rules_go_from_a_name_to_a_pattern_to_an_operator() -> None:
    text = "a = MatMul(x, w1)\nb = MatMul(a, w2)\ny = Gemm(b, w3)"
    weights = {name: numbers(16, 16, seed=i) for i, name in enumerate(("w1", "w2", "w3"))}
    model = model_of(text, weights, ("N", 16))
    for node, name in zip(model.graph.node, ("front.1", "front.2", "head"), strict=True):
        node.name = name
    rules = {"MatMul": "dynamic", "front.*": "weights", "front.2": None, "Gemm": IntType(6)}
    made = quantize_onnx(model, [numbers(8, 16)], rules=rules)
    got = {product.name: product.scheme for product in made.products}
    assert got == {"front.1": Scheme(INT8, "float"), "front.2": None, "head": Scheme(IntType(6), "static")}
    with pytest.raises(ValueError, match="a rule for 'tail' fits no product; of 3 the first are front.1"):
        quantize_onnx(model, [numbers(8, 16)], rules={"tail": "float"})
    with pytest.raises(TypeError, match=r'a rule is Scheme\(...\), an IntType, "static"'):
        quantize_onnx(model, [numbers(8, 16)], rules={"head": "int8"})


def test_four_bits_raise_an_older_model() -> None:
    """ReduceMax has its axes as an attribute until opset 17, and as an input from 18 on."""
    text = "h = MatMul(x, w)\nr = ReduceMax(h)\ny = MatMul(r, v)"
    weights = {"w": numbers(64, 32), "v": numbers(32, 8)}
    model = model_of(text, weights, (3, "N", 64), opset=15, attributes={"r": {"axes": [0], "keepdims": 0}})
    x = numbers(3, 5, 64)
    for how in ({"int_type": INT4, "group_size": 32}, {"rules": {"MatMul": INT4}}, {"budget": 9000.0}):
        made = quantize_onnx(model, [x], **how)
        assert made.model.opset_import[0].version == 21
        assert sqnr_db(answers(model, x), answers(made.model, x)) > 12


def test_a_model_of_halves_keeps_its_inputs_and_outputs() -> None:
    weights = {name: array.astype(np.float16) for name, array in MATRIX.items()}
    model, x = model_of("y = Gemm(x, w, b)", weights, ("N", 16), kind=FLOAT16), numbers(8, 16).astype(np.float16)
    made = quantize_onnx(model, [x])
    got = answers(made.model, x)
    assert got.dtype == np.float16 and sqnr_db(answers(model, x), got) > 30


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    onnx, path = library("onnx"), tmp_path / "net.onnx"
    onnx.save_model(PRODUCTS["Gemm"](), path, save_as_external_data=True, location="weights", size_threshold=0)
    x = numbers(8, 16)
    assert quantize_onnx(path, [x]).model == quantize_onnx(PRODUCTS["Gemm"](), [x]).model
    (tmp_path / "weights").unlink()
    with pytest.raises(ValueError, match=r"net.onnx lacks some of its weights"):
        quantize_onnx(path, [x])


def test_a_large_model_keeps_its_weights_in_a_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = PRODUCTS["MatMul of many"](), numbers(3, 8, 16)
    wanted = answers(quantize_onnx(model, [x]).model, x)
    monkeypatch.setattr("tinytorch.deployment.published.reading.MUCH", 100)
    monkeypatch.setattr("tinytorch.deployment.published.reading.LEAST_BESIDE", 100)
    quantize_onnx(model, [x]).save(tmp_path / "net.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "net.onnx.data"}
    session = library("onnxruntime").InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], wanted)


def test_an_old_model_is_raised() -> None:
    model = model_of("y = Gemm(x, w, b)", MATRIX, ("N", 16), opset=7)
    for name, array in MATRIX.items():  # weights were inputs, too
        model.graph.input.append(library("onnx").helper.make_tensor_value_info(name, 1, array.shape))
    model.ir_version = 3
    x = numbers(8, 16)
    made = quantize_onnx(model, [x]).model
    assert [value.name for value in made.graph.input] == ["x"] and made.opset_import[0].version == 13
    assert sqnr_db(x @ MATRIX["w"] + MATRIX["b"], answers(made, x)) > 30


def branch(seed: int) -> Any:
    """A graph that multiplies what the outer one calls h."""
    onnx = library("onnx")
    node = onnx.helper.make_node("MatMul", ["h", "inner"], ["z"])
    weight = onnx.numpy_helper.from_array(numbers(16, 16, seed=seed), "inner")
    return onnx.helper.make_graph([node], "branch", [], [onnx.helper.make_tensor_value_info("z", 1, None)], [weight])


def test_graphs_within_nodes_are_passed_over_by_name() -> None:
    text = "h = MatMul(x, w)\ns = ReduceSum(h)\nc = Greater(s, zero)\nv = Squeeze(c)\ny = If(v)"
    branches = {"then_branch": branch(1), "else_branch": branch(2)}
    weights = {"w": numbers(16, 16), "zero": np.zeros((), np.float32)}
    model = model_of(text, weights, (4, 16), attributes={"y": branches})
    model.graph.node[-1].name = "chooser"
    made = quantize_onnx(model, [numbers(4, 16, seed=seed) for seed in range(4)])
    assert made.passed_over == ("chooser",) and len(made.products) == 1
    for seed in range(4):
        x = numbers(4, 16, seed=seed)
        assert sqnr_db(answers(model, x), answers(made.model, x)) > 30


def with_dead_channels(share: float, seed: int) -> Any:
    r = np.random.default_rng(seed)
    shapes = {"w1": (40, 16), "b1": (40,), "w2": (10, 40), "b2": (10,)}
    weights = {name: r.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["w1"][: int(40 * share)] *= 1e-12
    text = "h = Gemm(x, w1, b1)\nr = Relu(h)\ny = Gemm(r, w2, b2)"
    return model_of(text, weights, ("N", 16), attributes={"h": {"transB": 1}, "y": {"transB": 1}})


def test_dead_channels_with_a_bias_cost_nothing() -> None:
    errors = np.empty((2, 10))
    for seed in range(10):
        models, x = (with_dead_channels(0.3, seed), with_dead_channels(0.0, seed)), [numbers(200, 16)]
        dead, alive = (quantize_onnx(model, x, activations="static") for model in models)
        errors[:, seed] = dead.output_error, alive.output_error
        assert dead.products[0].note == "12 channels with a scale chosen by the bias"
        assert not alive.products[0].note
    assert errors[0].mean() <= errors[1].mean()


def test_an_input_that_was_always_zero_is_quantized_by_its_own_range() -> None:
    made = quantize_onnx(PRODUCTS["Gemm"](), [np.zeros((4, 16), np.float32)])
    assert made.products[0].note == "its input was always the same number: dynamic"
    x = numbers(8, 16)
    assert sqnr_db(answers(PRODUCTS["Gemm"](), x), answers(made.model, x)) > 30


def test_calibration_keeps_few_batches_in_memory() -> None:
    alive: list[weakref.ref[Any]] = []

    def batches() -> Iterator[Any]:
        for seed in range(30):
            x = numbers(32, 16, seed=seed)
            alive.append(weakref.ref(x))
            yield x
            del x
            gc.collect()
            assert sum(one() is not None for one in alive) <= 4

    assert quantize_onnx(PRODUCTS["Gemm"](), batches()).output_sqnr_db is not None
    assert len(alive) == 30


def with_a_loud_column() -> Any:
    """A product that fills the range of its weight with a column that the next one multiplies by 0."""
    weights = {name: numbers(32, 32, seed=i) for i, name in enumerate(("w1", "w2", "w3"))}
    weights["w2"][:, 5] *= 300
    weights["w3"][5] = 0
    model = model_of("a = MatMul(x, w1)\nb = MatMul(a, w2)\ny = MatMul(b, w3)", weights, ("N", 32))
    for node, name in zip(model.graph.node, ("first", "loud", "last"), strict=True):
        node.name = name
    return model


def test_sensitivity_names_the_product_that_costs_most_and_a_budget_mends_it() -> None:
    how: dict[str, Any] = {"axis": None, "rules": {"last": "weights"}}
    model, x = with_a_loud_column(), [numbers(64, 32, seed=5)]
    plain = quantize_onnx(model, x, sensitivity=True, **how)
    costs = {row.layer: row.sqnr_db for row in plain.sensitivities if row.scheme is not None}
    assert min(costs, key=lambda name: costs[name]) == "loud"
    assert plain.output_error is not None
    for budget in (plain.output_error / 2, plain.output_error / 50):
        made = quantize_onnx(model, x, budget=budget, **how)
        assert made.output_error is not None and made.output_error <= budget
        assert {p.name: p.scheme for p in made.products}["loud"] is None
        assert made.nbytes < made.nbytes_before
    middle = (plain.nbytes + plain.nbytes_before) // 2
    made = quantize_onnx(model, x, budget=middle, **how)
    assert made.nbytes <= middle and made.output_error is not None and made.output_error < plain.output_error
    with pytest.raises(ValueError, match="even the smallest plan is larger than 500 bytes"):
        quantize_onnx(model, x, budget=500, **how)


def test_what_costs_the_outputs_too_much_gets_finer_inputs() -> None:
    """Squares and a logarithm behind a convolution show errors of numbers that are small beside the largest."""
    text = "c = Conv(x, w)\ns = Mul(c, c)\na = Add(s, small)\ny = Log(a)"
    sizes = np.logspace(0, -3, 8, dtype=np.float32)[:, None, None, None]
    weights: dict[str, Any] = {"w": numbers(8, 4, 3, 3) * sizes, "small": np.full(1, 1e-6, np.float32)}
    model, x = model_of(text, weights, ("N", 4, 9, 9)), [numbers(16, 4, 9, 9)]
    static, default, floats = (quantize_onnx(model, x, activations=how) for how in ("static", None, "float"))
    assert static.products[0].scheme == Scheme(INT8, "static") and default.products[0].scheme == Scheme(INT8, "float")
    errors = [made.output_error or 0 for made in (static, default, floats)]
    assert errors[0] > 10 * errors[1] > 0 and errors[1] == errors[2]


def test_what_is_exact_enough_stays_static() -> None:
    made = quantize_onnx(network(), [numbers(32, 3, 8, 8)])
    assert {product.scheme for product in made.products} == {Scheme(INT8, "static")}


def test_weights_of_recurrent_layers_are_quantized_where_that_is_asked_for() -> None:
    weights = {"w": numbers(1, 64, 8), "r": numbers(1, 64, 16)}
    model = model_of("h, last, cell = LSTM(x, w, r)\ny = Squeeze(last)", weights, (20, 2, 8))
    model.graph.node[0].attribute.append(library("onnx").helper.make_attribute("hidden_size", 16))
    model.graph.node[0].name = "lstm"
    x = numbers(20, 2, 8)
    ways: list[dict[str, Any]] = [
        {"activations": "float"},
        {"rules": {"LSTM": "weights"}},
        {"rules": {"lstm.*": "weights"}},
    ]
    for how in ways:
        made = quantize_onnx(model, [x], **how)
        assert {product.name: product.how for product in made.products} == {
            "lstm.W": "int8 weights, inputs in float",
            "lstm.R": "int8 weights, inputs in float",
        }
        assert sqnr_db(answers(model, x), answers(made.model, x)) > 25
    assert {product.scheme for product in quantize_onnx(model, [x]).products} == {None}


def test_products_that_share_a_weight_along_other_axes_have_codes_of_their_own() -> None:
    model = model_of("e = Gather(w, x)\ny = MatMul(e, w)", {"w": numbers(16, 16)}, ("N",), kind=7)
    model.graph.output[0].type.tensor_type.elem_type = 1
    ids = np.arange(16)
    made = quantize_onnx(model, [ids], activations="float")
    assert sum(name.endswith(".q") for name in constants_of(made.model)) == 2
    assert sqnr_db(answers(model, ids), answers(made.model, ids)) > 35


def uneven(seed: int) -> Any:
    """Channels of very different ranges, which the next product evens out."""
    r = np.random.default_rng(seed)
    sizes = np.logspace(-1, 1, 8, dtype=np.float32)
    weights = {
        "w1": r.normal(size=(8, 4, 3, 3)) * sizes[:, None, None, None],
        "b1": r.normal(size=8) * sizes,
        "w2": r.normal(size=(8, 1, 3, 3)),
        "b2": r.normal(size=8) * sizes,
        "w3": r.normal(size=(10, 8, 1, 1)) / sizes[:, None, None],
    }
    text = "c = Conv(x, w1, b1)\nr = Relu(c)\nd = Conv(r, w2, b2)\ne = Relu(d)\ny = Conv(e, w3)"
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    return model_of(text, arrays, ("N", 4, 9, 9), attributes={"d": {"group": 8}})


def test_equalization_evens_out_channels_and_changes_no_answer() -> None:
    model, x = uneven(0), [numbers(32, 4, 9, 9)]
    how: dict[str, Any] = {"axis": None, "activations": "float"}
    plain, even = (quantize_onnx(model, x, equalize=each, **how) for each in (False, True))
    assert plain.output_sqnr_db is not None and even.output_sqnr_db is not None
    assert even.output_sqnr_db > plain.output_sqnr_db + 3
    exact = quantize_onnx(model, x, equalize=True, rules={"Conv": "float"})
    np.testing.assert_allclose(answers(model, *x), answers(exact.model, *x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_corrected_biases_leave_no_error_on_average(groups: int) -> None:
    weights = {"w": numbers(8, 4 // groups, 3, 3), "b": numbers(8)}
    model = model_of("y = Conv(x, w, b)", weights, ("N", 4, 9, 9), attributes={"y": {"group": groups}})
    x = numbers(64, 4, 9, 9) + np.array([1, 2, 3, -4], np.float32)[:, None, None]
    errors = []
    for correct in (False, True):
        made = quantize_onnx(model, [x], int_type=IntType(4), correct_bias=correct)
        errors.append(np.abs((answers(made.model, x) - answers(model, x)).mean((0, 2, 3))).max())
    assert errors[1] < 0.05 * errors[0]


WAYS, PREPARED = ("static", "dynamic"), {"equalize": True, "correct_bias": True}
ODD: dict[str, Callable[[], Any]] = {
    "a bias of another axis": lambda: model_of(
        "y = Gemm(x, w, b)", {"w": numbers(16, 12), "b": numbers(12, 1)}, (12, 16)
    ),
    "names that are taken": lambda: model_of(
        "h = Conv(x, w, b)\ny = Add(h, w.scale)",
        {"w": numbers(8, 4, 3, 3), "b": numbers(8), "w.scale": numbers(8)[:, None, None], "x.q": numbers(3)},
        ("N", 4, 9, 9),
    ),
    "a weight for two, one of them with a large bias": lambda: model_of(
        "c = Conv(x, w, b2)\nd = Conv(x, w, b1)\ny = Add(c, d)",
        {
            "w": numbers(8, 4, 3, 3) * np.array([1e-7, *[1] * 7], np.float32)[:, None, None, None],
            "b1": np.eye(8, dtype=np.float32)[0],
            "b2": np.zeros(8, np.float32),
        },
        ("N", 4, 9, 9),
    ),
    "a convolution and a matrix of its last axis": lambda: model_of(
        "h = Conv(x, w)\ny = MatMul(h, v)",
        {"w": numbers(8, 4, 3) * np.logspace(0, 2, 8, dtype=np.float32)[:, None, None], "v": numbers(8, 10)},
        ("N", 4, 10),
    ),
    "a table that is a matrix, too": lambda: model_of(
        "i = Cast(x)\ne = Gather(w, i)\ny = Gemm(e, w)",
        {"w": numbers(16, 16)},
        ("N",),
        attributes={"i": {"to": 7}, "y": {"transB": 1}},
    ),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(
    "how",
    [{"activations": "static"}, {"activations": "dynamic"}, {}, {"equalize": True, "correct_bias": True}],
    ids=str,
)
def test_odd_models_keep_their_answers(name: str, how: dict[str, Any]) -> None:
    model = ODD[name]()
    x = batch_for(model) if "table" not in name else np.arange(16, dtype=np.float32)
    made = quantize_onnx(model, [x], **how)
    assert sqnr_db(answers(model, x), answers(made.model, x)) > 25


def test_a_bias_that_is_no_constant_goes_along_the_channels() -> None:
    text = "t = ReduceMax(x)\nb = Mul(t, v)\ny = Conv(x, w, b)"
    attributes: dict[str, Any] = {"t": {"keepdims": 0}, "y": {"pads": [1] * 4}}
    model = model_of(text, {"v": numbers(8), "w": numbers(8, 4, 3, 3)}, ("N", 4, 8, 8), attributes=attributes)
    x = numbers(16, 4, 8, 8)
    for activations in ("static", "dynamic", "float"):
        made = quantize_onnx(model, [x], activations=activations)
        assert sqnr_db(answers(model, x), answers(made.model, x)) > 30


def test_whole_numbers_alone_stay_static_and_have_no_budget() -> None:
    model = model_of("h = Gemm(x, w, b)\ny = ArgMax(h)", MATRIX, ("N", 16), attributes={"y": {"axis": 1}})
    model.graph.output[0].type.tensor_type.elem_type = 7
    made = quantize_onnx(model, [numbers(64, 16)])
    assert made.products[0].scheme == Scheme() and made.output_sqnr_db is None
    with pytest.raises(ValueError, match="the model gives whole numbers alone, whose error is not measured"):
        quantize_onnx(model, [numbers(64, 16)], budget=0.1)


def test_names_that_are_given_to_nodes_without_one_are_free() -> None:
    model = model_of("a = MatMul(x, w1)\ny = MatMul(a, w2)", {"w1": numbers(16, 16), "w2": numbers(16, 16)}, ("N", 16))
    model.graph.node[1].name = "MatMul_0"
    made = quantize_onnx(model, [numbers(8, 16)], rules={"MatMul_0": "float"})
    assert [product.scheme is None for product in made.products] == [False, True]


def test_a_budget_in_bytes_takes_tables_and_stacks_of_matrices() -> None:
    table = model_of("i = Cast(x)\ny = Gather(w, i)", {"w": numbers(100, 16)}, ("N",), attributes={"i": {"to": 7}})
    assert quantize_onnx(table, [np.arange(50, dtype=np.float32)], budget=1e9).nbytes > 0
    stack = PRODUCTS["MatMul of many"]()
    assert quantize_onnx(stack, [batch_for(stack)], budget=1e9).output_error == 0
    assert quantize_onnx(stack, [batch_for(stack)], int_type=INT4, group_size=16).nbytes < 1000
