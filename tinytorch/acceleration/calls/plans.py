"""Plans: what the calls of a pack or a layer have in common, found once for each kernel and type of input.

`b` is a PackedInt8 and `layer` an Int8Linear. They stand above this floor, which only reads their fields.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops.blocking import UNPACKED
from ..loops.jit import Kernel
from ..loops.records import DIRECT, PLAN, PRODUCT
from ..runtime import threads
from ..runtime.compiled import Entry, Task
from ..runtime.layout import ALIGN_FROM, ROW_BYTES, row_bytes
from ..runtime.once import load
from . import matmul

ALL = 1 << 40  # rows or panels of a block that holds them all


@dataclass(slots=True)
class Plan:
    """small: compiled, takes `words`, input and result; large: the same after a thread pool and `tasks`.

    words: a PLAN as int64, the first argument of both. max_small_rows: the largest number of rows that is small.
    max_rows_unaligned: the largest number whose result is not worth an aligned start. columns: of the result.
    """

    small: Entry
    large: Entry
    words: NDArray[np.int64]
    max_small_rows: int
    max_rows_unaligned: int
    columns: int
    owners: tuple[Any, ...]  # what the addresses among the words belong to
    product: NDArray[Any]  # the PRODUCT that a call copies
    tasks: tuple[Task, ...] = ()
    run: Any = None  # `small`, compiled when it is first called
    pool: Callable[[], Any] = threads.pool

    def compiled(self) -> Any:
        """Compile `run`."""
        self.run = self.small.made
        return self.run

    def run_large(self, *arguments: Any) -> Any:
        """Call `large`, compiled when it is first called."""
        pool = self.pool()
        return self.large.made(pool.address, pool.threads, *(task.address for task in self.tasks), *arguments)


def record_of(dtype: np.dtype[Any], values: dict[str, Any]) -> NDArray[Any]:
    """One record; an array among the values stands for its address."""
    record = np.zeros(1, dtype)
    for name, value in values.items():
        record[name] = value.ctypes.data if isinstance(value, np.ndarray) else value
    return record


def _product(b: Any, kernel: Kernel, values: dict[str, Any]) -> NDArray[Any]:
    """The PRODUCT with weights b, blocked as if it were small: one block."""
    (k, n), rows, panels, step = (
        b.shape,
        *(int(kernel.record[f][0]) for f in ("tile_rows", "tile_panels", "step_bytes")),
    )
    k_steps, unpack = -(-max(k, 1) // step), load("loops.jit").unpack(kernel.name, b.bits)
    blocking: dict[str, Any] = {
        "k_steps": k_steps, "depth": k_steps, "block_rows": ALL, "block_panels": ALL, "row_blocks": 1,
        "codes_stride": row_bytes(k_steps * step), "sums_bytes": rows * panels * 64,
        "weights_bytes": panels * 16 * -(-k_steps * step // UNPACKED) * UNPACKED if unpack else 0,
    }  # fmt: skip
    given = {"kernel": kernel.address, "b": b.data, "panel_bytes": b.panel_bytes, "k": k, "n": n}
    given |= {"unpack": unpack, "codes_per_byte": 8 // b.bits}
    return record_of(PRODUCT, {**blocking, **given, **values})


def _plan(
    entries: tuple[Entry, Entry], b: Any, kernel: Kernel, is_int8: bool, product: dict[str, Any],
    common: dict[str, Any], owners: tuple[Any, ...] = (),
) -> Plan:  # fmt: skip
    """product, common: fields of PRODUCT and PLAN. is_int8: whether the codes that meet the weights are int8."""
    (k, n), (flip, shift), made = b.shape, kernel.conversion(is_int8), _product(b, kernel, product)
    plan = record_of(PLAN, {"product": made, "flip": flip, "shift": shift, "column_sums": b.column_sums, **common})
    max_rows = (ALIGN_FROM - 1) // (4 * n) if k * n > 0 else 0
    arrays = tuple(value for value in (*product.values(), *common.values()) if isinstance(value, np.ndarray))
    owners = (made, kernel, b.data, b.column_sums, *arrays, *owners)
    small_rows = min(matmul.max_small_rows(k, n), max_rows)
    return Plan(*entries, plan.view(np.int64), small_rows, max_rows, n, owners, made)


def of_pack(b: Any, kernel: Kernel, kind: str) -> Plan:
    """The plan of `int8_matmul` with weights b and codes of type `kind`."""
    farthest = (2**31 - 1) // max(b.max_abs_sum, 1) - 255  # the zero point with which no sum of products leaves int32
    product = {"epilogue": int(DIRECT)}
    return _plan(
        (matmul.SMALL[kind], matmul.LARGE[kind]), b, kernel, kind == "b", product, {"max_zero_point": farthest}
    )


def quantizer_of(kernel: Kernel, flip: int) -> NDArray[np.int64]:
    """The QUANTIZER that `rows.quantize_rows` takes."""
    return np.array([kernel.record["extremes"][0], kernel.record["quantize"][0], flip], np.int64)


def of_rows(layer: Any, kernel: Kernel, is_int8: bool = False) -> Plan:
    """The plan of a layer whose rows have a scale each. Reals become uint8 codes on their way in."""
    (_, n), (flip, shift) = layer.weights.shape, kernel.conversion(is_int8)
    start = np.zeros(n + 32, np.int64)
    start[:n] = -shift * layer.weights.column_sums
    start[: layer.int_bias.size] += layer.int_bias
    rows, epilogue = load("calls.rows"), load("loops.jit").passes_by_rows(kernel.name)[layer.relu]
    product = {
        "prologue": rows.quantize_rows.address, "prologue_u": quantizer_of(kernel, flip),
        "start": start.astype(np.int32),
        "epilogue": epilogue, "epilogue_u": layer.column_constants, "column_u": 12, "row_v": ROW_BYTES,
    }  # fmt: skip
    return _plan((rows.SMALL, rows.LARGE), layer.weights, kernel, is_int8, product, {})


def of_layer(layer: Any, kernel: Kernel, kind: str) -> Plan:
    """The plan of a layer whose input has type `kind`."""
    if layer.per_row and kind == "f":
        return of_rows(layer, kernel)
    n, to_codes = layer.weights.shape[1], layer.output_qparams is not None
    floats, integers = np.zeros(n + 32, np.float32), np.zeros(n, np.int32)  # epilogues read whole vectors
    floats[: layer.float_bias.size], integers[: layer.int_bias.size] = layer.float_bias, layer.int_bias
    is_int8 = layer.qparams_in.qmin < 0 if kind == "f" else kind == "b"
    epilogue = "to_codes" if to_codes else "to_float_relu" if layer.relu else "to_float"
    product = {
        "epilogue": int(kernel.record[epilogue][0]), "epilogue_v": layer.qparams_out_floats if to_codes else floats,
        "column_u": 4, "column_v": 0 if to_codes else 4,
    }  # fmt: skip
    common = {
        "scales": np.ascontiguousarray(np.broadcast_to(layer.scale, n)), "int_biases": integers,
        "qparams_in": layer.qparams_in_floats, "qparams_out": layer.qparams_out_floats, "to_codes": to_codes,
    }  # fmt: skip
    compiled, key = load("calls.layer"), (kind, layer.result_dtype.char)
    made = _plan((compiled.SMALL[key], compiled.LARGE[key]), layer.weights, kernel, is_int8, product, common)
    made.tasks = (compiled.range_task,)
    return made
