"""Which kernels run on this processor, and which one is wanted.

A *kernel* is one way to compute the same int32 bits. They are, fastest first: AMX tiles, VNNI in 512 and in 256 bits,
AVX2 without saturation, the NEON dot product, plain vector code that LLVM compiles for any processor, and NumPy.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from .once import once

NEEDS = {  # kernel -> what LLVM must report of this processor
    "amx": ("amx-int8", "avx512vnni", "avx512bw", "avx512vl"),
    "avx512_vnni": ("avx512vnni", "avx512bw", "avx512vl"),
    "avx_vnni": ("avxvnni", "avx2"),
    "avx2": ("avx2",),
    "neon_dotprod": ("dotprod",),
    "generic": (),
}
_wanted: ContextVar[str | None] = ContextVar("kernel", default=None)  # by `use_kernel`
_chosen = ""  # once it is known, for every thread: a short call cannot afford a cache


@dataclass(frozen=True)
class Fault:
    """Why nothing can be compiled here, and what to do about it."""

    reason: str
    fix: str
    is_broken: bool = True  # False: Numba was left out, as one may


@once
def compiler_fault() -> Fault | None:
    """What keeps Numba from compiling on this machine; None if nothing does. It imports Numba, which takes a moment."""
    if find_spec("numba") is None:
        return Fault("numba is not installed", "pip install numba", is_broken=False)
    try:
        import numba
    except Exception as error:  # of many kinds: ImportError for another NumPy, OSError for a library, AttributeError
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Fault(f"numba cannot be imported ({reason})", "pip install --upgrade numba")
    if numba.config.DISABLE_JIT:
        return Fault("NUMBA_DISABLE_JIT is set", "unset it")
    return None


@once
def host_flags() -> dict[str, bool]:
    """LLVM's names of processor features, and whether this processor and its operating system have each.

    On arm64 LLVM reads a few features on Linux and none on macOS, so the dot product is looked for elsewhere, too.
    """
    import llvmlite.binding as llvm

    flags = dict(llvm.get_host_cpu_features())
    if platform.machine().lower() in ("aarch64", "arm64"):
        flags["dotprod"] = flags.get("dotprod", False) or _numpy_has_dot_product() or _system_has_dot_product()
    return flags


@cache
def host_features() -> frozenset[str]:
    """The features that this processor and its operating system have, by LLVM's names."""
    return frozenset(name for name, present in host_flags().items() if present)


def _numpy_has_dot_product() -> bool:
    """Whether NumPy has found arm64's SDOT and UDOT. Its list is not public and may be missing."""
    try:
        from numpy._core import _multiarray_umath  # type: ignore[attr-defined]
    except ImportError:
        return False
    return bool(getattr(_multiarray_umath, "__cpu_features__", {}).get("ASIMDDP"))


def _system_has_dot_product() -> bool:
    """Whether the operating system says that an arm64 processor has SDOT and UDOT."""
    if platform.system() == "Linux":  # getauxval(AT_HWCAP) & HWCAP_ASIMDDP
        getauxval = ctypes.CDLL(None).getauxval
        getauxval.argtypes, getauxval.restype = [ctypes.c_ulong], ctypes.c_ulong
        return bool(getauxval(16) & 1 << 20)
    if platform.system() == "Darwin":
        found, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
        name = b"hw.optional.arm.FEAT_DotProd"
        ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(found), ctypes.byref(size), None, ctypes.c_size_t(0))
        return found.value == 1
    if sys.platform == "win32":  # PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
        return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(43))
    return False


def _may_use_tiles() -> bool:
    """Linux gives AMX's 8 KB of state to a process that asks: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)."""
    if platform.system() != "Linux":
        return False
    return int(ctypes.CDLL(None).syscall(158, 0x1023, 18)) == 0


def compiled_kernels(features: frozenset[str]) -> tuple[str, ...]:
    """The compiled kernels that a processor with these features runs, fastest first."""
    vnni_256 = {"avx512vnni", "avx512vl"} <= features  # avx_vnni's instruction in AVX-512's encoding
    return tuple(
        name for name, needed in NEEDS.items() if features.issuperset(needed) or (name == "avx_vnni" and vnni_256)
    )


@once
def kernels() -> tuple[str, ...]:
    """The kernels that run on this machine, fastest first; the last one, "numpy", always does.

    Without a Numba that works it is the only one: `pip install numba`.
    """
    if compiler_fault() is not None:
        return ("numpy",)
    found = compiled_kernels(host_features())
    return (*(name for name in found if name != "amx" or _may_use_tiles()), "numpy")


def _checked(name: str, source: str) -> str:
    if name != "numpy" and name not in kernels():
        fault = compiler_fault()
        why = f": {fault.reason}; {fault.fix}" if fault else ""
        raise ValueError(f"{source} must be one of {', '.join(kernels())} on this machine, got {name!r}{why}")
    return name


def kernel() -> str:
    """The kernel in use: that of `use_kernel`, else of TINYTORCH_KERNEL in the environment, else the fastest."""
    return _wanted.get() or _chosen or _first_choice()


def wanted_kernel() -> str | None:
    """The kernel that the environment asks for."""
    return os.environ.get("TINYTORCH_KERNEL")


def _first_choice() -> str:
    global _chosen
    wanted = wanted_kernel()
    _chosen = _checked(wanted, "TINYTORCH_KERNEL") if wanted else kernels()[0]
    return _chosen


def bf16_kernel(name: str) -> str | None:
    """The kernel that multiplies bfloat16 where `name` is wanted: AMX tiles, VDPBF16PS, or None: NumPy in float32."""
    if name == "amx" and "amx-bf16" in host_features():
        return "amx"
    return "avx512_vnni" if name in ("amx", "avx512_vnni") and "avx512bf16" in host_features() else None


@contextmanager
def use_kernel(name: str) -> Iterator[None]:
    """Within the block, products run on kernel `name`. ValueError if this machine does not have it.

    The choice is a context variable: it holds in this thread and in the asyncio tasks made from it. Other threads keep
    theirs; to take this one along, run their function by `contextvars.copy_context().run`.
    """
    token = _wanted.set(_checked(name, "a kernel's name"))
    try:
        yield
    finally:
        _wanted.reset(token)
