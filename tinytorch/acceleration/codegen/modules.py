"""What is compiled together: each function returns the text of one module of LLVM IR.

    micro_kernels        the integer product on a few rows x a few panels, for one kernel (instruction set)
    bf16_micro_kernels   the same for bfloat16
    matrix_loops         one walk over a matrix: quantize, dequantize, prologues and epilogues of a product
    epilogues_by_rows    epilogues for rows that have quantization parameters of their own
    bf16_block           float32 -> bfloat16, in the order that the micro-kernels read
    unpack_loops         weights of few bits -> int8
    real_weights         weights of few bits -> float32
    float_micro_kernels  float32 x float32
    int4_groups          INT4 weights in groups, for one kernel; and sums of a group of K -> the result
    depthwise_loops      the sums of a depthwise convolution, for one kernel

`loops.jit` compiles them, and finds the functions' addresses by the names that stand here.
"""

from typing import NamedTuple

from . import amx_kernels, bf16_blocks, depthwise, dot_products, epilogues, int4, prologues, quantize
from .amx_kernels import AmxKernel
from .dot_products import DotProduct
from .ir import module
from .micro_kernels import NO_CONFIGURATION, register_kernel

MATRIX_LOOPS = (
    "extremes", "copy_codes", "quantize", "to_int32", "to_float", "to_float_relu", "to_codes",
    "dequantize_int8", "dequantize_uint8",
)  # fmt: skip
EPILOGUES_BY_ROWS = "to_float_by_rows", "to_float_relu_by_rows"
DEPTHWISE_LOOPS = "interleave", *(depthwise.taps_name(taps + 1) for taps in range(depthwise.MOST_TAPS))


class MicroKernels(NamedTuple):
    """The IR of the micro-kernels of one instruction set, and the names of its functions.

    names[rows - 1][panels - 1] is the one for so many rows and panels. Then follow as many for a deep K, whose weights
    and not its rows stay in the first cache; vector registers have the same for both.
    """

    ir: str
    names: list[list[str]]


def micro_kernels(kernel: str) -> MicroKernels:
    """uint8 x int8 -> int32 (neon_dotprod: int8 x int8), for the kernel of this name."""
    return _in_amx_tiles("tdpbusd") if kernel == "amx" else _in_registers(dot_products.dot_products()[kernel])


def bf16_micro_kernels(kernel: str) -> MicroKernels:
    """bfloat16 x bfloat16 -> float32, for the kernel "amx" or "avx512_vnni"."""
    return _in_amx_tiles("tdpbf16ps") if kernel == "amx" else _in_registers(dot_products.bf16_dot_product())


def _in_registers(dot: DotProduct) -> MicroKernels:
    """Micro-kernels whose sums lie in vector registers, one for each number of rows and panels."""
    numbers_of_rows, numbers_of_panels = range(1, dot.rows + 1), range(1, dot.panels + 1)
    kernels = [
        register_kernel(f"tile_{rows}_{panels}", dot, rows, panels)
        for rows in numbers_of_rows for panels in numbers_of_panels
    ]  # fmt: skip
    names = [[f"tile_{rows}_{panels}" for panels in numbers_of_panels] for rows in numbers_of_rows]
    return MicroKernels(module(NO_CONFIGURATION, dot.declare, *kernels), names * 2)


def _in_amx_tiles(instruction: str) -> MicroKernels:
    """Micro-kernels of AMX: one for up to 16 and one for up to 32 rows, each for one or two panels."""
    kernels = {
        (deep, row_tiles, panels): AmxKernel(row_tiles, panels, instruction, deep)
        for deep in (False, True) for row_tiles in (1, 2) for panels in (1, 2)
    }  # fmt: skip
    names = [
        [kernels[deep, 1 + row // 16, panels].name for panels in (1, 2)] for deep in (False, True) for row in range(32)
    ]
    texts = [amx_kernels.amx_kernel(kernel) for kernel in kernels.values()]
    return MicroKernels(module(amx_kernels.tile_configuration(), *texts), names)


def matrix_loops() -> str:
    """The functions MATRIX_LOOPS."""
    return module(
        prologues.extremes(),
        prologues.copy_codes(),
        quantize.quantize(),
        epilogues.to_int32(),
        epilogues.to_float("to_float", with_relu=False),
        epilogues.to_float("to_float_relu", with_relu=True),
        epilogues.to_codes(),
        quantize.dequantize("dequantize_int8", "sitofp"),
        quantize.dequantize("dequantize_uint8", "uitofp"),
    )


def epilogues_by_rows() -> str:
    """The functions EPILOGUES_BY_ROWS: without and with ReLU."""
    without_relu, with_relu = EPILOGUES_BY_ROWS
    return module(
        epilogues.to_float_by_rows(without_relu, with_relu=False),
        epilogues.to_float_by_rows(with_relu, with_relu=True),
    )


def bf16_block(source: str, target: str) -> str:
    """The function `block_{source}{target}`; each is a module, for it takes a while to compile."""
    return module(bf16_blocks.bf16_block(source, target))


def unpack_loops() -> str:
    """`unpack_BITS` for each of `prologues.BITS`."""
    return module(*(prologues.unpack(bits) for bits in prologues.BITS))


def real_weights(bits: int, with_zero_points: bool) -> tuple[str, str]:
    """(module, name) of the function that makes float32 of weights of so many bits."""
    name = prologues.real_weights_name(bits, with_zero_points)
    return module(prologues.real_weights(bits, with_zero_points)), name


def float_micro_kernels(kernel: str) -> MicroKernels:
    """float32 x float32 -> float32, for a kernel in vector registers."""
    return _in_registers(dot_products.float_dot_product(kernel))


def int4_add_groups(count: int) -> str:
    """The functions `int4_add_groups_COUNT`, and `int4_add_groups_1`."""
    return module(*(int4.int4_add_groups(each) for each in {count, 1}))


def int4_groups(kernel: str) -> MicroKernels:
    """INT4 weights in groups, float32 results, for a kernel whose sums lie in vector registers."""
    dot = dot_products.dot_products()[kernel]
    sizes = [[(rows + 1, panels + 1) for panels in range(dot.panels)] for rows in range(dot.rows)]
    kernels = [int4.group_kernel(f"group_{rows}_{panels}", dot, rows, panels) for row in sizes for rows, panels in row]
    return MicroKernels(
        module(dot.declare, *kernels), [[f"group_{rows}_{panels}" for rows, panels in row] for row in sizes]
    )


def depthwise_loops(kernel: str) -> str:
    """The functions DEPTHWISE_LOOPS."""
    return module(depthwise.all_depthwise(kernel))
