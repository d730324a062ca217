"""int8_linear and int4_linear remember what they made from a scale, a bias and qparams: never a stale answer."""

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import Int8Linear, int4_linear, int8_linear, prepack_int4, prepack_int8
from tinytorch.acceleration.operations.prepared import MAX_PREPARED
from tinytorch.quantization import INT8, QParams

RNG = np.random.default_rng(0)
WEIGHTS = RNG.integers(-8, 8, (24, 20)).astype(np.int8)
X = RNG.normal(size=(3, 24)).astype(np.float32)
QPARAMS, OUT = QParams(0.02, 3), QParams(0.5, -7)


def values() -> tuple[Any, Any]:
    """A scale and a bias."""
    rng = np.random.default_rng(1)
    return rng.uniform(0.1, 1, 20).astype(np.float32), rng.normal(size=20).astype(np.float32)


def test_a_second_call_takes_the_layer_of_the_first() -> None:
    pack, (scale, bias) = prepack_int8(WEIGHTS), values()
    for given in ((scale, bias), (scale.copy(), bias.copy()), (scale, bias)):
        int8_linear(X, pack, *given)
    assert len(pack.prepared) == 1
    int4 = prepack_int4(WEIGHTS)
    for given_bias in (bias, bias.copy(), bias):
        int4_linear(X, int4, given_bias)
    assert len(int4.prepared) == 1


@pytest.mark.parametrize("which", [0, 1], ids=["scale", "bias"])
def test_an_array_that_changed_in_place_is_seen(on_kernel: str, which: int) -> None:
    pack, given = prepack_int8(WEIGHTS), values()
    for change in (0.5, 0.25, 0.25):
        given[which][7] = change
        wanted = Int8Linear(prepack_int8(WEIGHTS), given[0].copy(), given[1].copy())(X)
        np.testing.assert_array_equal(int8_linear(X, pack, *given), wanted)


def test_a_bias_of_int4_that_changed_in_place_is_seen(on_kernel: str) -> None:
    pack, (_, bias) = prepack_int4(WEIGHTS), values()
    for change in (0.5, 0.25, 0.25):
        bias[7] = change
        np.testing.assert_array_equal(int4_linear(X, pack, bias), int4_linear(X, prepack_int4(WEIGHTS), bias.copy()))


def test_the_memory_of_read_only_views_is_compared_too() -> None:
    pack, (scale, bias) = prepack_int8(WEIGHTS), values()
    view = scale.view()
    view.flags.writeable = False
    first = int8_linear(X, pack, view, bias)
    scale *= 2
    np.testing.assert_array_equal(int8_linear(X, pack, view, bias), Int8Linear(prepack_int8(WEIGHTS), scale, bias)(X))
    assert not np.array_equal(first, int8_linear(X, pack, view, bias))


def test_equal_bytes_of_another_type_or_shape_are_other_values() -> None:
    pack, (scale, bias) = prepack_int8(WEIGHTS), values()
    small = np.arange(20, dtype=np.int32)
    for other in (small, small.view(np.float32), bias, None):
        wanted = Int8Linear(prepack_int8(WEIGHTS), scale, other, QPARAMS)(X)
        np.testing.assert_array_equal(int8_linear(X, pack, scale, other, QPARAMS), wanted)
    with pytest.raises(ValueError, match="bias must have 20 values"):
        int8_linear(X, pack, scale, bias[:, None], QPARAMS)


def test_qparams_and_relu_are_told_apart() -> None:
    pack, (scale, _) = prepack_int8(WEIGHTS), values()
    cases: list[tuple[Any, ...]] = [(None, None), (QPARAMS, None), (QPARAMS, OUT), (OUT, None), (None, None, True)]
    for case in cases + cases[::-1]:
        wanted = Int8Linear(prepack_int8(WEIGHTS), scale, None, *case)(X)
        np.testing.assert_array_equal(int8_linear(X, pack, scale, None, *case), wanted)
    assert len(pack.prepared) == len(cases)


def test_qparams_that_can_change_are_read_at_each_call() -> None:
    pack, int4 = prepack_int8(WEIGHTS), prepack_int4(WEIGHTS)
    qparams = SimpleNamespace(scale=np.array(0.02, np.float32), zero_point=np.array(3), int_type=INT8)
    for scale in (0.02, 0.05):
        qparams.scale[...] = scale
        fixed = QParams(scale, 3)
        np.testing.assert_array_equal(int8_linear(X, pack, 0.5, None, qparams), int8_linear(X, pack, 0.5, None, fixed))
        np.testing.assert_array_equal(int4_linear(X, int4, None, qparams), int4_linear(X, int4, None, fixed))


@pytest.mark.parametrize("scale", [0.5, np.float32(0.5), np.float64(0.5), 1, [0.5] * 20, np.array([0.5] * 20, object)])
def test_a_scale_may_be_any_number_or_sequence(scale: Any) -> None:
    pack = prepack_int8(WEIGHTS)
    wanted = Int8Linear(prepack_int8(WEIGHTS), np.asarray(scale, np.float32))(X)
    for _ in range(2):
        np.testing.assert_array_equal(int8_linear(X, pack, scale), wanted)


def test_a_pack_remembers_a_few_layers_and_goes_with_them() -> None:
    pack, int4 = prepack_int8(WEIGHTS), prepack_int4(WEIGHTS)
    for i in range(3 * MAX_PREPARED):
        int8_linear(X, pack, 0.1 * (i + 1))
        int4_linear(X, int4, np.full(20, i, np.float32))
    assert len(pack.prepared) == len(int4.prepared) == MAX_PREPARED
    gone: list[weakref.ref[Any]] = [weakref.ref(each) for each in (pack, int4, pack.prepared[0].made)]
    gc.disable()  # what only the collector would find was a cycle
    try:
        del pack, int4
        assert [each() for each in gone] == [None] * 3
    finally:
        gc.enable()


def test_a_copy_of_a_pack_goes_without_what_it_remembers() -> None:
    pack, int4 = prepack_int8(WEIGHTS), prepack_int4(WEIGHTS)
    wanted = int8_linear(X, pack, 0.5), int4_linear(X, int4)
    ways: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda pack: pickle.loads(pickle.dumps(pack))]
    for way in ways:
        twins = way(pack), way(int4)
        assert twins[0].prepared == twins[1].prepared == []
        np.testing.assert_array_equal(int8_linear(X, twins[0], 0.5), wanted[0])
        np.testing.assert_array_equal(int4_linear(X, twins[1]), wanted[1])


def test_threads_that_remember_at_once_each_get_their_own_answer() -> None:
    pack, wrong = prepack_int8(WEIGHTS), []
    scales = [values()[0] * (i + 1) for i in range(4)]
    wanted = [Int8Linear(prepack_int8(WEIGHTS), scale)(X) for scale in scales]

    def call(i: int) -> None:
        for turn in range(300):
            scale = scales[i] if turn % 3 else np.float32(1 + turn)  # new ones push the others out
            got = int8_linear(X, pack, scale)
            if turn % 3 and not np.array_equal(got, wanted[i]):
                wrong.append((i, turn))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(pack.prepared) <= MAX_PREPARED
