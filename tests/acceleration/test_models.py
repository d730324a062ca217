"""accelerate: the model that comes out gives what the model that went in gives, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.acceleration.models import AcceleratedConv2d, AcceleratedLinear
from tinytorch.core import Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Residual, Sequential, Tensor
from tinytorch.quantization import (
    INT4,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedTensor,
    choose_qparams,
    model_arrays,
    model_nbytes,
    quantize_dynamic,
    quantize_static,
)


def perceptron() -> tuple[Module, Any]:
    rng = np.random.default_rng(0)
    layers = Linear(30, 70, rng=rng), ReLU(), Linear(70, 40, rng=rng), ReLU(), Linear(40, 10, rng=rng)
    return Sequential(*layers), rng.normal(size=(50, 30)).astype(np.float32)


def residual() -> tuple[Module, Any]:
    rng = np.random.default_rng(1)
    block = Residual(Sequential(Linear(32, 48, rng=rng), ReLU(), Linear(48, 32, rng=rng)))
    return Sequential(Linear(20, 32, rng=rng), ReLU(), block, Linear(32, 10, rng=rng)), rng.normal(
        size=(40, 20)
    ).astype(np.float32)


def image_network() -> tuple[Module, Any]:
    rng = np.random.default_rng(2)
    layers = (
        Conv2d(1, 8, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Conv2d(8, 12, 3, stride=2, rng=rng), ReLU(),
        MaxPool2d(2), Flatten(), Linear(12, 10, rng=rng),
    )  # fmt: skip
    return Sequential(*layers), rng.normal(size=(9, 1, 12, 12)).astype(np.float32)


MODELS = [perceptron, residual, image_network]


def assert_same(got: Any, wanted: Any) -> None:
    assert type(got) is type(wanted)
    if isinstance(wanted, QuantizedTensor):
        np.testing.assert_array_equal(got.q, wanted.q)
        np.testing.assert_array_equal(got.qparams.scale, wanted.qparams.scale)
    else:
        np.testing.assert_array_equal(got.data, wanted.data)


@pytest.mark.parametrize("make", MODELS)
def test_a_static_model_gives_the_same(on_kernel: str, make: Callable[[], tuple[Module, Any]]) -> None:
    model, x = make()
    quantized = quantize_static(model, [x])
    assert_same(accelerate(quantized)(x), quantized(x))


@pytest.mark.parametrize("make", MODELS)
def test_a_dynamic_model_gives_the_same(on_kernel: str, make: Callable[[], tuple[Module, Any]]) -> None:
    model, x = make()
    quantized = quantize_dynamic(model)
    assert_same(accelerate(quantized)(x), quantized(x))


@pytest.mark.parametrize("make", MODELS)
def test_no_quantized_layer_is_left_and_the_given_model_stays_as_it_was(
    make: Callable[[], tuple[Module, Any]],
) -> None:
    model, x = make()
    quantized = quantize_static(model, [x])
    before = [type(m) for _, m in quantized.named_modules()]
    kinds = [type(m) for _, m in accelerate(quantized).named_modules()]
    assert QuantizedLinear not in kinds and QuantizedConv2d not in kinds
    assert sum(kind in (AcceleratedLinear, AcceleratedConv2d) for kind in kinds) == sum(
        kind is QuantizedConv2d for kind in before
    ) + sum(type(m) is QuantizedLinear and "products" not in name for name, m in quantized.named_modules())
    assert [type(m) for _, m in quantized.named_modules()] == before


@pytest.mark.parametrize("ruler", [None, choose_qparams(-2, 3)])
@pytest.mark.parametrize("out", [None, choose_qparams(-9, 9)])
def test_a_layer_takes_codes_of_any_ruler_as_the_notebooks_does(on_kernel: str, ruler: Any, out: Any) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(17, 20)).astype(np.float32), rng.normal(size=17).astype(np.float32)
    layer = QuantizedLinear(w, b, ruler, out)
    fast = accelerate(layer)
    for other in (choose_qparams(-2, 3), choose_qparams(-1, 4)):
        x = QuantizedTensor.from_float(rng.normal(size=(6, 20)), symmetric=False)
        assert_same(fast(QuantizedTensor(x.q, other)), layer(QuantizedTensor(x.q, other)))
    real = Tensor(rng.normal(size=(6, 20)))
    assert_same(fast(real), layer(real))


def test_weights_of_four_bits_give_the_same(on_kernel: str) -> None:
    model, x = perceptron()
    quantized = quantize_static(model, [x], int_type=INT4)
    assert_same(accelerate(quantized)(x), quantized(x))


def test_it_keeps_packed_weights_and_no_others() -> None:
    rng = np.random.default_rng(0)
    model = Sequential(Linear(256, 512, rng=rng), ReLU(), Linear(512, 256, rng=rng))
    quantized = quantize_static(model, [rng.normal(size=(20, 256)).astype(np.float32)])
    fast = accelerate(quantized)
    weights = [array for name, array in model_arrays(fast).items() if name.endswith("codes")]
    assert [array.nbytes for array in weights] == [256 * 512] * 2, "a byte a weight"
    extra = model_nbytes(fast) - model_nbytes(quantized)
    assert extra <= 8 * (512 + 256) + 2 * 64, "eight bytes a column for its sum, 64 a layer to align"


def test_a_layer_whose_sums_might_overflow_stays_what_it_was() -> None:
    wide = QuantizedLinear(np.ones((1, 70_000), np.float32))
    assert type(accelerate(wide)) is QuantizedLinear


def test_what_is_not_quantized_is_copied() -> None:
    model, x = perceptron()
    np.testing.assert_array_equal(accelerate(model)(x).data, model(x).data)
