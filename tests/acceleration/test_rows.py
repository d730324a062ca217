"""Layers with a scale for each row, compiled: the bits of NumPy's, on every kernel, for one thread and two."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import Int8Conv2d, Int8Linear, accelerate, prepack_int8, set_num_threads
from tinytorch.acceleration.operations.elementwise import choose_dynamic
from tinytorch.core import Conv2d, ReLU, Sequential
from tinytorch.quantization import (
    INT4,
    INT8,
    IntType,
    QParams,
    QuantizedLinear,
    QuantizedTensor,
    choose_qparams,
    dynamic_quantize,
    quantize_dynamic,
)

Array = np.ndarray[Any, np.dtype[Any]]
SHAPES = [
    (1, 1, 1), (1, 64, 64), (2, 1, 17), (5, 257, 131), (70, 100, 33), (13, 784, 10), (70, 2100, 75), (40, 6000, 20),
    (600, 2500, 48), (513, 33, 300), (1, 3000, 1000),
]  # fmt: skip


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    set_num_threads(request.param)
    yield request.param
    set_num_threads(1)


def rows(m: int, k: int) -> Array:
    """Rows of which the largest are a million times the smallest, and one is all zeros."""
    rng = np.random.default_rng(m + k)
    x = rng.normal(size=(m, k)) * 10.0 ** rng.integers(-3, 4, (m, 1))
    x[m // 2] = 0
    return x.astype(np.float32)


def layer(k: int, n: int, **how: Any) -> QuantizedLinear:
    rng = np.random.default_rng(k + n)
    return QuantizedLinear(rng.normal(size=(n, k)), rng.normal(size=n), per_row=True, **how)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_has_the_bits_of_numpy_and_of_each_row_alone(
    on_kernel: str, threads: int, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    slow, x = layer(k, n), rows(m, k)
    fast, wanted = accelerate(slow), slow(x).data
    assert np.array_equal(fast(x).data, wanted)
    for part in (slice(m // 3, m // 3 + 1), slice(None, None, -1), slice(m // 2, None)):
        assert np.array_equal(fast(x[part]).data, wanted[part])
    assert np.array_equal(accelerate(Sequential(slow, ReLU()))(x).data, np.maximum(wanted, 0))


@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("weight_type", [INT8, INT4, IntType(2)], ids=str)
def test_weights_of_all_types_give_the_same(on_kernel: str, weight_type: IntType, axis: int | None) -> None:
    slow, x = layer(70, 40, weight_type=weight_type, axis=axis), rows(9, 70)
    assert np.array_equal(accelerate(slow)(x).data, slow(x).data)


def test_tokens_strides_and_byte_orders_give_the_same(on_kernel: str) -> None:
    slow, x = layer(30, 20), rows(24, 30)
    fast, wanted = accelerate(slow), slow(x).data
    assert np.array_equal(fast(x.reshape(4, 2, 3, 30)).data, wanted.reshape(4, 2, 3, 20))
    assert np.array_equal(fast(x[3]).data, wanted[3])
    assert np.array_equal(fast(np.asfortranarray(x)).data, wanted)
    product = fast._product  # type: ignore[attr-defined]
    wide = np.zeros((24, 60), np.float32)
    wide[:, ::2] = x
    for same in (wide[:, ::2], x.astype(">f4"), np.repeat(x, 2, 0)[::2], x.T.copy().T):
        assert np.array_equal(product(same), wanted)


def test_empty_inputs_give_empty_outputs(on_kernel: str) -> None:
    fast = accelerate(layer(5, 3))
    for shape in ((0, 5), (2, 0, 5)):
        assert fast(np.zeros(shape, np.float32)).shape == (*shape[:-1], 3)
    narrow = Int8Linear(prepack_int8(np.ones((0, 3), np.int8)), np.float32(1), [1, 2, 3], per_row=True)
    assert np.array_equal(narrow(np.zeros((2, 0), np.float32)), [[1, 2, 3], [1, 2, 3]])


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 3e38], ids=str)
def test_rows_of_any_size_choose_the_parameters_of_the_definition(on_kernel: str, size: float) -> None:
    slow, x = layer(16, 3), rows(5, 16)
    x[1:4] = np.linspace(-1, 1, 16, dtype=np.float32) * np.float32(size)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.array_equal(accelerate(slow)(x).data, slow(x).data, equal_nan=True)


def test_threads_that_need_the_same_few_rows_give_the_same_each_time(on_kernel: str, two_threads: None) -> None:
    """They quantize them at the same time, each for itself, and one may come late."""
    for m, k, n in ((1, 2048, 4096), (4, 512, 4096)):
        slow, x = layer(k, n), rows(m, k)
        fast, wanted = accelerate(slow), slow(x).data
        assert all(np.array_equal(fast(x).data, wanted) for _ in range(10 if on_kernel == "numpy" else 100))


@pytest.mark.parametrize("m", [4, 40, 3000])
def test_what_has_no_code_is_refused_as_by_a_layer_with_one_scale(on_kernel: str, threads: int, m: int) -> None:
    packed = prepack_int8(np.ones((70, 8), np.int8))
    by_rows, by_tensor = (Int8Linear(packed, np.float32(1), per_row=per_row) for per_row in (True, False))
    x = rows(m, 70)
    for places in ({(2, 65): np.nan}, {(1, 0): np.inf}, {(3, 69): -np.inf}, {(0, 1): np.inf, (3, 2): np.nan}):
        bad = x.copy()
        for at, value in places.items():
            bad[at] = value
        said = []
        for each in (by_rows, by_tensor):
            with pytest.raises(ValueError, match="must not hold NaN|must be finite") as caught:
                each(bad)
            said.append(str(caught.value))
        assert said[0] == said[1]
    assert np.isfinite(by_rows(x)).all(), "a refusal leaves nothing behind"


IMAGES = [
    (1, 1, 1, 3, {}),
    (7, 2, 8, 6, {"padding": 1, "groups": 2}),
    (9, 4, 17, 9, {"stride": 2, "padding": (1, 2)}),
    (40, 16, 33, 12, {"padding": 1}),
    (5, 3, 4, 12, {"dilation": 2}),
]


@pytest.mark.parametrize(("count", "channels", "n", "size", "how"), IMAGES, ids=str)
def test_a_convolution_has_the_bits_of_numpy_and_of_each_image_alone(
    on_kernel: str, threads: int, count: int, channels: int, n: int, size: int, how: dict[str, Any]
) -> None:
    rng = np.random.default_rng(n)
    x = rows(count, channels * size * size).reshape(count, channels, size, size)
    for relu in (False, True):
        floats = Sequential(Conv2d(channels, n, 3, rng=rng, **how), *[ReLU()] * relu)
        slow = quantize_dynamic(floats, per_row=True)
        fast, wanted = accelerate(slow), slow(x).data
        assert np.array_equal(fast(x).data, wanted)
        channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        assert np.array_equal(fast(channels_last).data, wanted)
        for part in (slice(0, 1), slice(None, None, -1), slice(0, 0)):
            assert np.array_equal(fast(x[part]).data, wanted[part])


def test_codes_with_one_scale_or_one_for_each_row_give_the_same(on_kernel: str) -> None:
    slow, x = layer(20, 7), rows(6, 20)
    fast = accelerate(slow)
    each, images = dynamic_quantize(x, 0), rows(4, 3 * 25).reshape(4, 3, 5, 5)
    signed = QParams(each[1].scale, each[1].zero_point - 128, INT8)
    for t in (
        QuantizedTensor.from_float(x, symmetric=False),
        QuantizedTensor(*each),
        QuantizedTensor((each[0].astype(np.int16) - 128).astype(np.int8), signed),
    ):
        assert np.array_equal(fast(t).data, slow(t).data)
    convolution = quantize_dynamic(Sequential(Conv2d(3, 5, 3, padding=1)), per_row=True)
    fast_convolution = accelerate(convolution)
    for codes in (QuantizedTensor.from_float(images, symmetric=False), QuantizedTensor(*dynamic_quantize(images, 0))):
        assert np.array_equal(fast_convolution(codes).data, convolution(codes).data)


def test_copies_and_pickles_give_the_same(on_kernel: str) -> None:
    fast, x = accelerate(layer(20, 7)), rows(6, 20)
    wanted = fast(x).data
    for other in (copy.copy(fast), copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert np.array_equal(other(x).data, wanted)


def test_numpy_chooses_for_each_row_what_it_chooses_for_that_row_alone() -> None:
    x = rows(9, 30)
    x[1], x[2] = 1e-44, np.linspace(-3e38, 3e38, 30)
    scale, zero_point = choose_dynamic(x, per_row=True)
    assert scale.shape == zero_point.shape == (9, 1)
    for i in range(9):
        assert (scale[i, 0], zero_point[i, 0]) == choose_dynamic(x[i])


def test_one_scale_for_all_rows_and_one_for_each_exclude_each_other() -> None:
    packed = prepack_int8(np.ones((6, 4), np.int8))
    with pytest.raises(ValueError, match="one scale for all rows: leave them out, or per_row"):
        Int8Linear(packed, np.float32(1), None, choose_qparams(-1, 1), per_row=True)
    with pytest.raises(ValueError, match="one scale for all rows: leave them out, or per_row"):
        Int8Conv2d(np.ones((1, 1, 1, 1), np.int8), 1.0, input_qparams=choose_qparams(-1, 1), per_row=True)
