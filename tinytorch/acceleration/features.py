"""Which kernels run on this processor, and which one is wanted.

A *rung* is one way to compute the same int32 bits. The ladder, fastest first: AMX tiles, VNNI in 512 and in 256 bits,
AVX2 without saturation, the NEON dot product, plain vector code that LLVM compiles for any processor, and NumPy.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

NEEDS = {  # rung -> what LLVM must report of this processor
    "amx": ("amx-int8", "avx512vnni", "avx512bw", "avx512vl"),
    "avx512_vnni": ("avx512vnni", "avx512bw", "avx512vl"),
    "avx_vnni": ("avxvnni", "avx2"),
    "avx2": ("avx2",),
    "neon_dotprod": ("dotprod",),
    "generic": (),
}
_forced: list[str] = []


@cache
def host_features() -> frozenset[str]:
    """What LLVM says this processor and its operating system can do."""
    import llvmlite.binding as llvm

    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def _may_use_tiles() -> bool:
    """Linux gives AMX's 8 KB of state to a process that asks: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)."""
    if platform.system() != "Linux":
        return False
    return int(ctypes.CDLL(None).syscall(158, 0x1023, 18)) == 0


def _runs(rung: str) -> bool:
    has = host_features()
    vnni_256 = rung == "avx_vnni" and {"avx512vnni", "avx512vl"} <= has  # the same instruction in AVX-512's encoding
    if not (vnni_256 or has.issuperset(NEEDS[rung])):
        return False
    return rung != "amx" or _may_use_tiles()


@cache
def kernels() -> tuple[str, ...]:
    """The rungs that run on this machine, fastest first; the last one, "numpy", always does.

    Without numba it is the only one: `pip install "tinytorch[fast]"`.
    """
    if find_spec("numba") is None:
        return ("numpy",)
    return (*(rung for rung in NEEDS if _runs(rung)), "numpy")


def _checked(name: str, source: str) -> str:
    if name not in kernels():
        raise ValueError(f"{source} must be one of {', '.join(kernels())} on this machine, got {name!r}")
    return name


def kernel() -> str:
    """The rung in use: that of `use_kernel`, else of TINYTORCH_KERNEL in the environment, else the fastest."""
    return _forced[-1] if _forced else _first_choice()


@cache
def _first_choice() -> str:
    wanted = os.environ.get("TINYTORCH_KERNEL")
    return _checked(wanted, "TINYTORCH_KERNEL") if wanted else kernels()[0]


def bf16_kernel(rung: str) -> str | None:
    """The rung that multiplies bfloat16 where `rung` is wanted: AMX tiles, VDPBF16PS, or None: NumPy in float32."""
    if rung == "amx" and "amx-bf16" in host_features():
        return "amx"
    return "avx512_vnni" if rung in ("amx", "avx512_vnni") and "avx512bf16" in host_features() else None


@contextmanager
def use_kernel(name: str) -> Iterator[None]:
    """Within the block, products run on rung `name`, in every thread. ValueError if this machine does not have it."""
    _forced.append(_checked(name, "a kernel's name"))
    try:
        yield
    finally:
        _forced.pop()
