"""What the doors take and refuse: the same on every kernel. Nothing is wrapped, broadcast or truncated in silence."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import (
    Int8Conv2d,
    Int8Linear,
    bf16_matmul,
    dequantize,
    int4_linear,
    int4_matmul,
    int8_linear,
    int8_matmul,
    prepack_bf16,
    prepack_int4,
    prepack_int8,
    quantize,
    use_kernel,
)
from tinytorch.quantization import INT8, QParams, choose_qparams

RNG = np.random.default_rng(0)
WEIGHTS = RNG.integers(-8, 8, (6, 5)).astype(np.int8)
CODES = RNG.integers(0, 256, (4, 6)).astype(np.uint8)
MATMULS: dict[str, Callable[..., Any]] = {
    "int8": lambda a, zero_point: int8_matmul(a, prepack_int8(WEIGHTS), zero_point),
    "int4": lambda a, zero_point: int4_matmul(a, prepack_int4(WEIGHTS), zero_point),
}
each_matmul = pytest.mark.parametrize("matmul", MATMULS.values(), ids=MATMULS)


@each_matmul
class TestZeroPoints:
    """Of int8_matmul and int4_matmul: the rule of ONNX MatMulInteger."""

    @pytest.mark.parametrize(
        "zero_point", [7, -128, 255, np.int8(7), np.uint64(7), [7], [[7]], [[[7]]], np.array(7)], ids=repr
    )
    def test_one_is_for_all_rows(self, on_kernel: str, matmul: Any, zero_point: Any) -> None:
        wanted = (CODES.astype(np.int64) - int(np.ravel(zero_point)[0])) @ WEIGHTS.astype(np.int64)
        np.testing.assert_array_equal(matmul(CODES, zero_point), wanted)

    @pytest.mark.parametrize("shape", [(4,), (4, 1)], ids=str)
    def test_one_a_row(self, on_kernel: str, matmul: Any, shape: tuple[int, ...]) -> None:
        zero_points = np.array([0, 3, 255, -128])
        wanted = (CODES.astype(np.int64) - zero_points[:, None]) @ WEIGHTS.astype(np.int64)
        np.testing.assert_array_equal(matmul(CODES, zero_points.reshape(shape)), wanted)

    def test_one_a_row_of_each_batch(self, on_kernel: str, matmul: Any) -> None:
        a, zero_points = CODES.reshape(2, 2, 6), np.array([[[1], [2]], [[3], [4]]])
        wanted = (a.astype(np.int64) - zero_points) @ WEIGHTS.astype(np.int64)
        np.testing.assert_array_equal(matmul(a, zero_points), wanted)
        np.testing.assert_array_equal(matmul(a, zero_points[0, :, 0])[1], wanted[1] + 2 * WEIGHTS.sum(0))

    def test_as_many_rows_as_columns_or_steps_are_still_rows(self, on_kernel: str, matmul: Any) -> None:
        for rows in (5, 6):
            a, zero_points = np.zeros((rows, 6), np.uint8), np.arange(rows)
            np.testing.assert_array_equal(matmul(a, zero_points), -np.outer(zero_points, WEIGHTS.sum(0, np.int64)))

    @pytest.mark.parametrize("shape", [(5,), (6,), (1, 6), (1, 5), (4, 6), (1, 4, 1), (2, 4, 1), (0,)], ids=str)
    def test_another_shape_is_refused(self, on_kernel: str, matmul: Any, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=re.escape(f"one a row, shape (4, 1), got shape {shape}")):
            matmul(CODES, np.ones(shape, int))

    @pytest.mark.parametrize(
        "zero_point",
        [256, -129, 2**31, 2**61, 2**62, -(2**63), 2**63, 2**64, -(2**70), np.uint64(2**63), np.int64(-(2**63))],
        ids=repr,
    )
    def test_what_is_no_code_is_refused(self, on_kernel: str, matmul: Any, zero_point: Any) -> None:
        with pytest.raises(ValueError, match=re.escape(f"must be an integer in [-128, 255], got {zero_point}")):
            matmul(CODES, zero_point)

    @pytest.mark.parametrize("far", [256, 2**61, 2**63])
    def test_what_is_no_code_is_refused_for_a_row(self, on_kernel: str, matmul: Any, far: int) -> None:
        with pytest.raises(ValueError, match=re.escape(f"must be an integer in [-128, 255], got {far}")):
            matmul(CODES, np.array([[0], [1], [far], [2]], np.uint64))

    @pytest.mark.parametrize("zero_point", [3.0, 2.5, np.nan, True, [True] * 4, [1.0] * 4, "3", None, 1j], ids=repr)
    def test_what_is_no_integer_is_refused(self, on_kernel: str, matmul: Any, zero_point: Any) -> None:
        with pytest.raises(TypeError, match="a_zero_point must be an integer"):
            matmul(CODES, zero_point)

    @pytest.mark.parametrize("zero_point", [0, 9, [9], np.zeros((0, 1), int)], ids=str)
    def test_no_rows_are_no_fault(self, on_kernel: str, matmul: Any, zero_point: Any) -> None:
        assert matmul(CODES[:0], zero_point).shape == (0, 5)


LAYERS: dict[str, Callable[[Any], Any]] = {
    "Int8Linear": lambda bias: Int8Linear(prepack_int8(WEIGHTS), np.float32(0.5), bias)(CODES.astype(np.float32)),
    "int8_linear": lambda bias: int8_linear(CODES.astype(np.float32), prepack_int8(WEIGHTS), 0.5, bias),
    "int4_linear": lambda bias: int4_linear(CODES.astype(np.float32), prepack_int4(WEIGHTS, 0.5), bias),
    "Int8Conv2d": lambda bias: Int8Conv2d(WEIGHTS.T.reshape(5, 6, 1, 1), 0.5, bias)(
        CODES.astype(np.float32).reshape(4, 6, 1, 1)
    ).reshape(4, 5),
}
each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


@each_layer
class TestBias:
    @pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4,), (6,), (1,), (), (5, 5), (4, 5)], ids=str)
    def test_another_shape_than_one_a_column_is_refused(self, on_kernel: str, layer: Any, shape: Any) -> None:
        with pytest.raises(ValueError, match=re.escape("bias must have 5 values, one a column of the weights, got")):
            layer(np.ones(shape, np.float32))

    @pytest.mark.parametrize("kind", ["<f4", ">f4", ">f8", "<f2", ">i2", "<i8", "u1"])
    def test_reals_of_any_type_and_byte_order_are_added(self, on_kernel: str, layer: Any, kind: str) -> None:
        bias = np.arange(5)
        np.testing.assert_allclose(layer(bias.astype(kind)), layer(None) + bias.astype(np.float32), rtol=1e-6)

    def test_what_is_no_number_is_refused(self, on_kernel: str, layer: Any) -> None:
        with pytest.raises(TypeError, match="bias must be real numbers, got complex128"):
            layer(np.ones(5, complex))


@pytest.mark.parametrize("kind", ["<i4", ">i4"])
def test_an_int32_bias_is_added_to_the_sums_in_any_byte_order(on_kernel: str, kind: str) -> None:
    qparams, bias = choose_qparams(0, 255), np.array([100, -3, 7, 0, 2**20])
    wanted = (CODES.astype(np.int64) - int(qparams.zero_point)) @ WEIGHTS.astype(np.int64) + bias
    got = Int8Linear(prepack_int8(WEIGHTS), np.float32(1 / qparams.scale), bias.astype(kind), qparams)(CODES)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


BIG_ENDIAN: dict[str, Callable[[Any], Any]] = {
    "Int8Linear": Int8Linear(prepack_int8(WEIGHTS), np.float32(0.5)),
    "int4_linear": lambda x: int4_linear(x, prepack_int4(WEIGHTS)),
    "int4_linear, by given parameters": lambda x: int4_linear(
        x, prepack_int4(WEIGHTS), None, choose_qparams(-300, 300)
    ),
    "Int8Conv2d": lambda x: Int8Conv2d(WEIGHTS.T.reshape(5, 6, 1, 1), 0.5)(x.reshape(-1, 6, 1, 1)),
    "bf16_matmul": lambda x: bf16_matmul(x, prepack_bf16(WEIGHTS.astype(">f4"))),
    "quantize": lambda x: quantize(x, choose_qparams(-300, 300)),
    "quantize by rows": lambda x: quantize(x, QParams(np.full((len(x), 1), 0.5), np.zeros((len(x), 1)), INT8)),
}


@pytest.mark.parametrize("operation", BIG_ENDIAN.values(), ids=BIG_ENDIAN)
@pytest.mark.parametrize("rows", [1, 4, 300])
def test_reals_in_another_byte_order_or_out_of_line_are_read_right(on_kernel: str, operation: Any, rows: int) -> None:
    x = np.random.default_rng(1).normal(0, 90, (rows, 6)).astype(np.float32)
    out_of_line = np.zeros(4 * x.size + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    out_of_line[...] = x
    for odd in (x.astype(">f4"), out_of_line, x.astype(">f4")[::-1][::-1]):
        np.testing.assert_array_equal(operation(odd), operation(x))


@pytest.mark.parametrize("k, n", [(0, 0), (0, 3), (5, 0), (64, 0)])
def test_weights_without_columns_or_steps_are_packed_and_multiplied(on_kernel: str, k: int, n: int) -> None:
    b, x = np.zeros((k, n), np.int8), np.ones((2, k), np.float32)
    groups = np.ones((max(-(-k // 8), 1), n), np.float32)
    for packed in (
        prepack_int8(b),
        prepack_int4(b),
        prepack_int4(b, groups, 8),
        prepack_int4(b, 0.5, 8),
        prepack_bf16(b.astype(np.float32)),
    ):
        assert packed.unpack().shape == (k, n)
    for y in (
        int8_matmul(x.astype(np.int8), prepack_int8(b)), int4_matmul(x.astype(np.int8), prepack_int4(b, groups, 8)),
        int4_linear(x, prepack_int4(b, groups, 8)), Int8Linear(prepack_int8(b), np.float32(1))(x),
        bf16_matmul(x, prepack_bf16(b.astype(np.float32))),
    ):  # fmt: skip
        assert y.shape == (2, n) and not y.any()


class Named(np.ndarray):
    """A subclass, as np.memmap is one."""


@pytest.mark.parametrize("kind", [np.matrix, Named, np.ndarray])
def test_a_result_goes_into_an_array_of_any_class(on_kernel: str, kind: Any) -> None:
    p, x = choose_qparams(-3, 3), RNG.normal(size=(40, 50)).astype(np.float32)
    codes, reals = np.empty(x.shape, np.int8).view(kind), np.empty(x.shape, np.float32).view(kind)
    assert quantize(x, p, out=codes) is codes and dequantize(np.asarray(codes), p, out=reals) is reals
    np.testing.assert_array_equal(np.asarray(codes), quantize(x, p))
    np.testing.assert_array_equal(np.asarray(reals), dequantize(quantize(x, p), p))
    rows = QParams(np.full((40, 1), 0.02), np.zeros((40, 1)), INT8)
    assert quantize(x, rows, out=codes) is codes
    np.testing.assert_array_equal(np.asarray(codes), quantize(x, rows))


def bits(y: Any) -> Any:
    return np.asarray(y).view(np.uint32)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1.0])
@pytest.mark.parametrize("bias", [None, np.array([0, -0.0, 1, -1, -0.0], np.float32)])
@pytest.mark.parametrize("rows", [4, 200])
def test_every_kernel_gives_zero_the_same_sign(on_kernel: str, relu: bool, scale: float, bias: Any, rows: int) -> None:
    """A negative sum times a tiny scale is -0.0 before the bias."""
    layer = Int8Linear(prepack_int8(WEIGHTS), np.float32(scale), bias, choose_qparams(-1, 1), relu=relu)
    codes = np.random.default_rng(2).integers(-2, 3, (rows, 6)).astype(np.int8)
    codes[0] = choose_qparams(-1, 1).zero_point
    with np.errstate(all="ignore"):
        got = layer(codes)
        with use_kernel("numpy"):
            wanted = layer(codes)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_array_equal(bits(got)[~np.isnan(got)], bits(wanted)[~np.isnan(got)])
    assert bias is not None or not np.signbit(got[got == 0]).any()
