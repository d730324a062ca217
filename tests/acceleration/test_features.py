"""Which kernels a processor gets, from the features that were recorded of it by LLVM's names."""

import ctypes
import inspect
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinytorch.acceleration.runtime import features

HASWELL = {"avx2", "fma", "f16c", "bmi2"}
ALDER_LAKE = HASWELL | {"avxvnni", "vaes", "gfni"}
SKYLAKE_X = HASWELL | {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd"}
CASCADE_LAKE = SKYLAKE_X | {"avx512vnni"}
ZEN_4 = CASCADE_LAKE | {"avx512bf16", "avx512vbmi", "avx512ifma"}
ZEN_5 = ZEN_4 | {"avxvnni", "avx512vp2intersect"}
SAPPHIRE_RAPIDS = ZEN_4 | {"avxvnni", "avx512fp16", "amx-tile", "amx-int8", "amx-bf16"}
GRAVITON_2 = {"neon", "fp-armv8", "crc", "lse"}  # what LLVM reads on Linux: no dotprod, though the processor has it
GRAVITON_3 = GRAVITON_2 | {"sve", "aes", "sha2"}
RASPBERRY_PI_4 = {"neon", "fp-armv8", "crc"}

TABLE = {
    "Haswell": (HASWELL, ("avx2", "generic")),
    "Alder Lake": (ALDER_LAKE, ("avx_vnni", "avx2", "generic")),
    "Zen 3": (HASWELL | {"vaes"}, ("avx2", "generic")),
    "Skylake-X": (SKYLAKE_X, ("avx2", "generic")),
    "Cascade Lake": (CASCADE_LAKE, ("avx512_vnni", "avx_vnni", "avx2", "generic")),
    "Zen 4": (ZEN_4, ("avx512_vnni", "avx_vnni", "avx2", "generic")),
    "Zen 5": (ZEN_5, ("avx512_vnni", "avx_vnni", "avx2", "generic")),
    "Sapphire Rapids": (SAPPHIRE_RAPIDS, ("amx", "avx512_vnni", "avx_vnni", "avx2", "generic")),
    "Graviton 2": (GRAVITON_2 | {"dotprod"}, ("neon_dotprod", "generic")),
    "Graviton 3": (GRAVITON_3 | {"dotprod"}, ("neon_dotprod", "generic")),
    "Apple M1": ({"dotprod"}, ("neon_dotprod", "generic")),
    "Raspberry Pi 4": (RASPBERRY_PI_4, ("generic",)),
    "any other": (set(), ("generic",)),
}


@pytest.mark.parametrize("processor", TABLE)
def test_a_processor_gets_its_kernels_fastest_first(processor: str) -> None:
    recorded, wanted = TABLE[processor]
    assert features.compiled_kernels(frozenset(recorded)) == wanted


def pretend(monkeypatch: pytest.MonkeyPatch, machine: str, recorded: set[str], *, numpy: bool, system: bool) -> None:
    """Another machine: what LLVM, NumPy and the operating system say of it."""
    import llvmlite.binding as llvm

    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: dict.fromkeys(recorded, True))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(features, "_numpy_has_dot_product", lambda: numpy)
    monkeypatch.setattr(features, "_system_has_dot_product", lambda: system)
    for cached in (features.host_flags, features.host_features, features.kernels):
        monkeypatch.setattr(features, cached.__name__, inspect.unwrap(cached))


@pytest.mark.compiler
@pytest.mark.parametrize("machine, recorded", [("aarch64", GRAVITON_2), ("aarch64", GRAVITON_3), ("arm64", set())])
@pytest.mark.parametrize("numpy, system", [(True, False), (False, True), (True, True)])
def test_arm64_has_the_dot_product_though_llvm_does_not_say_so(
    machine: str, recorded: set[str], numpy: bool, system: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, machine, recorded, numpy=numpy, system=system)
    assert features.kernels() == ("neon_dotprod", "generic", "numpy")


@pytest.mark.compiler
def test_arm64_without_the_dot_product_gets_the_generic_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "aarch64", RASPBERRY_PI_4, numpy=False, system=False)
    assert features.kernels() == ("generic", "numpy")


@pytest.mark.compiler
def test_an_x86_processor_is_not_asked_for_arm64s_dot_product(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "x86_64", HASWELL, numpy=True, system=True)
    assert features.kernels() == ("avx2", "generic", "numpy")


@pytest.mark.compiler
def test_llvm_is_told_of_the_dot_product_that_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinytorch.acceleration.loops import jit

    pretend(monkeypatch, "arm64", set(), numpy=False, system=True)
    monkeypatch.setattr(jit, "host_flags", features.host_flags)
    assert jit.target_features("neon_dotprod") == "+dotprod"


@pytest.mark.parametrize("word, wanted", [(1 << 20, True), (0, False), (~(1 << 20) & 0xFFFFFFFF, False)])
def test_linux_says_it_in_bit_20_of_its_capabilities(word: int, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def getauxval(kind: int) -> int:
        return word if kind == 16 else 0

    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(getauxval=getauxval))
    assert features._system_has_dot_product() is wanted


@pytest.mark.parametrize("found, status", [(1, 0), (0, 0), (0, -1)])
def test_macos_says_it_by_name(found: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def sysctlbyname(name: bytes, value: object, *_: object) -> int:
        assert name == b"hw.optional.arm.FEAT_DotProd"
        value._obj.value = found  # type: ignore[attr-defined]
        return status

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(sysctlbyname=sysctlbyname))
    assert features._system_has_dot_product() is bool(found)


@pytest.mark.parametrize(
    "numba, said",
    [
        (
            "raise ImportError('it is from another place')",
            "numba cannot be imported (it is from another place). Fix: pip",
        ),
        ("class config: DISABLE_JIT = True", "NUMBA_DISABLE_JIT is set. Fix: unset it"),
    ],
    ids=["a broken Numba", "a Numba that may not compile"],
)
def test_without_a_compiler_what_needs_one_is_left_out_and_said(numba: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text(numba + "\n", encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(tmp_path), "TITO_COMPILER": ""}
    here = Path(__file__)  # whose folder may have a [ in its name
    asked = ("-k", "processor_gets or arm64", "-p", "no:xdist", "-p", "no:cacheprovider", here.name)
    command = [sys.executable, "-m", "pytest", "-q", *asked]
    done = subprocess.run(command, cwd=here.parent, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"11 tests were not run: {said}" in done.stdout and f"{len(TABLE)} passed" in done.stdout
