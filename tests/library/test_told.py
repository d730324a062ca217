"""What went on in silence, or with numbers that nobody wanted, is right, refused, or told in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import Int8Linear, accelerate, int4_linear, int8_linear, prepack_int4, prepack_int8
from tinytorch.core import (
    SGD,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Inputs,
    Linear,
    Module,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    Tensor,
    accuracy,
    outputs,
    r2_score,
)
from tinytorch.quantization import (
    INT4,
    UINT4,
    UINT8,
    GradScaler,
    IntType,
    MasterWeights,
    PercentileObserver,
    QParams,
    QuantizedTensor,
    autocast,
    compare_layers,
    convert,
    correct_bias,
    dequantize,
    fold_batch_norms,
    mixed_step,
    prepare_qat,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
    quantize_weights,
    round_half,
    to_bfloat16,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 5)).astype(np.float32)


# Numbers


def nearest_bfloat16(x: float) -> float:
    """Of all numbers with 8 significant bits the nearest, ties to even, in exact fractions; x is normal in bfloat16."""
    exact = Fraction(x)
    step = Fraction(2) ** (int(np.frexp(x)[1]) - 8)
    return float(round(exact / step) * step)  # round() of a Fraction takes ties to even


@pytest.mark.parametrize("base", [1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 2.0**-100 * (1 + 2**-8)])
@pytest.mark.parametrize("beside", [0, 2**-30, 2**-40, 2**-52, -(2**-30), -(2**-40), -(2**-52)])
def test_float64_is_rounded_to_bfloat16_once(base: float, beside: float) -> None:
    """Rounded to float32 first, a number beside a tie became the tie, and the tie went to even."""
    x = base * (1 + beside)
    assert to_bfloat16(np.array([x])).tolist() == [nearest_bfloat16(x)]
    assert round_half(np.array([x]), "bfloat16").tolist() == [nearest_bfloat16(x)]


def test_many_float64_and_integers_are_rounded_to_bfloat16_once() -> None:
    ties = np.ldexp(RNG.integers(128, 256, 2000) + 0.5, RNG.integers(-100, 100, 2000))
    x = ties * (1 + RNG.integers(-3, 4, 2000) * 2.0 ** -RNG.integers(23, 53, 2000))
    assert to_bfloat16(x).tolist() == [nearest_bfloat16(v) for v in x]
    whole = 2**24 + 2**16 + np.arange(-3, 4)
    assert to_bfloat16(whole).tolist() == [nearest_bfloat16(float(v)) for v in whole]


def test_what_float32_does_not_hold_becomes_what_it_was_in_bfloat16() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1e300, -1e300, 3.3e38, 0.0, -0.0, 1e-300])
    got = to_bfloat16(x)
    assert np.array_equal(got[[0, 1, 3, 4]], [np.inf, -np.inf, np.inf, -np.inf]) and np.isnan(got[2])
    assert got[6:].tolist() == [0, 0, 0] and np.signbit(got[6:]).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("q", "qparams", "error"),
    [
        (np.array([200], np.uint8), QParams(0.1, 0), TypeError),
        (np.array([-1], np.int8), QParams(0.1, 0, UINT8), TypeError),
        (np.array([100], np.int8), QParams(0.1, 0, INT4), ValueError),
        (np.array([16], np.uint8), QParams(0.1, 0, UINT4), ValueError),
        (np.array([-128], np.int8), QParams(0.1, 0, IntType(8, narrow=True)), ValueError),
    ],
    ids=str,
)
def test_codes_that_their_type_does_not_have_stand_for_nothing(
    q: Any, qparams: QParams, error: type[Exception]
) -> None:
    with pytest.raises(error, match="codes of u?int"):
        dequantize(q, qparams)


def test_sums_in_wider_integers_may_be_any() -> None:
    assert dequantize(np.array([1000, -5000], np.int32), QParams(0.5, 10)).tolist() == [495, -2505]


@pytest.mark.parametrize("value", [np.nan, 0, -0.1, np.inf], ids=str)
def test_a_scale_of_a_compiled_product_is_above_0_and_finite(value: float) -> None:
    b = np.ones((5, 3), np.int8)
    for call in (
        lambda: int8_linear(X, prepack_int8(b), value),
        lambda: int8_linear(X, prepack_int8(b), [1, value, 1]),
        lambda: Int8Linear(prepack_int8(b), np.float32(value)),
        lambda: int4_linear(X, prepack_int4(b, value)),
    ):
        with pytest.raises(ValueError, match=f"scale must be > 0 and finite, got {value:g}"):
            call()


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_bias_of_a_compiled_product_is_finite(value: float) -> None:
    b, bias = np.ones((5, 3), np.int8), np.array([0, value, 0], np.float32)
    for call in (lambda: int8_linear(X, prepack_int8(b), 1.0, bias), lambda: int4_linear(X, prepack_int4(b), bias)):
        with pytest.raises(ValueError, match="bias must be finite"):
            call()


# Batches


class Masked(Module):
    """Takes a second input, or does without."""

    def __init__(self) -> None:
        self.layer = Linear(5, 3, rng=np.random.default_rng(1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.layer(x if mask is None else x * mask)


class Two(Module):
    def __init__(self) -> None:
        self.first, self.second = Linear(5, 3), Linear(5, 3)

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self.first(a) + self.second(b)


TAKES_BATCHES: dict[str, Callable[[Module, Any], object]] = {
    "quantize_static": quantize_static,
    "prepare_qat": prepare_qat,
    "compare_layers": lambda m, b: compare_layers(m, quantize_dynamic(m), b),
    "fold_batch_norms": fold_batch_norms,
}


@pytest.mark.parametrize("way", TAKES_BATCHES)
def test_a_second_array_that_the_model_would_take_is_not_left_aside_in_silence(way: str) -> None:
    with pytest.warns(
        UserWarning, match=r"y is left aside as labels, but Masked takes mask, too: Inputs\(x, y\)"
    ) as told:
        TAKES_BATCHES[way](Masked(), [(X, X), (X, X)])
    assert len([w for w in told if "left aside" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*left aside")
        for batch in (Inputs(X, 100 * X), {"x": X, "mask": 100 * X}, ((X, 100 * X), None), X):
            TAKES_BATCHES[way](Masked(), [batch])
        TAKES_BATCHES[way](Sequential(Linear(5, 3)), [(X, X)])


@pytest.mark.parametrize("way", TAKES_BATCHES)
@pytest.mark.parametrize(
    "batch", [X, (X, X), Inputs(X), {"a": X}, {"a": X, "c": X}, Inputs(X, X, X)], ids=lambda b: type(b).__name__
)
def test_a_batch_that_the_model_does_not_take_is_told_how_to_hold_its_inputs(way: str, batch: Any) -> None:
    with pytest.raises(TypeError, match=r"Two takes a, b, but a batch gives it .*: give it Inputs\(a, b\), or a dict"):
        TAKES_BATCHES[way](Two(), [batch])


def test_correcting_biases_asks_the_same_of_its_batches() -> None:
    prepared = prepare_qat(Two(), [Inputs(X, X)])
    with pytest.raises(TypeError, match=r"Two takes a, b, but a batch gives it 1 by position"):
        correct_bias(prepared, [(X, X)])


# A quantized model has no training mode


def in_training() -> Sequential:
    model = Sequential(Residual(Sequential(Linear(5, 5), Dropout(0.5), Tanh())), Dropout(0.5), Linear(5, 3)).train()
    return model


@pytest.mark.parametrize(
    "quantized",
    [
        quantize_dynamic,
        quantize_weight_only,
        lambda m: quantize_static(m, [X]),
        lambda m: quantize_static(m, [0 * X]),
        lambda m: convert(prepare_qat(m, [X])),
        lambda m: accelerate(quantize_dynamic(m).train()),
        lambda m: accelerate(quantize_static(m, [X]).train()),
    ],
    ids=["dynamic", "weights", "static", "static, of zeros", "converted", "accelerated dynamic", "accelerated static"],
)
def test_a_quantized_model_gives_the_same_answer_twice_and_leaves_the_given_one_in_training(quantized: Any) -> None:
    model = in_training()
    made = quantized(model)
    assert np.array_equal(made(X).data, made(X).data)
    assert not any(m.training for _, m in made.named_modules()) and all(m.training for _, m in model.named_modules())


def test_the_statistics_of_a_batch_norm_stay_where_a_quantized_model_serves() -> None:
    model = Sequential(BatchNorm2d(1), Conv2d(1, 2, 3), Flatten(), Linear(32, 3))
    images = RNG.normal(3, 2, size=(7, 1, 6, 6)).astype(np.float32)
    quantized = quantize_dynamic(model)
    before = quantized.state_dict()
    quantized(images), accelerate(quantized.train())(images)
    assert all(np.array_equal(a, before[name]) for name, a in quantized.state_dict().items())


def test_accelerating_leaves_the_mode_of_the_given_model() -> None:
    quantized = quantize_static(
        Sequential(Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(32, 3)), [np.ones((1, 1, 6, 6), np.float32)]
    )
    quantized.train()
    accelerate(quantized)
    assert all(m.training for _, m in quantized.named_modules())


# Options


@pytest.mark.parametrize("fraction", [0.999, 0.9, 1, 49.9])
def test_a_fraction_for_a_percent_is_told(fraction: float) -> None:
    with pytest.warns(UserWarning, match="it is a percent, 99.9 keeps all but one in a thousand"):
        PercentileObserver(fraction)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("percentile", [50, 99.9, 100])
def test_a_percent_is_not(percentile: float) -> None:
    PercentileObserver(percentile)


def test_a_step_without_a_gradient_is_none() -> None:
    params = Sequential(Linear(2, 2)).parameters()
    for call in (lambda s, o: s.step(o), lambda s, o: s.unscale_(o)):
        with pytest.raises(RuntimeError, match=r"has no gradients to look at: scale\(loss\).backward\(\) comes first"):
            call(GradScaler(), SGD(params, 0.1))
    params[0].grad = np.ones((2, 2), np.float32)
    assert GradScaler().step(SGD(params, 0.1)), "one gradient is enough"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_master_weights_are_of_float16(dtype: Any) -> None:
    with pytest.raises(ValueError, match=f"MasterWeights copies float16 parameters, got {np.dtype(dtype)}"):
        MasterWeights([Tensor(np.ones(2, np.float16)), Tensor(np.ones(2, dtype))])


@pytest.mark.parametrize("dtype", ["fp16", "float32", "half", None, np.float16], ids=str)
def test_a_dtype_that_is_no_half_is_refused_before_training(dtype: Any) -> None:
    with pytest.raises(ValueError, match="dtype must be one of"):
        mixed_step(dtype)


@pytest.mark.parametrize("scaler", [GradScaler, Masked(), "auto", 65536.0], ids=["class", "module", "text", "number"])
def test_a_scaler_is_one(scaler: Any) -> None:
    with pytest.raises(TypeError, match=r"scaler must be a GradScaler\(\) or None, got"):
        mixed_step("float16", scaler)


@pytest.mark.parametrize(
    "kind", [tuple, list, lambda parts: dict(zip("ab", parts, strict=True))], ids=["tuple", "list", "dict"]
)
def test_several_results_are_not_stacked_into_one(kind: Any) -> None:
    class Forked(Two):
        def forward(self, x: Tensor) -> Any:  # type: ignore[override]
            return kind([self.first(x), self.second(x)])

    for call in (
        lambda: outputs(Forked(), X),
        lambda: outputs(Forked(), X, batch_size=4),
        lambda: accuracy(Forked(), X, np.zeros(20, int)),
        lambda: r2_score(Forked(), X, X),
    ):
        with pytest.raises(
            TypeError, match="the model gives 2 results in a (tuple|list|dict), and one array is wanted"
        ):
            call()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [2.0**40, 2.0**100])
def test_an_overflow_in_half_precision_is_the_scalers_to_see_and_no_warning(scale: float) -> None:
    """By hand as by mixed_step, in the loss and in every product of the way back."""
    model = Sequential(Linear(5, 6), ReLU(), Linear(6, 3))
    model.layers[0].weight.data[...] = 1e4  # type: ignore[attr-defined]
    scaler, optimizer = GradScaler(scale), SGD(model.parameters(), 0.1)
    with autocast("float16"):
        loss = CrossEntropyLoss()(model(X), np.arange(20) % 3)
    scaler.scale(loss).backward()
    assert not scaler.step(optimizer)


# Messages


BIG = [X] * 40


@pytest.mark.parametrize(
    "call",
    [
        lambda: prepare_qat(Sequential(Linear(5, 3)), INT4, BIG),  # type: ignore[arg-type]
        lambda: prepare_qat(Sequential(Linear(5, 3)), [X], BIG),  # type: ignore[arg-type]
        lambda: quantize_dynamic(Sequential(Linear(5, 3)), X),  # type: ignore[arg-type]
        lambda: quantize_dynamic(Sequential(Linear(5, 3)), rules=BIG),  # type: ignore[arg-type]
        lambda: quantize_dynamic(Sequential(Linear(5, 3)), rules={"layers.0": X}),  # type: ignore[dict-item]
        lambda: quantize_static(Sequential(Linear(5, 3)), [X], BIG),  # type: ignore[arg-type]
        lambda: quantize_weights(Sequential(Linear(5, 3)), {"layers.0": BIG}),  # type: ignore[dict-item]
        lambda: dequantize(X.astype(np.int8), BIG),  # type: ignore[arg-type]
        lambda: IntType(BIG),  # type: ignore[arg-type]
        lambda: IntType(8, BIG),  # type: ignore[arg-type]
        lambda: PercentileObserver(BIG),  # type: ignore[arg-type]
        lambda: QuantizedTensor.from_float(X, group_size=BIG),  # type: ignore[arg-type]
        lambda: QuantizedTensor.from_float(X, axis=BIG),  # type: ignore[arg-type]
        lambda: mixed_step("float16", BIG),  # type: ignore[arg-type]
        lambda: mixed_step("x" * 10_000),
        lambda: Conv2d(1, 1, BIG),  # type: ignore[arg-type]
        lambda: Linear(BIG, 1),  # type: ignore[arg-type]
    ],
)
def test_a_message_does_not_print_an_argument_of_a_page(call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError)) as told:
        call()
    assert len(str(told.value)) < 300 and "\n" not in str(told.value), told.value


@pytest.mark.parametrize(
    ("scale", "said"), [(1e-50, "1e-50, which is 0 in float32"), (1e40, "1e.40, which is inf"), (-2, "-2:")]
)
def test_a_scale_is_told_as_it_was_given(scale: float, said: str) -> None:
    with pytest.raises(ValueError, match=f"scale must be > 0 and finite, got {said}"):
        QParams(scale, 0)
