"""What calibration and measuring refuse, in a sentence with the number that was given."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Linear, Module, Residual, Sequential, Tanh, Tensor
from tinytorch.quantization import (
    INT8,
    FakeQuantize,
    Histogram,
    HistogramObserver,
    IntType,
    LearnedStepSize,
    Lookup,
    MinMaxObserver,
    QParams,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedResidual,
    QuantizedTensor,
    Sensitivity,
    WeightOnlyEmbedding,
    WeightOnlyLinear,
    accuracy_interval,
    assign_bits,
    choose_qparams,
    compare_layers,
    correct_bias,
    dequantize,
    equalization_scales,
    equalize,
    error_parts,
    expected_mse,
    explain,
    fake_quantize,
    fold_batch_norms,
    kl_divergence,
    learned_step_quantize,
    mixed_step,
    model_nbytes,
    outputs,
    pack_bits,
    pack_int4,
    pareto_front,
    prepare_qat,
    quantize,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    requantize,
    sensitivity,
    time_interleaved,
)
from tinytorch.quantization.qparams import as_scale


def calibrated(model: Callable[[], Sequential | Residual]) -> Callable[[], object]:
    """A network whose activations are to have a scale for each column."""
    return lambda: quantize_static(model(), [np.ones((4, 8), np.float32)], partial(MinMaxObserver, 1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Histogram(10), "bins must be a multiple of 4, got 10"),
        (lambda: Histogram(0), "Histogram needs bins as one integer >= 1, got 0"),
        (lambda: HistogramObserver("mse", 0), "HistogramObserver needs candidates as one integer >= 1, got 0"),
        (lambda: accuracy_interval(490, 500, -1.0), "z must be > 0 and below 1e9, got -1"),
        (lambda: accuracy_interval(490, 500, float("nan")), "z must be > 0 and below 1e9, got nan"),
        (calibrated(lambda: Sequential(Linear(8, 8))), "layer 'layers.0' needs one scale for all .* gives 8"),
        (
            calibrated(lambda: Residual(Sequential(Linear(8, 8)))),
            "MinMaxObserver gives 8: leave the axis out",
        ),
    ],
)
def test_it_is_refused_with_what_was_wanted_and_given(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize("value", [0.1, INT8, (0.1, 0), "int8"], ids=str)
def test_a_scale_alone_is_no_quantization_parameters(value: Any) -> None:
    x, codes, eye = np.ones((2, 2), np.float32), np.ones((2, 2), np.int8), np.eye(2, dtype=np.float32)
    for call in (
        lambda: quantize(x, value),
        lambda: dequantize(codes, value),
        lambda: error_parts(x, value),
        lambda: requantize(codes.astype(np.int32), 0.5, value),
        lambda: fake_quantize(Tensor(x), value),
        lambda: QuantizedTensor(codes, value),
        lambda: QuantizedLinear(eye, None, value),
        lambda: QuantizedLinear(eye, None, None, value),
        lambda: QuantizedConv2d(eye[None, None], None, value),
        lambda: Lookup(Tanh(), value),
        lambda: QuantizedResidual(Linear(2, 2), value),
    ):
        with pytest.raises(TypeError, match=r"wanted QParams\(scale, zero_point, int_type\), got"):
            call()


X = np.ones((6, 5), np.float32)
NET = Sequential(Linear(5, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        *(
            (lambda give=give, batches=batches: give(batches), "wanted several batches, such as a list of arrays, got ")
            for batches in (None, 5, lambda: [X])
            for give in (
                lambda b: quantize_static(NET, b),
                lambda b: prepare_qat(NET, b),
                lambda b: correct_bias(prepare_qat(NET, [X]), b),
                lambda b: compare_layers(NET, quantize_dynamic(NET), b),
            )
        ),
        (lambda: quantize_static(NET, (X, X[0])), r"got one pair \(x, y\), whose y is no input: pass \[\(x, y\)\]"),
        (lambda: quantize_static(NET, [X], Tanh), "which makes a .*Tanh"),  # type: ignore[arg-type]
        (lambda: quantize_static(NET, [X], lambda: 3), "which makes a int"),  # type: ignore[arg-type, return-value]
        (lambda: Lookup(3, QParams(1, 0)), "wanted a Module of tinytorch.core, got a int"),  # type: ignore[arg-type]
        (lambda: QuantizedTensor.from_float(X, symmetric="no"), "symmetric must be True or False, got 'no'"),  # type: ignore[arg-type]
        (lambda: Sequential(Linear(2, 2), Tanh), r"got the class Tanh: write Tanh\(...\)"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_of_another_kind_is_refused_where_it_is_given(call: Callable[[], object], said: str) -> None:
    """Raw errors came from deep inside: 'int' object is not iterable, has no attribute 'observe'."""
    with pytest.raises(TypeError, match=said):
        call()


def test_a_shape_is_one_size_or_several_of_them() -> None:
    codes = np.ones((2, 3), np.int8)
    for shape in (7, (9, 9), (3, 2)):
        with pytest.raises(ValueError, match="are no tensor of shape"):
            QuantizedTensor(codes, QParams(1, 0), shape)  # type: ignore[arg-type]


def test_codes_and_numbers_are_not_taken_for_one_another() -> None:
    p, x = QParams(0.1, 0), np.ones((2, 2), np.float32)
    for block in (QuantizedLinear(np.eye(2), None, p), Sequential(QuantizedLinear(np.eye(2), None, p), Tanh())):
        with pytest.raises(TypeError, match="the block must return codes, got Tensor|takes a Tensor or an array"):
            QuantizedResidual(block, p)(x)
    with pytest.raises(TypeError, match="WeightOnlyLinear takes a Tensor or an array, got a .*QuantizedTensor"):
        WeightOnlyLinear(QuantizedTensor.from_float(x))(QuantizedTensor.from_float(x))
    with pytest.raises(TypeError, match="wanted a Module"):
        QuantizedResidual(None, p)  # type: ignore[arg-type]


def test_what_measures_and_trains_refuses_what_is_no_model_type_or_scaler() -> None:
    x, y, model = np.ones((2, 2), np.float32), np.zeros(2, int), Sequential(Linear(2, 2))
    for wrong in (None, [Linear(2, 2)], Linear):
        for call in (model_nbytes, lambda m: outputs(m, x)):
            with pytest.raises(TypeError, match=r"wanted a Module of tinytorch\.core"):
                call(wrong)  # type: ignore[arg-type]
    for types in (INT8, None, 8):
        with pytest.raises(TypeError, match="int_types must be a list of them"):
            sensitivity(model, x, y, types)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"scaler must be a GradScaler\(\) or None, got 8"):
        mixed_step("float16", 8)  # type: ignore[arg-type]
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="loss_weight must be above 0"):
            mixed_step("float16", loss_weight=weight)


@pytest.mark.parametrize("value", [2, 0, "unsigned", "False", None, 1.0], ids=repr)
def test_signed_and_narrow_are_true_or_false(value: Any) -> None:
    """2 made the largest code 63, and "unsigned" a signed type."""
    for call in (lambda: IntType(8, value), lambda: IntType(8, True, value)):
        with pytest.raises(TypeError, match="(signed|narrow) must be True or False, got"):
            call()
    assert IntType(8, np.bool(False)) == IntType(8, False) and IntType(4, True, np.bool(True)).qmin == -7  # type: ignore[arg-type]


def test_codes_from_which_no_zero_point_can_be_taken_are_refused() -> None:
    """The difference of int32 and zero point wrapped around to the other sign."""
    for q, zero in ((2**31 - 1, -128), (-(2**31), 127), (2**31, 0), (-(2**63), 1)):
        with pytest.raises(OverflowError, match="codes must fit int32"):
            dequantize(np.array([q]), QParams(1.0, zero))
    assert dequantize(np.array([2**30], np.int32), QParams(1.0, -128)) == np.float32(2**30 + 128)


@pytest.mark.parametrize(
    ("zero_point", "int_type", "count", "said"),
    [
        (0.5, INT8, 1.0, "zero_point must be an integer"),
        (300, INT8, 1.0, r"zero_point must lie in \[-128, 127\]"),
        (0, 8, 1.0, "wanted an integer type"),
        (0, INT8, 0, "count must be > 0"),
        (0, INT8, float("nan"), "count must be > 0"),
    ],
)
def test_a_learned_step_has_a_code_for_zero_a_type_and_a_count(
    zero_point: Any, int_type: Any, count: float, said: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        learned_step_quantize(Tensor(np.ones(2)), Tensor(1.0), zero_point, int_type, count)


def test_a_number_of_bits_is_no_type_for_an_observer_or_a_quantizer_either() -> None:
    seen = [MinMaxObserver(), HistogramObserver()]
    for observer in seen:
        observer.observe(np.ones(3))
    for call in (
        lambda: choose_qparams(-1, 1, 4),  # type: ignore[arg-type]
        *(lambda o=o: o.qparams(4) for o in seen),
        lambda: FakeQuantize(4),  # type: ignore[arg-type]
        lambda: LearnedStepSize(4),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="wanted an integer type such as INT8"):
            call()


def test_counts_codes_and_scales_of_channels_are_what_they_should_be() -> None:
    ones, p = np.ones(2, int), QParams(0.1, 0)
    for counts in ([-1, 2], [np.nan, 1], [0, 0], [np.inf, 1], []):
        with pytest.raises(ValueError, match="counts must be >= 0 and finite, and not all 0"):
            expected_mse(np.array(counts), np.ones(len(counts)), p)
    with pytest.raises(TypeError, match="codes must be integers, got float64"):
        kl_divergence(ones, np.array([0.2, 0.9]), ones)
    with pytest.raises(ValueError, match=r"wanted equal shapes, got r \(3,\), r_next \(1,\)"):
        equalization_scales(np.ones(3), np.ones(1))
    assert equalization_scales(np.array([8, 0]), np.array([2, 3])).tolist() == [2, 1]


def test_an_array_that_hides_numbers_or_is_a_list_is_no_codes() -> None:
    masked = np.ma.array(np.ones((2, 2), np.int8), mask=[[True, False]] * 2)
    for call in (lambda q: QuantizedTensor(q, QParams(0.1, 0)), lambda q: pack_bits(q, 4), pack_int4):
        with pytest.raises(TypeError, match="a masked array with masked values"):
            call(masked)
        with pytest.raises(TypeError, match="stored as int8, got int64"):
            call([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a shape needs each size as one integer >= 0"):
        QuantizedTensor(np.zeros((2, 3), np.int8), QParams(0.1, 0), (2.0, 3.0))  # type: ignore[arg-type]
    for shape in ((0, 3, 1, 1), (1, 3, 0, 0)):
        with pytest.raises(ValueError, match=r"weight must be \[out, in / groups, kh, kw\]"):
            QuantizedConv2d(np.zeros(shape))


def test_counts_of_rounds_and_sweeps_budgets_and_z_are_numbers() -> None:
    table = [Sensitivity("a", INT8, 8, 30.0, 0.5)]
    for call, said in (
        (lambda: time_interleaved([np.sum], np.ones(2), 0), "rounds as one integer >= 1"),
        (lambda: time_interleaved([np.sum], np.ones(2), 2.5), "rounds as one integer >= 1"),  # type: ignore[arg-type]
        (lambda: equalize(Sequential(Linear(2, 2)), -1), "sweeps as one integer >= 0"),
        (lambda: assign_bits(table, float("nan")), "the budget is nan"),  # type: ignore[arg-type]
        (lambda: assign_bits(table, "9"), "byte_budget must be a number"),  # type: ignore[arg-type]
        (lambda: accuracy_interval(1, 2, "1.96"), "z must be a number"),  # type: ignore[arg-type]
        (lambda: accuracy_interval(1, 2, float("inf")), "z must be > 0 and below 1e9, got inf"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            call()


def test_a_step_beyond_float32_is_its_largest_number() -> None:
    """Twice the mean magnitude of such numbers is no float32: the scale became infinite, with a warning."""
    assert as_scale([1e39, 0.5, 0]).tolist() == [np.finfo(np.float32).max, 0.5, 1]
    x = np.array([2.2e38, -1.5e38], np.float32)
    got = LearnedStepSize(IntType(2), batched=True)(Tensor(x)).data
    assert got.tolist() == [np.finfo(np.float32).max, 0]


def test_a_histogram_of_one_negative_power_of_two_has_a_range() -> None:
    """All its numbers lie on the outer edge of the first cell."""
    for objective in ("mse", "entropy"):
        observer = HistogramObserver(objective)
        observer.observe(np.full(5, -2.0))
        lo, hi = observer.range()
        assert lo == hi == -2


def test_a_class_is_no_observer_and_numbers_are_no_codes() -> None:
    wrong: Any
    for wrong, said in (
        (MinMaxObserver, "the class MinMaxObserver: write MinMaxObserver()"),
        ("min-max", "a str"),
        (INT8, "a tinytorch.quantization.qparams.IntType"),
    ):
        with pytest.raises(TypeError, match=re.escape(f"wanted an observer, such as MinMaxObserver(), got {said}")):
            FakeQuantize(observer=wrong)
    with pytest.raises(TypeError, match="which makes the class MinMaxObserver"):
        quantize_static(Linear(3, 2), [np.ones((2, 3), np.float32)], lambda: MinMaxObserver)  # type: ignore[arg-type, return-value]
    for layer in (WeightOnlyLinear, WeightOnlyEmbedding):
        for wrong, kind in ((np.ones((3, 4)), "a numpy.ndarray"), (Linear(4, 3).weight, "a .*Tensor"), (None, "None")):
            with pytest.raises(TypeError, match=f"weight must be a QuantizedTensor, got {kind}: Quantized"):
                layer(wrong)
        with pytest.raises(ValueError, match=r"weight must be \[.*\], got shape \(3,\)"):
            layer(QuantizedTensor.from_float(np.ones(3)))


def test_bits_are_assigned_by_the_rows_of_sensitivity_and_by_nothing_else() -> None:
    model, x = Linear(3, 2), np.ones((2, 3), np.float32)
    rows = sensitivity(model, x, np.zeros(2, int), [INT8])
    used = iter(rows)
    assert len(pareto_front(used)) == 1 and list(assign_bits(iter(rows), 100)) == [""]
    for wrong, said in (
        (model, "wanted the list of rows that sensitivity gives, got a tinytorch.core.layers.Linear"),
        (rows[0], "wanted the list of rows that sensitivity gives, got a .*Sensitivity"),
        (sensitivity, "wanted the list of rows that sensitivity gives, got a function"),
        ({"layers.0": INT8}, "wanted the list of rows that sensitivity gives, got a dict"),
        ("layers.0", "wanted the list of rows that sensitivity gives, got a str"),
        (None, "wanted the list of rows that sensitivity gives, got None"),
        (explain(model), "wanted rows of sensitivity, got a tuple among them"),
        ([INT8], "wanted rows of sensitivity, got a .*IntType among them"),
    ):
        for call in (pareto_front, lambda table: assign_bits(table, 100)):
            with pytest.raises(TypeError, match=said):
                call(wrong)  # type: ignore[arg-type]
    nothing: Any
    for nothing in ([], used):
        with pytest.raises(ValueError, match="at least one row of sensitivity, got none, or an iterator that was used"):
            assign_bits(nothing, 100)


def test_models_are_timed_in_a_list() -> None:
    model, x = Linear(3, 2), np.ones((2, 3), np.float32)
    assert time_interleaved((model,), x, rounds=2).shape == (1, 2)  # type: ignore[arg-type]
    for wrong, said in (
        (model, "wanted a list of models, got a tinytorch.core.layers.Linear: write"),
        ({"float": model}, "wanted a list of models, got a dict"),
        ([model, 3], "wanted models to call with x, got a int among them"),
        ([model, Linear], "wanted models to call with x, got the class Linear among them"),
    ):
        with pytest.raises(TypeError, match=said):
            time_interleaved(wrong, x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wanted at least one model, got an empty list"):
        time_interleaved([], x)


BATCH = np.ones((4, 8), np.float32)
QUANTIZERS: dict[str, Callable[[Module], object]] = {
    "dynamic": quantize_dynamic,
    "static": lambda model: quantize_static(model, [BATCH]),
    "weight-only": quantize_weight_only,
    "training": lambda model: prepare_qat(model, [BATCH]),
    "equalize": equalize,
    "fold": fold_batch_norms,
    "compare": lambda model: compare_layers(model, model, [BATCH]),
}


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named_with_its_layer(name: str, value: float) -> None:
    for layer, attribute in (("0", "weight"), ("1.block.layers.0", "bias"), ("2", "weight")):
        model = Sequential(Linear(8, 8), Residual(Sequential(Linear(8, 8), Tanh())), Linear(8, 3))
        getattr(model.get(f"layers.{layer}"), attribute).data.flat[1] = value
        with pytest.raises(ValueError, match=rf"layers\.{layer}\.{attribute} must be finite, got NaN or infinity"):
            QUANTIZERS[name](model)


def test_a_constant_may_be_infinite() -> None:
    """As what a mask adds to scores."""

    class Masked(Module):
        def __init__(self) -> None:
            self.layer, self.mask = Linear(8, 4), Tensor([0.0, -np.inf, 0.0, 0.0])

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.layer(x)
            return (scores + self.mask).exp()

    assert np.array_equal(outputs(quantize_dynamic(Masked()), BATCH)[:, 1], np.zeros(4))
