"""accelerate: the model that comes out gives what the model that went in gives, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import accelerate
from tinytorch.acceleration.models.accelerate import AcceleratedConv2d, AcceleratedLinear
from tinytorch.core import Conv2d, Embedding, Flatten, Linear, MaxPool2d, Module, ReLU, Residual, Sequential, Tensor
from tinytorch.quantization import (
    IntType,
    OnCodes,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedTensor,
    choose_qparams,
    explain,
    model_arrays,
    model_nbytes,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
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


@pytest.mark.parametrize("qparams", [None, choose_qparams(-2, 3)])
@pytest.mark.parametrize("out", [None, choose_qparams(-9, 9)])
def test_a_layer_takes_codes_of_any_qparams_as_the_notebooks_does(on_kernel: str, qparams: Any, out: Any) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(17, 20)).astype(np.float32), rng.normal(size=17).astype(np.float32)
    layer = QuantizedLinear(w, b, qparams, out)
    fast = accelerate(layer)
    for other in (choose_qparams(-2, 3), choose_qparams(-1, 4)):
        x = QuantizedTensor.from_float(rng.normal(size=(6, 20)), symmetric=False)
        assert_same(fast(QuantizedTensor(x.q, other)), layer(QuantizedTensor(x.q, other)))
    real = Tensor(rng.normal(size=(6, 20)))
    assert_same(fast(real), layer(real))


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("make", MODELS)
def test_weights_of_few_bits_give_the_same(on_kernel: str, make: Callable[[], tuple[Module, Any]], bits: int) -> None:
    model, x = make()
    static = quantize_static(model, [x], weight_type=IntType(bits))
    dynamic = quantize_dynamic(model, IntType(bits), axis=None)
    by_rows = quantize_dynamic(model, IntType(bits), per_row=True)
    for quantized in (static, dynamic, by_rows):
        assert_same(accelerate(quantized)(x), quantized(x))


CONVOLUTIONS: dict[str, tuple[Callable[..., Module], tuple[int, ...]]] = {
    "overlapping windows": (lambda rng: Conv2d(3, 20, 3, padding=1, rng=rng), (2, 3, 9, 9)),
    "whole windows": (lambda rng: Conv2d(3, 20, 3, dilation=2, rng=rng), (2, 3, 9, 9)),
    "pixels": (lambda rng: Conv2d(70, 20, 1, rng=rng), (2, 70, 5, 5)),
    "groups": (lambda rng: Conv2d(64, 64, 3, groups=2, rng=rng), (2, 64, 5, 5)),
    "depthwise": (lambda rng: Conv2d(20, 20, 3, padding=1, groups=20, rng=rng), (2, 20, 7, 7)),
}


@pytest.mark.parametrize("make, shape", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_every_way_of_a_convolution_takes_weights_of_few_bits(
    on_kernel: str, make: Callable[..., Module], shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    model, x = Sequential(make(rng)), rng.normal(size=shape).astype(np.float32)
    for bits in (2, 4):
        for quantized in (
            quantize_static(model, [x], weight_type=IntType(bits)),
            quantize_dynamic(model, IntType(bits), per_row=True),
        ):
            assert_same(accelerate(quantized)(x), quantized(x))


@pytest.mark.parametrize("bits, kept", [(2, 2), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_codes_of_few_bits_take_few_bits_in_memory(bits: int, kept: int) -> None:
    """Counted beside float32, whose weights take 32 bits each: 7 times smaller at 4 bits, 12 times at 2."""
    rng = np.random.default_rng(0)
    model = Sequential(Linear(256, 256, rng=rng), ReLU(), Linear(256, 256, rng=rng))
    fast = accelerate(quantize_dynamic(model, IntType(bits)))
    codes = [array.nbytes for name, array in model_arrays(fast).items() if name.endswith("codes")]
    assert codes == [256 * 256 * kept // 8] * 2
    numbers_of_columns = 2 * (256 * (8 + 4 + 4) + 64)  # sums, scales and biases; 64 bytes to align the codes
    assert model_nbytes(fast) <= sum(codes) + numbers_of_columns
    assert model_nbytes(model) / model_nbytes(fast) > {2: 12, 4: 7, 8: 3.7}[kept]


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
    model = accelerate(Sequential(wide, QuantizedLinear(np.ones((2, 1), np.float32))))
    assert [type(m) for m in model.layers] == [QuantizedLinear, AcceleratedLinear]  # type: ignore[attr-defined]


def test_what_is_not_quantized_is_copied() -> None:
    floats, x = perceptron()
    model = Sequential(floats, QuantizedLinear(np.eye(10, dtype=np.float32)))
    np.testing.assert_array_equal(accelerate(model)(x).data, model(x).data)


def test_a_model_with_nothing_to_accelerate_is_not_given_back_in_silence() -> None:
    """A float model came back as it was; relatives: an embedding, a subclass, sums beyond int32, other modules."""
    model, _ = perceptron()
    wide = QuantizedLinear(np.ones((1, 70_000), np.float32))
    for nothing in (
        model,
        quantize_weight_only(Embedding(5, 8)),
        Doubled(np.eye(2)),
        wide,
        Sequential(wide),
        ReLU(),
        Sequential(),
    ):
        with pytest.raises(ValueError, match="nothing to accelerate: the model holds no QuantizedLinear"):
            accelerate(nothing)


@pytest.mark.parametrize("wrong", [None, 2.5, np.ones(3), Linear, lambda x: x], ids=lambda w: type(w).__name__)
def test_only_a_module_is_accelerated(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"wanted a Module of tinytorch\.core, got (a |the class |None)"):
        accelerate(wrong)


def both_refuse(layer: Any, x: Any) -> None:
    """The definition's refusal is the accelerated layer's, of the same kind."""
    with pytest.raises((ValueError, TypeError)) as wanted:
        layer(x)
    with pytest.raises(wanted.type):
        accelerate(layer)(x)


def codes(shape: tuple[int, ...], qparams: Any) -> QuantizedTensor:
    rng = np.random.default_rng(3)
    return QuantizedTensor(rng.integers(-128, 128, shape).astype(np.int8), qparams)


QPARAMS = choose_qparams(-2, 3)
LAYERS = {
    "linear": (lambda given: QuantizedLinear(np.eye(5, 20), np.ones(5), given), (6, 20)),
    "convolution": (lambda given: QuantizedConv2d(np.ones((2, 3, 2, 2)), np.ones(2), given), (4, 3, 5, 5)),
}
INPUTS: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "codes of another scale": lambda shape: codes(shape, choose_qparams(-20, 30)),
    "codes of a scale that is a little different": lambda shape: codes(shape, choose_qparams(-2, 3.00001)),
    "a NaN": lambda shape: Tensor(np.full(shape, np.nan)),
    "codes with a channel too few": lambda shape: codes((shape[0], shape[1] - 1, *shape[2:]), QPARAMS),
    "codes with a channel too many": lambda shape: codes((shape[0], shape[1] + 1, *shape[2:]), QPARAMS),
    "reals with an axis too few": lambda shape: Tensor(np.zeros(shape[1:-1] or (3,))),
    "images smaller than the window": lambda shape: codes((*shape[:2], 1, 1) if len(shape) == 4 else (2, 3), QPARAMS),
}


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("made", INPUTS.values(), ids=INPUTS)
def test_what_a_calibrated_layer_refuses_it_refuses_when_accelerated(
    on_kernel: str, make: Any, shape: tuple[int, ...], made: Any
) -> None:
    both_refuse(make(QPARAMS), made(shape))


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_a_dynamic_layer_refuses_it_refuses_when_accelerated(
    on_kernel: str, make: Any, shape: tuple[int, ...], value: float
) -> None:
    both_refuse(make(None), Tensor(np.full(shape, value)))


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 8, 20), (4, 3, 20, 8)])
def test_a_pool_refuses_codes_as_it_refuses_reals(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as wanted:
        MaxPool2d(9)(Tensor(np.zeros(shape)))
    with pytest.raises(ValueError) as got:
        accelerate(OnCodes(MaxPool2d(9)))(codes(shape, QPARAMS))
    assert str(got.value) == str(wanted.value)


def test_a_chain_refuses_codes_of_another_scale_between_its_layers(on_kernel: str) -> None:
    first = QuantizedLinear(np.eye(20), None, QPARAMS, choose_qparams(-7, 7))
    second = QuantizedLinear(np.eye(5, 20), np.ones(5), QPARAMS)
    both_refuse(Sequential(first, second), Tensor(np.ones((3, 20))))


@pytest.mark.parametrize("make", MODELS)
def test_an_empty_batch_gives_an_empty_result(on_kernel: str, make: Callable[[], tuple[Module, Any]]) -> None:
    model, x = make()
    for quantized in (quantize_static(model, [x]), quantize_dynamic(model)):
        assert accelerate(quantized)(x[:0]).shape == (0, 10)


class Doubled(QuantizedLinear):
    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        assert isinstance(y, Tensor)
        return Tensor(2 * y.data)


class DoubledConv(QuantizedConv2d):
    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        assert isinstance(y, Tensor)
        return Tensor(2 * y.data)


class Leaky(ReLU):
    def forward(self, x: Any) -> Any:
        return Tensor(np.where(x.data > 0, x.data, x.data / 8))


class Wrapper(Module):
    """One layer under a name that the notebook's OnCodes uses, too."""

    def __init__(self, layer: Module) -> None:
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return Tensor(3 * self.layer(x).data)


