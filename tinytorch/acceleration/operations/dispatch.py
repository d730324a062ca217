"""Which kernel serves a call: a compiled one, or NumPy where nothing compiles.

The kernel "numpy" gives the same bits through float32 BLAS. A float32 holds every integer up to 2**24, so a product of
codes is exact while no partial sum grows beyond it: K is cut into pieces of 512 (512 * 255 * 128 < 2**24), whose sums
are added as integers.
"""

import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.features import compiler_fault, wanted_kernel
from ..runtime.once import load, once

PIECE = 512  # steps of K whose sums are exact in float32


@once
def compiled_kernel(name: str, few_rows: bool = False) -> Any:
    """Compile kernel `name`; numba is imported here. Few rows fill little of an AMX tile, so VNNI multiplies them."""
    return load("loops.jit").kernel("avx512_vnni" if name == "amx" and few_rows else name)


@cache
def tell_cost() -> None:
    """Say once what it costs to have no compiler, and why there is none, to those who did not ask for NumPy."""
    fault = None if wanted_kernel() == "numpy" else compiler_fault()
    if fault is not None:
        warnings.warn(
            f"{fault.reason}: products run in NumPy, several times slower than the compiled kernels, and unpack their "
            f"weights at each call; {fault.fix}",
            RuntimeWarning,
            stacklevel=3,
        )


def exact_product(a: NDArray[np.int8 | np.uint8], b: NDArray[np.int8]) -> NDArray[np.int64]:
    """a [..., M, K] @ b [..., K, N], exactly: int64 [..., M, N]."""
    acc = np.zeros((*a.shape[:-1], b.shape[-1]), np.int64)
    for k in range(0, b.shape[-2], PIECE):
        piece = slice(k, k + PIECE)
        acc += (a[..., piece].astype(np.float32) @ b[..., piece, :].astype(np.float32)).astype(np.int64)
    return acc
