"""INT4 weights: exact sums, and scales applied group by group in a stated order."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.acceleration import Int8Linear, int4_linear, int4_matmul, prepack_int4, prepack_int8, set_num_threads
from tinytorch.quantization import INT4, UINT8, QParams, QuantizedLinear, QuantizedTensor, choose_qparams, quantize

SHAPES = [(1, 1, 1), (3, 5, 7), (33, 31, 17), (1, 64, 64), (40, 200, 130), (2, 12, 40), (9, 1300, 70), (1, 2000, 100)]
GROUPS = [None, 8, 40, 64, 128, 320, 1024]


def weights(k: int, n: int, group: int | None, seed: int = 0) -> tuple[Any, Any]:
    """Codes that reach both ends, and positive scales."""
    rng = np.random.default_rng(seed)
    shape = (n,) if group is None else (-(-k // group), n)
    return rng.integers(-8, 8, (k, n)).astype(np.int8), rng.uniform(0.01, 1, shape).astype(np.float32)


def spec(x: Any, codes: Any, scale: Any, group: int | None, bias: Any, qparams: Any) -> Any:
    """int64 sums of each group; then float32, one rounding at a time."""
    k, y = len(codes), np.tile(bias, (len(x), 1))
    q = quantize(x, qparams).astype(np.int64) - int(qparams.zero_point)
    for g, first in enumerate(range(0, k, group or k)):
        part = slice(first, first + (group or k))
        acc = q[:, part] @ codes[part].astype(np.int64)
        y = y + acc.astype(np.float32) * (qparams.scale * scale.reshape(-1, codes.shape[1])[g])
    return y


@pytest.mark.parametrize("group", [None, 40])  # sums of codes know no groups
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_codes_are_exact(on_kernel: str, shape: tuple[int, int, int], group: int | None) -> None:
    m, k, n = shape
    codes, scale = weights(k, n, group)
    packed, rng = prepack_int4(codes, scale, group), np.random.default_rng(1)
    for dtype, zero_point in ((np.int8, -128), (np.uint8, 255), (np.uint8, 0)):
        info = np.iinfo(dtype)
        a: NDArray[Any] = rng.integers(info.min, info.max + 1, (m, k)).astype(dtype)
        wanted = (a.astype(np.int64) - zero_point) @ codes
        got = int4_matmul(a, packed, zero_point)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, wanted)
        np.testing.assert_array_equal(int4_matmul(np.asfortranarray(a), packed, zero_point), wanted)


def test_sums_of_extreme_codes_do_not_saturate(on_kernel: str) -> None:
    a, b = np.full((5, 900), 255, np.uint8), np.full((900, 40), -8, np.int8)
    assert (int4_matmul(a, prepack_int4(b)) == 900 * 255 * -8).all()


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_has_the_bits_of_the_definition(on_kernel: str, shape: tuple[int, int, int], group: int | None) -> None:
    m, k, n = shape
    codes, scale = weights(k, n, group)
    rng = np.random.default_rng(2)
    x, bias = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=n).astype(np.float32)
    packed, qparams = prepack_int4(codes, scale, group), choose_qparams(-2, 3, UINT8)
    wanted = spec(x, codes, scale, group, bias, qparams)
    np.testing.assert_array_equal(int4_linear(x, packed, bias, qparams), wanted)
    np.testing.assert_array_equal(int4_linear(quantize(x, qparams), packed, bias, qparams), wanted)


def test_one_scale_a_column_gives_the_notebooks_layer(on_kernel: str) -> None:
    rng = np.random.default_rng(0)
    x, w, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((7, 150), (60, 150), (60,)))
    layer = QuantizedLinear(w, bias, weight_type=INT4)
    codes, scale = np.ascontiguousarray(layer.weight.q.T), layer.weight.qparams.scale.ravel()
    np.testing.assert_array_equal(int4_linear(x, prepack_int4(codes, scale), bias), layer(x).data)
    np.testing.assert_array_equal(Int8Linear(prepack_int8(codes), scale, bias)(x), layer(x).data)


def test_groups_come_from_a_tensor_with_a_scale_a_group(on_kernel: str) -> None:
    """The error of the product stays within half a step of each activation and each weight."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(20, 4, 32)).astype(np.float32), rng.normal(size=(3, 128)).astype(np.float32)
    tensor = QuantizedTensor.from_float(w, INT4, symmetric=True, axis=(0, 1))
    codes, scale = tensor.q.reshape(20, 128).T, tensor.qparams.scale.reshape(20, 4).T
    qparams = choose_qparams(x.min(), x.max(), UINT8)
    got = int4_linear(x, prepack_int4(codes, scale, 32), None, qparams)
    real = tensor.dequantize().reshape(20, 128).astype(np.float64)
    bound = float(qparams.scale) / 2 * np.abs(real).sum(1) * (1 + 1e-5)
    assert (np.abs(got - x @ real.T) <= bound).all()


