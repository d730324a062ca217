"""Inputs that are always 0 while a network is calibrated do not tell how large they may become.

PyTorch's observers then choose float32's epsilon, 1.2e-7, as the scale, and ONNX Runtime 1: the first clips what
comes later to next to nothing, the second rounds it to whole numbers. Here such a layer takes each input's own range.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.core import GELU, Conv2d, Linear, Module, ReLU, Residual, Sequential, Tanh
from tinytorch.quantization import (
    HistogramObserver,
    Lookup,
    MinMaxObserver,
    MovingAverageObserver,
    Observer,
    PercentileObserver,
    QuantizedLinear,
    convert,
    explain,
    prepare_qat,
    quantize_static,
    sqnr_db,
)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def networks() -> dict[str, tuple[Module, np.ndarray]]:
    rng = np.random.default_rng(1)
    return {
        "a layer": (Sequential(Linear(6, 5, rng=rng)), numbers(40, 6)),
        "a convolution": (
            Sequential(Conv2d(2, 3, 3, bias=False, rng=rng), ReLU(), Conv2d(3, 2, 1, rng=rng)),
            numbers(8, 2, 5, 5),
        ),
        "a table": (Sequential(Linear(6, 5, bias=False, rng=rng), GELU(), Linear(5, 3, rng=rng)), numbers(40, 6)),
        "a sum": (Sequential(Residual(Linear(6, 6, bias=False, rng=rng)), Linear(6, 3, rng=rng)), numbers(40, 6)),
        "a sum of a chain": (
            Sequential(Residual(Sequential(Linear(6, 4, bias=False, rng=rng), ReLU(), Linear(4, 6, rng=rng)))),
            numbers(40, 6),
        ),
    }


@pytest.mark.parametrize("zeros", [0.0, -0.0, 1e-40])
@pytest.mark.parametrize("observer", [MinMaxObserver, MovingAverageObserver, PercentileObserver, HistogramObserver])
@pytest.mark.parametrize("name", networks())
def test_what_comes_after_zeros_is_neither_clipped_nor_rounded_to_whole_numbers(
    name: str, observer: Callable[[], Observer], zeros: float
) -> None:
    """1e-40 is below the smallest scale. Numbers of all sizes follow."""
    model, x = networks()[name]
    made = quantize_static(model, [np.full_like(x, zeros)], observer)
    for size in (1e-3, 1.0, 1e3):
        assert sqnr_db(model(x * size).data, made(x * size).data) > 25, size
        assert sqnr_db(model(x * size).data, accelerate(made)(x * size).data) > 25, size


def silent(layer: Any) -> Any:
    """The layer, which now gives 0 for everything."""
    layer.weight.data[:], layer.bias.data[:] = 0, 0
    return layer


def test_only_the_layer_behind_zeros_is_dynamic_and_explain_says_so() -> None:
    model = Sequential(Linear(6, 5), ReLU(), silent(Linear(5, 4)), ReLU(), Linear(4, 3), Tanh())
    made = quantize_static(model, [numbers(40, 6)])
    assert explain(made) == [
        ("layers.0", "QuantizedLinear", "int8 weights, static, gives int8 codes"),
        ("layers.2", "QuantizedLinear", "int8 weights, static, gives float"),
        ("layers.3", "ReLU", "in float: nothing to quantize"),
        ("layers.4", "QuantizedLinear", "int8 weights, dynamic, gives float"),
        ("layers.5", "Lookup", "a table of 256 answers, gives float"),
    ]
    still_zero = Sequential(silent(Linear(6, 5)), Tanh())
    assert not any(isinstance(m, Lookup) for _, m in quantize_static(still_zero, [numbers(4, 6)]).named_modules())


def test_a_range_of_255_has_a_scale_of_1_too_and_is_static() -> None:
    for lo in (0, -255, -100):
        x = np.linspace(lo, lo + 255, 60, dtype=np.float32).reshape(10, 6)
        for observer in (MinMaxObserver, MovingAverageObserver):
            layer = quantize_static(Sequential(Linear(6, 2)), [x], observer).layers[0]  # type: ignore[attr-defined]
            assert layer.input_qparams.scale == 1


@pytest.mark.parametrize("learned", [False, True])
def test_a_trained_layer_behind_zeros_is_dynamic_unless_training_showed_it_numbers(learned: bool) -> None:
    x, model = numbers(40, 6), Sequential(Linear(6, 3))
    prepared = prepare_qat(model, [0 * x], learned=learned)
    made = convert(prepared)
    assert made.layers[0].input_qparams is None  # type: ignore[attr-defined]
    assert sqnr_db(model(x).data, made(x).data) > 25
    if learned:
        prepared.layers[0].input.scale.data = np.float32(0.02)  # type: ignore[attr-defined]
    else:
        prepared.train()(x)
    layer = convert(prepared).layers[0]  # type: ignore[attr-defined]
    assert isinstance(layer, QuantizedLinear) and layer.input_qparams is not None
