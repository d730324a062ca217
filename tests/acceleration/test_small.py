"""Small products: the short way gives the same bits, to everybody, and lets go what is not for it."""

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import Int8Linear, int8_matmul, kernels, prepack_int8, use_kernel
from tinytorch.quantization import integer_matmul


def product(m: int, k: int, n: int, dtype: Any = np.uint8) -> tuple[Any, Any]:
    rng, info = np.random.default_rng(m + k + n), np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, (m, k)).astype(dtype), rng.integers(-128, 128, (k, n)).astype(np.int8)


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 16, 17, 32, 33, 100])
def test_each_number_of_rows_is_exact_whichever_instruction_takes_them(on_kernel: str, rows: int) -> None:
    for k, n in ((257, 131), (64, 16), (3, 5), (200, 700)):
        a, b = product(rows, k, n)
        np.testing.assert_array_equal(int8_matmul(a, prepack_int8(b), 7), integer_matmul(a, b, 7))


def test_one_pack_serves_all_kernels_and_both_types_of_codes() -> None:
    a, b = product(5, 70, 20)
    packed = prepack_int8(b)
    for name in (*kernels(), *kernels()):
        with use_kernel(name):
            for codes in (a, a.view(np.int8)):
                np.testing.assert_array_equal(int8_matmul(codes, packed), integer_matmul(codes, b), err_msg=name)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_rows_with_gaps_columns_and_read_only_codes_are_taken(on_kernel: str, dtype: Any) -> None:
    a, b = product(12, 140, 30, dtype)
    packed = prepack_int8(b[:70])
    a.flags.writeable = False
    for view in (
        a[:, :70],
        a[::-2, 70:],
        a[:, ::2],
        np.asfortranarray(a[:, :70]),
        a[:1, :70],
        np.repeat(a, 1, 0)[:, :70],
    ):
        np.testing.assert_array_equal(int8_matmul(view, packed, -5), integer_matmul(view, b[:70], -5))


def test_sums_that_may_leave_int32_are_computed_in_int64_or_refused(on_kernel: str) -> None:
    """40 000 weights of -128: with codes of 255 apart from the zero point, a sum might be beyond int32."""
    packed = prepack_int8(np.full((40_000, 3), -128, np.int8))
    assert (int8_matmul(np.zeros((2, 40_000), np.uint8), packed, 255) == 255 * 40_000 * 128).all()
    packed = prepack_int8(np.full((70_000, 3), -128, np.int8))
    with pytest.raises(OverflowError, match="beyond int32: split K"):
        int8_matmul(np.zeros((2, 70_000), np.uint8), packed, 255)


def test_a_copy_and_a_pickle_know_no_address_of_the_first(on_kernel: str) -> None:
    a, b = product(4, 60, 10)
    packed, x = prepack_int8(b), a.astype(np.float32)
    layer = Int8Linear(packed, np.float32(0.5))
    wanted, reals = int8_matmul(a, packed), layer(x)
    for again in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert not again.plans
        np.testing.assert_array_equal(int8_matmul(a, again), wanted)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not twin.plans
        np.testing.assert_array_equal(twin(x), reals)


def test_threads_that_share_a_pack_do_not_share_its_scratch(on_kernel: str) -> None:
    """The compiled part runs without the GIL: two calls on one pack are really at once."""
    _, b = product(1, 300, 150)
    packed, layer = prepack_int8(b), Int8Linear(prepack_int8(b), np.float32(1), relu=True)
    inputs = [product(9, 300 + i, 150)[0][:, :300] for i in range(4)]
    wanted = [(integer_matmul(a, b, i), layer(a.astype(np.float32))) for i, a in enumerate(inputs)]
    wrong: list[int] = []

    def call(i: int) -> None:
        x = inputs[i].astype(np.float32)
        for _ in range(200):
            wrong.extend([i] * bool((int8_matmul(inputs[i], packed, i) != wanted[i][0]).any()))
            wrong.extend([i] * bool((layer(x) != wanted[i][1]).any()))

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_what_is_not_small_has_the_same_bits_with_any_team(on_kernel: str, two_threads: None, dtype: Any) -> None:
    for rows, k, n in ((3, 2100, 300), (1, 1030, 9000), (40, 2100, 75), (70, 500, 300)):
        a, b = product(rows, k, n, dtype)
        np.testing.assert_array_equal(int8_matmul(a, prepack_int8(b), 9), integer_matmul(a, b, 9))
        np.testing.assert_array_equal(int8_matmul(a[:, ::-1], prepack_int8(b), 9), integer_matmul(a[:, ::-1], b, 9))


def test_a_layer_that_is_not_small_finds_its_range_and_names_a_nan(on_kernel: str, two_threads: None) -> None:
    for rows, k, n in ((3, 2100, 300), (40, 2100, 75)):
        x, b = np.random.default_rng(0).normal(size=(rows, k)).astype(np.float32), product(rows, k, n)[1]
        layer = Int8Linear(prepack_int8(b), np.float32(0.01), np.arange(n, dtype=np.float32))
        np.testing.assert_array_equal(layer(x), layer._plain(x))
        x[2, 1999] = np.nan
        with pytest.raises(ValueError, match=r"NaN, got one at index \[2, 1999\]"):
            layer(x)