class Backwards(Sequential):
    def forward(self, x: Any) -> Any:
        for layer in reversed(self.layers):
            x = layer(x)
        return x


@pytest.mark.parametrize("static", [False, True])
def test_subclasses_and_wrappers_keep_their_forward(on_kernel: str, static: bool) -> None:
    rng, qparams = np.random.default_rng(4), QPARAMS if static else None
    square = QuantizedLinear(rng.normal(size=(16, 16)), rng.normal(size=16), qparams)
    image = rng.normal(size=(2, 4, 4, 4)).astype(np.float32)
    kernel = rng.normal(size=(4, 4, 1, 1))
    for model, x in [
        (Doubled(rng.normal(size=(16, 16)), None, qparams), image.reshape(8, 16)),
        (DoubledConv(kernel, None, qparams), image),
        (Sequential(QuantizedConv2d(kernel, None, qparams), Leaky(), DoubledConv(kernel, None, qparams)), image),
        (Sequential(square, Leaky(), Doubled(np.eye(16), None, qparams)), image.reshape(8, 16)),
        (Wrapper(ReLU()), image),
        (Sequential(square, Wrapper(ReLU()), Wrapper(square)), image.reshape(8, 16)),
        (Backwards(QuantizedLinear(np.eye(16), None, qparams), Leaky(), square), image.reshape(8, 16)),
    ]:
        followed = Sequential(model, OnCodes(Flatten()))
        assert_same(accelerate(followed)(x), followed(x))


def test_layers_say_what_became_of_them() -> None:
    def said(fast: Module) -> list[str]:
        return [how for _, kind, how in explain(fast) if kind.startswith("Accelerated")]

    model, x = image_network()
    static = said(accelerate(quantize_static(model, [x])))
    assert static[0] == "int8 weights, static, gives int8 codes, compiled" and "MaxPool2d on codes" in static
    model, x = perceptron()
    first, second, last = said(accelerate(quantize_dynamic(model)))
    assert first == second == "int8 weights, dynamic, gives float, its ReLU in the same pass, compiled"
    assert last == "int8 weights, dynamic, gives float, compiled"
