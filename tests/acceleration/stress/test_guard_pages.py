"""Operands, packs and results each end where an unreadable page begins: one byte too far ends the process.

Scratch memory of compiled code comes from Numba's own allocator and is not fenced here.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from tinytorch.acceleration import kernels

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="unreadable pages are made by Linux's mmap and mprotect"
)


def fenced(array: Any) -> Any:
    """A copy of `array`, whose last byte is the last one that may be read or written."""
    import ctypes
    import mmap

    import numpy as np

    page = mmap.PAGESIZE
    length = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, length + page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + length), ctypes.c_size_t(page), 0):
        raise OSError("mprotect refused")
    copy = np.frombuffer(memory, np.uint8)[length - array.nbytes : length].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def read_beyond() -> None:
    """What the fence is for."""
    import ctypes

    import numpy as np

    array = fenced(np.arange(10, dtype=np.float32))
    ctypes.string_at(array.ctypes.data, array.nbytes + 1)


def fenced_pack(pack: Any) -> Any:
    import dataclasses

    values = {f.name: getattr(pack, f.name) for f in dataclasses.fields(pack) if f.init}
    return type(pack)(**{key: fenced(v) if hasattr(v, "nbytes") else v for key, v in values.items()})


def operations(rng: Any) -> dict[str, Callable[[], Any]]:
    """Every exported operation on operands of random shapes."""
    import numpy as np

    from tinytorch import acceleration as fast
    from tinytorch.quantization import INT8, UINT8, QParams, choose_qparams

    def size(most: int) -> int:
        return int(rng.integers(1, most if rng.random() < 0.3 else 40))

    m, k, n, group = size(300), size(700), size(200), 8 * size(20)
    kind = (np.int8, np.uint8)[int(rng.integers(2))]
    x = fenced(rng.normal(size=(m, k)).astype(np.float32))
    codes = fenced(rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (m, k)).astype(kind))
    weights, four = (rng.integers(-low, low, (k, n)).astype(np.int8) for low in (128, 8))
    scale, bias = (fenced(rng.uniform(1e-3, 2e-3, n).astype(np.float32)) for _ in range(2))
    p, out = choose_qparams(-3, 3, INT8 if kind is np.int8 else UINT8), choose_qparams(-50, 50)
    by_row = QParams(rng.uniform(0.01, 0.02, (m, 1)), np.zeros((m, 1)), INT8)
    eight, half = fenced_pack(fast.pack_int8(weights)), fenced_pack(fast.pack_bf16(weights.astype(np.float32)))
    groups = rng.uniform(1e-3, 2e-3, (-(-k // group), n)).astype(np.float32)
    nibbles = fenced_pack(fast.pack_int4(four, groups, group))
    channels, side = int(rng.integers(1, 9)), int(rng.integers(3, 12))
    images = fenced(rng.normal(size=(size(5), channels, side, side)).astype(np.float32))
    filters = rng.integers(-128, 128, (size(20), channels, 3, 3)).astype(np.int8)
    static, dynamic = fast.Int8Linear(eight, scale, bias, p), fast.Int8Linear(eight, scale, bias, relu=True)
    to_codes, conv = fast.Int8Linear(eight, scale, None, p, out), fast.Int8Conv2d(filters, 0.01, None, p, padding=1)
    return {
        "int8_matmul": lambda: fast.int8_matmul(codes, eight, 3),
        "int8_matmul of columns": lambda: fast.int8_matmul(np.asfortranarray(codes), eight, 3),
        "static": lambda: static(x),
        "static of codes": lambda: static(codes),
        "dynamic": lambda: dynamic(x),
        "to codes": lambda: to_codes(x),
        "codes to codes": lambda: to_codes(codes),
        "convolution": lambda: conv(images),
        "int4_matmul": lambda: fast.int4_matmul(codes, nibbles, 3),
        "int4_linear": lambda: fast.int4_linear(x, nibbles, bias),
        "int4_linear of codes": lambda: fast.int4_linear(codes, nibbles, bias, p),
        "bf16_matmul": lambda: fast.bf16_matmul(np.rint(x), half),
        "pack_bf16": lambda: fast.pack_bf16(x).unpack(),
        "pack_bf16 of columns": lambda: fast.pack_bf16(x.T).unpack(),
        "quantize": lambda: fast.quantize(x, p),
        "quantize by rows": lambda: fast.quantize(x, by_row),
        "dequantize": lambda: fast.dequantize(codes, p),
        "dequantize by rows": lambda: fast.dequantize(codes, by_row),
    }


def calls(name: str, seed: int, shapes: int) -> None:
    """All operations by one kernel, with fenced results, compared with NumPy's kernel.

    Each is called once before, as Numba cannot compile what calls `np.empty` while that is ours.
    """
    import numpy as np

    from tinytorch import acceleration as fast

    rng, empty = np.random.default_rng(seed), np.empty

    def fenced_empty(shape: Any, dtype: Any = np.float64) -> Any:
        return fenced(empty(shape, dtype))

    for _ in range(shapes):
        fast.set_num_threads(int(rng.integers(1, 3)))
        for what, operation in operations(rng).items():
            with fast.use_kernel("numpy"):
                wanted = operation()
            with fast.use_kernel(name):
                np.testing.assert_array_equal(operation(), wanted, err_msg=what)
                np.empty = fenced_empty  # type: ignore[assignment]
                try:
                    got = operation()
                finally:
                    np.empty = empty
            np.testing.assert_array_equal(got, wanted, err_msg=f"{what}, fenced")


def test_the_fence_holds(in_child: Any) -> None:
    with pytest.raises(AssertionError, match="ended with -11"):
        in_child(read_beyond)


@pytest.mark.parametrize("name", kernels()[:-1])
def test_nothing_is_read_or_written_beyond_an_array(in_child: Any, size: Any, name: str) -> None:
    for seed in range(size(short=1, long=50)):
        in_child(calls, name, seed, size(short=10, long=200), seconds=3000)
