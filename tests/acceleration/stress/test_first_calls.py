"""The first calls of a process come from many threads at once, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a child runs this file alone
    from .conftest import Run, Size

pytestmark = pytest.mark.compiler


def first_calls(threads: int, seed: int) -> None:
    """Each thread begins with another operation; all answers are compared with NumPy's kernel."""
    import threading

    import numpy as np

    from tinytorch.acceleration import (
        Int8Conv2d,
        Int8Linear,
        bf16_matmul,
        dequantize,
        int4_linear,
        int4_matmul,
        int8_matmul,
        prepack_bf16,
        prepack_int4,
        prepack_int8,
        quantize,
        use_kernel,
    )
    from tinytorch.quantization import INT8, QParams

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 70)).astype(np.float32)
    codes, weights = rng.integers(0, 256, (40, 70)).astype(np.uint8), rng.integers(-8, 8, (70, 50)).astype(np.int8)
    images, kernel = x.reshape(2, 5, 28, 10), rng.integers(-128, 128, (6, 5, 3, 3)).astype(np.int8)
    one = QParams(np.float32(0.02), np.int32(3), INT8)
    rows = QParams(np.full((40, 1), 0.02, np.float32), np.zeros((40, 1), np.int32), INT8)
    packed, packed4, layer = (
        prepack_int8(weights),
        prepack_int4(weights),
        Int8Linear(prepack_int8(weights), np.float32(0.1)),
    )
    conv = Int8Conv2d(kernel, np.float32(0.1))
    by_rows = Int8Linear(prepack_int8(weights), np.float32(0.1), per_row=True)
    by_images = Int8Conv2d(kernel, np.float32(0.1), per_row=True)
    operations: list[Callable[[], object]] = [
        lambda: int8_matmul(codes, packed, 7),
        lambda: int8_matmul(codes.reshape(2, 20, 70), packed, 7),
        lambda: layer(x),
        lambda: conv(images),
        lambda: by_rows(x),
        lambda: by_images(images),
        lambda: int4_matmul(codes, packed4, 7),
        lambda: int4_linear(x, packed4),
        lambda: prepack_bf16(x).unpack(),
        lambda: bf16_matmul(np.rint(x), prepack_bf16(np.rint(x.T.copy()))),
        lambda: quantize(x, one),
        lambda: quantize(x, rows),
        lambda: dequantize(codes.view(np.int8), one),
        lambda: dequantize(codes.view(np.int8), rows),
    ]
    with use_kernel("numpy"):
        wanted = [operation() for operation in operations]
    together, wrong = threading.Barrier(threads), list[str]()

    def call(number: int) -> None:
        together.wait()
        for i in range(len(operations)):
            which = (number + i) % len(operations)
            try:
                np.testing.assert_array_equal(operations[which](), wanted[which])
            except Exception as error:  # every thread's answer counts
                wrong.append(f"operation {which} in thread {number}: {error!r}")

    callers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong, "\n".join(wrong)


def test_first_calls_of_every_operation_at_once_are_right(in_child: Run, size: Size) -> None:
    for seed in range(size(short=2, long=200)):
        in_child(first_calls, (8, 32, 2, 3)[seed % 4], seed)
