"""Epilogues: what int32 sums go through while they are still in the first cache. Each is a loop over a tile of C.

    to_int32                              the sums as they are
    to_float, to_float_relu               sum * scale[column] + bias[column]
    to_codes                              clip(rint(sum * multiplier[column]) + zero point), which is `requantize`
    to_float_by_rows, ..._relu_by_rows    as to_float, but each row has a scale and a zero point of its own

Each step is rounded to float32, as NumPy would: LLVM may not join a product and a sum to one FMA here.
"""

from ..runtime.layout import ROW_BYTES
from .ir import clip, code_range, declare_round, join, load_columns, load_number, relu, round_to_int, vector
from .matrix_loop import MatrixLoop, matrix_loop

LANES = 16
INTS, FLOATS = vector(LANES, "i32"), vector(LANES, "float")


def to_int32() -> str:
    """y = x, int32."""
    body = f"%result = add {INTS} %elements, zeroinitializer"
    return matrix_loop(MatrixLoop("to_int32", LANES, "i32", "i32", body))


def to_float(name: str, with_relu: bool) -> str:
    """y = x * u[column] + v[column], and ReLU of that if wanted."""
    total = "%total" if with_relu else "%result"
    body = join(
        load_columns("scale", "u", LANES),
        load_columns("bias", "v", LANES),
        f"""
        %real = sitofp {INTS} %elements to {FLOATS}
        %scaled = fmul {FLOATS} %real, %scale
        {total} = fadd {FLOATS} %scaled, %bias""",
        relu("%result", "%total", LANES) if with_relu else "",
    )
    return matrix_loop(MatrixLoop(name, LANES, "i32", "float", body))


def to_codes() -> str:
    """y = clip(rint(x * u[column]) + zero point), uint8 or int8. v: zero point, lowest and highest code, as floats."""
    body = join(
        load_columns("multiplier", "u", LANES),
        f"""
        %real = sitofp {INTS} %elements to {FLOATS}
        %scaled = fmul {FLOATS} %real, %multiplier""",
        clip("%scaled", LANES),
        round_to_int("%rounded", "%scaled.clipped", LANES),
        f"""
        %code = add {INTS} %rounded, %zero
        %result = trunc {INTS} %code to <{LANES} x i8>""",
    )
    loop = MatrixLoop("to_codes", LANES, "i32", "i8", body, setup=code_range("v", LANES))
    return join(matrix_loop(loop), declare_round(LANES))


def to_float_by_rows(name: str, with_relu: bool) -> str:
    """y = (x - zero point * column sum) * (scale * scale[column]) + bias[column], and ReLU of that if wanted.

    v: quantization parameters of each row, ROW_BYTES from one row to the next. u: for each 16 columns 16 scales,
    16 biases and 16 column sums of the weights.
    """
    row_setup = join(
        f"""
        %v.off = mul i64 %r, {ROW_BYTES}
        %v.row = getelementptr i8, ptr %v, i64 %v.off""",
        load_number("zero_point", "v.row", 0, LANES),
        load_number("row_scale", "v.row", 3, LANES),
        f"%zero = fptosi {FLOATS} %zero_point to {INTS}",
    )
    body = join(
        _of_16_columns(),
        _dequantize_row("%total" if with_relu else "%result"),
        relu("%result", "%total", LANES) if with_relu else "",
    )
    return matrix_loop(MatrixLoop(name, LANES, "i32", "float", body, row_setup=row_setup))


def _of_16_columns() -> str:
    """%scale, %bias and %column_sum of the 16 columns from %j on, which lie side by side."""
    return f"""
    %place = mul i64 %j, 3
    %scale.at = getelementptr float, ptr %u, i64 %place
    %scale = load {FLOATS}, ptr %scale.at, align 4
    %bias.at = getelementptr float, ptr %scale.at, i64 16
    %bias = load {FLOATS}, ptr %bias.at, align 4
    %column_sum.at = getelementptr i32, ptr %scale.at, i64 32
    %column_sum = load {INTS}, ptr %column_sum.at, align 4"""


def _dequantize_row(target: str) -> str:
    """target = (sum - zero point * column sum) * (scale of the row * scale of the column) + bias."""
    return f"""
    %of_zero_point = mul {INTS} %column_sum, %zero
    %exact = sub {INTS} %elements, %of_zero_point
    %real = sitofp {INTS} %exact to {FLOATS}
    %both_scales = fmul {FLOATS} %row_scale, %scale
    %scaled = fmul {FLOATS} %real, %both_scales
    {target} = fadd {FLOATS} %scaled, %bias"""
