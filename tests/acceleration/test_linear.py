"""Int8Linear: the bits of QuantizedLinear, in one call."""

from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import Int8Linear, int8_linear, prepack_int8
from tinytorch.quantization import INT8, UINT8, QParams, QuantizedLinear, choose_qparams, quantize

SHAPES = [(1, 64, 64), (5, 257, 131), (70, 100, 33), (2, 1, 1), (70, 2100, 75), (40, 6000, 20)]


def layer_and_pack(m: int, k: int, n: int, **options: Any) -> tuple[Any, QuantizedLinear, tuple[Any, Any, Any]]:
    rng = np.random.default_rng(m + k + n)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((m, k), (n, k), (n,)))
    layer = QuantizedLinear(w, b, **options)
    scale = np.broadcast_to(layer.weight.qparams.scale.ravel(), (n,))
    return x, layer, (prepack_int8(np.ascontiguousarray(layer.weight.q.T)), scale, layer.bias)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dynamic_layer_has_the_bits_of_the_notebooks(on_kernel: str, shape: tuple[int, int, int]) -> None:
    x, layer, parts = layer_and_pack(*shape)
    np.testing.assert_array_equal(int8_linear(x, *parts), layer(x).data)


@pytest.mark.parametrize("int_type", [INT8, UINT8])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_static_layer_has_the_bits_of_the_notebooks(
    on_kernel: str, shape: tuple[int, int, int], int_type: Any
) -> None:
    qparams = choose_qparams(-1, 2, int_type)
    x, layer, parts = layer_and_pack(*shape, input_qparams=qparams)
    wanted = layer(x).data
    np.testing.assert_array_equal(int8_linear(x, *parts, qparams), wanted)
    np.testing.assert_array_equal(int8_linear(quantize(x, qparams), *parts, qparams), wanted)


@pytest.mark.parametrize("int_type", [INT8, UINT8])
def test_codes_out_are_requantized_to_the_same_bits(on_kernel: str, int_type: Any) -> None:
    qparams, out = choose_qparams(-2, 2), choose_qparams(-9, 12, int_type)
    x, layer, parts = layer_and_pack(37, 99, 50, input_qparams=qparams, output_qparams=out)
    got = int8_linear(x, *parts, qparams, out)
    assert got.dtype == int_type.storage
    np.testing.assert_array_equal(got, layer(x).q)


def test_relu_is_part_of_the_same_pass(on_kernel: str) -> None:
    x, layer, parts = layer_and_pack(20, 30, 40)
    np.testing.assert_array_equal(int8_linear(x, *parts, relu=True), np.maximum(layer(x).data, 0))


def test_relu_on_codes_clips_at_the_code_of_zero(on_kernel: str) -> None:
    qparams, out = choose_qparams(-2, 2), choose_qparams(-9, 12)
    x, layer, parts = layer_and_pack(20, 30, 40, input_qparams=qparams, output_qparams=out)
    np.testing.assert_array_equal(
        int8_linear(x, *parts, qparams, out, relu=True), np.maximum(layer(x).q, out.zero_point)
    )


@pytest.mark.parametrize("lo, hi", [(0, 0), (0, 1e-44), (-1e-38, 1e-38), (-3e38, 3e38), (5, 5), (-253, 257)])
def test_odd_ranges_choose_the_qparams_of_the_definition(on_kernel: str, lo: float, hi: float) -> None:
    x, layer, parts = layer_and_pack(4, 16, 3)
    x = np.linspace(lo, hi, 64, dtype=np.float64).astype(np.float32).reshape(4, 16)
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(int8_linear(x, *parts), layer(x).data)


def test_nan_is_refused_with_its_index(on_kernel: str) -> None:
    x, _, parts = layer_and_pack(40, 70, 8)
    x[33, 65] = np.nan
    with pytest.raises(ValueError, match=r"NaN, got one at index \[33, 65\]"):
        int8_linear(x, *parts)
    with pytest.raises(ValueError, match=r"NaN, got one at index \[33, 65\]"):
        int8_linear(x, parts[0], parts[1], None, QParams(1, 0))


def test_an_infinite_range_is_refused_but_static_qparams_saturate_it(on_kernel: str) -> None:
    x, _, (packed, scale, _) = layer_and_pack(3, 5, 2)
    x[1, 1] = -np.inf
    with pytest.raises(ValueError, match="a range must be finite"):
        int8_linear(x, packed, scale)
    assert np.isfinite(int8_linear(x, packed, scale, None, QParams(1, 0))).all()


@pytest.mark.parametrize("shape", [(0, 5, 2), (0, 3000, 2), (3, 3000, 0), (3, 5, 0)])
def test_empty_input_or_no_columns_give_an_empty_output(on_kernel: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    layer = Int8Linear(prepack_int8(np.ones((k, n), np.int8)), np.float32(1))
    assert layer(np.ones((m, k), np.float32)).shape == (m, n)


def test_what_does_not_fit_together_is_refused_when_the_layer_is_made() -> None:
    packed = prepack_int8(np.ones((6, 4), np.int8))
    with pytest.raises(ValueError, match="scale must have 1 or 4 values"):
        Int8Linear(packed, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="bias must have 4 values"):
        Int8Linear(packed, np.ones(4, np.float32), np.ones(5, np.float32))
    with pytest.raises(ValueError, match="codes out need input_qparams"):
        Int8Linear(packed, np.ones(4, np.float32), None, None, QParams(1, 0))
    with pytest.raises(ValueError, match="one scale and zero point for the whole tensor"):
        Int8Linear(packed, np.ones(4, np.float32), None, QParams(np.ones((6, 1), np.float32), 0))
    with pytest.raises(OverflowError, match="beyond int32"):
        Int8Linear(packed, np.ones(4, np.float32), np.full(4, 2**31 - 1, np.int32), QParams(1, 0))
    layer = Int8Linear(packed, np.ones(4, np.float32))
    with pytest.raises(TypeError, match="x must be a float32 array"):
        layer(np.ones((1, 6)))
    with pytest.raises(ValueError, match="their qparams are not known"):
        layer(np.ones((1, 6), np.int8))


def test_a_dynamic_layer_finds_a_new_range_at_each_call(on_kernel: str) -> None:
    rng = np.random.default_rng(0)
    packed = prepack_int8(rng.integers(-127, 128, (70, 20)).astype(np.int8))
    layer = Int8Linear(packed, 0.01)
    for size in (1, 100, 0.01):
        x = (size * rng.normal(size=(3, 70))).astype(np.float32)
        np.testing.assert_array_equal(layer(x), Int8Linear(packed, 0.01)(x))
