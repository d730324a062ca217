"""The ladder: which kernels there are, what they are made of, and what it costs to start them."""

import os
import re
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
assert (int8_matmul(a, prepack_int8(b), 1) == -280).all()
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
big, weights = np.ones((64, 1024), np.uint8), prepack_int8(np.ones((1024, 1024), np.int8))
set_num_threads(2)
assert (int8_matmul(big, weights) == 1024).all()
child = os.fork() if hasattr(os, "fork") else None
if child == 0:
    os._exit(0 if (int8_matmul(big, weights) == 1024).all() else 1)
print(os.waitpid(child, 0)[1] if child else 0)
"""
    )
    assert python(code) == "0"


@pytest.mark.compiler
class TestCompiled:
    def test_a_second_process_compiles_neither_a_driver_nor_a_kernel(self, tmp_path: Path) -> None:
        code = f"""
import llvmlite.binding as llvm
emit, kernels_made = llvm.TargetMachine.emit_object, []
llvm.TargetMachine.emit_object = lambda *arguments: kernels_made.append(1) or emit(*arguments)
{PRODUCT}
from tinytorch.acceleration.calls import matmul
print(sum(matmul.SMALL["B"].made.stats.cache_hits.values()), len(kernels_made))
"""
        assert python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "0 2"
        assert python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0"

    def test_no_kernel_uses_a_saturating_instruction(self) -> None:
        """VPMADDUBSW and VPDPBUSDS saturate: they are how other libraries differ between processors."""
        from tinytorch.acceleration.codegen import modules
        from tinytorch.acceleration.loops import jit

        for rung in kernels()[:-1]:
            text = jit.assemble(modules.micro_kernels(rung).ir, jit.host_triple(), jit.target_features(rung))
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
        from tinytorch.acceleration.codegen import modules
        from tinytorch.acceleration.loops import jit

        text = jit.assemble(modules.micro_kernels(rung).ir, "x86_64-unknown-linux-gnu", features)
        assert wanted in text and unwanted not in text

    @pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin"])
    def test_the_neon_rung_compiles_to_dot_products(self, triple: str) -> None:
        from tinytorch.acceleration.codegen import modules
        from tinytorch.acceleration.loops import jit

        text = jit.assemble(modules.micro_kernels("neon_dotprod").ir, triple, "+dotprod")
        assert text.count("sdot") >= 6 * 4, "six rows times four vectors of four columns"

    @pytest.mark.parametrize("kernel", ["amx", "avx512_vnni", "avx_vnni", "avx2", "neon_dotprod", "generic"])
    def test_a_module_defines_the_functions_that_are_looked_up_in_it_and_no_others(self, kernel: str) -> None:
        """A name that is not there would get the address 0."""
        from tinytorch.acceleration.codegen import modules

        ir, names = modules.micro_kernels(kernel)
        looked_up = {name for row in names for name in row} | {"configure", "release"}
        groups, group_names = modules.int4_groups("avx512_vnni" if kernel == "amx" else kernel)
        for text, wanted in [
            (ir, looked_up), (modules.depthwise_loops(kernel), modules.DEPTHWISE_LOOPS),
            (modules.matrix_loops(), modules.MATRIX_LOOPS), (modules.unpack_loops(), ["unpack_2", "unpack_4"]),
            (groups, {name for row in group_names for name in row}),
            (modules.int4_add_groups(4), ["int4_add_groups_1", "int4_add_groups_4"]),
            (modules.epilogues_by_rows(), modules.EPILOGUES_BY_ROWS), (modules.bf16_block("k", "n"), ["block_kn"]),
        ]:  # fmt: skip
            assert sorted(re.findall(r"^define \w+ @(\w+)\(", text, re.MULTILINE)) == sorted(wanted)

    def test_the_matrix_loops_compile_for_a_bare_processor_of_either_kind(self) -> None:
        from tinytorch.acceleration.codegen import modules
        from tinytorch.acceleration.codegen.ir import module
        from tinytorch.acceleration.loops import jit

        for triple in ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"):
            ir = module(modules.matrix_loops(), modules.micro_kernels("generic").ir)
            assert "quantize" in jit.assemble(ir, triple)
            assert "to_float_relu_by_rows" in jit.assemble(modules.epilogues_by_rows(), triple)
            assert "unpack_2" in jit.assemble(modules.unpack_loops(), triple)
            assert "real_4" in jit.assemble(modules.real_weights(4, with_zero_points=True)[0], triple)
            assert "group_2_1" in jit.assemble(modules.int4_groups("generic").ir, triple)
            assert "tile_2_1" in jit.assemble(modules.float_micro_kernels("generic").ir, triple)


EVERYTHING = (
    """
import warnings
warnings.simplefilter("always")
warnings.showwarning = lambda message, *rest: print(message)
"""
    + PRODUCT
    + """
from tinytorch.quantization import QParams, autocast
from tinytorch.core import Linear, Tensor
x = np.ones((2, 70), np.float32)
with autocast("bfloat16"):
    Linear(70, 20)(Tensor(x))
bf16_matmul(x, prepack_bf16(x.T.copy()))
Int8Linear(prepack_int8(b), 0.5)(x), int4_linear(x, prepack_int4(b, 0.5)), quantize(x, QParams(0.1, 0))
Int8Conv2d(np.ones((1, 1, 2, 2), np.int8), 1.0)(x.reshape(1, 1, 10, 14))
set_num_threads(2)
print(kernels(), get_num_threads())
"""
)


@pytest.mark.parametrize(
    "source, said",
    [
        ("raise ImportError('Numba needs NumPy 2.3 or less. Got NumPy 2.4.')", "Numba needs NumPy 2.3 or less"),
        ("raise OSError('libllvmlite.so: cannot open shared object file')", "libllvmlite.so"),
        ("np_version = None.major", "'NoneType' object has no attribute 'major'"),
        ("raise SystemError", "SystemError"),
        ("class config: DISABLE_JIT = 1", "NUMBA_DISABLE_JIT is set"),
    ],
)
def test_a_numba_that_does_not_work_is_told_once_and_numpy_serves(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "numba.py").write_text(source + "\n", encoding="utf-8")
    answer = python(EVERYTHING, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    told, kernels_and_threads = answer.splitlines()
    assert said in told and "products run in NumPy" in told and kernels_and_threads == "('numpy',) 1"


def test_numba_told_not_to_compile_is_told_once_and_numpy_serves() -> None:
    told, kernels_and_threads = python(EVERYTHING, NUMBA_DISABLE_JIT="1").splitlines()
    assert told.startswith("NUMBA_DISABLE_JIT is set: ") and told.endswith("; unset it")
    assert kernels_and_threads == "('numpy',) 1"


def test_a_kernel_that_cannot_be_had_without_numba_is_refused_with_the_reason() -> None:
    code = "from tinytorch.acceleration import kernel\ntry: kernel()\nexcept ValueError as e: print(e)"
    said = python(code, TINYTORCH_KERNEL="generic", NUMBA_DISABLE_JIT="1")
    assert said.endswith("got 'generic': NUMBA_DISABLE_JIT is set; unset it")


def test_who_asks_for_numpy_needs_no_numba_and_hears_nothing(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    code = PRODUCT.replace("import numpy", "import warnings; warnings.simplefilter('error'); import numpy", 1)
    assert python(code + "print(kernel())", PYTHONPATH=path, TINYTORCH_KERNEL="numpy") == "numpy"
