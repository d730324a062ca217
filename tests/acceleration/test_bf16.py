"""bf16_matmul: float32 in and out, within a bound that follows from bfloat16's 8 bits."""

from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import PackedBf16, bf16_matmul, kernels, prepack_bf16, set_num_threads, use_kernel

SHAPES = [
    (1, 1, 1),
    (3, 5, 7),
    (33, 31, 17),
    (1, 64, 64),
    (64, 33, 48),
    (2, 1, 40),
    (70, 257, 131),
    (100, 512, 130),
    (70, 700, 40),
]


def top_half(x: Any) -> Any:
    """x to bfloat16 by the value: the nearest number of 8 significant bits, the even one in a tie; in float64."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.rint(mantissa * 256), exponent - 8)


def operands(m: int, k: int, n: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)


def assert_within_bound(got: Any, a: Any, b: Any) -> None:
    """The bound of the docstring, elementwise, against float64."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    s, k = np.abs(wide_a) @ np.abs(wide_b), a.shape[-1]
    largest = max(1.0, np.abs(wide_a).max(initial=0), np.abs(wide_b).max(initial=0))
    bound = (2.0**-7 + 2.0**-16 + k * 2.0**-23) * s + k * 2.0**-125 * largest
    assert got.dtype == np.float32
    assert (np.abs(got - wide_a @ wide_b) <= bound).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["rows", "a.T", "b.T", "both", "steps"])
def test_the_result_stays_within_the_documented_bound(on_kernel: str, shape: tuple[int, int, int], layout: str) -> None:
    a, b = operands(*shape)
    if layout in ("a.T", "both"):
        a = np.asfortranarray(a)
    if layout in ("b.T", "both"):
        b = np.asfortranarray(b)
    if layout == "steps":
        a, b = np.repeat(a, 2, 1)[:, ::2], np.repeat(np.repeat(b, 2, 1), 2, 0)[::-2, ::2][::-1]
    assert_within_bound(bf16_matmul(a, b), a, b)
    assert_within_bound(bf16_matmul(a, prepack_bf16(b)), a, b)


def test_the_sums_are_float32_of_rounded_operands(on_kernel: str) -> None:
    """Tighter than the bound against float32: what is left is the rounding of sums."""
    a, b = operands(50, 700, 40)
    x, y = top_half(a), top_half(b)
    assert (np.abs(bf16_matmul(a, b) - x @ y) <= 700 * 2.0**-23 * (np.abs(x) @ np.abs(y))).all()


def test_small_integers_are_multiplied_exactly(on_kernel: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((37, 90), (90, 53)))
    np.testing.assert_array_equal(bf16_matmul(a, b), a @ b)


def test_packing_rounds_ties_to_even_and_keeps_infinity_and_nan(on_kernel: str) -> None:
    same = [np.inf, -np.inf, np.nan, 0.0, -0.0, 65280.0]
    x = np.array([1.00390625, 1.01171875, -1.00390625, 3.3895e38, *same], np.float32)
    wanted = np.array([1.0, 1.015625, -1.0, 3.3895314e38, *same], np.float32)
    for b in (x[None], x[:, None]):
        np.testing.assert_array_equal(prepack_bf16(b).unpack().ravel(), wanted)
    bits = np.array([[0x7F800001, 0xFFFFFFFF]], np.uint32).view(np.float32)
    assert np.isnan(prepack_bf16(bits).unpack()).all(), "a NaN of any bits stays one"


@pytest.mark.parametrize("shape", [(64, 48), (33, 17), (1, 100), (100, 1)])
def test_a_pack_holds_the_rounded_weights_in_half_the_bytes(on_kernel: str, shape: tuple[int, int]) -> None:
    _, b = operands(1, *shape)
    packed = prepack_bf16(b)
    np.testing.assert_array_equal(packed.unpack(), top_half(b))
    np.testing.assert_array_equal(prepack_bf16(np.asfortranarray(b)).unpack(), top_half(b))
    k, n = -(-shape[0] // 32) * 32, -(-shape[1] // 16) * 16
    assert packed.nbytes == 2 * k * n + 64, "two bytes a weight, padded to whole blocks and aligned"
    with pytest.raises(ValueError, match="read-only"):
        packed.data[0] = 1


def test_every_kernel_packs_the_same_bytes() -> None:
    _, b = operands(1, 77, 35)
    packs = []
    for name in kernels():
        with use_kernel(name):
            packs.append(prepack_bf16(b).data)
    assert all((pack == packs[0]).all() for pack in packs)


def test_batches_broadcast_as_in_numpy(on_kernel: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 1, 9, 20)).astype(np.float32), rng.normal(size=(3, 20, 11)).astype(np.float32)
    got = bf16_matmul(a, b)
    assert got.shape == (4, 3, 9, 11)
    assert_within_bound(got, a, b)
    assert bf16_matmul(a, prepack_bf16(b[0])).shape == (4, 1, 9, 11)


def test_nan_and_infinity_travel_as_in_float32(on_kernel: str) -> None:
    a, b = operands(20, 40, 30)
    a[3, 7], a[5, 1] = np.nan, np.inf
    got = bf16_matmul(a, b)
    assert np.isnan(got[3]).all() and np.isinf(got[5]).all() and np.isfinite(np.delete(got, [3, 5], 0)).all()


def test_subnormal_numbers_stay_within_the_bound(on_kernel: str) -> None:
    a, b = operands(5, 30, 8)
    assert_within_bound(bf16_matmul(a * np.float32(1e-39), b), a * np.float32(1e-39), b)


@pytest.mark.parametrize("shape", [(0, 5, 3), (3, 0, 5), (3, 5, 0)])
def test_empty_products_are_zeros_of_the_right_shape(on_kernel: str, shape: tuple[int, int, int]) -> None:
    a, b = operands(*shape)
    got = bf16_matmul(a, b)
    assert got.shape == (shape[0], shape[2]) and not got.any()
    assert bf16_matmul(a, prepack_bf16(b)).shape == got.shape


def test_threads_change_no_bit(on_kernel: str) -> None:
    a, b = operands(130, 600, 300)
    wanted = bf16_matmul(a, b)
    for threads in (2, 3):
        set_num_threads(threads)
        try:
            np.testing.assert_array_equal(bf16_matmul(a, b), wanted)
        finally:
            set_num_threads(1)


def test_wrong_input_is_one_sentence() -> None:
    a, b = operands(4, 8, 3)
    with pytest.raises(TypeError, match="a must be float32, got float64"):
        bf16_matmul(a.astype(np.float64), b)
    with pytest.raises(TypeError, match="b must be float32, got int64"):
        bf16_matmul(a, b.astype(np.int64))
    with pytest.raises(ValueError, match=r"wanted a \[\.\.\., 8\] for b \(8, 3\), got shape \(4, 7\)"):
        bf16_matmul(a[:, :7], prepack_bf16(b))
    with pytest.raises(ValueError, match="b must have two axes or more, got shape"):
        bf16_matmul(a, b[0])
    with pytest.raises(ValueError, match=r"weights must be \[K, N\]"):
        prepack_bf16(b[0])
    with pytest.raises(ValueError, match="make it with prepack_bf16"):
        PackedBf16(np.zeros(5, np.uint8), (8, 3))
