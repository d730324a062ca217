"""Memory runs out in the middle of a call: the answer is MemoryError, never a number."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tinytorch.acceleration import kernels

if TYPE_CHECKING:  # a child runs this file alone
    from .conftest import Run, Size

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(sys.platform != "linux", reason="malloc is replaced as Linux allows it"),
]

FAILING_MALLOC = """
#include <errno.h>
#include <stddef.h>
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static long left, on;     /* allocations of 64 bytes or more that still succeed; 1: then one fails, 2: all */
static int fails(size_t n) {
    if (!on || n < 64 || __atomic_fetch_sub(&left, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    if (on == 1) on = 0;
    errno = ENOMEM;
    return 1;
}
void arm(long after, long kind) { left = after; on = kind; }
long disarm(void) { long rest = left; on = 0; return rest; }
void *malloc(size_t n) { return fails(n) ? 0 : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails(n * size) ? 0 : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails(n) ? 0 : __libc_realloc(p, n); }
"""


def allocations_fail(kernel: str, threads: int) -> None:
    """Of each call the first allocation fails, then the second, and so on until none is left to fail.

    Once that one alone fails (kind 1), and once with all that follow it (kind 2). The caller rounds upward, which is
    none of the kernels' business, and still does so afterwards.
    """
    import ctypes
    import itertools
    import platform

    import numpy as np

    from tinytorch.acceleration import (
        Int8Conv2d,
        Int8Linear,
        accelerate,
        bf16_matmul,
        dequantize,
        int4_linear,
        int4_matmul,
        int8_matmul,
        prepack_bf16,
        prepack_int4,
        prepack_int8,
        quantize,
        set_num_threads,
        use_kernel,
    )
    from tinytorch.acceleration.runtime.features import bf16_kernel
    from tinytorch.quantization import INT4, INT8, QParams, QuantizedTensor, WeightOnlyLinear

    memory, rng = ctypes.PyDLL(None), np.random.default_rng(0)
    memory.arm.argtypes, memory.disarm.restype = [ctypes.c_long, ctypes.c_long], ctypes.c_long
    upward, tiny = {"x86_64": 0x800, "aarch64": 0x400000}[platform.machine()], 2.0**-60
    x = rng.normal(size=(300, 300)).astype(np.float32)
    codes, weights = rng.integers(0, 256, (300, 300)).astype(np.uint8), rng.integers(-8, 8, (300, 300)).astype(np.int8)
    deep, deep_weights = codes.reshape(-1)[:84000].reshape(7, 12000), np.resize(weights, (12000, 110))
    images, kernels = np.resize(x, (4, 16, 32, 32)), rng.integers(-128, 128, (48, 16, 3, 3)).astype(np.int8)
    one = QParams(np.float32(0.02), np.int32(3), INT8)
    rows = QParams(np.full((300, 1), 0.02, np.float32), np.zeros((300, 1), np.int32), INT8)
    packed, packed_deep, packed4 = prepack_int8(weights), prepack_int8(deep_weights), prepack_int4(weights)
    layer, half = Int8Linear(packed, np.float32(0.1)), prepack_bf16(x)
    grouped = prepack_int4(weights, np.ones((5, 300), np.float32), 64)
    stored: Any = accelerate(WeightOnlyLinear(QuantizedTensor.from_float(weights, INT4, group_size=32)))
    static = Int8Linear(packed, np.float32(0.1), None, one, one, relu=True)
    conv = Int8Conv2d(kernels, np.float32(0.1), padding=1)
    whole_windows, alone = Int8Conv2d(kernels, np.float32(0.1), stride=4), kernels[:32, :1]
    depthwise = Int8Conv2d(alone, np.float32(0.1), padding=1, groups=16)
    operations = {
        "int8_matmul": lambda: int8_matmul(codes, packed, 7),
        "a few rows": lambda: int8_matmul(codes[:5], packed, 7),
        "three axes": lambda: int8_matmul(codes.reshape(3, 100, 300), packed, 7),
        "deep K": lambda: int8_matmul(deep, packed_deep, 7),
        "Int8Linear": lambda: layer(x),
        "a few reals": lambda: layer(x[:5]),
        "codes out": lambda: static(x),
        "other codes": lambda: layer.of_codes(codes, one),
        "Int8Conv2d": lambda: conv(images),
        "Int8Conv2d of whole windows": lambda: whole_windows(images),
        "Int8Conv2d depthwise": lambda: depthwise(images),
        "int4_matmul": lambda: int4_matmul(codes, packed4, 7),
        "int4_linear": lambda: int4_linear(x, packed4),
        "int4_linear in groups": lambda: int4_linear(x, grouped),
        "weight-only": lambda: stored(x).data,
        "quantize": lambda: quantize(x, one),
        "quantize rows": lambda: quantize(x, rows),
        "dequantize": lambda: dequantize(codes.view(np.int8), one),
        "dequantize rows": lambda: dequantize(codes.view(np.int8), rows),
    }
    if bf16_kernel(kernel):  # else it is NumPy's
        operations |= {"prepack_bf16": lambda: prepack_bf16(x).data, "bf16_matmul": lambda: bf16_matmul(x, half)}
    set_num_threads(threads)
    failures = 0
    with use_kernel(kernel):
        for (name, operation), kind in itertools.product(operations.items(), (1, 2)):
            wanted, rest, after = operation(), -1, 0
            while rest < 0:
                memory.fesetround(upward)
                memory.arm(after, kind)
                try:
                    got = operation()
                except MemoryError:
                    got = None
                except SystemError as error:  # what NumPy's reductions say when their own memory fails
                    assert "without" in str(error) and "exception" in str(error)
                    got = None
                rest, after = memory.disarm(), after + 1
                assert 1.0 + tiny > 1.0, f"{name} with allocation {after} failing lost its caller's rounding upward"
                memory.fesetround(0)
                failures += got is None
                assert got is None or np.array_equal(got, wanted), f"{name} with allocation {after} failing"
                assert after < 1000, f"{name} asks for memory without end"
            assert after > 1, f"{name} allocated nothing"
    print(failures)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the failing malloc is written in C")
@pytest.mark.parametrize("kernel", kernels()[:-1])
def test_whichever_allocation_fails_the_answer_is_right_or_memory_error_and_the_mode_stays(
    kernel: str, in_child: Run, size: Size, tmp_path: Path
) -> None:
    source, library = tmp_path / "malloc.c", tmp_path / "malloc.so"
    source.write_text(FAILING_MALLOC, encoding="utf-8")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    for threads in (3, 1)[: size(short=1, long=2)]:
        failures = in_child(allocations_fail, kernel, threads, environment={"LD_PRELOAD": str(library)})
        assert int(failures) > 40, "hardly any allocation was made to fail"


def address_space_ends(spaces: list[int]) -> None:
    """Each call is made when so many more MB of addresses, and no more, are to be had. Without any nothing can be
    answered, for each result takes more than the 64 MB that the C library may have in reserve; with the last number all
    is answered."""
    import resource
    from pathlib import Path

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
        set_num_threads,
    )
    from tinytorch.quantization import INT8, QParams

    rng = np.random.default_rng(0)
    x = rng.normal(size=(40_000, 70)).astype(np.float32)
    codes, weights = rng.integers(0, 256, x.shape).astype(np.uint8), rng.integers(-8, 8, (70, 500)).astype(np.int8)
    images, kernels = x[:1600, :64].reshape(100, 4, 16, 16), rng.integers(-128, 128, (700, 4, 3, 3)).astype(np.int8)
    qparams, long = QParams(np.float32(0.02), np.int32(3), INT8), np.resize(x, 70 * 2**20)
    packed, packed4, layer = (
        prepack_int8(weights),
        prepack_int4(weights),
        Int8Linear(prepack_int8(weights), np.float32(0.1)),
    )
    half, conv = prepack_bf16(weights.astype(np.float32)), Int8Conv2d(kernels, np.float32(0.1), padding=1)
    long_codes = quantize(long, qparams)
    operations: dict[str, Callable[[], Any]] = {
        "int8_matmul": lambda: int8_matmul(codes, packed, 7),
        "Int8Linear": lambda: layer(x),
        "Int8Conv2d": lambda: conv(images),
        "int4_matmul": lambda: int4_matmul(codes, packed4, 7),
        "int4_linear": lambda: int4_linear(x, packed4),
        "bf16_matmul": lambda: bf16_matmul(x, half),
        "quantize": lambda: quantize(long, qparams),
        "dequantize": lambda: dequantize(long_codes, qparams),
    }
    set_num_threads(2)
    for name, operation in operations.items():
        wanted, answers = operation(), list[bool]()
        for space in spaces:
            pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
            most = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + space * 2**20, most))
            try:
                got = operation()
            except MemoryError:
                got = None
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
            assert got is None or np.array_equal(got, wanted), f"{name} with {space} MB left"
            answers.append(got is not None)
            del got
        print(name, *answers)
        assert (answers[0], answers[-1]) == (False, True), f"{name}: {answers}"


def test_where_addresses_run_out_the_answer_is_right_or_memory_error(in_child: Run, size: Size) -> None:
    in_child(address_space_ends, [*range(0, 200, size(short=40, long=1)), 700])


def threads_without_addresses(spaces: list[int]) -> None:
    """Threads are wanted, and one by which something is made, when only so many MB of addresses are left for their
    stacks: where there is nothing a thread ends before its first line."""
    import faulthandler
    import resource
    import warnings
    from pathlib import Path

    import numpy as np

    from tinytorch.acceleration import get_num_threads, int8_matmul, prepack_int8, set_num_threads
    from tinytorch.acceleration.runtime.once import once

    faulthandler.dump_traceback_later(200, exit=True)
    a, packed = np.full((300, 300), 2, np.uint8), prepack_int8(np.full((300, 300), 3, np.int8))
    set_num_threads(2)
    assert (int8_matmul(a, packed) == 1800).all()
    warnings.simplefilter("ignore")
    for space in spaces:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        made, failures = once(lambda: "whole"), list[MemoryError]()
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + space * 2**20, most))
        for attempt in (made, lambda: set_num_threads(1), lambda: set_num_threads(6), lambda: int8_matmul(a, packed)):
            try:
                attempt()
            except MemoryError as error:
                failures.append(error)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        assert made() == "whole"
        assert 1 <= get_num_threads() <= 6
        assert (int8_matmul(a, packed) == 1800).all()
    set_num_threads(3)
    assert get_num_threads() == 3
    assert (int8_matmul(a, packed) == 1800).all()


def test_where_addresses_run_out_threads_are_not_waited_for_in_vain(in_child: Run, size: Size) -> None:
    in_child(threads_without_addresses, [*range(0, 60, size(short=5, long=1))])
