"""What objects say of themselves: a line that tells what they are, and equal parameters compare equal."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest

import tinytorch.core as tc
import tinytorch.quantization as tq
from tinytorch.acceleration import Int8Linear, accelerate, prepack_int8
from tinytorch.core import GELU, Conv2d, Embedding, Linear, Module, ReLU, Residual, Sequential, Tensor
from tinytorch.core.layers import Inputs
from tinytorch.quantization import INT4, INT8, UINT4, UINT8, IntType, QParams, QuantizedTensor

from_float = QuantizedTensor.from_float
RNG = np.random.default_rng(0)
X = np.linspace(-2.55, 2.55, 640, dtype=np.float32).reshape(10, 64)  # 255 steps of 0.02
MODULES = [
    importlib.import_module(f"{package}.{found.name}")
    for package in ("tinytorch.quantization", "tinytorch.core")
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__)
]
CLASSES = {  # those that are offered, and every module of a network
    kind
    for module in MODULES
    for name, kind in vars(module).items()
    if inspect.isclass(kind) and kind.__module__ == module.__name__
    if name in {*tq.__all__, *tc.__all__} or issubclass(kind, Module)
}


def linear(n_out: int = 10) -> Linear:
    return Linear(64, n_out, rng=np.random.default_rng(1))


def static(model: Module) -> Any:
    return tq.quantize_static(model, [X])


def test_a_static_layer_tells_its_sizes_its_type_and_its_scale() -> None:
    layer = static(Sequential(linear())).layers[0]
    assert repr(layer) == "QuantizedLinear(64 -> 10, int8 per channel, static, input int8 scale 0.02)"


def test_a_dynamic_layer_tells_that_it_is_one() -> None:
    layer: Any = tq.quantize_dynamic(linear(), INT4, axis=None)
    assert repr(layer) == "QuantizedLinear(64 -> 10, int4 per tensor, dynamic)"


def test_a_layer_that_gives_codes_tells_their_scale() -> None:
    layer = tq.QuantizedLinear(np.eye(3), None, QParams(0.5, 0), QParams(0.25, 7, UINT8))
    assert repr(layer).endswith("static, input int8 scale 0.5, output uint8 scale 0.25)")


def test_a_convolution_tells_its_kernel_and_what_is_not_usual() -> None:
    weight = RNG.normal(size=(8, 2, 3, 5))
    assert repr(tq.QuantizedConv2d(weight)) == "QuantizedConv2d(2 -> 8, 3x5, int8 per channel, dynamic)"
    layer = tq.QuantizedConv2d(weight, stride=2, padding=1, groups=4)
    assert repr(layer) == "QuantizedConv2d(8 -> 8, 3x5, stride 2, padding 1, groups 4, int8 per channel, dynamic)"


def test_stored_weights_tell_their_groups() -> None:
    model: Any = tq.quantize_weight_only(linear())
    assert repr(model) == "WeightOnlyLinear(64 -> 10, int4 groups of 32, float arithmetic)"
    table = tq.quantize_weight_only(Embedding(9, 64))
    assert repr(table) == "WeightOnlyEmbedding(9, 64, int4 groups of 32)"


def test_a_table_and_a_sum_of_codes_tell_their_scales() -> None:
    model = static(Sequential(GELU(), Residual(linear(64)), linear()))
    assert repr(model.layers[0]).startswith("Lookup(256 answers, input int8 scale 0.02, output int8 scale ")
    added = repr(model.layers[1])
    assert added.startswith("QuantizedResidual(QuantizedLinear(64 -> 64, int8 per channel, static, input")
    assert added.count("input int8 scale") == 2, "the block's, and its own"


@pytest.mark.compiler
def test_an_accelerated_layer_says_what_the_layer_said_whose_place_it_takes() -> None:
    fast: Any = accelerate(static(Sequential(linear(), ReLU())))
    said = "AcceleratedLinear(64 -> 10, int8 per channel, static, input int8 scale 0.02, ReLU)"
    assert repr(fast.layers[0]) == said
    convolution = accelerate(tq.quantize_dynamic(Conv2d(1, 8, 3, padding=1)))
    assert repr(convolution) == "AcceleratedConv2d(1 -> 8, 3x3, padding 1, int8 per channel, dynamic)"


def test_a_layer_of_the_compiled_kernels_does_not_show_its_arrays() -> None:
    layer = Int8Linear(prepack_int8(np.ones((3, 200), np.int8)), np.linspace(0.1, 1, 200))
    assert "array" not in repr(layer) and len(repr(layer)) < 120


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (from_float(np.eye(256), INT4, group_size=32), "int4 [256, 256], groups of 32, 41.0 kB"),
        (from_float(np.eye(64)), "int8 [64, 64], per tensor, 4.1 kB"),
        (from_float(np.ones((4, 2, 3)), axis=0), "int8 [4, 2, 3], per channel, 44 bytes"),
        (from_float(np.ones((4, 6)), axis=1), "int8 [4, 6], a scale for each slice along axis 1, 52 bytes"),
        (from_float(np.ones((2000, 1000))), "int8 [2000, 1000], per tensor, 2.0 MB"),
        (from_float(3.0), "int8 [], per tensor, 9 bytes"),
        (from_float(np.ones((0, 3)), axis=0), "int8 [0, 3], per tensor, 8 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_tensor_tells_its_type_shape_scales_and_bytes(tensor: QuantizedTensor, said: str) -> None:
    assert repr(tensor) == f"QuantizedTensor({said})"


@pytest.mark.parametrize("t", [INT8, UINT4, IntType(3), IntType(7, signed=False), IntType(8, narrow=True)], ids=repr)
def test_a_type_shows_what_makes_it_again(t: IntType) -> None:
    assert eval(repr(t), vars(tq)) == t and "bits=" not in repr(t)


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 3 / 255, 1e-38, 3e38])
def test_parameters_of_one_scale_show_what_makes_them_again(scale: float) -> None:
    p = QParams(scale, -3)
    assert eval(repr(p), vars(tq)) == p


def test_parameters_of_many_scales_fit_a_line() -> None:
    p = QParams(np.linspace(0.5, 2, 300).reshape(-1, 1), 0, INT4)
    assert repr(p) == "QParams(int4, scales [300, 1] of 0.5 to 2, zero point 0)"


def test_equal_parameters_are_equal_and_have_one_hash() -> None:
    one, same = tq.choose_qparams(-1, 2), tq.choose_qparams([-1, -1], [2, 2])
    assert one == tq.choose_qparams(-1, 2) and len({one, tq.choose_qparams(-1, 2)}) == 1
    assert QParams([0.5, 2], 3) == QParams([0.5, 2], [3, 3]), "one zero point may serve all scales"
    assert hash(QParams([0.5, 2], 3)) == hash(QParams([0.5, 2], [3, 3]))
    assert same != one, "two scales are not one"


@pytest.mark.parametrize("other", [QParams(0.5, 1), QParams(0.25, 0), QParams(0.5, 0, INT4), 0.5, None, "QParams"])
def test_other_parameters_are_not_equal(other: Any) -> None:
    assert QParams(0.5, 0) != other


def test_an_observer_tells_its_options_and_what_it_saw() -> None:
    for observer, before, after in (
        (tq.MinMaxObserver(), "MinMaxObserver(empty)", "MinMaxObserver(range -2.55 to 2.55)"),
        (tq.MinMaxObserver(0), "MinMaxObserver(axis 0, empty)", "MinMaxObserver(axis 0, range -2.55 to 2.55)"),
        (
            tq.PercentileObserver(99.0),
            "PercentileObserver(percentile 99.0, empty)",
            "PercentileObserver(percentile 99.0, 640 numbers of -2.55 to 2.55)",
        ),
    ):
        assert repr(observer) == before
        observer.observe(X)
        assert repr(observer) == after


def test_an_own_observer_says_its_name_and_its_range() -> None:
    class Widest(tq.MinMaxObserver):
        pass

    observer = Widest()
    observer.observe(X)
    assert repr(observer) == "Widest(range -2.55 to 2.55)"


def test_an_own_observer_may_keep_what_it_likes() -> None:
    class Own(tq.Observer):
        def __init__(self) -> None:
            self.histogram, self.lo, self.hi = [3, 4], "low", "high"

    assert repr(Own()) == "Own()" and repr(tq.Observer()) == "Observer()"


def test_a_prepared_layer_tells_its_quantizers_and_whether_they_are_frozen() -> None:
    said = repr(tq.freeze(tq.prepare_qat(Sequential(linear()), [X])))
    assert "FakeQuantize(int8 symmetric, axis 0, scale 0.00" in said
    assert "FakeQuantize(int8, MovingAverageObserver(momentum 0.9, range -2.55 to 2.55), scale 0.02, frozen)" in said
    learned = repr(tq.prepare_qat(Sequential(linear()), [X], INT4, learned=True))
    assert "LearnedStepSize(int4, axis 0, scale 0.0" in learned
    assert repr(tq.LearnedStepSize(INT4)) == "LearnedStepSize(int4, no scale yet)"


@pytest.mark.parametrize("kind", sorted(CLASSES, key=repr), ids=lambda kind: kind.__name__)
def test_no_class_shows_an_address(kind: type) -> None:
    stateless = {"CrossEntropyLoss", "MSELoss", "Stored"}
    has_repr = any("__repr__" in vars(base) for base in kind.__mro__ if base is not object)
    assert has_repr or kind.__name__ in stateless, f"{kind.__name__} has no repr"


def test_several_inputs_tell_their_shapes() -> None:
    several = Inputs(np.zeros((9, 3), np.float32), Tensor(np.zeros(2, np.float32)), mask=None)
    assert repr(several) == "Inputs(float32 [9, 3], float32 [2], mask=None)"


def test_print_shows_a_long_model_line_by_line_and_a_message_holds_it_in_one() -> None:
    model = static(Sequential(linear(64), ReLU(), Sequential(linear(64), GELU()), linear()))
    assert "\n" not in repr(model) and f"{model!r}" == repr(model)
    lines = str(model).split("\n")
    assert lines[0] == "Sequential(" and lines[-1] == ")"
    assert lines[1].startswith("  layers.0: QuantizedLinear(64 -> 64, ")
    assert any(line.startswith("    layers.0: QuantizedLinear(64 -> 64, ") for line in lines), "a part's parts stand in"
    assert str(Sequential(Linear(4, 3), ReLU())) == "Sequential(Linear(4, 3), ReLU())"


def test_a_notebook_shows_a_row_for_each_layer_with_its_bytes() -> None:
    html = static(Sequential(linear(64), ReLU(), linear()))._repr_html_()
    assert html.count("<tr>") == 3 and "64 -&gt; 10" in html, "the heading, and a row a layer; > is escaped"
    assert f"<td>{64 * 64 + 64 * 4 * 2 + 4 + 4 + 4 + 4 + 4:,}</td>" in html, (
        "codes, scales, bias, and three zero points"
    )


def test_a_notebook_shows_how_many_numbers_have_each_code() -> None:
    html = QuantizedTensor(np.array([-2, -2, 1], np.int8), QParams(1.0, 0, IntType(2)))._repr_html_()
    assert "code -2: 2<" in html and "code 1: 1<" in html and html.count("<rect") == 2
    assert "codes -2 to 1, 2 of 4 in use" in html
    assert "0 of 4 in use" in QuantizedTensor(np.zeros(0, np.int8), QParams(1.0, 0, IntType(2)))._repr_html_()
