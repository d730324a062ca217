"""Another library may have set this thread's floating-point mode: every compiled kernel computes in the default one."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tinytorch.acceleration import (
    Int8Conv2d,
    Int8Linear,
    dequantize,
    int4_linear,
    int8_matmul,
    kernels,
    prepack_int4,
    prepack_int8,
    quantize,
    set_num_threads,
    use_kernel,
)
from tinytorch.quantization import INT8, QParams, choose_qparams

X86 = {
    "upward": 0x5F80, "downward": 0x3F80, "toward zero": 0x7F80, "flush to zero": 0x9F80, "subnormals are zero": 0x1FC0,
    "all of it": 0xFFC0, "inexact results raise a signal": 0x0F80, "every exception raises a signal": 0x0000,
}  # fmt: skip
ARM = {"upward": 1 << 22, "downward": 2 << 22, "toward zero": 3 << 22, "flush to zero": 1 << 24}


def modes() -> dict[str, int]:
    if kernels() == ("numpy",):
        return {}
    from tinytorch.acceleration.runtime.float_mode import MODE

    return {} if MODE is None else X86 if MODE.flags else ARM


@pytest.fixture(scope="module")
def mode() -> Iterator[tuple[Callable[[], int], Callable[[int], None]]]:
    """(read, write) of this thread's mode, which is the default one again at the end."""
    import numba
    from numba.core import cgutils

    from tinytorch.acceleration.runtime import float_mode
    from tinytorch.acceleration.runtime.intrinsics import I64, intrinsic

    @intrinsic
    def read(typing: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            place = cgutils.alloca_once_value(builder, I64(0))
            float_mode._move_mode(builder, float_mode.MODE.read, place)  # type: ignore[union-attr]
            return builder.load(place)

        return numba.types.int64(), generate

    @intrinsic
    def write(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            place = cgutils.alloca_once_value(builder, values[0])
            float_mode._move_mode(builder, float_mode.MODE.write, place)  # type: ignore[union-attr]
            return context.get_dummy_value()

        return numba.types.void(numba.types.int64), generate

    reading, writing = numba.njit("int64()")(lambda: read()), numba.njit("void(int64)")(lambda value: write(value))
    before = reading()
    yield reading, writing
    writing(before)


RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 600)).astype(np.float32)
TINY = (X * np.float32(1e-39)).astype(np.float32)  # subnormal
CODES = RNG.integers(-128, 128, (60, 600)).astype(np.int8)
WEIGHTS, FOUR = (RNG.integers(-low, low, (600, 90)).astype(np.int8) for low in (128, 8))
SCALE, BIAS = RNG.uniform(1e-3, 2e-3, 90).astype(np.float32), RNG.normal(size=90).astype(np.float32)
P, ROWS = choose_qparams(-3, 3), QParams(RNG.uniform(0.01, 0.02, (60, 1)), np.zeros((60, 1)), INT8)
STATIC, DYNAMIC = Int8Linear(prepack_int8(WEIGHTS), SCALE, BIAS, P), Int8Linear(prepack_int8(WEIGHTS), SCALE, BIAS)
TO_CODES = Int8Linear(prepack_int8(WEIGHTS), SCALE, None, P, choose_qparams(-90, 90))
GROUPS = prepack_int4(FOUR, RNG.uniform(1e-3, 2e-3, (10, 90)).astype(np.float32), 64)
CONV = Int8Conv2d(WEIGHTS[:90].reshape(30, 30, 3, 3), SCALE[:30], BIAS[:30], P, padding=1)
IMAGES = X[:, :480].reshape(15, 30, 8, 8)
BY_ROWS = Int8Linear(prepack_int8(WEIGHTS), SCALE, BIAS, per_row=True)
BY_IMAGES = Int8Conv2d(WEIGHTS[:90].reshape(30, 30, 3, 3), SCALE[:30], BIAS[:30], padding=1, per_row=True)
OPERATIONS: dict[str, Callable[[], Any]] = {
    "int8_matmul": lambda: int8_matmul(CODES, STATIC.weights, 3),
    "a layer of reals": lambda: STATIC(X),
    "a small layer of reals": lambda: STATIC(X[:2]),
    "a layer by its own range": lambda: DYNAMIC(X),
    "a small layer by its own range": lambda: DYNAMIC(X[:2]),
    "a layer by the range of each row": lambda: BY_ROWS(X),
    "a small layer by the range of each row": lambda: BY_ROWS(X[:2]),
    "subnormal rows": lambda: BY_ROWS(TINY),
    "a layer of codes": lambda: STATIC(CODES),
    "codes out": lambda: TO_CODES(X),
    "codes in and out, few": lambda: TO_CODES(CODES[:2]),
    "subnormal reals": lambda: DYNAMIC(TINY),
    "a convolution": lambda: CONV(IMAGES),
    "a convolution by the range of each image": lambda: BY_IMAGES(IMAGES),
    "int4 by groups": lambda: int4_linear(X, GROUPS, BIAS),
    "int4 of codes": lambda: int4_linear(CODES, GROUPS, BIAS, P),
    "quantize": lambda: quantize(X, P),
    "quantize by rows": lambda: quantize(X, ROWS),
    "dequantize": lambda: dequantize(CODES, P),
    "dequantize by rows": lambda: dequantize(CODES, ROWS),
}


@pytest.mark.parametrize("value", modes().values(), ids=modes())
@pytest.mark.parametrize("name", kernels()[:-1])
def test_in_any_mode_the_bits_are_those_of_the_default_and_the_mode_stays(mode: Any, name: str, value: int) -> None:
    """Two threads: the workers begin while the odd mode is set, which threads inherit."""
    read, write = mode
    with use_kernel(name):
        write(0x1F80 if value in X86.values() else 0)
        set_num_threads(1)
        wanted = {what: operation() for what, operation in OPERATIONS.items()}
        set_num_threads(2)
        got, left = {}, {}
        for what, operation in OPERATIONS.items():
            before = read()
            write(value)
            got[what] = operation()
            left[what] = read()
            write(before)
        set_num_threads(1)
    for what, result in wanted.items():
        assert got[what].tobytes() == result.tobytes(), what
        assert left[what] & ~0x3F == value & ~0x3F, what


def no_memory(n: int) -> int:
    return np.empty(n * 2**60, np.uint8).size


def no_quotient(n: int) -> int:
    return n // (n - 1)


def no_value(n: int) -> int:
    if n > 0:
        raise ValueError("n")
    return n


@pytest.mark.skipif(not modes(), reason="without a compiler, or for this processor, no mode is set")
@pytest.mark.parametrize(
    "function, exception", [(no_memory, MemoryError), (no_quotient, ZeroDivisionError), (no_value, ValueError)]
)
def test_a_kernel_that_raises_leaves_the_mode_as_it_was(
    mode: Any, function: Callable[[int], int], exception: type[Exception]
) -> None:
    import numba

    from tinytorch.acceleration.runtime.compiled import _in_default_mode

    (read, write), before = mode, mode[0]()
    kernel, upward = numba.njit("int64(int64)")(_in_default_mode(function)), modes()["upward"]
    for value in (upward, before):
        write(value)
        try:
            with pytest.raises(exception):
                kernel(1)
            assert read() & ~0x3F == value & ~0x3F
        finally:
            write(before)
