"""Operands, packs, results and scratch each end where an unreadable page begins: one byte too far ends the process."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


def fence_scratch() -> list[int]:
    """Give every array that compiled code makes from now on a fence. Returns a list of their bytes, which grows.

    To be called before anything is compiled or loaded: then Numba reads from a table by which function its machine code
    allocates. That function returns a record of Numba's, which holds what is to be called when the array is let go.
    """
    import ctypes

    import numpy as np
    from numba.core.runtime import _nrt_python

    class Api(ctypes.Structure):  # as numba/core/runtime/nrt_external.h has it
        _fields_ = [(name, ctypes.c_void_p) for name in ("allocate", "allocate_external", "manage_memory")]

    live, sizes = dict[int, Any](), list[int]()
    functions = _nrt_python.c_helpers
    get_api = ctypes.CFUNCTYPE(ctypes.POINTER(Api))(functions["get_api"])
    let_go = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda address: live.pop(address))
    manage = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(get_api().contents.manage_memory)

    def allocate_fenced(nbytes: int, alignment: int) -> Any:
        array = fenced(np.full(nbytes, 0xA5, np.uint8))
        live[array.ctypes.data] = array
        sizes.append(nbytes)
        return manage(array.ctypes.data, ctypes.cast(let_go, ctypes.c_void_p))

    allocate = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)(allocate_fenced)
    fence_scratch.keep = allocate, let_go  # type: ignore[attr-defined]
    for name in ("MemInfo_alloc_aligned", "MemInfo_alloc_safe_aligned"):
        functions[name] = ctypes.cast(allocate, ctypes.c_void_p).value
    return sizes


def read_beyond_an_array() -> None:
    """What the fence is for."""
    import ctypes

    import numpy as np

    array = fenced(np.arange(10, dtype=np.float32))
    ctypes.string_at(array.ctypes.data, array.nbytes + 1)


def write_beyond_scratch() -> None:
    """The same in compiled code: the first line is scratch, the second one would be beyond."""
    fence_scratch()
    import numba

    from tinytorch.acceleration.loops.memory import aligned
    from tinytorch.acceleration.runtime.intrinsics import keep_alive
    from tinytorch.acceleration.runtime.records import atomic_store, fields, view_of

    number_at = view_of(fields("value"))

    @numba.njit("void(int64)")  # type: ignore[untyped-decorator]
    def write(offset: int) -> None:
        block, address = aligned(128)
        atomic_store(number_at(address + offset), "value", 1)
        keep_alive(block)

    write(120)
    print("within", flush=True)
    write(128)


def fenced_pack(pack: Any) -> Any:
    import dataclasses

    values = {f.name: getattr(pack, f.name) for f in dataclasses.fields(pack) if f.init}
    return type(pack)(**{key: fenced(v) if hasattr(v, "nbytes") else v for key, v in values.items()})


def stored_layer(rng: Any, n: int, k: int, int_type: Any) -> Any:
    """A weight-only layer whose scales are 1, in groups of 16 or in whole rows."""
    import numpy as np

    from tinytorch.quantization import QParams, QuantizedTensor, WeightOnlyLinear

    groups, group = (-(-k // 16), 16) if rng.random() < 0.5 else (1, k)
    q = rng.integers(int_type.qmin, int_type.qmax + 1, (n, groups, group)).astype(int_type.storage)
    ones = np.ones((n, groups, 1), np.float32)
    return WeightOnlyLinear(QuantizedTensor(q, QParams(ones, 0, int_type), (n, k)), rng.integers(-9, 9, n))


def operations(rng: Any) -> dict[str, Callable[[], Any]]:
    """Every exported operation on operands of random shapes."""
    import numpy as np

    from tinytorch import acceleration as fast
    from tinytorch.quantization import INT8, UINT8, IntType, QParams, choose_qparams

    def size(most: int) -> int:
        return int(rng.integers(1, most if rng.random() < 0.3 else 40))

    m, k, n, group = size(300), size(700), size(200), 8 * size(20)
    kind = (np.int8, np.uint8)[int(rng.integers(2))]
    x = fenced(rng.normal(size=(m, k)).astype(np.float32))
    codes = fenced(rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (m, k)).astype(kind))
    weights, four = (rng.integers(-low, low, (k, n)).astype(np.int8) for low in (128, 8))
    scale, bias = (fenced(rng.uniform(1e-3, 2e-3, n).astype(np.float32)) for _ in range(2))
    int_type = INT8 if kind is np.int8 else UINT8
    p, out = choose_qparams(-3, 3, int_type), choose_qparams(-50, 50)
    by_row = QParams(rng.uniform(0.01, 0.02, (m, 1)), np.zeros((m, 1)), int_type)
    eight, half = fenced_pack(fast.prepack_int8(weights)), fenced_pack(fast.prepack_bf16(weights.astype(np.float32)))
    groups = rng.uniform(1e-3, 2e-3, (-(-k // group), n)).astype(np.float32)
    nibbles = fenced_pack(fast.prepack_int4(four, groups, group))
    two = fenced_pack(fast.prepack_int8(np.clip(four, -2, 1), bits=2))
    few_bits = fast.Int8Linear(fenced_pack(fast.prepack_int8(four, bits=4)), scale, bias)
    whole_codes = rng.integers(-8, 8, (m, 1 + k)).astype(np.float32)  # whole numbers add up alike in every order
    stored: Any = fast.accelerate(stored_layer(rng, n, 1 + k, IntType(int(rng.integers(2, 9)))))
    stored.codes, stored.scale, stored.bias = (fenced(a) for a in (stored.codes, stored.scale, stored.bias))
    channels, side = int(rng.integers(1, 9)), int(rng.integers(3, 12))
    images = fenced(rng.normal(size=(size(5), channels, side, side)).astype(np.float32))
    filters = rng.integers(-128, 128, (size(20), channels, 3, 3)).astype(np.int8)
    static, dynamic = fast.Int8Linear(eight, scale, bias, p), fast.Int8Linear(eight, scale, bias, relu=True)
    to_codes, conv = fast.Int8Linear(eight, scale, None, p, out), fast.Int8Conv2d(filters, 0.01, None, p, padding=1)
    by_rows, by_images = fast.Int8Linear(eight, scale, bias, per_row=True), fast.Int8Conv2d(filters, 0.01, per_row=True)
    conv_of_4 = fast.Int8Conv2d(filters >> 4, 0.01, None, p, padding=1, bits=4)
    alone = rng.integers(-128, 128, (channels, 1, 3, 3)).astype(np.int8)
    depthwise = fast.Int8Conv2d(alone, 0.01, None, p, padding=1, groups=channels)
    grouped = fast.Int8Conv2d(filters.repeat(2, 0), 0.01, None, p, out, padding=(0, 2), groups=2, dilation=(1, 2))
    strided, line = fast.Int8Conv2d(filters, 0.01, None, p, stride=3), fast.Int8Conv2d(filters[:, :, :1], 0.01, None, p)
    by_channels = fast.Int8Conv2d(alone, 0.01, padding=1, groups=channels, per_row=True)
    return {
        "int8_matmul": lambda: fast.int8_matmul(codes, eight, 3),
        "int8_matmul of columns": lambda: fast.int8_matmul(np.asfortranarray(codes), eight, 3),
        "static": lambda: static(x),
        "static of codes": lambda: static(codes),
        "dynamic": lambda: dynamic(x),
        "dynamic by rows": lambda: by_rows(x),
        "to codes": lambda: to_codes(x),
        "codes to codes": lambda: to_codes(codes),
        "convolution": lambda: conv(images),
        "convolution by images": lambda: by_images(images),
        "convolution in groups": lambda: grouped(np.concatenate([images, images], 1)),
        "convolution in steps": lambda: strided(images),
        "convolution of one row": lambda: line(images),
        "depthwise convolution": lambda: depthwise(images),
        "depthwise convolution by images": lambda: by_channels(images),
        "int8_matmul of 2 bits": lambda: fast.int8_matmul(codes, two, 3),
        "dynamic of 4 bits": lambda: few_bits(x),
        "convolution of 4 bits": lambda: conv_of_4(images),
        "weight-only": lambda: stored(whole_codes).data,
        "int4_matmul": lambda: fast.int4_matmul(codes, nibbles, 3),
        "int4_linear": lambda: fast.int4_linear(x, nibbles, bias),
        "int4_linear of codes": lambda: fast.int4_linear(codes, nibbles, bias, p),
        "bf16_matmul": lambda: fast.bf16_matmul(np.rint(x), half),
        "prepack_bf16": lambda: fast.prepack_bf16(x).unpack(),
        "prepack_bf16 of columns": lambda: fast.prepack_bf16(x.T).unpack(),
        "quantize": lambda: fast.quantize(x, p),
        "quantize by rows": lambda: fast.quantize(x, by_row),
        "dequantize": lambda: fast.dequantize(codes, p),
        "dequantize by rows": lambda: fast.dequantize(codes, by_row),
    }


@contextmanager
def fenced_numpy() -> Iterator[None]:
    """What NumPy makes is fenced: results, and what layers and packs keep ready for their calls."""
    from unittest.mock import patch

    import numpy as np

    def fence(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: fenced(make(*arguments, **options))

    with ExitStack() as patches:
        for name in ("empty", "zeros", "array"):
            patches.enter_context(patch.object(np, name, fence(getattr(np, name))))
        yield


def calls(name: str, seed: int, shapes: int) -> None:
    """All operations by one kernel, with fenced results and scratch, compared with NumPy's kernel.

    Each is called once before, on other objects, as Numba cannot compile while functions of NumPy are ours.
    """
    import numpy as np

    from tinytorch import acceleration as fast

    scratch = fence_scratch()
    for number in range(shapes):
        rng = np.random.default_rng([seed, number])
        fast.set_num_threads(int(rng.integers(1, 3)))
        before, now = (operations(np.random.default_rng([seed, number])) for _ in range(2))
        for what, operation in now.items():
            with fast.use_kernel("numpy"):
                wanted = operation()
            with fast.use_kernel(name):
                np.testing.assert_array_equal(before[what](), wanted, err_msg=what)
                with fenced_numpy():
                    got = operation()
            np.testing.assert_array_equal(got, wanted, err_msg=f"{what}, fenced")
    assert len(scratch) > 10 * shapes, "hardly any scratch was fenced"


def test_the_fence_holds(in_child: Any) -> None:
    with pytest.raises(AssertionError, match="ended with -11"):
        in_child(read_beyond_an_array)


@pytest.mark.compiler
def test_the_fence_of_scratch_holds(in_child: Any) -> None:
    with pytest.raises(AssertionError, match=r"ended with -11\s+within\s"):
        in_child(write_beyond_scratch)


@pytest.mark.parametrize("name", kernels()[:-1])
def test_nothing_is_read_or_written_beyond_an_array(in_child: Any, size: Any, name: str) -> None:
    for seed in range(size(short=1, long=50)):
        in_child(calls, name, seed, size(short=10, long=200), seconds=3000)
