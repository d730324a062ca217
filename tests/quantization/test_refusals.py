"""What calibration and measuring refuse, in a sentence with the number that was given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinytorch.core import Linear, Residual, Sequential, Tanh, Tensor
from tinytorch.quantization import (
    INT8,
    Histogram,
    HistogramObserver,
    Lookup,
    MinMaxObserver,
    QParams,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedResidual,
    QuantizedTensor,
    WeightOnlyLinear,
    accuracy_interval,
    dequantize,
    error_parts,
    fake_quantize,
    mixed_step,
    model_nbytes,
    outputs,
    quantize,
    quantize_static,
    requantize,
    sensitivity,
)


def calibrated(model: Callable[[], Sequential | Residual]) -> Callable[[], object]:
    """A network whose activations are to have a ruler for each column."""
    return lambda: quantize_static(model(), [np.ones((4, 8), np.float32)], partial(MinMaxObserver, 1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Histogram(10), "bins must be a multiple of 4, got 10"),
        (lambda: Histogram(0), "Histogram needs bins as one integer >= 1, got 0"),
        (lambda: HistogramObserver("mse", 0), "HistogramObserver needs candidates as one integer >= 1, got 0"),
        (lambda: accuracy_interval(490, 500, -1.0), "z must be > 0, got -1"),
        (lambda: accuracy_interval(490, 500, float("nan")), "z must be > 0, got nan"),
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


def test_codes_and_numbers_are_not_taken_for_one_another() -> None:
    p, x = QParams(0.1, 0), np.ones((2, 2), np.float32)
    for block in (QuantizedLinear(np.eye(2), None, p), Sequential(QuantizedLinear(np.eye(2), None, p), Tanh())):
        with pytest.raises(TypeError, match="the block must hand out codes, got a Tensor|takes a Tensor or an array"):
            QuantizedResidual(block, p)(x)
    with pytest.raises(TypeError, match="WeightOnlyLinear takes a Tensor or an array, got QuantizedTensor"):
        WeightOnlyLinear(QuantizedTensor.from_float(x))(QuantizedTensor.from_float(x))
    with pytest.raises(TypeError, match="wanted a Module"):
        QuantizedResidual(None, p)  # type: ignore[arg-type]


def test_what_measures_and_trains_refuses_what_is_no_model_type_or_scaler() -> None:
    x, y, model = np.ones((2, 2), np.float32), np.zeros(2, int), Sequential(Linear(2, 2))
    for wrong in (None, [Linear(2, 2)], Linear):
        for call in (model_nbytes, lambda m: outputs(m, x)):
            with pytest.raises(TypeError, match=r"wanted a Module of tinytorch\.core"):
                call(wrong)
    for types in (INT8, None, 8):
        with pytest.raises(TypeError, match="int_types must be a list of them"):
            sensitivity(model, x, y, types)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="scaler must be a GradScaler or None, got 8"):
        mixed_step("float16", 8)  # type: ignore[arg-type]
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="loss_weight must be above 0"):
            mixed_step("float16", loss_weight=weight)
