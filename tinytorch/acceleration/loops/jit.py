"""From LLVM IR text to addresses that compiled code can call.

The micro-kernels are compiled for the processor that runs them and kept on disk, in the folder of the drivers
(`disk`) and under a name that changes with their text and the features they may use.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from ..codegen import modules
from ..runtime import threads
from ..runtime.disk import kept
from ..runtime.features import host_features, host_flags
from ..runtime.once import once
from . import gemm, matrix
from .records import KERNEL


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel.

    record: a KERNEL (see `records`); micro_kernels: the table in it, as `MicroKernels` orders them. takes_int8: whether
    activations are int8 here (else uint8); codes of the other type get their sign bit flipped on the way in.
    """

    name: str
    record: NDArray[Any]
    micro_kernels: NDArray[np.int64]
    takes_int8: bool
    address: int  # of the record

    def conversion(self, is_int8: bool) -> tuple[int, int]:
        """(flip, shift) for int8 or uint8 codes: flip is xor-ed to them, shift added to their zero point."""
        if is_int8 == self.takes_int8:
            return 0, 0
        return 128, -128 if self.takes_int8 else 128

    def pool(self) -> tuple[int, int]:
        """(address, threads) of the thread pool."""
        pool = threads.pool()
        return pool.address, pool.threads


def without(*prefixes: str) -> str:
    """The host's features as LLVM wants them, those with one of these prefixes switched off."""
    on = {name: state and not name.startswith(prefixes) for name, state in host_flags().items()}
    return ",".join(("+" if state else "-") + name for name, state in sorted(on.items()))


def target_features(name: str) -> str:
    """A slower kernel is compiled for a processor that has no more than it: what runs here is what runs there."""
    if name in ("amx", "avx512_vnni"):
        return without()
    if name == "avx_vnni":
        return without("amx", "avx10") if "avxvnni" not in host_features() else without("amx", "avx10", "avx512")
    return without("amx", "avx10", "avx512", "avxvnni")


def host_triple() -> str:
    """This machine, as LLVM calls it."""
    return str(llvm.get_process_triple())


def assemble(ir: str, triple: str, features: str = "", cpu: str = "") -> str:
    """The assembly text of a module for any target that LLVM knows, to look at."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(ir)
    module.verify()
    target = llvm.Target.from_triple(triple)
    return str(target.create_target_machine(cpu=cpu, features=features, opt=3).emit_assembly(module))


@once
def _compile(ir: str, features: str) -> Any:
    """Machine code of a module for this machine: from the disk, where an earlier process has left it. `once` keeps it
    for ever, so its addresses are good for as long as the process lives."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target, cpu = llvm.Target.from_default_triple(), llvm.get_host_cpu_name()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3)

    def make() -> bytes:
        module = llvm.parse_assembly(ir)
        module.verify()
        return bytes(machine.emit_object(module))

    name = hashlib.sha256(f"{features}\n{ir}".encode()).hexdigest()[:16]
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(kept(f"{name}.o", make)))
    engine.finalize_object()
    return engine


def _kernel(name: str, ir: str, names: list[list[str]], takes_int8: bool = False) -> Kernel:
    """A kernel whose micro-kernels are the functions `names` of `ir`: [rows - 1][panels - 1], and again for deep K."""
    engine, record = _compile(ir, target_features(name)), np.zeros(1, KERNEL)
    table = np.array([engine.get_function_address(each) for row in names for each in row], np.int64)
    values = {
        "tile_rows": len(names) // 2, "tile_panels": len(names[0]), "step_bytes": 64 if name == "amx" else 4,
        "micro_kernels": table.ctypes.data, "product_task": gemm.product_task.address,
        "matrix_task": matrix.matrix_task.address, **passes(name),
        **{each: engine.get_function_address(each) for each in ("configure", "release")},
    }  # fmt: skip
    for field, value in values.items():
        record[field] = value
    return Kernel(name, record, table, takes_int8, record.ctypes.data)


@once
def passes(name: str) -> dict[str, int]:
    """The addresses of the passes of kernel `name`, by their names: all that quantize and dequantize need of it."""
    engine = _compile(modules.matrix_loops(), target_features(name))
    return {name: engine.get_function_address(name) for name in modules.MATRIX_LOOPS}


@once
def passes_by_rows(name: str) -> tuple[int, int]:
    """The addresses of `to_float_by_rows` of kernel `name`, without and with ReLU."""
    engine = _compile(modules.epilogues_by_rows(), target_features(name))
    without_relu, with_relu = (int(engine.get_function_address(each)) for each in modules.EPILOGUES_BY_ROWS)
    return without_relu, with_relu


@once
def kernel(name: str) -> Kernel:
    """Compile kernel `name` for this machine."""
    return _kernel(name, *modules.micro_kernels(name), name == "neon_dotprod")


@once
def bf16_kernel(name: str) -> Kernel:
    """The bfloat16 product of kernel `name`, "amx" or "avx512_vnni", for this machine."""
    return _kernel(name, *modules.bf16_micro_kernels(name))


@once
def block(name: str, source: str, target: str) -> int:
    """The address of `modules.bf16_block`; each is compiled when it is first wanted, for that takes a while."""
    made = _compile(modules.bf16_block(source, target), target_features(name))
    return int(made.get_function_address(f"block_{source}{target}"))


@once
def unpack(name: str, bits: int) -> int:
    """The address of the function by which kernel `name` unpacks weights; 0 for those of 8 bits."""
    if bits == 8:
        return 0
    return int(_compile(modules.unpack_loops(), target_features(name)).get_function_address(f"unpack_{bits}"))


@once
def real_weights(name: str, bits: int, with_zero_points: bool) -> int:
    """The address of what makes float32 of weights of so many bits."""
    ir, function = modules.real_weights(bits, with_zero_points)
    return int(_compile(ir, target_features(name)).get_function_address(function))


@once
def float_kernel(name: str) -> Kernel:
    """The float32 product of kernel `name`, in vector registers, for this machine."""
    return _kernel(name, *modules.float_micro_kernels(name))


@once
def int4_groups(name: str) -> NDArray[np.int64]:
    """The table [rows - 1][panels - 1] of micro-kernels of INT4 in groups, of a kernel in vector registers."""
    ir, names = modules.int4_groups(name)
    engine = _compile(ir, target_features(name))
    return np.array([engine.get_function_address(each) for row in names for each in row], np.int64)


@once
def int4_add_groups(name: str, count: int) -> tuple[int, int]:
    """The addresses of what adds the sums of so many groups, or of one, to the result."""
    engine = _compile(modules.int4_add_groups(count), target_features(name))
    many, one = (int(engine.get_function_address(f"int4_add_groups_{each}")) for each in (count, 1))
    return many, one


@once
def depthwise_functions(name: str) -> tuple[int, NDArray[np.int64]]:
    """(interleave, a table of the taps) of kernel `name`: see `codegen.depthwise`."""
    made = _compile(modules.depthwise_loops(name), target_features(name))
    interleave, *taps = (int(made.get_function_address(each)) for each in modules.DEPTHWISE_LOOPS)
    return interleave, np.array(taps, np.int64)
