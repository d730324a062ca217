"""Compiled products of codes, faster than float32: INT8 layers, bfloat16, and the ladder of kernels they run on.

    packed = prepack_int8(weights)                  int8 [K, N], once
    acc = int8_matmul(codes, packed, zero_point) int32, bit-equal to `integer_matmul`
    layer = Int8Linear(packed, scale, bias)      float32 -> float32: quantize, product and scale in one call
    y = int4_linear(x, prepack_int4(codes, scale))  INT4 weights, a scale a column or a group: fewer bytes to wait for
    y = bf16_matmul(a, b)                        float32 -> float32 with operands rounded to bfloat16

`kernels()` names what this machine has, fastest first: amx, avx512_vnni, avx_vnni, avx2, neon_dotprod, generic, numpy;
all give the same bits. TINYTORCH_KERNEL in the environment, or `use_kernel`, forces one of them. Importing this package
is quick: numba is imported when a kernel first runs, and what it compiles is kept on disk (see `runtime.disk`).
"""

import numpy as np

from .models.accelerate import accelerate
from .operations.bf16 import PackedBf16, bf16_matmul, prepack_bf16
from .operations.conv import Int8Conv2d
from .operations.elementwise import dequantize, quantize
from .operations.int4 import PackedInt4, int4_linear, int4_matmul, prepack_int4
from .operations.int8 import PackedInt8, int8_matmul, prepack_int8
from .operations.linear import Int8Linear, int8_linear
from .runtime import features
from .runtime.features import kernel, kernels, use_kernel
from .runtime.once import load

__all__ = [
    "Int8Conv2d",
    "Int8Linear",
    "PackedBf16",
    "PackedInt4",
    "PackedInt8",
    "accelerate",
    "bf16_matmul",
    "dequantize",
    "get_num_threads",
    "int4_linear",
    "int4_matmul",
    "int8_linear",
    "int8_matmul",
    "kernel",
    "kernels",
    "prepack_bf16",
    "prepack_int4",
    "prepack_int8",
    "quantize",
    "set_num_threads",
    "use_kernel",
]


def try_kernels() -> str:
    """Run a product on every kernel of this machine. Returns "", or what is wrong and how to mend it."""
    fault = features.compiler_fault()
    if fault is not None and fault.is_broken:
        return f"{fault.reason}; {fault.fix}"
    a, b = np.arange(255, dtype=np.uint8).reshape(3, 85), np.arange(85, dtype=np.int8).reshape(85, 1)
    wanted = a.astype(np.int64) @ b.astype(np.int64)
    for name in kernels():
        try:
            with use_kernel(name):
                got = int8_matmul(a, prepack_int8(b))
        except Exception as error:  # whatever the compiler meets on this machine
            return f"kernel {name} does not run ({type(error).__name__}: {error}); set TINYTORCH_KERNEL=numpy"
        if not np.array_equal(got, wanted):
            return f"kernel {name} computes wrongly; set TINYTORCH_KERNEL=numpy and report it"
    return ""


def set_num_threads(n: int) -> None:
    """Let products use `n` threads, the caller's among them. Answers do not depend on it."""
    if len(kernels()) > 1:
        load("runtime.threads").set_num_threads(n)


def get_num_threads() -> int:
    """How many threads products use: at first one for each processor this process may use. NumPy has its own."""
    if len(kernels()) == 1:
        return 1
    return int(load("runtime.threads").get_num_threads())
