"""A network as one call: the bits of its layers, whatever memory its jobs share."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.acceleration import accelerate, set_num_threads
from tinytorch.acceleration.models import network
from tinytorch.acceleration.models.jobs import Buffer, place
from tinytorch.core import (
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool1d,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
)
from tinytorch.quantization import INT4, QuantizedTensor, quantize, quantize_dynamic, quantize_static

rng = np.random.default_rng(0)


def residual(*layers: Module) -> Residual:
    return Residual(Sequential(*layers))


def photographs() -> Module:
    """Three channels that lie apart, a strided convolution, codes that are added, a depthwise layer, a pool."""
    return Sequential(
        *(Conv2d(3, 8, 3, stride=2, padding=1, rng=rng), ReLU()),
        residual(Conv2d(8, 24, 1, rng=rng), ReLU(), Conv2d(24, 24, 3, padding=1, groups=24, rng=rng), ReLU(),
                 Conv2d(24, 8, 1, rng=rng)),
        *(Conv2d(8, 70, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Flatten(), Linear(70 * 16, 10, rng=rng)),
    )  # fmt: skip


def float_sums() -> Module:
    """A shortcut with weights of its own, whose sum is taken in float32, and a mean of all pixels."""
    block = Sequential(Conv2d(4, 6, 3, padding=1, rng=rng), ReLU(), Conv2d(6, 6, 3, padding=1, rng=rng))
    return Sequential(
        *(Conv2d(1, 4, 5, padding=2, rng=rng), ReLU(), Residual(block, Conv2d(4, 6, 1, rng=rng)), ReLU()),
        *(GlobalAvgPool2d(), Flatten(), Linear(6, 5, rng=rng)),
    )


def tables() -> Module:
    return Sequential(Linear(30, 64, rng=rng), Sigmoid(), Linear(64, 128, rng=rng), ReLU(), Linear(128, 3, rng=rng))


def means() -> Module:
    """A mean behind a mean: which pixels are added up first can be seen in the last bit."""
    return Sequential(
        *(Conv2d(2, 5, 3, padding=1, rng=rng), AvgPool2d(2), GlobalAvgPool2d(), Flatten(), Linear(5, 4, rng=rng)),
    )


def grouped() -> Module:
    """Groups, dilation, a kernel of one row, a window that is not square."""
    return Sequential(
        *(Conv2d(8, 24, 3, padding=2, dilation=2, groups=2, rng=rng), ReLU(), Conv2d(24, 6, (1, 3), rng=rng), ReLU()),
        Conv2d(6, 18, (5, 2), stride=(2, 1), groups=6, rng=rng),
    )


# What a network takes, and how many of its layers each of its calls does.
NETWORKS: list[tuple[Callable[[], Module], tuple[int, ...], list[int]]] = [
    (photographs, (3, 16, 16), [6]),
    (float_sums, (1, 9, 9), [5]),
    (tables, (30,), [4]),
    (means, (2, 12, 12), [2, 1]),
    (grouped, (8, 20, 9), [3]),
]


def made(make: Callable[[], Module], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """(quantized, accelerated)."""
    model = quantize_static(make().eval(), [rng.normal(size=(8, *shape)).astype(np.float32)])
    return model, accelerate(model)


def assert_same(fast: Any, model: Any, x: Any) -> None:
    np.testing.assert_array_equal(fast(x).data, model(x).data)


def taken(fast: Any) -> list[int]:
    """How many layers each plan does in one call."""
    return [kept[0].taken for kept in fast.plans.idle.values() if kept]


@pytest.mark.parametrize("make, shape, layers", NETWORKS)
def test_a_network_in_one_call_gives_the_bits_of_its_layers(
    on_kernel: str, make: Callable[[], Module], shape: tuple[int, ...], layers: list[int]
) -> None:
    model, fast = made(make, shape)
    for n in (1, 2, 7):
        x = rng.normal(size=(n, *shape)).astype(np.float32)
        assert_same(fast, model, x)
        assert_same(fast, model, x)  # in memory that was used before
        assert on_kernel == "numpy" or taken(fast) == layers
        fast.plans.idle.clear()


def test_images_lie_either_way() -> None:
    model, fast = made(photographs, (3, 16, 16))
    x = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    assert_same(fast, model, x.transpose(0, 3, 1, 2))
    assert_same(fast, model, np.asfortranarray(x.transpose(0, 3, 1, 2)))
    assert_same(fast, model, x[:, ::-1].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(3, 3, 3), (3, 4, 1), (5, 1, 4), (2, 1, 1), (1, 7, 2), (4, 40, 30)])
def test_images_of_any_size(shape: tuple[int, int, int]) -> None:
    """Small ones, too, whose channels share a cache line."""
    model, fast = made(lambda: Sequential(Conv2d(shape[0], 3, 3, padding=1, rng=rng)), shape)
    for n in (1, 5):
        assert_same(fast, model, rng.normal(size=(n, *shape)).astype(np.float32))


def test_signals() -> None:
    """Channels and one axis: they lie otherwise than they are seen, as images do."""
    layers = Conv1d(3, 4, 3, padding=1, rng=rng), Sigmoid(), MaxPool1d(2), Conv1d(4, 6, 2, rng=rng), Sigmoid()
    for last, planned in ((AvgPool1d(1), 5), (ReLU(), 7)):  # a ReLU is part of the table before it
        whole = Sequential(*layers, last, Flatten(), Linear(6 * 5, 2, rng=rng))
        model, fast = made(whole.eval, (3, 13))
        assert_same(fast, model, rng.normal(size=(4, 3, 13)).astype(np.float32))
        assert planned in taken(fast)


@pytest.mark.parametrize("threads", [1, 2])
def test_many_images_go_in_slices(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "NEAR", 1 << 14)
    model, fast = made(photographs, (3, 16, 16))
    set_num_threads(threads)
    try:
        x = rng.normal(size=(13, 3, 16, 16)).astype(np.float32)
        assert_same(fast, model, x)
        (plan,) = next(iter(fast.plans.idle.values()))
        assert plan.slices > 1 and plan.threads == threads
        x[12, 2, 15, 15] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            fast(x)
    finally:
        set_num_threads(1)


def test_codes_go_in_and_come_out() -> None:
    model, fast = made(tables, (30,))
    x = rng.normal(size=(4, 30)).astype(np.float32)
    p = model.layers[0].input_qparams
    assert_same(fast, model, QuantizedTensor(quantize(x, p), p))
    first, fast_first = Sequential(*model.layers[:2]), accelerate(Sequential(*model.layers[:2]))
    codes, wanted = fast_first(x), first(x)
    assert isinstance(codes, QuantizedTensor)
    np.testing.assert_array_equal(codes.q, wanted.q)


def test_two_callers_have_a_plan_each() -> None:
    model, fast = made(photographs, (3, 16, 16))
    xs = [rng.normal(size=(3, 3, 16, 16)).astype(np.float32) for _ in range(8)]
    wanted = [model(x).data for x in xs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for got, each in zip(pool.map(lambda x: fast(x).data, xs), wanted, strict=True):
                np.testing.assert_array_equal(got, each)


def test_a_copy_has_no_plans() -> None:
    """They hold addresses of this process."""
    model, fast = made(tables, (30,))
    x = rng.normal(size=(2, 30)).astype(np.float32)
    assert_same(fast, model, x)
    for again in (copy(fast), pickle.loads(pickle.dumps(fast))):
        assert_same(again, model, x)
    other: Any = accelerate(Sequential(quantize_static(Linear(30, 64, rng=rng), [x])))
    fast.layers[0] = other.layers[0]
    assert not np.array_equal(fast(x).data, model(x).data)  # a layer that was replaced


def test_what_depends_on_the_input_goes_layer_by_layer() -> None:
    dynamic = quantize_dynamic(tables())
    fast, x = accelerate(dynamic), rng.normal(size=(2, 30)).astype(np.float32)
    assert_same(fast, dynamic, x)
    assert taken(fast) == []


def test_few_bits() -> None:
    x = rng.normal(size=(5, 30)).astype(np.float32)
    model = quantize_static(tables(), [x], weight_type=INT4, activation_type=INT4)
    assert_same(accelerate(model), model, x)


uses = st.tuples(st.integers(1, 300), st.integers(0, 9), st.integers(0, 5))


@given(st.lists(uses, max_size=12))
def test_buffers_in_use_together_lie_apart(wanted: list[tuple[int, int, int]]) -> None:
    buffers = [Buffer(nbytes, first=first, last=first + more) for nbytes, first, more in wanted]
    end = place(buffers)
    for i, a in enumerate(buffers):
        assert a.offset % 64 == 0 and a.offset + a.nbytes <= end
        for b in buffers[:i]:
            together = a.first <= b.last and b.first <= a.last
            apart = a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
            assert apart or not together
