"""int8_matmul: the bits of integer_matmul, whatever comes in."""

import threading
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import PackedInt8, int8_matmul, prepack_int8, set_num_threads, use_kernel
from tinytorch.quantization import integer_matmul

from .fuzz import fuzz


def product(m: int, k: int, n: int, dtype: Any = np.uint8, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, (m, k)).astype(dtype), rng.integers(-128, 128, (k, n)).astype(np.int8)


def test_random_shapes_strides_types_and_zero_points_are_exact(on_kernel: str) -> None:
    fuzz(on_kernel, 150, seed=1)


@pytest.mark.parametrize("shape", [(1, 64, 64), (7, 257, 131), (33, 1000, 65), (100, 130, 200), (70, 2100, 75)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_it_has_the_bits_of_integer_matmul(on_kernel: str, shape: tuple[int, int, int], dtype: Any) -> None:
    a, b = product(*shape, dtype)
    got = int8_matmul(a, prepack_int8(b), -3)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, integer_matmul(a, b, -3))


# Where the drivers cut K, for AMX and for each register kernel: rows that do not fit the first cache; many rows of few
# columns; more rows than the second cache keeps.
DEEP = [(70, 1100, 50), (40, 6000, 70), (9, 17000, 20), (520, 1500, 40), (520, 5600, 40), (200, 5000, 100)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", DEEP)
def test_a_deep_k_is_cut_into_pieces_without_a_difference(
    on_kernel: str, shape: tuple[int, int, int], threads: int
) -> None:
    a, b = product(*shape, np.int8)
    set_num_threads(threads)
    try:
        got = int8_matmul(a, prepack_int8(b), 5)
    finally:
        set_num_threads(1)
    np.testing.assert_array_equal(got, (a.astype(np.float64) - 5) @ b.astype(np.float64))


def test_sums_of_extreme_codes_do_not_saturate(on_kernel: str) -> None:
    """Two products of 255 * -128 exceed int16: an instruction that adds pairs in 16 bits would clip them."""
    a, b = np.full((5, 300), 255, np.uint8), np.full((300, 40), -128, np.int8)
    assert (int8_matmul(a, prepack_int8(b)) == 300 * 255 * -128).all()


def test_the_largest_and_smallest_int32_are_reached(on_kernel: str) -> None:
    k = 65793  # 65793 * 255 * 128 = 2**31 - 128
    a, b = np.full((1, k), 255, np.uint8), np.full((k, 1), -128, np.int8)
    assert int8_matmul(a, prepack_int8(b)).item() == -(2**31) + 128


def test_a_sum_beyond_int32_is_an_overflow_error_never_a_wrapped_sum(on_kernel: str) -> None:
    k = 65794
    a, b = np.full((1, k), 255, np.uint8), np.full((k, 1), -128, np.int8)
    with pytest.raises(OverflowError, match="beyond int32: split K"):
        int8_matmul(a, prepack_int8(b))
    assert int8_matmul(a, prepack_int8(b), 255).item() == 0, (
        "what fits is computed, though the bound alone would refuse it"
    )


def test_each_row_may_have_its_own_zero_point(on_kernel: str) -> None:
    a, b = product(4, 20, 9)
    zero_points = np.array([[0], [3], [255], [128]])
    np.testing.assert_array_equal(int8_matmul(a, prepack_int8(b), zero_points), integer_matmul(a, b, zero_points))


def test_batches_and_vectors_keep_their_shape(on_kernel: str) -> None:
    a, b = product(24, 30, 10)
    packed = prepack_int8(b)
    assert int8_matmul(a.reshape(2, 3, 4, 30), packed).shape == (2, 3, 4, 10)
    np.testing.assert_array_equal(int8_matmul(a[0], packed), integer_matmul(a[:1], b)[0])


@pytest.mark.parametrize("shape", [(0, 5, 3), (3, 0, 5), (3, 5, 0), (0, 0, 0), (0, 3000, 5), (3, 3000, 0)])
def test_empty_products_are_zeros_of_the_right_shape(on_kernel: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    got = int8_matmul(np.empty((m, k), np.int8), prepack_int8(np.empty((k, n), np.int8)), 7)
    assert got.shape == (m, n) and got.dtype == np.int32 and not got.any()


def test_wrong_input_is_one_sentence() -> None:
    a, b = product(4, 8, 3)
    packed = prepack_int8(b)
    with pytest.raises(TypeError, match="codes must be int8 or uint8, got float32"):
        int8_matmul(a.astype(np.float32), packed)
    with pytest.raises(TypeError, match="weights must be packed, got ndarray: prepack_int8"):
        int8_matmul(a, b)
    with pytest.raises(ValueError, match=r"wanted \[\.\.\., 8\] for weights \[8, 3\], got shape \(4, 7\)"):
        int8_matmul(a[:, :7], packed)
    with pytest.raises(TypeError, match="a_zero_point must be an integer, got float64"):
        int8_matmul(a, packed, 0.5)
    with pytest.raises(TypeError, match="weights must be int8, got int64"):
        prepack_int8(np.ones((2, 2), np.int64))
    with pytest.raises(ValueError, match=r"weights must be \[K, N\]"):
        prepack_int8(np.ones(3, np.int8))


def test_a_pack_with_missing_bytes_is_refused_before_anything_reads_it() -> None:
    packed = prepack_int8(np.ones((64, 32), np.int8))
    with pytest.raises(ValueError, match="make it with prepack_int8"):
        PackedInt8(packed.data[:-1].copy(), packed.shape, packed.column_sums, packed.max_abs_sum)


def test_a_pack_is_a_copy_nobody_can_change() -> None:
    a, b = product(3, 70, 20)
    packed = prepack_int8(b)
    wanted = integer_matmul(a, b)
    b[:] = 0
    np.testing.assert_array_equal(int8_matmul(a, packed), wanted)
    with pytest.raises(ValueError, match="read-only"):
        packed.data[0] = 1


def test_a_pack_unpacks_to_its_weights() -> None:
    _, b = product(1, 77, 35)
    np.testing.assert_array_equal(prepack_int8(b).unpack(), b)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads_change_no_bit(on_kernel: str, threads: int) -> None:
    a, b = product(90, 700, 300, np.int8)
    set_num_threads(threads)
    try:
        for _ in range(5):
            np.testing.assert_array_equal(int8_matmul(a, prepack_int8(b), 9), integer_matmul(a, b, 9))
    finally:
        set_num_threads(1)


def test_many_callers_at_once_each_get_their_own_answer(two_threads: None) -> None:
    cases = [product(40 + i, 512, 512, seed=i) for i in range(4)]
    wanted = [integer_matmul(a, b) for a, b in cases]
    wrong: list[int] = []

    def call(i: int) -> None:
        packed = prepack_int8(cases[i][1])
        wrong.extend(i for _ in range(30) if (int8_matmul(cases[i][0], packed) != wanted[i]).any())

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_an_unknown_kernel_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="must be one of .*numpy on this machine, got 'gpu'"), use_kernel("gpu"):
        pass
