"""quantize and dequantize: the bits of the definitions, though nothing is divided."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinytorch import acceleration as fast
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT4,
    UINT8,
    IntType,
    QParams,
    QuantizedTensor,
    choose_qparams,
    dequantize,
    quantize,
)

TYPES = [INT8, UINT8, IntType(8, narrow=True), INT4, UINT4]


def near_ties(scale: float) -> Any:
    """Numbers at every tie between two codes, and one float beside it on both sides."""
    ties = ((np.arange(-300, 300) + 0.5) * np.float64(scale)).astype(np.float32)
    around = np.concatenate([ties, np.nextafter(ties, np.float32(-np.inf)), np.nextafter(ties, np.float32(np.inf))])
    return np.concatenate([around, np.array([0, -0.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32)])


@pytest.mark.parametrize("int_type", TYPES, ids=str)
def test_every_tie_goes_as_in_the_definition(on_kernel: str, int_type: Any) -> None:
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore", under="ignore"):
        for exponent in [*rng.uniform(-37, 37, 10), -44, -38, -37.4, 0, 37.4, 38]:
            scale = np.float32(10.0**exponent * rng.uniform(1, 3))
            qparams = QParams(scale, rng.integers(int_type.qmin, int_type.qmax + 1), int_type)
            x = near_ties(float(scale))
            np.testing.assert_array_equal(fast.quantize(x, qparams), quantize(x, qparams), f"scale {scale}")


@pytest.mark.parametrize("shape", [(), (0,), (1,), (63,), (65,), (3, 7, 11), (40_000,), (2, 20_001)])
def test_any_shape_comes_back_as_in_the_definition(on_kernel: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    qparams = QParams(0.013, 11, UINT8)
    q = fast.quantize(x, qparams)
    assert q.shape == shape and q.dtype == np.uint8
    np.testing.assert_array_equal(q, quantize(x, qparams))
    np.testing.assert_array_equal(fast.dequantize(q, qparams), dequantize(q, qparams))


def test_strides_read_only_arrays_and_other_types_are_taken(on_kernel: str) -> None:
    x, qparams = np.random.default_rng(0).normal(size=(40, 50)), QParams(0.02, -3)
    for view in (x, x.T, x[::-2, 1::3], x.astype(np.float16), np.arange(12), np.broadcast_to(x[:1], (5, 50))):
        np.testing.assert_array_equal(fast.quantize(view, qparams), quantize(view, qparams))
    q = quantize(x, qparams)
    np.testing.assert_array_equal(fast.dequantize(q.T[1:], qparams), dequantize(q.T[1:], qparams))


def test_a_scale_for_each_row_or_in_another_shape(on_kernel: str) -> None:
    w = np.random.default_rng(0).normal(size=(9, 130)).astype(np.float32)
    for axis, symmetric in ((0, True), (0, False), (1, True), (None, False)):
        tensor = QuantizedTensor.from_float(w, axis=axis, symmetric=symmetric)
        np.testing.assert_array_equal(fast.quantize(w, tensor.qparams), tensor.q)
        np.testing.assert_array_equal(fast.dequantize(tensor.q, tensor.qparams), tensor.dequantize())


@pytest.mark.parametrize("where", [0, 63, 64, 16_383, 16_384, 40_000])
@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF])
def test_no_nan_passes_in_silence(on_kernel: str, where: int, bits: int) -> None:
    x = np.zeros(40_001, np.float32)
    x.view(np.uint32)[where] = bits
    with pytest.raises(ValueError, match=rf"NaN, got one at index \[{where}\]"):
        fast.quantize(x, QParams(1, 0))


ONE, ROWS, FEW = QParams(0.02, 3), QParams(np.full((2, 1), 0.1), np.zeros((2, 1), int)), QParams(0.1, 0, INT4)
REALS: dict[str, Any] = {  # and what is none
    "list": [1, 2.5], "nothing": [], "integer": 3, "bool": True, "half": np.ones((2, 3), np.float16), "huge": [1e300],
    "infinite": [np.inf, -np.inf], "unsigned": np.array([2**63], np.uint64), "complex": np.ones(3, complex),
    "text": "a", "None": None, "objects": np.array([1, 2], object), "unequal": [[1], [1, 2]], "set": {1},
    "masked": np.ma.masked_array([1.0, 2.0], [False, True]), "NaN": [[1, 2], [3, np.nan]],
    "another order": np.ones((2, 3), ">f4"), "dates": np.array(["2020"], "M8[Y]"), "long": np.ones(2, np.longdouble),
}  # fmt: skip
CODES: dict[str, Any] = {
    "int8": np.array([[1, -2, 3], [3, 4, 5]], np.int8), "uint8": np.array([[1, 2, 3], [3, 4, 5]], np.uint8),
    "sums": np.array([[1, -2, 3], [3, 4, 2**24 + 5]], np.int32), "wide": np.arange(6).reshape(2, 3), "list": [1, 2],
    "beyond": np.array([2**31 - 256]), "beyond int4": np.array([100], np.int8), "bool": np.array([True]),
    "another order": np.array([1, 2], ">i4"), "reals": np.ones(3), "complex": np.ones(3, complex), "text": "a",
    "None": None, "none": np.zeros((0, 3), np.int8), "one": np.int8(3), "unequal": [[1], [1, 2]],
    "masked": np.ma.masked_array(np.array([1, 2], np.int8), [False, True]),
}  # fmt: skip
QPARAMS = {"int8": ONE, "uint8": QParams(0.02, 3, UINT8), "rows": ROWS, "int4": FEW}


def answer(function: Any, x: Any, qparams: Any) -> Any:
    """The type, shape and bits of a result, or the error."""
    try:
        result = np.asarray(function(x, qparams))
        return result.dtype, result.shape, result.tobytes()
    except (TypeError, ValueError, OverflowError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("qparams", QPARAMS.values(), ids=QPARAMS)
def test_quantize_and_dequantize_are_those_of_the_notebook(on_kernel: str, qparams: Any) -> None:
    """One name, one function: the same bits and the same errors for whatever they are given, and twice."""
    for functions, given in (((fast.quantize, quantize), REALS), ((fast.dequantize, dequantize), CODES)):
        for name, x in given.items():
            for _ in range(2):
                got, wanted = (answer(function, x, qparams) for function in functions)
                assert got == wanted, f"{functions[0].__name__} of {name}"


@pytest.mark.parametrize("qparams", [None, 0.1, (0.1, 0)], ids=str)
def test_what_are_no_qparams_is_said_as_in_the_notebook(on_kernel: str, qparams: Any) -> None:
    for x in (np.ones((2, 3), np.float32), [1.0, 2.0]):
        assert answer(fast.quantize, x, qparams) == answer(quantize, x, qparams)
    for q in (np.ones((2, 3), np.int8), np.ones(3, np.uint8), [1, 2]):
        assert answer(fast.dequantize, q, qparams) == answer(dequantize, q, qparams)


def test_qparams_that_can_change_are_read_at_each_call(on_kernel: str) -> None:
    x = np.linspace(-1, 1, 50, dtype=np.float32)
    qparams = SimpleNamespace(scale=np.array(0.02, np.float32), zero_point=np.array(3), int_type=INT8)
    for scale, zero_point in ((0.02, 3), (0.05, -7)):
        qparams.scale[...], qparams.zero_point[...] = scale, zero_point
        wanted = quantize(x, QParams(scale, zero_point))
        np.testing.assert_array_equal(fast.quantize(x, qparams), wanted)
        np.testing.assert_array_equal(fast.dequantize(wanted, qparams), dequantize(wanted, QParams(scale, zero_point)))


def test_more_qparams_than_are_remembered_each_keep_their_own_codes(on_kernel: str) -> None:
    """What is remembered goes by the id of a QParams, and Python gives the id of a dead one to the next."""
    x = np.linspace(-1, 1, 20, dtype=np.float32)
    for i in range(600):
        qparams = QParams(0.001 * (i + 1), i % 100)
        np.testing.assert_array_equal(fast.quantize(x, qparams), quantize(x, qparams))


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("size", [30, 40_000])
def test_a_result_goes_where_it_is_wanted(on_kernel: str, size: int, axis: int | None) -> None:
    x = np.random.default_rng(0).normal(size=(4, size)).astype(np.float32)
    tensor = QuantizedTensor.from_float(x, axis=axis)
    codes, reals = np.full(x.shape, 99, np.int8), np.full(x.shape, np.nan, np.float32)
    assert fast.quantize(x, tensor.qparams, codes) is codes
    assert fast.dequantize(tensor.q, tensor.qparams, out=reals) is reals
    np.testing.assert_array_equal(codes, tensor.q)
    np.testing.assert_array_equal(reals, tensor.dequantize())


def test_a_place_that_does_not_fit_is_refused_before_anything_is_written(on_kernel: str) -> None:
    x, qparams = np.zeros((4, 6), np.float32), QParams(1, 0)
    locked = np.empty((4, 6), np.int8)
    locked.flags.writeable = False
    for out in (np.empty((4, 6), np.uint8), np.empty((6, 4), np.int8), [0]):
        with pytest.raises(ValueError, match=r"out must be an array int8 \[4, 6\], got"):
            fast.quantize(x, qparams, out)  # type: ignore[arg-type]
    for out in (np.empty((6, 4), np.int8).T, locked, x.view(np.int8).ravel()[:24].reshape(4, 6)):
        with pytest.raises(ValueError, match="out must be writeable, contiguous, aligned, and apart from the input"):
            fast.quantize(x, qparams, out)


def test_a_long_pass_is_the_same_in_pieces(on_kernel: str, two_threads: None) -> None:
    """From some size on each piece asks for the next one's memory, and threads share the pieces."""
    x = np.random.default_rng(0).normal(size=(1 << 20) + 4321).astype(np.float32)[5:]
    qparams = QParams(0.02, 7)
    q = quantize(x, qparams)
    np.testing.assert_array_equal(fast.quantize(x, qparams), q)
    np.testing.assert_array_equal(fast.dequantize(q, qparams), dequantize(q, qparams))
    x[-1] = np.nan
    with pytest.raises(ValueError, match=rf"NaN, got one at index \[{x.size - 1}\]"):
        fast.quantize(x, qparams)


