"""The records that the loops share: what Python or a caller fills in by name, and what a task reads at an address.

    KERNEL   one instruction set: the size of its tiles, and where its functions begin
    PRODUCT  one product C = prologue(A) @ B, then its epilogue; the lower half is filled in by `blocking`
    MATRIX   one function that goes over a matrix row by row: a prologue or an epilogue alone
    PLAN     what calls of one pack or layer have in common
    QPARAMS  the quantization parameters of a tensor or a row, as the generated code reads them

Strides and sizes are in bytes; a name without either is an address, a count or a size in elements.
"""

from typing import Any

import numpy as np

from ..runtime.records import fields, view_of

KERNEL = fields(
    "tile_rows tile_panels "  # of the largest tile; a panel is 16 columns
    "step_bytes "  # of K, which the instruction multiplies at once
    "micro_kernels "  # a table: [for K in the first cache, or deep][rows - 1][panels - 1]
    "configure release "  # before and after tiles
    "product_task matrix_task "
    "extremes copy_codes quantize "  # prologues
    "to_int32 to_float to_float_relu to_codes "  # epilogues
    "dequantize_int8 dequantize_uint8"
)
PRODUCT = fields(
    "kernel "
    "a a_stride a_itemsize m k "  # what the prologue reads, or without one the micro-kernels
    "prologue prologue_u prologue_v "
    "b panel_bytes n "
    "unpack codes_per_byte "  # of b: a function by which weights of few bits become int8; else 0
    "c c_stride c_itemsize "
    "start "  # int32 for each column: where its sums begin
    "epilogue epilogue_u epilogue_v "
    "column_u column_v row_v "  # from a column's u or v to the next one's; from a row's v (prologue's, too)
    # Chosen by `blocking`:
    "k_steps depth is_deep sums_in_c "  # depth: steps of a piece of K
    "block_rows block_panels row_blocks "
    "weights_bytes codes_stride sums_bytes scratch thread_scratch "  # weights_bytes: of a tile's unpacked weights
    "nan_count"
)
MATRIX = fields("function x x_stride rows columns y y_stride u v row_v block_rows nan_count")
PLAN = fields(
    "product "  # a PRODUCT, of which a call copies what does not change
    "flip shift "  # what is xor-ed to codes on their way in, and so added to their zero point
    "column_sums max_zero_point "  # the largest with which no sum leaves int32
    "scales int_biases "  # of columns
    "qparams_in qparams_out "  # QPARAMS; a scale of 0: of the input's own range
    "to_codes "  # whether the epilogue makes codes
    "range_task "  # see `calls.layer.find_range_task`; 0 until a large input needs it
    "owners"
)
QPARAMS = np.dtype(
    [(name, np.float32) for name in ("zero_point", "lowest", "highest", "scale", "least", "greatest", "_6", "_7")]
)
NONE: Any = np.int64(0)  # no prologue
DIRECT: Any = np.int64(-1)  # an epilogue: none, the micro-kernels themselves store int32

kernel_at, product_at, matrix_at, plan_at, qparams_at = map(view_of, (KERNEL, PRODUCT, MATRIX, PLAN, QPARAMS))


def offset(record: np.dtype[Any], name: str) -> int:
    """Bytes from a record's begin to a field."""
    assert record.fields is not None
    return int(record.fields[name][1])


PRODUCT_FIELDS = PRODUCT.itemsize // 8
PRODUCT_BYTES: Any = np.int64((PRODUCT.itemsize + 63) // 64 * 64)  # what it takes in scratch memory
LEAST: Any = np.int64(offset(QPARAMS, "least"))
FLIP: Any = np.int64(offset(PLAN, "flip"))
