"""Plans: what a small call needs, found once for a pack or a layer, a rung, and a type of input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..runtime import threads
from ..runtime.compiled import Entry
from ..runtime.layout import ALIGN_FROM
from ..runtime.once import load
from . import gemm, small

if TYPE_CHECKING:
    from ..operations.linear import Int8Linear
    from ..operations.pack import PackedInt8


@dataclass(slots=True)
class Plan:
    """small: compiled, takes `words`, input and result; large: the same after a thread pool. rows: the most that
    are small. most: the most whose result is not worth an aligned start. columns: of the result."""

    small: Entry
    large: Entry
    words: NDArray[np.int64]
    rows: int
    most: int
    columns: int
    keep: tuple[Any, ...]  # what the addresses among the words belong to
    run: Any = None
    pool: Callable[[], Any] = threads.pool

    def compiled(self) -> Any:
        """`run`: `small`, compiled when it is first called."""
        self.run = self.small.made
        return self.run


def _plan(
    entries: tuple[Entry, Entry], b: "PackedInt8", rung: Any, signed: bool, zero: int, after: int, *arrays: NDArray[Any]
) -> Plan:
    """`zero`, `after`, a pass, and `arrays` are a layer's. signed: whether the codes that meet the weights are int8."""
    (k, n), (flip, shift) = b.shape, rung.conversion(signed)
    arrays = (rung.addresses, b.data, b.column_sums, *arrays)
    head = [b.panel_bytes, k, n, flip, shift, zero, after]
    words = np.array([*head, *(array.ctypes.data for array in arrays)], np.int64)
    most = (ALIGN_FROM - 1) // (4 * n) if k * n > 0 else 0
    return Plan(*entries, words, min(small.most_rows(k, n), most), most, n, arrays)


def of_pack(b: "PackedInt8", rung: Any, kind: str) -> Plan:
    """The plan of `int8_matmul` with weights b and codes of type `kind`."""
    farthest = (2**31 - 1) // max(b.max_abs_sum, 1) - 255  # the zero point with which no sum of products leaves int32
    return _plan((small.MATMUL[kind], small.LARGE[kind]), b, rung, kind == "b", farthest, 0)


def quantizer_of(rung: Any, flip: int) -> NDArray[np.int64]:
    """The words that `rows.quantize_rows` takes."""
    return np.array([rung.addresses[gemm.EXTREMES], rung.addresses[gemm.QUANTIZE], flip], np.int64)


def of_rows(layer: "Int8Linear", rung: Any) -> Plan:
    """The plan of a layer whose input comes in reals, each row of which gets a scale of its own."""
    (_, n), (flip, shift) = layer.weights.shape, rung.conversion(signed=False)
    start = np.zeros(n + 32, np.int64)
    start[:n] = -shift * layer.weights.column_sums
    start[: layer.int_bias.size] += layer.int_bias
    rows, finish = load("loops.rows"), load("loops.jit").passes_by_rows(rung.name)[layer.relu]
    arrays = layer.column_constants, start.astype(np.int32), quantizer_of(rung, flip)
    entries, before = (rows.SMALL, rows.LARGE), rows.quantize_rows.address
    return _plan(entries, layer.weights, rung, False, before, finish, *arrays)


def of_layer(layer: "Int8Linear", rung: Any, kind: str) -> Plan:
    """The plan of a layer whose input has type `kind`."""
    if layer.per_row:
        return of_rows(layer, rung)
    n = layer.weights.shape[1]
    floats, integers = np.zeros(n + 32, np.float32), np.zeros(n, np.int32)  # passes read whole vectors
    floats[: layer.float_bias.size], integers[: layer.int_bias.size] = layer.float_bias, layer.int_bias
    scale = np.ascontiguousarray(np.broadcast_to(layer.scale, n))
    signed = layer.qparams_in.qmin < 0 if kind == "f" else kind == "b"
    fused = load("loops.fused")
    entries = fused.SMALL[kind, layer.result_dtype.char], fused.LARGE[kind, layer.result_dtype.char]
    arrays = scale, floats, integers, layer.qparams_in_floats, layer.qparams_out_floats
    return _plan(entries, layer.weights, rung, signed, layer.qparams_in.zero_point, layer.epilogue, *arrays)
