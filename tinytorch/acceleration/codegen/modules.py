"""What is compiled together: each function returns the text of one module of LLVM IR.

micro_kernels        the integer product on a few rows x a few panels, for one kernel (instruction set)
bf16_micro_kernels   the same for bfloat16
matrix_loops         one walk over a matrix: quantize, dequantize, prologues and epilogues of a product
epilogues_by_rows    epilogues for rows that have quantization parameters of their own
bf16_block           float32 -> bfloat16, in the order that the micro-kernels read
int4_loops           INT4 -> INT8, and sums of INT4 products -> the result
depthwise_loops      the sums of a depthwise convolution, for one kernel
"""

from typing import NamedTuple

from . import blocks, depthwise, microkernels, rounding, sweeps

MATRIX_LOOPS = (
    "extremes", "copy_codes", "quantize", "to_int32", "to_float", "to_float_relu", "to_codes",
    "dequantize_int8", "dequantize_uint8",
)  # fmt: skip
EPILOGUES_BY_ROWS = sweeps.BY_ROWS  # without and with ReLU
INT4_LOOPS = "unpack_nibbles", "gather_nibbles", "count_nibbles", "scale_nibbles"
DEPTHWISE_LOOPS = "interleave", *(depthwise.taps_name(taps + 1) for taps in range(depthwise.MOST_TAPS))


class MicroKernels(NamedTuple):
    """The IR of the micro-kernels of one instruction set, and the names of its functions.

    names[rows - 1][panels - 1] is the one for so many rows and panels. Then follow as many for a deep K, whose weights
    and not its rows stay in the first cache; vector registers have the same for both.
    """

    ir: str
    names: list[list[str]]


def module(*parts: str) -> str:
    """One module of these parts: LLVM wants every declaration once."""
    lines = "\n".join(parts).split("\n")
    declarations = dict.fromkeys(line for line in lines if line.startswith("declare"))
    return "\n".join([*declarations, *(line for line in lines if not line.startswith("declare"))])


def _in_registers(dot: microkernels.Dot) -> MicroKernels:
    """Micro-kernels whose sums lie in vector registers, for each number of rows and panels."""
    numbers_of_rows, numbers_of_panels = range(1, dot.rows + 1), range(1, dot.panels + 1)
    kernels = [
        microkernels.register_kernel(f"tile_{rows}_{panels}", dot, rows, panels)
        for rows in numbers_of_rows for panels in numbers_of_panels
    ]  # fmt: skip
    names = [[f"tile_{rows}_{panels}" for panels in numbers_of_panels] for rows in numbers_of_rows]
    return MicroKernels(module(microkernels.NO_TILES, dot.declare, *kernels), names * 2)


def _in_amx_tiles(instruction: str) -> MicroKernels:
    """Micro-kernels of AMX: one for up to 16 and one for up to 32 rows, each for one or two panels."""
    kinds, sizes = ("tile", "deep"), (1, 2)
    kernels = [
        microkernels.amx_kernel(f"{kind}_{row_tiles}_{panels}", row_tiles, panels, instruction, kind == "deep")
        for kind in kinds for row_tiles in sizes for panels in sizes
    ]  # fmt: skip
    names = [[f"{kind}_{1 + row // 16}_{panels}" for panels in sizes] for kind in kinds for row in range(32)]
    return MicroKernels(module(microkernels.amx_support(), *kernels), names)


def micro_kernels(kernel: str) -> MicroKernels:
    """uint8 x int8 -> int32 (neon_dotprod: int8 x int8), for the kernel of this name."""
    return _in_amx_tiles("tdpbusd") if kernel == "amx" else _in_registers(microkernels.dots()[kernel])


def bf16_micro_kernels(kernel: str) -> MicroKernels:
    """bfloat16 x bfloat16 -> float32, for the kernel "amx" or "avx512_vnni"."""
    return _in_amx_tiles("tdpbf16ps") if kernel == "amx" else _in_registers(microkernels.bf16_dot())


def matrix_loops() -> str:
    """The functions MATRIX_LOOPS."""
    return module(sweeps.all_sweeps(), rounding.all_roundings())


def epilogues_by_rows() -> str:
    """The functions EPILOGUES_BY_ROWS."""
    return module(sweeps.sweeps_by_rows())


def bf16_block(source: str, target: str) -> str:
    """The function `block_{source}{target}`; each is a module, for it takes a while to compile."""
    return module(blocks.block(source, target))


def int4_loops() -> str:
    """The functions INT4_LOOPS."""
    return module(blocks.unpack_nibbles(), blocks.gather_nibbles())


def depthwise_loops(kernel: str) -> str:
    """The functions DEPTHWISE_LOOPS."""
    return module(depthwise.all_depthwise(kernel))
