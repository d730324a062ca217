"""The compiled kernel that serves a call."""

from typing import Any

from ..runtime.once import load, once


@once
def compiled_kernel(name: str, few_rows: bool = False) -> Any:
    """The compiled rung; this is where numba is imported. Few rows use little of an AMX tile, but all of VNNI."""
    return load("loops.jit").kernel("avx512_vnni" if name == "amx" and few_rows else name)
