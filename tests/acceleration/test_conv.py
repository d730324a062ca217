"""Int8Conv2d: the bits of QuantizedConv2d, in one call."""

import pickle
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import Int8Conv2d, set_num_threads
from tinytorch.acceleration.operations import conv_plans
from tinytorch.acceleration.operations.conv import Uint8QParams
from tinytorch.acceleration.operations.elementwise import choose_dynamic
from tinytorch.core import Tensor
from tinytorch.quantization import INT8, UINT8, QParams, QuantizedConv2d, QuantizedTensor, choose_qparams, quantize

from .fuzz_convolutions import fuzz

# N, in, height, width, out, kernel, stride, padding, groups
CASES: list[tuple[int, int, int, int, int, tuple[int, int], int, int, int]] = [
    (1, 1, 5, 5, 1, (1, 1), 1, 0, 1), (2, 3, 9, 8, 7, (3, 3), 1, 1, 1), (2, 8, 11, 10, 24, (3, 3), 2, 1, 2),
    (1, 6, 7, 7, 6, (3, 2), 1, 0, 6), (2, 32, 14, 14, 40, (3, 3), 1, 1, 1), (2, 1, 28, 28, 16, (5, 5), 1, 2, 1),
    (1, 5, 6, 9, 70, (1, 4), 3, 2, 5), (3, 4, 3, 3, 5, (3, 3), 1, 0, 1), (2, 33, 9, 14, 33, (3, 3), 1, 1, 33),
    (1, 70, 12, 5, 140, (5, 2), 2, 3, 70), (2, 16, 3, 21, 16, (2, 9), 1, 9, 16),
    (2, 20, 7, 9, 33, (1, 1), 2, 0, 1), (1, 24, 9, 9, 36, (3, 3), 1, 1, 12), (1, 10, 6, 7, 15, (3, 1), 1, 1, 5),
]  # fmt: skip


