"""What is given in another shape, dtype or axis than was meant: the right value or one refusal, no other number."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinytorch import acceleration as compiled
from tinytorch.acceleration import kernels, use_kernel
from tinytorch.core import Tensor
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT8,
    FakeQuantize,
    HistogramObserver,
    IntType,
    LearnedStepSize,
    MinMaxObserver,
    PercentileObserver,
    QParams,
    QuantizedTensor,
    accuracy_interval,
    choose_qparams,
    dequantize,
    error_parts,
    expected_mse,
    integer_matmul,
    kl_divergence,
    pack_bits,
    pack_int4,
    quantize,
    quantized_add,
    requantize,
    speedup,
    split_groups,
    sqnr_db,
    unpack_bits,
    unpack_int4,
    value_range,
)

X = np.arange(6, dtype=np.float32).reshape(2, 3)
CODES = np.arange(-3, 3, dtype=np.int8).reshape(2, 3)
SUMS = np.arange(3, dtype=np.int32)
ROWS = QParams(np.ones((5, 1)), 0)


def observed(*batches: np.ndarray) -> None:
    observer = MinMaxObserver(axis=0)
    for batch in batches:
        observer.observe(batch)


@pytest.mark.parametrize("axis", [2, 3, 7, -3, (0, 2), (1, -3)])
@pytest.mark.parametrize(
    "call",
    [
        lambda axis: value_range(X, axis),
        lambda axis: QuantizedTensor.from_float(X, axis=axis),
        lambda axis: MinMaxObserver(axis).observe(X),
        lambda axis: value_range(X[:0], axis),
        lambda axis: FakeQuantize(axis=axis)(Tensor(X)),
        lambda axis: LearnedStepSize(axis=axis)(Tensor(X)),
    ],
    ids=["value_range", "from_float", "MinMaxObserver", "of nothing", "FakeQuantize", "LearnedStepSize"],
)
def test_an_axis_that_is_not_there_is_no_other_axis(call: Callable[[object], object], axis: object) -> None:
    """Two axes have no axis 2; relatives: one axis of several, negative ones, observers, no numbers at all."""
    with pytest.raises(np.exceptions.AxisError, match="out of bounds for array of dimension 2"):
        call(axis)


@pytest.mark.parametrize("make", [MinMaxObserver, lambda a: FakeQuantize(axis=a), lambda a: LearnedStepSize(axis=a)])
@pytest.mark.parametrize("axis", [True, 1.0, "0", [0]], ids=repr)
def test_what_is_no_axis_is_refused_before_anything_is_seen(make: Callable[[Any], object], axis: Any) -> None:
    with pytest.raises(TypeError, match="axis must be an integer, several in a tuple, or None, got"):
        make(axis)


@pytest.mark.parametrize("kernel", ["numpy", "fastest"])
def test_compiled_codes_have_the_shape_of_what_is_quantized(kernel: str) -> None:
    """quantize of [1, 3] by a scale [5, 1] gave [5, 3]; relatives: one number, fewer axes, more axes of one, codes."""
    with use_kernel(kernels()[0] if kernel == "fastest" else "numpy"):
        for x, scale in ((X[:1], (5, 1)), (X[0, 0], (5, 1)), (X[0], (3, 1)), (X, (1, 1, 1))):
            qparams = QParams(np.ones(scale), 0)
            for call in (lambda x=x, p=qparams: compiled.quantize(x, p),
                         lambda x=x, p=qparams: compiled.dequantize(x.astype(np.int8), p)):  # fmt: skip
                with pytest.raises(ValueError, match=r"a scale of shape .* does not fit an array of shape"):
                    call()
        assert np.array_equal(compiled.quantize(X, QParams(np.ones((1, 3)), 0)), X.astype(np.int8))


def test_a_sum_of_codes_has_one_scale() -> None:
    codes = QuantizedTensor(CODES, QParams(1, 0))
    with pytest.raises(ValueError, match="output_qparams must have one scale for all numbers"):
        quantized_add(codes, codes, QParams(np.ones((7, 1, 1)), 0))


def test_a_learned_step_for_several_axes_is_started_by_the_mean_of_each_slice() -> None:
    step = LearnedStepSize(IntType(3), axis=(0, 1))
    step(Tensor(np.stack([X, -3 * X], axis=-1)))
    assert step.scale is not None and step.scale.shape == (2, 3, 1)
    assert np.allclose(step.scale.data[..., 0], np.where(X == 0, 1, 2 * 2 * X / np.sqrt(3)))


def test_negative_axes_count_from_the_end() -> None:
    for axis, lo in ((-1, [[0, 1, 2]]), (-2, [[0], [3]]), ((-1, 0), X.tolist())):
        assert value_range(X, axis)[0].tolist() == lo


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sqnr_db(np.arange(3), np.ones((3, 1))), r"wanted equal shapes, got x \(3,\), x_hat \(3, 1\)"),
        (lambda: speedup([1.0, 2], [[1.0], [2.0]]), "wanted equal shapes"),
        (lambda: speedup([], []), "must be seconds > 0, at least one"),
        (lambda: speedup([1.0], [0.0]), "candidate must be seconds > 0"),
        (lambda: expected_mse(np.zeros(2, int), np.zeros(2), QParams(1, 0)), "not all 0"),
        (lambda: expected_mse(np.array([-1, 2]), np.zeros(2), QParams(1, 0)), "counts must be >= 0"),
        (lambda: kl_divergence(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)), "not all 0"),
        (lambda: QParams(1, True), "zero_point must be an integer"),
        (lambda: choose_qparams([-1.0, -2], [[1.0], [2.0]]), "wanted equal shapes"),
        (lambda: expected_mse(np.ones(2, int), np.ones((2, 1)), QParams(1, 0)), "wanted equal shapes"),
        (lambda: kl_divergence(np.ones(2, int), np.ones(2, int), np.ones((2, 1), int)), "wanted equal shapes"),
        (lambda: observed(X, X[:1]), r"wanted equal shapes, got lo_before \(2, 1\), lo_of_this_batch \(1, 1\)"),
        (lambda: quantize(X[:1], ROWS), r"a scale of shape \(5, 1\) does not fit an array of shape \(1, 3\)"),
        (lambda: quantize(1.0, ROWS), "would enlarge the result"),
        (lambda: dequantize(CODES[:1], ROWS), "would enlarge the result"),
        (lambda: error_parts(X[:1], ROWS), "would enlarge the result"),
        (
            lambda: requantize(SUMS, np.full((5, 1), 0.5), QParams(1, 0)),
            "would enlarge the result",
        ),
        (lambda: requantize(SUMS, 0.5, ROWS), "would enlarge the result"),
        (lambda: QuantizedTensor(CODES[:1], ROWS), "would enlarge the result"),
        (lambda: QuantizedTensor(CODES, QParams(1, 0), (7, 7)), r"are no tensor of shape \(7, 7\)"),
        (lambda: QuantizedTensor(CODES, QParams(1, 0), (3, 2)), "are no tensor of shape"),
        (lambda: QuantizedTensor.from_float(X, axis=1, group_size=2), "groups run along the last axis"),
    ],
)
def test_shapes_that_were_not_meant_to_meet_do_not_broadcast(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_parameters_for_each_row_group_or_place_still_fit() -> None:
    for scale in ((), (3,), (1, 1), (2, 1), (2, 3)):
        assert quantize(X, QParams(np.ones(scale), 0)).tolist() == X.tolist()
    for columns in (1, 2, 3, 4, 5):
        w = np.ones((2, columns), np.float32)
        assert QuantizedTensor.from_float(w, INT4, group_size=2).dequantize().shape == w.shape


# Zero points of a product


def product(a: np.ndarray, b: np.ndarray, za: list[int], zb: list[int]) -> list[list[int]]:
    """One sum at a time, in Python's integers."""
    return [
        [sum((int(a[m, k]) - za[m]) * (int(b[k, n]) - zb[n]) for k in range(len(b))) for n in range(b.shape[1])]
        for m in range(len(a))
    ]


