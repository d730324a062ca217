"""From LLVM IR text to addresses that compiled code can call.

A rung's micro-kernels are compiled for the processor that runs them and kept on disk, in the folder of the drivers
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
from ..runtime.once import load, once
from . import gemm


@dataclass(frozen=True)
class Rung:
    """One compiled rung.

    addresses: int64, what `gemm` needs, in its order; then the tiles, see `MicroKernels`. signed: whether
    activations are int8 here (else uint8); codes of the other type get their sign bit flipped on the way in.
    """

    name: str
    addresses: NDArray[np.int64]
    signed: bool
    matmul: Any  # gemm's compiled driver

    @property
    def extremes(self) -> int:
        """The address of the task that finds a range; only those who quantize wait for its compilation."""
        address: int = load("loops.fused").extremes_task.address
        return address

    def conversion(self, signed: bool) -> tuple[int, int]:
        """(flip, shift) for int8 (signed) or uint8 codes: flip is xor-ed to them, shift added to their zero point."""
        if signed == self.signed:
            return 0, 0
        return 128, -128 if self.signed else 128

    def pool(self) -> tuple[int, int]:
        """(address, threads) of the pool, for the drivers."""
        pool = threads.pool()
        return pool.address, pool.threads


def without(*prefixes: str) -> str:
    """The host's features as LLVM wants them, those with one of these prefixes switched off."""
    on = {name: state and not name.startswith(prefixes) for name, state in host_flags().items()}
    return ",".join(("+" if state else "-") + name for name, state in sorted(on.items()))


def target_features(rung: str) -> str:
    """A lower rung is compiled for a processor that has no more than it: what runs here is what runs there."""
    if rung in ("amx", "avx512_vnni"):
        return without()
    if rung == "avx_vnni":
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


def _table(tile: list[list[int]], step: int, tiles: Any, at: dict[str, int]) -> NDArray[np.int64]:
    """`Rung.addresses`: `tile` as `MicroKernels` names them, `step` bytes of K at once."""
    steer = [tiles.get_function_address(name) for name in ("configure", "release")]
    head = [len(tile) // 2, len(tile[0]), step, 0, *steer, gemm.product_task.address, gemm.sweep_task.address]
    head += [at[name] for name in modules.MATRIX_LOOPS]
    addresses = np.array([*head, *(address for row in tile for address in row)], np.int64)
    addresses[gemm.TILE] = addresses.ctypes.data + 8 * len(head)
    return addresses


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
def rung(name: str) -> Rung:
    """Compile rung `name` for this machine."""
    features, (ir, names) = target_features(name), modules.micro_kernels(name)
    tiles, at = _compile(ir, features), passes(name)
    tile = [[tiles.get_function_address(n) for n in row] for row in names]
    addresses = _table(tile, 64 if name == "amx" else 4, tiles, at)
    return Rung(name, addresses, name == "neon_dotprod", gemm.matmul)


@dataclass(frozen=True)
class Halves:
    """What the bfloat16 product needs: a table like `Rung.addresses`, and the drivers."""

    addresses: NDArray[np.int64]
    driver: Any


@once
def halves(name: str) -> Halves:
    """The bfloat16 product of rung `name`, "amx" or "avx512_vnni", for this machine."""
    features, (ir, names) = target_features(name), modules.bf16_micro_kernels(name)
    engine, at = _compile(ir, features), passes(name)
    tile = [[engine.get_function_address(n) for n in row] for row in names]
    addresses = _table(tile, 64 if name == "amx" else 4, engine, at)
    return Halves(addresses, load("loops.halves"))


@once
def block(name: str, source: str, target: str) -> int:
    """The address of `modules.bf16_block`; each is compiled when it is first wanted, for that takes a while."""
    made = _compile(modules.bf16_block(source, target), target_features(name))
    return int(made.get_function_address(f"block_{source}{target}"))


@once
def nibbles(name: str) -> tuple[NDArray[np.int64], Any]:
    """(addresses of the passes around the INT4 product of rung `name`, drivers)."""
    engine = _compile(modules.int4_loops(), target_features(name))
    around = [engine.get_function_address(each) for each in modules.INT4_LOOPS]
    return np.array(around, np.int64), load("loops.nibbles")