def layers(case: Any, qparams: Any, out: Any, relu: bool = False) -> tuple[Any, QuantizedConv2d, Int8Conv2d]:
    n, channels, height, width, filters, kernel, stride, padding, groups = case
    rng = np.random.default_rng(n + channels + filters)
    x = rng.normal(size=(n, channels, height, width)).astype(np.float32)
    w, b = rng.normal(size=(filters, channels // groups, *kernel)).astype(np.float32), rng.normal(size=filters)
    options: Any = {"stride": stride, "padding": padding, "groups": groups}
    definition = QuantizedConv2d(w, b.astype(np.float32), qparams, out, **options)
    codes = np.concatenate([part.weight.q for part in definition.products]).reshape(w.shape)
    scale = np.concatenate([part.weight.qparams.scale.ravel() for part in definition.products])
    bias = np.concatenate([part.bias for part in definition.products])
    return x, definition, Int8Conv2d(codes, scale, bias, qparams, out, relu, **options)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_dynamic_layer_has_the_bits_of_the_notebooks(on_kernel: str, case: Any) -> None:
    x, definition, layer = layers(case, None, None)
    np.testing.assert_array_equal(layer(x), definition(Tensor(x)).data)


@pytest.mark.parametrize("int_type", [INT8, UINT8])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_static_layer_has_the_bits_of_the_notebooks(on_kernel: str, case: Any, int_type: Any) -> None:
    qparams = choose_qparams(-2, 1.4, int_type)
    x, definition, layer = layers(case, qparams, None)
    wanted = definition(Tensor(x)).data
    np.testing.assert_array_equal(layer(x), wanted)
    np.testing.assert_array_equal(layer(quantize(x, qparams)), wanted)


@pytest.mark.parametrize("int_type", [INT8, UINT8])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_codes_out_are_requantized_to_the_same_bits(on_kernel: str, case: Any, int_type: Any) -> None:
    qparams, out = choose_qparams(-2, 1.4, UINT8), choose_qparams(-8, 9, int_type)
    x, definition, layer = layers(case, qparams, out)
    q = quantize(x, qparams)
    got, wanted = layer(q), definition(QuantizedTensor(q, qparams)).q
    assert got.dtype == int_type.storage
    np.testing.assert_array_equal(got, wanted)


UNEVEN: list[dict[str, Any]] = [
    {"stride": (2, 1), "padding": (0, 2)},
    {"dilation": (1, 2), "groups": 3},
    {"dilation": (3, 1), "padding": (2, 1), "stride": (1, 3)},
    {"dilation": 2, "groups": 6},
]


@pytest.mark.parametrize("qparams", [None, choose_qparams(-2, 1.4), choose_qparams(-2, 1.4, UINT8)], ids=str)
@pytest.mark.parametrize("how", UNEVEN, ids=str)
def test_uneven_and_dilated_windows_have_the_bits_of_the_notebooks(on_kernel: str, how: Any, qparams: Any) -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(2, 6, 9, 11)).astype(np.float32)
    w = rng.normal(size=(12, 6 // how.get("groups", 1), 3, 2)).astype(np.float32)
    definition = QuantizedConv2d(w, np.ones(12, np.float32), qparams, **how)
    parts = definition.products
    layer = Int8Conv2d(
        np.concatenate([part.weight.q for part in parts]).reshape(w.shape),
        np.concatenate([part.weight.qparams.scale.ravel() for part in parts]),
        np.concatenate([part.bias for part in parts]), qparams, **how,
    )  # fmt: skip
    np.testing.assert_array_equal(layer(x), definition(Tensor(x)).data)


def test_relu_is_part_of_the_same_pass(on_kernel: str) -> None:
    qparams, out = choose_qparams(-2, 1.4), choose_qparams(-8, 9)
    x, definition, layer = layers(CASES[1], qparams, out, relu=True)
    np.testing.assert_array_equal(layer(x), np.maximum(definition(Tensor(x)).q, out.zero_point))


def test_any_strides_come_in_and_channels_lie_side_by_side_in_what_comes_out(on_kernel: str) -> None:
    x, _, layer = layers(CASES[4], None, None)
    wanted = layer(x)
    for view in (
        np.asfortranarray(x),
        x[::-1][::-1],
        np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    ):
        np.testing.assert_array_equal(layer(view), wanted)
    assert wanted.transpose(0, 2, 3, 1).flags.c_contiguous


def test_threads_change_no_bit(on_kernel: str) -> None:
    x, _, layer = layers((4, 32, 20, 20, 48, (3, 3), 1, 1, 1), choose_qparams(-2, 2), None)
    wanted = layer(x)
    set_num_threads(3)
    try:
        np.testing.assert_array_equal(layer(x), wanted)
    finally:
        set_num_threads(1)


def test_no_images_give_no_images(on_kernel: str) -> None:
    x, _, layer = layers(CASES[1], choose_qparams(-2, 2), None)
    assert layer(x[:0]).shape == (0, 7, 9, 8)


def test_what_does_not_fit_together_is_one_sentence() -> None:
    w = np.ones((4, 2, 3, 3), np.int8)
    with pytest.raises(ValueError, match="stride must be an integer >= 1, got 0"):
        Int8Conv2d(w, 1.0, stride=0)
    with pytest.raises(ValueError, match=r"\[out, in / groups, rows, columns\], 3 dividing out, got \(4, 2, 3, 3\)"):
        Int8Conv2d(w, 1.0, groups=3)
    with pytest.raises(ValueError, match="scale must have 1 or 4 values, one an output channel, got 3"):
        Int8Conv2d(w, np.ones(3, np.float32))
    with pytest.raises(TypeError, match="weights must be int8, got int64"):
        Int8Conv2d(w.astype(np.int64), 1.0)
    layer = Int8Conv2d(w, 1.0)
    with pytest.raises(ValueError, match=r"wanted images \[N, 2, height, width\], got shape \(1, 3, 5, 5\)"):
        layer(np.zeros((1, 3, 5, 5), np.float32))
    with pytest.raises(ValueError, match=r"at least \(3, 3\) with the padding, got shape \(1, 2, 2, 5\)"):
        layer(np.zeros((1, 2, 2, 5), np.float32))
    with pytest.raises(TypeError, match="x must be a float32 array"):
        layer(np.zeros((1, 2, 5, 5)))
    with pytest.raises(ValueError, match="their qparams are not known"):
        layer(np.zeros((1, 2, 5, 5), np.int8))
    with pytest.raises(ValueError, match="one scale and zero point for the whole tensor"):
        Int8Conv2d(w, 1.0, None, QParams(np.ones((2, 1), np.float32), 0))


@pytest.mark.parametrize("order", ["channels first", "channels last"])
def test_a_dynamic_layer_finds_the_range_in_either_order_of_memory(on_kernel: str, order: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 9, 8)).astype(np.float32)
    if order == "channels last":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    weights = rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8)
    dynamic = Int8Conv2d(weights, 0.01)
    static = Int8Conv2d(weights, 0.01, input_qparams=Uint8QParams(*choose_dynamic(x)))
    np.testing.assert_array_equal(dynamic(x), static(np.ascontiguousarray(x)))
    x[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"NaN, got one at index \[1, 2, 3, 4\]"):
        dynamic(x)
    x[1, 2, 3, 4] = np.inf
    with pytest.raises(ValueError, match="a range must be finite"):
        dynamic(x)


def test_random_convolutions_have_the_bits_of_the_definition(on_kernel: str) -> None:
    fuzz(on_kernel, 30, seed=17)
    set_num_threads(1)


def test_random_convolutions_by_overlapping_windows_do_too(on_kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_WASTE", "MAX_WASTE_AMX", "MIN_TAPS"):  # also where most windows run on
        monkeypatch.setattr(conv_plans, name, 0 if name == "MIN_TAPS" else 1 << 20)
    fuzz(on_kernel, 40, seed=18)
    set_num_threads(1)


def test_depthwise_layers_of_several_sizes_and_copies_of_them_answer_alike(on_kernel: str) -> None:
    rng = np.random.default_rng(3)
    layer = Int8Conv2d(rng.integers(-127, 128, (20, 1, 3, 3)).astype(np.int8), 0.01, padding=1, groups=20)
    images = [rng.normal(size=(1, 20, size, 2 * size)).astype(np.float32) for size in range(1, 12)]
    wanted = [layer(x) for x in images]
    for again in (layer, pickle.loads(pickle.dumps(layer))):
        for x, y in zip(images, wanted, strict=True):
            np.testing.assert_array_equal(again(x), y)
            np.testing.assert_array_equal(again(x * 2), layer(x * 2))