def test_zero_points_of_rows_belong_to_rows_where_there_are_as_many_columns() -> None:
    """ONNX's [M] for a, where M = N and where it is not; relatives: [M, 1], [1, N] and [N] for b, both at once."""
    rng = np.random.default_rng(0)
    for m, n in ((3, 3), (3, 5), (1, 4), (4, 1)):
        a, b = rng.integers(0, 256, (m, 6), np.uint8), rng.integers(-128, 128, (6, n), np.int8)
        za, zb = rng.integers(0, 256, m), rng.integers(-128, 128, n)
        wanted = product(a, b, za.tolist(), zb.tolist())
        for of_a in (za, za[:, None]):
            for of_b in (zb, zb[None]):
                assert integer_matmul(a, b, of_a, of_b).tolist() == wanted


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 3), (2, 3, 1), (2,)])
def test_zero_points_of_any_other_shape_are_refused(shape: tuple[int, ...]) -> None:
    a, b = np.ones((3, 5), np.int8), np.ones((5, 3), np.int8)
    with pytest.raises(ValueError, match="a_zero_point of shape"):
        integer_matmul(a, b, np.zeros(shape, int))
    if shape != (1, 3):
        with pytest.raises(ValueError, match="b_zero_point of shape"):
            integer_matmul(a, b, 0, np.zeros(shape, int))


