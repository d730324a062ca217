"""Pools, sums and tables between products: the bits of the definitions, in any shape and order of memory."""

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.deployment.networks import case
from tinytorch.acceleration import accelerate
from tinytorch.acceleration.models.between import AcceleratedResidual, AcceleratedSum
from tinytorch.acceleration.operations.pooling import (
    Answers,
    Sum,
    Windows,
    max_pool,
    mean_pool,
)
from tinytorch.core import (
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Tensor,
)
from tinytorch.quantization import (
    INT8,
    UINT8,
    IntType,
    Lookup,
    OnCodes,
    QParams,
    QuantizedResidual,
    QuantizedTensor,
    dequantize,
    explain,
    quantize_dynamic,
    quantize_static,
    quantized_add,
)

SHAPES = [(1, 1, 4, 4), (2, 3, 7, 5), (3, 17, 6, 9), (1, 64, 8, 8), (2, 130, 3, 4), (5, 32, 1, 9), (0, 8, 6, 6)]
WINDOWS = [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)), ((1, 4), (1, 3), (0, 2)), ((5, 2), (1, 1), (2, 0))]
SUMS = [(INT8, INT8), (INT8, UINT8), (UINT8, INT8), (UINT8, UINT8)]


def images(rng: Any, shape: tuple[int, ...], dtype: Any) -> list[Any]:
    """The same codes with channels innermost, outermost, and with gaps between the pixels."""
    n, channels, height, width = shape
    info = np.iinfo(dtype)
    wide = rng.integers(info.min, info.max + 1, (n, height, width, channels + 2)).astype(dtype)
    gaps = wide[..., 1:-1].transpose(0, 3, 1, 2)
    return [np.ascontiguousarray(gaps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), np.ascontiguousarray(gaps), gaps]


def fits(shape: tuple[int, ...], size: Any, padding: Any) -> bool:
    return all(n + 2 * p >= s for n, s, p in zip(shape[2:], size, padding, strict=True))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("shape", SHAPES)
def test_max_pool(on_kernel: str, shape: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for size, stride, padding in [w for w in WINDOWS if fits(shape, w[0], w[2])]:
        for q in images(rng, shape, dtype):
            wanted = MaxPool2d(size, stride, padding)(Tensor(q.astype(np.float32))).data
            got = max_pool(q, Windows(size, stride, padding))
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] and s[1] > 1])
def test_mean_pools(on_kernel: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(shape[0], *shape[2:], shape[1])).astype(np.float32).transpose(0, 3, 1, 2)
    everything = Windows((shape[2], shape[3]), (1, 1))
    np.testing.assert_array_equal(mean_pool(x, everything), GlobalAvgPool2d()(Tensor(x)).data)
    for size, stride, padding in [w for w in WINDOWS if fits(shape, w[0], w[2])]:
        for counted in (True, False):
            wanted = AvgPool2d(size, stride, padding, counted)(Tensor(x)).data
            np.testing.assert_array_equal(mean_pool(x, Windows(size, stride, padding), counted), wanted)


def codes(rng: Any, shape: tuple[int, ...], int_type: IntType) -> QuantizedTensor:
    q = rng.integers(int_type.qmin, int_type.qmax + 1, shape).astype(int_type.storage)
    zero_point = int(rng.integers(int_type.qmin, int_type.qmax + 1))
    return QuantizedTensor(q, QParams(np.float32(rng.uniform(0.01, 3)), zero_point, int_type))


@pytest.mark.parametrize("types", SUMS, ids=str)
def test_sums_of_codes(on_kernel: str, types: tuple[IntType, IntType]) -> None:
    rng = np.random.default_rng(0)
    for shape in [(0, 3), (1, 1), (3, 5, 7, 11), (2, 40_000)]:
        for out in (INT8, UINT8, IntType(6), None):
            a, b = (codes(rng, shape, int_type) for int_type in types)
            wanted_qparams = None if out is None else codes(rng, (1,), out).qparams
            if wanted_qparams is None:
                wanted: Any = a.dequantize() + b.dequantize()
            else:
                wanted = quantized_add(a, b, wanted_qparams).q
            for relu in (False, True):
                got = Sum(wanted_qparams, relu)(a.q, a.qparams, b.q, b.qparams)
                least = 0 if wanted_qparams is None else wanted_qparams.zero_point
                np.testing.assert_array_equal(got, np.maximum(wanted, least) if relu else wanted)
                assert got.dtype == wanted.dtype


def test_sums_of_arrays_that_lie_in_different_orders(on_kernel: str) -> None:
    rng = np.random.default_rng(0)
    p = QParams(0.5, 3, INT8)
    for a in images(rng, (3, 17, 6, 9), np.int8):
        for b in images(rng, (3, 17, 6, 9), np.int8):
            wanted = quantized_add(QuantizedTensor(a, p), QuantizedTensor(b, p), p).q
            np.testing.assert_array_equal(Sum(p)(a, p, b, p), wanted)
            x, y = a.astype(np.float32, order="K"), b.astype(np.float32, order="K")
            np.testing.assert_array_equal(Sum(None)(x, None, y, None), x + y)
            np.testing.assert_array_equal(Sum(None, True)(x, None, y, None), np.maximum(x + y, 0))


