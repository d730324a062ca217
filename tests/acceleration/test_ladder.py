"""The ladder: which kernels there are, what they are made of, and what it costs to start them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinytorch.acceleration import kernels

ROOT = Path(__file__).parents[2]


def python(code: str, **environment: str) -> str:
    """What `python -c code` prints; its errors fail the test."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PRODUCT = """
import numpy as np
from tinytorch.acceleration import *
a, b = np.full((2, 70), 3, np.uint8), np.full((70, 20), -2, np.int8)
assert (int8_matmul(a, pack_int8(b), 1) == -280).all()
"""


def test_numpy_is_the_last_kernel_and_always_there() -> None:
    assert kernels()[-1] == "numpy"


def test_importing_the_package_does_not_import_numba() -> None:
    assert python("import sys, tinytorch.acceleration; print('numba' in sys.modules)") == "False"


def test_the_environment_forces_a_kernel() -> None:
    assert python("from tinytorch.acceleration import kernel; print(kernel())", TINYTORCH_KERNEL="numpy") == "numpy"


def test_a_kernel_that_is_not_there_is_refused_by_name() -> None:
    code = "from tinytorch.acceleration import kernel\ntry: kernel()\nexcept ValueError as e: print(e)"
    assert "TINYTORCH_KERNEL must be one of" in python(code, TINYTORCH_KERNEL="abacus")


def test_without_numba_numpy_serves_and_says_once_what_it_costs() -> None:
    code = (
        """
import sys, warnings
sys.modules["numba"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else find(name, *rest)
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
"""
        + "\n".join("    " + line for line in (PRODUCT + PRODUCT).strip().splitlines())
        + """
    print(kernels(), get_num_threads(), [str(w.message)[:22] for w in caught])
"""
    )
    assert python(code) == "('numpy',) 1 ['numba is not installed']"


def test_products_work_after_a_fork() -> None:
    code = (
        PRODUCT
        + """
import os
big, weights = np.ones((64, 1024), np.uint8), pack_int8(np.ones((1024, 1024), np.int8))
set_num_threads(2)
assert (int8_matmul(big, weights) == 1024).all()
child = os.fork() if hasattr(os, "fork") else None
if child == 0:
    os._exit(0 if (int8_matmul(big, weights) == 1024).all() else 1)
print(os.waitpid(child, 0)[1] if child else 0)
"""
    )
    assert python(code) == "0"


@pytest.mark.skipif(kernels() == ("numpy",), reason="there is no compiler on this machine")
class TestCompiled:
    def test_a_second_process_compiles_neither_a_driver_nor_a_kernel(self, tmp_path: Path) -> None:
        code = f"""
import llvmlite.binding as llvm
emit, kernels_made = llvm.TargetMachine.emit_object, []
llvm.TargetMachine.emit_object = lambda *arguments: kernels_made.append(1) or emit(*arguments)
{PRODUCT}
from tinytorch.acceleration import gemm
print(sum(gemm.matmul.made.stats.cache_hits.values()), len(kernels_made))
"""
        assert python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "0 2"
        assert python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0"

    def test_a_kernel_on_disk_that_was_cut_short_is_made_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tinytorch.acceleration import compiled

        monkeypatch.setattr(compiled, "CACHE", tmp_path)
        made = [compiled.kept("code", text.encode) for text in ("first", "second")]
        file = tmp_path / "code"
        file.write_bytes(file.read_bytes()[:-1])
        made += [compiled.kept("code", text.encode) for text in ("third", "fourth")]
        assert made == [b"first", b"first", b"third", b"third"]
        assert [path.name for path in tmp_path.iterdir()] == ["code"], "and nothing else stays there"

    def test_a_kernel_is_kept_for_each_set_of_features(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from tinytorch.acceleration import compiled, engine, micro

        monkeypatch.setattr(compiled, "CACHE", tmp_path)
        for features in (engine.without(), engine.without("a", "s"), engine.without()):
            engine._compile.__wrapped__(micro.NO_TILES, features)
        assert len(list(tmp_path.iterdir())) == 2

    def test_the_cache_of_another_processor_version_or_source_is_another_folder(self, tmp_path: Path) -> None:
        code = """
import llvmlite.binding as llvm
{change}
from tinytorch.acceleration import compiled
print(compiled.CACHE.name)
"""
        changes = [
            "", "llvm.get_host_cpu_name = lambda: 'another'", "import numba; numba.__version__ = '0'",
            "llvm.llvm_version_info = (99, 0, 0)",
            "from pathlib import Path; read = Path.read_text; Path.read_text = lambda p, **k: read(p, **k) + '#'",
        ]  # fmt: skip
        folders = [python(code.format(change=change), NUMBA_CACHE_DIR=str(tmp_path)) for change in changes]
        assert len(set(folders)) == len(changes)

    def test_a_read_only_package_folder_is_no_obstacle(self, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("not a folder", encoding="utf-8")
        python(PRODUCT, NUMBA_CACHE_DIR=str(blocked / "inside"))

    def test_no_kernel_uses_a_saturating_instruction(self) -> None:
        """VPMADDUBSW and VPDPBUSDS saturate: they are how other libraries differ between processors."""
        from tinytorch.acceleration import engine

        for rung in kernels()[:-1]:
            text = engine.assemble(engine.tile_ir(rung)[0], engine.host_triple(), engine.target_features(rung))
            assert "vpmaddubsw" not in text and "vpdpbusds" not in text, rung

    @pytest.mark.parametrize(
        "rung, features, wanted, unwanted",
        [
            ("amx", "+amx-int8,+amx-tile", "tdpbusd", "vpdpbusd"),
            ("avx512_vnni", "+avx512vnni,+avx512bw,+avx512vl", "vpdpbusd\t", "vpmaddwd"),
            ("avx_vnni", "+avxvnni,+avx2", "{vex}\tvpdpbusd", "zmm"),
            ("avx2", "+avx2,+fma", "vpmaddwd", "zmm"),
        ],
    )
    def test_each_x86_rung_is_made_of_its_instruction(
        self, rung: str, features: str, wanted: str, unwanted: str
    ) -> None:
        from tinytorch.acceleration import engine

        text = engine.assemble(engine.tile_ir(rung)[0], "x86_64-unknown-linux-gnu", features)
        assert wanted in text and unwanted not in text

    @pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin"])
    def test_the_neon_rung_compiles_to_dot_products(self, triple: str) -> None:
        from tinytorch.acceleration import engine

        text = engine.assemble(engine.tile_ir("neon_dotprod")[0], triple, "+dotprod")
        assert text.count("sdot") >= 6 * 4, "six rows times four vectors of four columns"

    def test_the_passes_compile_for_a_bare_processor_of_either_kind(self) -> None:
        from tinytorch.acceleration import engine

        for triple in ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"):
            assert "quantize" in engine.assemble(engine.passes_ir() + engine.tile_ir("generic")[0], triple)