def test_dynamic_qparams_are_those_of_the_input(on_kernel: str) -> None:
    codes, scale = weights(70, 30, None)
    x = np.random.default_rng(0).normal(size=(2, 3, 70)).astype(np.float32)
    got = int4_linear(x, prepack_int4(codes, scale))
    np.testing.assert_array_equal(got, Int8Linear(prepack_int8(codes), scale)(x))
    assert got.shape == (2, 3, 30)


@pytest.mark.parametrize("shape", [(1, 1), (64, 16), (77, 35), (8, 100)])
def test_a_pack_unpacks_to_its_codes_and_holds_half_a_byte_each(shape: tuple[int, int]) -> None:
    codes, scale = weights(*shape, None)
    packed = prepack_int4(codes, scale)
    np.testing.assert_array_equal(packed.unpack(), codes)
    k, n = -(-shape[0] // 64) * 64, -(-shape[1] // 16) * 16
    assert packed.nbytes == k * n // 2 + 64 + 8 * n + 8 * shape[1]
    with pytest.raises(ValueError, match="read-only"):
        packed.data[0] = 1


def test_threads_change_no_bit(on_kernel: str) -> None:
    codes, scale = weights(1024, 500, 64)
    packed, x = prepack_int4(codes, scale, 64), np.random.default_rng(0).normal(size=(20, 1024)).astype(np.float32)
    wanted = int4_linear(x, packed)
    set_num_threads(2)
    try:
        np.testing.assert_array_equal(int4_linear(x, packed), wanted)
    finally:
        set_num_threads(1)


@pytest.mark.parametrize("shape", [(0, 5, 3), (3, 0, 5), (3, 5, 0)])
def test_empty_input_gives_empty_sums(on_kernel: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    packed = prepack_int4(np.zeros((k, n), np.int8))
    assert int4_matmul(np.zeros((m, k), np.uint8), packed, 3).tolist() == np.zeros((m, n)).tolist()
    assert int4_linear(np.zeros((m, k), np.float32), packed).shape == (m, n)


def test_nan_is_refused_with_its_index(on_kernel: str) -> None:
    x = np.zeros((3, 64), np.float32)
    x[2, 5] = np.nan
    with pytest.raises(ValueError, match=r"NaN, got one at index \[2, 5\]"):
        int4_linear(x, prepack_int4(np.ones((64, 2), np.int8)))


def test_wrong_input_is_one_sentence() -> None:
    codes, _ = weights(64, 4, None)
    packed = prepack_int4(codes)
    with pytest.raises(ValueError, match=r"INT4 codes lie in \[-8, 7\], got \[-8, 100\]"):
        prepack_int4(np.array([[-8, 100]], np.int8))
    with pytest.raises(TypeError, match="weights must be int8, got float64"):
        prepack_int4(np.ones((3, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="group_size must be a multiple of 8, got 12"):
        prepack_int4(codes, 1.0, 12)
    with pytest.raises(ValueError, match=r"scale must have shape \(2, 4\), a row for each group of 32, got \(4,\)"):
        prepack_int4(codes, np.ones(4, np.float32), 32)
    with pytest.raises(ValueError, match="scale must have 1 or 4 values"):
        prepack_int4(codes, np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"wanted \[\.\.\., 64\] for weights \[64, 4\], got shape \(2, 63\)"):
        int4_matmul(np.ones((2, 63), np.uint8), packed)
    with pytest.raises(TypeError, match="codes must be int8 or uint8, got float32"):
        int4_matmul(np.ones((2, 64), np.float32), packed)
    with pytest.raises(ValueError, match=r"a_zero_point must be an integer in \[-128, 255\], got 300"):
        int4_matmul(np.ones((2, 64), np.uint8), packed, 300)
    with pytest.raises(ValueError, match="their qparams are not known: give input_qparams"):
        int4_linear(np.ones((2, 64), np.uint8), packed)
    with pytest.raises(ValueError, match="bias must have 4 values"):
        int4_linear(np.ones((2, 64), np.float32), packed, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="one scale and zero point for the whole tensor"):
        int4_linear(np.ones((2, 64), np.float32), packed, None, QParams(np.ones((2, 1), np.float32), 0))