def test_a_sum_of_reals_keeps_nan_and_infinity(on_kernel: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1, -1], np.float32)
    for relu in (False, True):
        wanted = np.maximum(x + 1, 0) if relu else x + 1
        np.testing.assert_array_equal(Sum(None, relu)(x, None, np.ones(5, np.float32), None), wanted)


@pytest.mark.parametrize("int_type", [INT8, UINT8, IntType(5)], ids=str)
def test_tables(on_kernel: str, int_type: IntType) -> None:
    rng = np.random.default_rng(0)
    size = int_type.qmax - int_type.qmin + 1
    for values in (rng.normal(size=size).astype(np.float32), rng.integers(-128, 128, size).astype(np.int8)):
        for shape in [(0,), (5, 7), (3, 20_000)]:
            q = codes(rng, shape, int_type).q
            got = Answers.of(values, int_type.qmin)(q)
            np.testing.assert_array_equal(got, values[q.astype(int) - int_type.qmin])


def test_threads_share_a_job_and_callers_share_nothing(on_kernel: str, two_threads: None) -> None:
    rng = np.random.default_rng(0)
    windows, p = Windows((3, 3), (2, 2), (1, 1)), QParams(0.1, 3, INT8)
    total = Sum(p)
    inputs = [images(rng, (4, 33, 80, 80), np.int8)[0] for _ in range(4)]

    def answers(q: Any) -> list[Any]:
        return [max_pool(q, windows), total(q, p, q, p), mean_pool(dequantize(q, p), windows)]

    wanted = [answers(q) for q in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, own in zip(pool.map(answers, inputs * 3), wanted * 3, strict=True):
            for one, other in zip(got, own, strict=True):
                np.testing.assert_array_equal(one, other)


def resnet(shortcut: bool) -> Sequential:
    rng = np.random.default_rng(0)
    blocks: list[Module] = []
    for channels, out, stride in ((8, 8, 1), (8, 16, 2) if shortcut else (8, 8, 1)):
        block = Sequential(
            Conv2d(channels, out, 3, stride, 1, rng=rng), ReLU(), Conv2d(out, out, 3, padding=1, rng=rng)
        )
        around = Conv2d(channels, out, 1, stride, rng=rng) if channels != out else None
        blocks += [Residual(block, around), ReLU()]
    last = 16 if shortcut else 8
    return Sequential(Conv2d(3, 8, 3, rng=rng), ReLU(), *blocks, GlobalAvgPool2d(), Flatten(), Linear(last, 5, rng=rng))


def same(got: Any, wanted: Any) -> None:
    assert type(got) is type(wanted)
    array, other = (t.q if isinstance(t, QuantizedTensor) else t.data for t in (got, wanted))
    np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("shortcut", [False, True])
def test_residual_networks(on_kernel: str, shortcut: bool) -> None:
    x = np.random.default_rng(1).normal(size=(3, 3, 12, 12)).astype(np.float32)
    model = quantize_static(resnet(shortcut).eval(), [x])
    fast = accelerate(model)
    kinds = {type(m) for _, m in fast.named_modules()}
    assert AcceleratedResidual in kinds and QuantizedResidual not in kinds and (AcceleratedSum in kinds) == shortcut
    for part in (x, x[:1], x[:0]):
        same(fast(part), model(part))
    relus = sum(type(m) is ReLU for _, m in model.named_modules())  # each is part of what stands before it
    assert len(explain(fast)) == len(explain(model)) - relus


@pytest.mark.parametrize("between", [[], [Residual(Conv2d(8, 8, 1, rng=np.random.default_rng(2)))]])
def test_a_mean_behind_a_mean_adds_up_in_the_same_order(on_kernel: str, between: list[Module]) -> None:
    """NumPy adds up in the order of memory. AvgPool2d lays channels outermost, and so does NumPy a sum of two paths of
    which one does."""
    x, conv = np.random.default_rng(1).normal(size=(24, 3, 13, 11)), Conv2d(3, 8, 3, rng=np.random.default_rng(0))
    layers = conv, AvgPool2d((2, 3), 1, (0, 1)), *between, GlobalAvgPool2d(), Flatten()
    model = quantize_dynamic(Sequential(*layers))
    same(accelerate(model)(x.astype(np.float32)), model(x.astype(np.float32)))


def test_a_copy_of_a_network_gives_the_same() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)
    model = quantize_static(resnet(shortcut=True).eval(), [x])
    fast = accelerate(model)
    fast(x)
    again = copy.deepcopy(fast)
    del fast
    same(again(x), model(x))


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int) -> None:
    own = case(seed)
    same(accelerate(own.model)(own.x), own.model(own.x))


def test_what_a_residual_refuses_it_refuses_when_accelerated() -> None:
    p, other = QParams(0.1, 0, INT8), QParams(0.2, 0, INT8)
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    for model, given in (
        (QuantizedResidual(Lookup(ReLU(), p), p), QuantizedTensor(x, p)),
        (QuantizedResidual(Lookup(ReLU(), p, p), p), QuantizedTensor(x, other)),
        (QuantizedResidual(OnCodes(Flatten()), p, p), QuantizedTensor(x[:, :, None], p)),
        (Lookup(ReLU(), p, p), QuantizedTensor(x, QParams(0.1, 1, INT8))),
    ):
        with pytest.raises((TypeError, ValueError)) as wanted:
            model(given)
        with pytest.raises(wanted.type):
            accelerate(model)(given)
