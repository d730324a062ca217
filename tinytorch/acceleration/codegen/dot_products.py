"""What each instruction set multiplies at once: a vector of weights with four activations of one row.

64 bytes of a panel of packed weights are four steps of K for 16 columns. They meet four activations of a row, the same
for all columns; each column's sum gets four products more:

    weights       w[0,0] w[1,0] w[2,0] w[3,0] | w[0,1] w[1,1] w[2,1] w[3,1] | ...    one int32 lane a column
    activations   x[0]   x[1]   x[2]   x[3]   | x[0]   x[1]   x[2]   x[3]   | ...    broadcast
                       multiply, add up               multiply, add up
    sums          c[0]                        | c[1]                        | ...

    avx512_vnni    uint8 x int8    vpdpbusd, 512 bits: 16 columns
    avx_vnni       uint8 x int8    vpdpbusd, 256 bits: 8 columns
    avx2           uint8 x int8    vpmaddwd, 256 bits, on codes widened to int16: 4 columns, two sums each
    neon_dotprod   int8 x int8     sdot, 128 bits: 4 columns
    generic        uint8 x int8    shifts and multiplications, 16 columns; LLVM compiles them for every processor
    bfloat16       two steps       vdpbf16ps, 512 bits: 16 columns, float32 sums
    float32        one step        a fused multiply-add, for each instruction set; for weights alone in few bits

None of them saturates; VPMADDUBSW and VPDPBUSDS would. AMX multiplies tiles of rows and columns: see `amx_kernels`.
"""

from dataclasses import dataclass

import llvmlite.binding as llvm

from .ir import broadcast, constant, join, repeated, vector


@dataclass(frozen=True)
class DotProduct:
    """One instruction set's product, and how many of its sums fit the registers.

    Pieces of IR are templates, whose names in braces the register kernel fills in:

    `widen` makes {weights} from {loaded}, of the type `load`. `broadcast` makes {x} from {four}, an i32 that holds four
    activations. `multiply_add` makes {sum} = {acc} + {weights} . {x}. At the end `fold` makes {columns}, a lane for
    each column, from {acc}.
    """

    rows: int  # of a tile of C: its sums, a row of weights and one broadcast fit the registers
    panels: int
    vectors: int  # in a panel
    load: str  # the type of a vector of weights, as it lies in memory
    acc: str  # the type of a vector of sums
    broadcast: str
    multiply_add: str
    declare: str = ""
    widen: str = "{weights} = bitcast {load} {loaded} to {load}"
    fold: str = "{columns} = bitcast {acc_type} {acc} to {acc_type}"
    folded: str = ""  # the type of {columns}, if it is not that of {acc}
    add: str = "add"

    @property
    def result(self) -> str:
        """The type of {columns}."""
        return self.folded or self.acc

    @property
    def load_bytes(self) -> int:
        """Bytes of a vector of weights, and of its columns' sums."""
        return 64 // self.vectors


def dot_products() -> dict[str, DotProduct]:
    """The dot products of int8 weights by the name of their kernel, AMX excepted."""
    return {
        "avx512_vnni": _vpdpbusd(512, rows=6, panels=4),
        "avx_vnni": _vpdpbusd(256, rows=6, panels=1),
        "avx2": _vpmaddwd(),
        "neon_dotprod": _sdot(),
        "generic": _shift_and_multiply(),
    }


