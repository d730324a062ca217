"""Rules by name, pattern and class; what they ask for, and what they cannot ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Conv2d, Flatten, Linear, Module, ReLU, Residual, Sequential
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT4,
    UINT8,
    IntType,
    Rule,
    convert,
    explain,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    quantize_weights,
)

IMAGES = np.random.default_rng(0).normal(size=(6, 1, 6, 6)).astype(np.float32)
INT3 = IntType(3)


def network() -> Sequential:
    rng = np.random.default_rng(1)
    block = Residual(Sequential(Linear(8, 8, rng=rng), ReLU(), Linear(8, 8, rng=rng)))
    return Sequential(Conv2d(1, 2, 3, rng=rng), ReLU(), Flatten(), Linear(32, 8, rng=rng), block, Linear(8, 3, rng=rng))


NAMES = ["layers.0", "layers.3", "layers.4.block.layers.0", "layers.4.block.layers.2", "layers.5"]


def types(model: Module) -> list[str]:
    """What became of the weights of each layer, in the order of NAMES."""
    told = [
        how.partition(" weights")[0]
        for _, kind, how in explain(model)
        if kind.startswith(("Quantized", "Linear", "Conv"))
    ]
    return [how if how.startswith("int") else "float" for how in told if not how.startswith(("adds", "in float: its"))]


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ({"layers.*": INT4}, ["int4"] * 5),
        ({"layers.4.*": INT4}, ["int8", "int8", "int4", "int4", "int8"]),
        ({"layers.?": INT4}, ["int4", "int4", "int8", "int8", "int4"]),
        ({"*.layers.2": "float"}, ["int8", "int8", "int8", "float", "int8"]),
        ({Linear: INT4}, ["int8", "int4", "int4", "int4", "int4"]),
        ({Conv2d: "float", Linear: INT3}, ["float", "int3", "int3", "int3", "int3"]),
        ({Module: INT4, "layers.*": INT3, "layers.5": INT8}, ["int3", "int3", "int3", "int3", "int8"]),
        ({"layers.5": INT8, "layers.*": INT3, Module: INT4}, ["int3", "int3", "int3", "int3", "int8"]),
        ({"layers.4.*": "float", "layers.*": INT4}, ["int4", "int4", "float", "float", "int4"]),
        ({"*": INT4, **{name: INT8 for name in NAMES}}, ["int8"] * 5),
        ({"layers.0": None, "layers.3": Rule(INT4)}, ["float", "int4", "int8", "int8", "int8"]),
    ],
    ids=str,
)
def test_a_name_comes_before_a_pattern_a_pattern_before_a_class_and_the_first_pattern_holds(
    rules: Any, wanted: list[str]
) -> None:
    model = network()
    for made in (
        quantize_dynamic(model, rules=rules),
        quantize_static(model, [IMAGES], rules=rules),
        convert(prepare_qat(model, [IMAGES], rules=rules)),
    ):
        assert types(made) == wanted


def test_rules_alone_say_what_is_quantized() -> None:
    assert types(quantize_dynamic(network(), None, rules={"*.block.*": INT4})) == [
        "float",
        "float",
        "int4",
        "int4",
        "float",
    ]
    rounded = quantize_weights(network(), {Conv2d: IntType(2)}).state_dict()
    kept = network().state_dict()
    changed = {name for name, array in rounded.items() if not np.array_equal(array, kept[name])}
    assert changed == {"layers.0.weight"}


def test_a_pattern_over_all_leaves_convolutions_in_float_where_weights_alone_are_stored() -> None:
    made = quantize_weight_only(network(), rules={"layers.*": INT8, "layers.5": "float"})
    kinds = [type(made.get(name)).__name__ for name in NAMES]
    assert kinds == ["Conv2d", "WeightOnlyLinear", "WeightOnlyLinear", "WeightOnlyLinear", "Linear"]
    for rules in ({"layers.0": INT8}, {Conv2d: INT8}):
        with pytest.raises(ValueError, match="a Conv2d has no weight-only form"):
            quantize_weight_only(network(), rules=rules)


def test_dynamic_layers_of_a_static_model_do_not_depend_on_calibration() -> None:
    model = Sequential(Linear(4, 4), ReLU(), Linear(4, 2))
    x = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    made = quantize_static(model, [x / 1000], rules={"layers.*": "dynamic", "layers.2": Rule(INT4, dynamic=True)})
    wanted = quantize_dynamic(model, rules={"layers.2": INT4})
    assert np.array_equal(made(x).data, wanted(x).data)
    assert [how for _, kind, how in explain(made) if kind == "QuantizedLinear"] == [
        "int8 weights, dynamic, gives float",
        "int4 weights, dynamic, gives float",
    ]
    one = quantize_static(model, [x], rules={"layers.0": "dynamic"})
    assert [m.input_qparams is None for m in (one.get("layers.0"), one.get("layers.2"))] == [True, False]  # type: ignore[attr-defined]


@pytest.mark.parametrize("activation_type", [UINT8, IntType(4), IntType(5, signed=False)], ids=str)
def test_a_rule_chooses_the_type_of_a_layers_inputs(activation_type: IntType) -> None:
    """Also in training; the other layers keep that of the call."""
    model = Sequential(Linear(4, 4), ReLU(), Linear(4, 2))
    x = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)
    rules = {"layers.2": Rule(INT4, activation_type), "layers.0": Rule()}
    for made in (
        quantize_static(model, [x], rules=rules),
        convert(prepare_qat(model, [x], rules=rules)),
        convert(prepare_qat(model, [x], rules=rules, learned=True)),
    ):
        first, last = (m for _, m in made.named_modules() if type(m).__name__ == "QuantizedLinear")
        assert first.input_qparams.int_type == INT8 and last.input_qparams.int_type == activation_type  # type: ignore[attr-defined]
        assert first.weight.qparams.int_type == INT8 and last.weight.qparams.int_type == INT4  # type: ignore[attr-defined]
        assert first.output_qparams.int_type == activation_type  # type: ignore[attr-defined]


def static(rules: Any) -> Module:
    return quantize_static(network(), [IMAGES], rules=rules)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: static({"layers.0": 4}), TypeError, r"wanted an integer type such as INT8 .*got 4"),
        (lambda: static({"layers.0": "int4"}), TypeError, r"\"float\" or \"dynamic\", got 'int4'"),
        (lambda: static({Linear: [INT4]}), TypeError, "wanted an integer type"),
        (lambda: static({"layers.9*": INT4}), KeyError, r"a rule names 'layers.9\*', but the layers .* are layers.0, "),
        (lambda: static({ReLU: INT4}), KeyError, "a rule names ReLU, but the layers that can be quantized are"),
        (lambda: static({0: INT4}), KeyError, "a rule names 0, but"),
        (lambda: static([("layers.0", INT4)]), TypeError, "rules must be a mapping"),
        (lambda: static({"layers.*": INT4, "layers.4.*": "float"}), ValueError,
         r"rule for 'layers.4.\*' has no effect, for 'layers.\*' comes before it: an exact name, then the first"),
        (lambda: static({"layers.5": INT8, "l*": INT4, "*.[05]": INT8}), ValueError, r"'\*.\[05\]' has no effect"),
        (lambda: static({Module: INT4, Conv2d: INT8}), ValueError, "rule for Conv2d has no effect, for Module comes"),
        (lambda: quantize_weight_only(network(), rules={"*": INT4, "*.2": INT8}), ValueError, r"'\*.2' has no effect"),
        (lambda: prepare_qat(network(), [IMAGES], rules={"*": INT4, "*5": INT8}), ValueError, r"'\*5' has no effect"),
        *((lambda make=make: make(network()), ValueError, "layer 'layers.0' need a signed type.* got uint4: int4")
          for make in (lambda m: quantize_static(m, [IMAGES], weight_type=UINT4),
                       lambda m: quantize_dynamic(m, rules={Conv2d: UINT4}),
                       lambda m: prepare_qat(m, [IMAGES], rules={"*": Rule(UINT4)}))),
        (lambda: static({"*": "float"}), ValueError, "nothing to quantize: rules leave all in float"),
        (lambda: static({Module: None}), ValueError, "nothing to quantize: rules leave all in float"),
        (lambda: quantize_dynamic(network(), rules={"*": Rule(activation_type=UINT8)}), ValueError,
         r"the rule for '\*' asks for activation_type, which only quantize_static and prepare_qat know"),
        (lambda: quantize_weight_only(network(), rules={Linear: "dynamic"}), ValueError,
         "the rule for Linear asks for dynamic, which only quantize_static and quantize_dynamic know"),
        (lambda: prepare_qat(network(), [IMAGES], rules={"layers.0": "dynamic"}), ValueError, "asks for dynamic"),
        (lambda: quantize_weights(network(), {"layers.0": Rule(INT4, UINT8)}), ValueError, "asks for activation_type"),
        (lambda: quantize_dynamic(network(), None, rules={"layers.0": "dynamic"}), ValueError, "has no weight type"),
        (lambda: Rule(4), TypeError, "wanted an integer type"),  # type: ignore[arg-type]
        (lambda: Rule(INT4, "uint8"), TypeError, "wanted an integer type"),  # type: ignore[arg-type]
        (lambda: Rule(dynamic=1), TypeError, "dynamic must be True or False"),  # type: ignore[arg-type]
        (lambda: Rule(activation_type=UINT8, dynamic=True), ValueError, "leave its activation_type out"),
    ],
)  # fmt: skip
def test_what_a_rule_cannot_say_is_refused(call: Callable[[], object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