@pytest.mark.parametrize("value", [0.5, 3.0, np.nan, True, np.inf, np.float32(1), 10**30, "1", None, 1j])
def test_a_zero_point_that_is_no_integer_is_refused(value: object) -> None:
    ones = np.ones((2, 2), np.int8)
    for at in ("a_zero_point", "b_zero_point"):
        with pytest.raises(TypeError, match="zero_point must be an integer, got .*: it is a code"):
            integer_matmul(ones, ones, **{at: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [256, -129, 2**40, -(2**63), 2**64 - 1, [[0], [300]]])
def test_a_zero_point_that_is_no_code_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"must be an integer in \[-128, 255\], got"):
        integer_matmul(*(np.ones((2, 2), np.int8),) * 2, value)  # type: ignore[arg-type]


def test_sums_that_are_none_are_not_requantized() -> None:
    for wrong, kind in ((np.array([2.7]), TypeError), (np.array([2**31]), OverflowError), ([-(2**40)], OverflowError)):
        with pytest.raises(kind, match="acc must"):
            requantize(wrong, 0.5, QParams(1, 0))  # type: ignore[arg-type]


# Packed codes


def test_bytes_that_are_not_uint8_are_not_unpacked() -> None:
    """The int8 byte -31 holds the codes 1 and -2; relatives: other bits, wider types, floats, lists."""
    packed = pack_int4(np.array([1, -2], np.int8))
    for wrong in (packed.view(np.int8), packed.astype(np.int64), packed.astype(np.float32), packed.tolist()):
        for unpack in (lambda w: unpack_int4(w, (2,)), lambda w: unpack_bits(w, 4, (2,))):
            with pytest.raises(TypeError, match="array of uint8"):
                unpack(wrong)


@pytest.mark.parametrize("bits", range(2, 9))
def test_as_many_bytes_as_the_codes_take_are_unpacked_and_no_others(bits: int) -> None:
    q = np.array([1, -2, 0, 1, -1], np.int8)
    packed = pack_bits(q, bits)
    assert unpack_bits(packed, bits, (5,)).tolist() == q.tolist()
    for wrong in (packed[:-1], np.append(packed, packed[:1]), packed[:0]):
        with pytest.raises(ValueError, match=r"shape \(5,\) takes"):
            unpack_bits(wrong, bits, (5,))
    for shape in ((-1,), (-5, -1), (2.5, 2)):
        with pytest.raises(ValueError, match="a shape needs each size as one integer >= 0"):
            unpack_bits(packed, bits, shape)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", range(2, 8))
def test_codes_that_do_not_fit_their_bits_are_not_packed(bits: int) -> None:
    for q in (1 << (bits - 1), -(1 << (bits - 1)) - 1):
        with pytest.raises(ValueError, match=f"codes of int{bits} lie in"):
            pack_bits(np.array([0, q], np.int8), bits)
    with pytest.raises(ValueError, match=f"codes of uint{bits} lie in"):
        pack_bits(np.array([1 << bits], np.uint8), bits)


def test_other_numbers_of_bits_and_other_dtypes_are_not_packed() -> None:
    for bits in (1, 9, 0, -4, 4.0):
        for call in (lambda b: pack_bits(CODES, b), lambda b: unpack_bits(np.zeros(3, np.uint8), b, (6,)), IntType):
            with pytest.raises(ValueError, match="bits must be an integer from 2 to 8, got"):
                call(bits)  # type: ignore[arg-type]
    for pack in (pack_int4, lambda q: pack_bits(q, 4)):
        with pytest.raises(TypeError, match="stored as int8"):
            pack(CODES.astype(np.int16))


