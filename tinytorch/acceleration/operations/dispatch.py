"""The compiled kernel that serves a call."""

from typing import Any

from ..runtime.once import load, once


@once
def compiled_kernel(name: str, few_rows: bool = False) -> Any:
    """Compile kernel `name`; numba is imported here. Few rows fill little of an AMX tile, so VNNI multiplies them."""
    return load("loops.jit").kernel("avx512_vnni" if name == "amx" and few_rows else name)
