"""Plans for weights and for inputs, layers that a forward reaches into, own observers, and what an own forward does."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import int4_linear, int8_linear, prepack_int4, prepack_int8
from tinytorch.core import SGD, Conv1d, Embedding, Linear, Module, ReLU, Sequential, Tensor, fit
from tinytorch.quantization import (
    INT4,
    INT8,
    FakeQuantize,
    IntType,
    MinMaxObserver,
    Observer,
    QuantizedLinear,
    QuantizedTensor,
    Rule,
    activation_sensitivity,
    assign_bits,
    convert,
    explain,
    freeze,
    model_nbytes,
    pareto_front,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    sensitivity,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 5)).astype(np.float32)
Y = np.arange(20) % 5


def network() -> Sequential:
    rng = np.random.default_rng(1)
    return Sequential(Linear(5, 5, rng=rng), ReLU(), Linear(5, 5, rng=rng))


# Plans


def test_a_plan_for_inputs_sets_the_types_of_inputs_and_leaves_the_weights() -> None:
    table = activation_sensitivity(network(), X, Y, [INT8, INT4])
    plan: dict[str, Any] = assign_bits(table, 8)  # one input of 5 codes in bytes, one in nibbles
    types = [rule.activation_type for rule in plan.values()]
    assert plan.keys() == {"layers.0", "layers.2"} and sorted(map(str, types)) == ["int4", "int8"]
    for made in (quantize_static(network(), [X], rules=plan), convert(prepare_qat(network(), [X], rules=plan))):
        layers: list[Any] = [m for _, m in made.named_modules() if isinstance(m, QuantizedLinear)]
        assert [m.input_qparams.int_type for m in layers] == types
        assert [m.weight.qparams.int_type for m in layers] == [INT8, INT8]
    with pytest.raises(ValueError, match="asks for activation_type, which only quantize_static and prepare_qat know"):
        quantize_dynamic(network(), rules=plan)


def test_a_plan_for_weights_is_types_as_before() -> None:
    plan = assign_bits(iter(sensitivity(network(), X, Y, [INT8])), byte_budget=1000)
    assert plan == {"layers.0": INT8, "layers.2": INT8}


def test_rows_of_weights_and_of_inputs_are_no_table() -> None:
    rows = sensitivity(network(), X, Y, [INT8]) + activation_sensitivity(network(), X, Y, [INT8])
    for plan in (pareto_front, lambda table: assign_bits(table, 1000)):
        with pytest.raises(ValueError, match="mixes rows of sensitivity"):
            plan(rows)


def test_a_budget_is_for_codes_and_scales_and_the_docstring_says_what_comes_on_top() -> None:
    table = sensitivity(network(), X, Y, [INT8])
    made = quantize_dynamic(network(), rules=assign_bits(table, 98))  # 25 codes, 5 scales and a zero point, twice
    assert sum(row.nbytes for row in table) == 98 and model_nbytes(made) == 98 + 2 * 5 * 4  # the biases
    assert "Biases, zero points and layers without a row come\n    on top" in str(assign_bits.__doc__)


# Layers that a forward of one's own reaches into


class Tied(Module):
    def __init__(self) -> None:
        self.embedding, self.layer = Embedding(7, 5), Linear(5, 5)

    def forward(self, x: Any) -> Any:
        return self.layer(self.embedding(x)) @ self.embedding.weight.T


class Reaching(Module):
    def __init__(self) -> None:
        self.inner = Sequential(Linear(5, 5), Linear(5, 5))

    def forward(self, x: Any) -> Any:
        first, second = self.inner.layers
        return second(x) @ first.weight.T  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "call",
    [
        lambda: quantize_weight_only(Tied())(np.arange(6)),
        lambda: quantize_weight_only(Reaching())(X),
        lambda: quantize_dynamic(Reaching())(X),
        lambda: prepare_qat(Reaching(), [X]),
        lambda: prepare_qat(Reaching(), [X], learned=True),
        lambda: QuantizedTensor.from_float(X).reshape(5, 20),
    ],
)
def test_a_weight_of_codes_that_a_forward_takes_for_a_tensor_says_what_to_do(call: Callable[[], object]) -> None:
    with pytest.raises(AttributeError, match='leave a layer whose weight a forward uses in float, by the rule "float"'):
        call()


def test_calibration_names_the_layer_and_the_rule_works() -> None:
    with pytest.raises(
        AttributeError, match=r"uses weight of layer 'inner.layers.0', .* rules={'inner.layers.0': \"float"
    ):
        quantize_static(Reaching(), [X])
    for made in (
        quantize_static(Reaching(), [X], rules={"inner.layers.0": "float"}),
        quantize_dynamic(Reaching(), rules={"inner.layers.0": "float"}),
        prepare_qat(Reaching(), [X], rules={"inner.layers.0": "float"}),
    ):
        assert made(X).shape == (20, 5)
    tied = quantize_weight_only(Tied(), rules={"embedding": "float"})
    assert tied(np.arange(6)).shape == (6, 7)


def test_tensors_and_quantizers_are_copied_and_lack_what_they_lack() -> None:
    for thing in (QuantizedTensor.from_float(X), FakeQuantize(), prepare_qat(network(), [X]).get("layers.0")):
        assert type(deepcopy(thing)) is type(thing) and not hasattr(thing, "nonsense")


# Own observers


class Silent(Observer):
    pass


class Rangeless(Observer):
    def observe(self, x: Any) -> None:
        pass


class OneNumber(Rangeless):
    def range(self) -> Any:
        return 3.0


class Three(Rangeless):
    def range(self) -> Any:
        return np.zeros(3)


class Swapped(Rangeless):
    def range(self) -> Any:
        return 3.0, 1.0


class Endless(Rangeless):
    def range(self) -> Any:
        return -np.inf, np.inf


@pytest.mark.parametrize(
    ("observer", "error", "said"),
    [
        (Silent, NotImplementedError, r"Silent must define observe\(x\)"),
        (Rangeless, NotImplementedError, r"Rangeless must define range\(\), which gives \(lo, hi\)"),
        (OneNumber, ValueError, r"layer 'layers.0' gives no scale: OneNumber.range\(\) must give \(lo, hi\), got 3.0"),
        (Three, ValueError, r"Three.range\(\) must give \(lo, hi\), got array"),
        (Swapped, ValueError, r"layer 'layers.0' gives no scale: a range needs lo <= hi, got \[3, 1\]"),
        (Endless, ValueError, r"layer 'layers.0' gives no scale: a range must be finite"),
    ],
)
def test_an_own_observer_is_told_what_it_lacks(observer: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        quantize_static(network(), [X], observer)


def test_an_observer_has_its_own_axis() -> None:
    with pytest.raises(ValueError, match=r"an observer has its own axis: give 0 to it, as in MinMaxObserver\(0\)"):
        FakeQuantize(axis=0, observer=MinMaxObserver())
    made = FakeQuantize(observer=MinMaxObserver(0))
    made(Tensor(X))
    assert made.qparams is not None and made.qparams.scale.shape == (20, 1)


# Training


@pytest.mark.parametrize("axis", [0, None])
def test_freezing_keeps_the_scales_of_inputs_and_those_of_weights_follow_the_weights(axis: int | None) -> None:
    frozen: Any = freeze(prepare_qat(network(), [X], axis=axis))
    before = [frozen.layers[i].input.qparams for i in (0, 2)]
    fit(frozen, 3 * X, Y, 3, SGD(frozen.parameters(), 0.5))
    assert [frozen.layers[i].input.qparams for i in (0, 2)] == before
    converted: Any = convert(frozen)
    for i in (0, 2):
        weight = np.abs(frozen.layers[i].layer.weight.data)
        largest = weight.max(axis=1, keepdims=True) if axis == 0 else weight.max()
        assert np.allclose(converted.layers[i // 2].weight.qparams.scale, largest / 127, rtol=1e-6)


# What an own forward computes


class Attends(Module):
    def __init__(self) -> None:
        self.query, self.key = Linear(5, 5), Linear(5, 5)

    def forward(self, x: Any) -> Any:
        return self.query(x) @ self.key(x).T


class ByHelper(Attends):
    def forward(self, x: Any) -> Any:
        return self.scores(x)

    def scores(self, x: Any) -> Any:
        return np.matmul(self.query(x).data, self.key(x).data.T)


class Adds(Attends):
    def forward(self, x: Any) -> Any:
        return self.query(x) * 2 + self.key(x)


@pytest.mark.parametrize(
    "made", [quantize_dynamic, lambda m: quantize_static(m, [X]), lambda m: m], ids=["dynamic", "static", "float"]
)
def test_explain_tells_of_the_products_of_an_own_forward(made: Any) -> None:
    said = "in float: matrix products of its own forward"
    assert explain(made(Sequential(Attends())))[0] == ("layers.0", "Attends", said)
    assert explain(quantize_dynamic(ByHelper()))[0] == ("", "ByHelper", said)
    assert all(how != said for *_, how in explain(made(Adds()))), "sums are none"
    assert all(how != said for *_, how in explain(made(network())))


# Messages


@pytest.mark.parametrize("axis", [1, -1, (0, 1), 7, -9], ids=str)
def test_the_axis_of_a_weight_is_named(axis: Any) -> None:
    for call in (
        lambda: quantize_dynamic(network(), axis=axis),
        lambda: quantize_static(network(), [X], axis=axis),
        lambda: quantize_dynamic(Sequential(Conv1d(5, 2, 1)), axis=axis),
        lambda: QuantizedLinear(np.eye(3), axis=axis),
    ):
        with pytest.raises(ValueError, match="axis must be 0, a scale for each output of a weight, or None, one"):
            call()


@pytest.mark.parametrize("x", [X.astype(float), X.tolist(), X.astype(np.int64)], ids=["float64", "list", "int64"])
def test_a_compiled_product_says_how_its_input_becomes_float32(x: Any) -> None:
    b = np.ones((5, 3), np.int8)
    for call in (lambda: int8_linear(x, prepack_int8(b), 1.0), lambda: int4_linear(x, prepack_int4(b))):
        with pytest.raises(TypeError, match=r"x must be a float32 array, .*: x.astype\(np.float32\)"):
            call()


def test_a_rule_of_a_plan_is_one_like_others() -> None:
    plan: dict[str, Any] = assign_bits(activation_sensitivity(network(), X, Y, [IntType(6)]), 100)
    assert plan == {name: Rule(activation_type=IntType(6)) for name in ("layers.0", "layers.2")}