def odd_copies(x: Any) -> dict[str, Any]:
    """The same numbers, as files and buffers may bring them."""
    unaligned = np.ndarray(x.shape, np.float32, bytearray(x.nbytes + 1), 1)
    unaligned[...] = x
    return {"unaligned": unaligned, "another byte order": x.astype(x.dtype.newbyteorder())}


@pytest.mark.parametrize("scales", [1, 6])
def test_numbers_that_the_processor_cannot_read_in_place_are_copied_first(on_kernel: str, scales: int) -> None:
    x = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    qparams = choose_qparams(-1, 2) if scales == 1 else choose_qparams(x.min(1, keepdims=True), x.max(1, keepdims=True))
    for name, odd in odd_copies(x).items():
        np.testing.assert_array_equal(fast.quantize(odd, qparams), quantize(x, qparams), err_msg=name)
    with pytest.raises(ValueError, match="out must be writeable, contiguous, aligned, and apart from the input"):
        fast.dequantize(quantize(x, qparams), qparams, out=odd_copies(x)["unaligned"])


def test_layers_read_such_numbers_too(on_kernel: str) -> None:
    rng = np.random.default_rng(1)
    x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 40), (40, 9)))
    layer = fast.Int8Linear(fast.prepack_int8(rng.integers(-127, 128, (40, 9)).astype(np.int8)), np.float32(0.1))
    wanted = layer(x)
    for name, odd in odd_copies(x).items():
        np.testing.assert_array_equal(layer(odd), wanted, err_msg=name)
    odd = odd_copies(x)["unaligned"]
    np.testing.assert_array_equal(fast.bf16_matmul(odd, w), fast.bf16_matmul(x, w))
    np.testing.assert_array_equal(fast.bf16_matmul(x, odd_copies(w)["unaligned"]), fast.bf16_matmul(x, w))