def _vpdpbusd(bits: int, rows: int, panels: int) -> DotProduct:
    """uint8 x int8, four products a lane. Until LLVM 22 its bytes are passed as int32 lanes."""
    acc, load, name = vector(bits // 32, "i32"), vector(bits // 8, "i8"), f"@llvm.x86.avx512.vpdpbusd.{bits}"
    four = broadcast("{x}.lanes", "{four}", "i32", bits // 32)
    if llvm.llvm_version_info[0] < 22:
        load = acc
    return DotProduct(
        rows, panels, 512 // bits, load, acc,
        broadcast=join(four, f"{{x}} = bitcast {acc} {{x}}.lanes to {load}"),
        multiply_add=f"{{sum}} = call {acc} {name}({acc} {{acc}}, {load} {{x}}, {load} {{weights}})",
        declare=f"declare {acc} {name}({acc}, {load}, {load})",
    )  # fmt: skip


def bf16_dot_product() -> DotProduct:
    """bfloat16, two products a lane, each added with its own rounding; subnormal numbers count as 0."""
    acc, load, name = "<16 x float>", "<32 x bfloat>", "@llvm.x86.avx512bf16.dpbf16ps.512"
    two = broadcast("{x}.lanes", "{four}", "i32", 16)
    return DotProduct(
        6, 4, 1, load, acc,
        broadcast=join(two, f"{{x}} = bitcast <16 x i32> {{x}}.lanes to {load}"),
        multiply_add=f"{{sum}} = call {acc} {name}({acc} {{acc}}, {load} {{x}}, {load} {{weights}})",
        declare=f"declare {acc} {name}({acc}, {load}, {load})",
        add="fadd",
    )  # fmt: skip


def float_dot_product(kernel: str) -> DotProduct:
    """float32, one step a lane: a fused multiply-add, whose only rounding is that of the sum. Every kernel adds up the
    steps of a column in the same order, so all give the same bits."""
    lanes, rows, panels = {"avx512_vnni": (16, 6, 4), "neon_dotprod": (4, 6, 1), "generic": (16, 2, 1)}.get(
        kernel, (8, 6, 1)
    )
    v, name = vector(lanes, "float"), f"@llvm.fma.v{lanes}f32"
    return DotProduct(
        rows, panels, 16 // lanes, v, v,
        broadcast=join("{x}.real = bitcast i32 {four} to float", broadcast("{x}", "{x}.real", "float", lanes)),
        multiply_add=f"{{sum}} = call {v} {name}({v} {{x}}, {v} {{weights}}, {v} {{acc}})",
        declare=f"declare {v} {name}({v}, {v}, {v})",
        add="fadd",
    )  # fmt: skip


def _vpmaddwd() -> DotProduct:
    """Both widened to int16; 256 bits hold four columns, each as two int32, which are added up at the end."""
    four_times, name = constant("i32", [0, 1, 2, 3] * 4), "@llvm.x86.avx2.pmadd.wd"
    even, odd = constant("i32", (0, 2, 4, 6)), constant("i32", (1, 3, 5, 7))
    return DotProduct(
        rows=3, panels=1, vectors=4, load="<16 x i8>", acc="<8 x i32>", folded="<4 x i32>",
        declare=f"declare <8 x i32> {name}(<16 x i16>, <16 x i16>)",
        widen="{weights} = sext <16 x i8> {loaded} to <16 x i16>",
        broadcast=f"""
            {{x}}.bytes = bitcast i32 {{four}} to <4 x i8>
            {{x}}.wide = zext <4 x i8> {{x}}.bytes to <4 x i16>
            {{x}} = shufflevector <4 x i16> {{x}}.wide, <4 x i16> poison, <16 x i32> {four_times}""",
        multiply_add=f"""
            {{sum}}.two = call <8 x i32> {name}(<16 x i16> {{weights}}, <16 x i16> {{x}})
            {{sum}} = add <8 x i32> {{acc}}, {{sum}}.two""",
        fold=f"""
            {{columns}}.even = shufflevector <8 x i32> {{acc}}, <8 x i32> poison, <4 x i32> {even}
            {{columns}}.odd = shufflevector <8 x i32> {{acc}}, <8 x i32> poison, <4 x i32> {odd}
            {{columns}} = add <4 x i32> {{columns}}.even, {{columns}}.odd""",
    )  # fmt: skip


def _sdot() -> DotProduct:
    """int8 x int8, four products a lane."""
    name = "@llvm.aarch64.neon.sdot.v4i32.v16i8"
    return DotProduct(
        rows=6, panels=1, vectors=4, load="<16 x i8>", acc="<4 x i32>",
        declare=f"declare <4 x i32> {name}(<4 x i32>, <16 x i8>, <16 x i8>)",
        broadcast=join(
            broadcast("{x}.lanes", "{four}", "i32", 4), "{x} = bitcast <4 x i32> {x}.lanes to <16 x i8>"
        ),
        multiply_add=f"{{sum}} = call <4 x i32> {name}(<4 x i32> {{acc}}, <16 x i8> {{weights}}, <16 x i8> {{x}})",
    )  # fmt: skip


def _shift_and_multiply() -> DotProduct:
    """uint8 x int8 by what every processor has: the products of four bytes are added one after the other."""
    sums = ["{acc}", "{sum}.after0", "{sum}.after1", "{sum}.after2", "{sum}"]
    return DotProduct(
        rows=2, panels=1, vectors=1, load="<16 x i32>", acc="<16 x i32>",
        broadcast="{x} = add i32 {four}, 0",
        multiply_add=join(*(_product_of_byte(byte, sums[byte], sums[byte + 1]) for byte in range(4))),
    )  # fmt: skip


def _product_of_byte(byte: int, before: str, after: str) -> str:
    """after = before + one byte of the weights, sign-extended by two shifts, times that of {x}, broadcast."""
    v, n = "<16 x i32>", f"{{sum}}.{byte}"
    return f"""
    {n}.up = shl {v} {{weights}}, {repeated("i32", 24 - 8 * byte, 16)}
    {n}.w = ashr {v} {n}.up, {repeated("i32", 24, 16)}
    {n}.down = lshr i32 {{x}}, {8 * byte}
    {n}.x = and i32 {n}.down, 255
    {broadcast(f"{n}.x16", f"{n}.x", "i32", 16)}
    {n}.product = mul {v} {n}.w, {n}.x16
    {after} = add {v} {before}, {n}.product"""