# NumPy's own integers


@pytest.mark.parametrize("total", [np.int32(65535), np.int16(200), np.int8(100), np.uint8(200), np.int64(4 * 10**9)])
def test_counts_may_be_numpys_own_integers(total: np.integer) -> None:
    correct = type(total)(int(total) * 9 // 10)
    assert accuracy_interval(correct, total) == accuracy_interval(int(correct), int(total))  # type: ignore[arg-type]
    for z in (np.int8(100), np.float16(1.5)):
        assert accuracy_interval(correct, total, z) == accuracy_interval(correct, total, float(z))  # type: ignore[arg-type]
    lo, hi = accuracy_interval(correct, total)  # type: ignore[arg-type]
    assert 0.75 < lo < int(correct) / int(total) < hi < 0.96


def test_numpys_small_integers_do_not_wrap_as_bits_group_sizes_or_candidates() -> None:
    small: Any = np.int8  # which stands for any integer, though no type says so
    unsigned: Any = np.uint8
    assert (IntType(small(8)).qmin, IntType(small(8)).qmax, IntType(unsigned(8), signed=False).qmax) == (-128, 127, 255)
    assert IntType(small(8)) == INT8 and IntType(small(7)).nbytes((1000,)) == 875
    x = np.random.default_rng(0).normal(size=(3, 300)).astype(np.float32)
    assert np.array_equal(split_groups(x, small(100)), split_groups(x, 100))
    packed = pack_bits(np.ones(100, np.int8), small(5))
    assert unpack_bits(packed, small(5), (small(100),)).tolist() == [1] * 100
    assert value_range(x, small(0))[0].shape == (3, 1)
    by_numpy, by_python = (HistogramObserver("mse", n) for n in (small(127), 127))
    kinds: tuple[Any, ...] = (np.float16, float)
    half, double = (PercentileObserver(kind(99.5)) for kind in kinds)
    for observer in (by_numpy, by_python, half, double):
        observer.observe(x)
    assert by_numpy.range() == by_python.range() and half.range() == double.range()


@pytest.mark.parametrize("value", [4, "int4", None, 4.0, np.int8])
def test_a_number_of_bits_is_no_integer_type(value: object) -> None:
    for call in (
        lambda: QParams(1.0, 0, value),  # type: ignore[arg-type]
        lambda: choose_qparams(-1, 1, value, symmetric=True),  # type: ignore[arg-type]
        lambda: QuantizedTensor.from_float(X, value),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"wanted an integer type such as INT8 or IntType\(4\), got"):
            call()


@pytest.mark.parametrize(("correct", "total"), [(1.5, 3), (True, 3), (1, 3.0), ("1", 3)])
def test_a_count_is_a_whole_number(correct: object, total: object) -> None:
    with pytest.raises(ValueError, match="accuracy_interval needs (correct|total) as one integer >= 0"):
        accuracy_interval(correct, total)  # type: ignore[arg-type]


def test_what_is_right_stays_right_for_every_kind_of_code() -> None:
    for int_type in (INT8, UINT8, INT4):
        p = choose_qparams(-1, 2, int_type)
        q = quantize(X, p)
        assert q.shape == X.shape and dequantize(q, p).shape == X.shape


def test_four_bits_are_packed_by_the_exercise_s_own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given code that would do an exercise is no answer to it: it asks for the answer."""
    module, called = importlib.import_module("tinytorch.quantization.packing"), list[str]()
    for function in (pack_int4, unpack_int4):

        def noted(*args: Any, function: Callable[..., Any] = function) -> Any:
            called.append(function.__name__)
            return function(*args)

        monkeypatch.setattr(module, function.__name__, noted)
    codes = np.array([1, -2, 3], np.int8)
    assert unpack_bits(pack_bits(codes, 4), 4, (3,)).tolist() == [1, -2, 3]
    assert called == ["pack_int4", "unpack_int4"]
    assert QuantizedTensor(codes, QParams(1.0, 0, INT4)).q.tolist() == [1, -2, 3]
    assert called == ["pack_int4", "unpack_int4"] * 2
