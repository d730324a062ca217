"""INT4 weights under 8-bit activations: a quarter of a byte's bandwidth of float32's eight, where memory is the limit.

That is so when few rows meet many weights, as when a language model writes one token. Weights keep a scale for each
column, or for each group of some rows of a column, which is what makes four bits accurate enough.

int4_matmul   `int8_matmul` of the same codes
int4_linear   with one scale a column: `Int8Linear` of the same codes; in groups: `calls.int4`, or NumPy
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.features import kernel
from ..runtime.layout import ALIGNMENT
from ..runtime.once import load
from .arrays import FLOAT32, empty_aligned, readable, rows_of
from .dispatch import compiled_kernel, exact_product, tell_cost
from .elementwise import choose_dynamic, quantize_plain
from .int8 import PackedInt8, check_codes, filled, int8_matmul, pack_codes
from .linear import Int8Linear
from .prepared import Prepared, remember, values_of
from .qparams import DYNAMIC, QParamsLike, bias_of, check_scales, refuse, tensor_qparams


@dataclass(frozen=True, eq=False)
class PackedInt4:
    """INT4 weights [K, N], two a byte, packed once for every kernel; made by `prepack_int4`.

    data: uint8, the codes as (N/16, K/8, 16, 4): the low nibble is of the first four of eight steps of K, the high one
    of the second. scale: float32 (N/16, groups, 16), of 16 columns group by group; column_sums: int32, the same shape,
    of each group.
    """

    data: NDArray[np.uint8] = field(repr=False)
    shape: tuple[int, int]
    group_size: int
    scale: NDArray[np.float32] = field(repr=False)
    column_sums: NDArray[np.int32] = field(repr=False)
    weights: PackedInt8 = field(init=False, repr=False)  # the same codes, without their scales
    prepared: list[Prepared] = field(init=False, repr=False, default_factory=list)  # what `int4_linear` remembers

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle goes without what is remembered of earlier calls."""
        return PackedInt4, (self.data, self.shape, self.group_size, self.scale, self.column_sums)

    def __post_init__(self) -> None:
        (k, n), padded = self.shape, max(-(-self.shape[0] // 64), 1) * 64
        panels, groups = -(-n // 16), -(-padded // self.group_size)
        wanted = {"data": (panels * padded * 8,), **dict.fromkeys(("scale", "column_sums"), (panels, groups, 16))}
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}: make it with prepack_int4")
            array.flags.writeable = False
        sums = self.column_sums.sum(1, np.int64).reshape(-1)[:n]
        object.__setattr__(self, "weights", PackedInt8(self.data, self.shape, sums, 8 * k, bits=4))

    def of_group(self, group: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """(scales, column sums) of a group, [N] each."""
        n = self.shape[1]
        return self.scale[:, group].reshape(-1)[:n], self.column_sums[:, group].reshape(-1)[:n]

    @property
    def nbytes(self) -> int:
        """Bytes the pack keeps alive."""
        sums = self.weights.column_sums
        return self.data.nbytes + ALIGNMENT + self.scale.nbytes + self.column_sums.nbytes + sums.nbytes

    def unpack(self) -> NDArray[np.int8]:
        """The codes again: int8 [K, N]."""
        return self.weights.unpack()


def prepack_int4(b: NDArray[np.int8], scale: ArrayLike = 1.0, group_size: int | None = None) -> PackedInt4:
    """Pack weights b, int8 [K, N] with codes in [-8, 7], once; use them many times.

    scale: float32 [N], or one for all; with group_size, a multiple of 8, float32 [ceil(K / group_size), N]: a scale for
    each group of so many steps of K. TypeError or ValueError for anything else.

    >>> prepack_int4(np.array([[7], [-8]], np.int8)).unpack().tolist()
    [[7], [-8]]
    """
    b, scale = np.asarray(b), np.asarray(scale, np.float32)
    check_codes(b, bits=4)
    (k, n), padded = b.shape, max(-(-b.shape[0] // 64), 1) * 64
    group = padded if group_size is None else group_size
    if group < 8 or group % 8:
        raise ValueError(f"group_size must be a multiple of 8, got {group}")
    used, groups = max(-(-k // group), 1), -(-padded // group)
    if group_size is not None and scale.size != 1 and scale.shape != (used, n):
        raise ValueError(f"scale must have shape {(used, n)}, a row for each group of {group}, got {scale.shape}")
    if group_size is None and scale.size not in (1, n):
        raise ValueError(f"scale must have 1 or {n} values, one a column of the weights, got {scale.size}")
    check_scales(scale)
    full = filled(b, groups * group)
    scales = np.zeros((groups, full.shape[1]), np.float32)
    scales[:used, :n] = scale if scale.shape == (used, n) else scale.reshape(-1)
    sums = full.reshape(groups, group, -1).sum(1, np.int32)
    by_panel = (np.ascontiguousarray(a.reshape(groups, -1, 16).transpose(1, 0, 2)) for a in (scales, sums))
    return PackedInt4(pack_codes(full[:padded], 4), (k, n), group, *by_panel)


def _check(x: NDArray[Any], b: PackedInt4) -> None:
    if not isinstance(b, PackedInt4):
        raise TypeError(f"weights must be packed, got {type(b).__name__}: prepack_int4(b) once, then use the pack")
    k = b.shape[0]
    if x.ndim == 0 or x.shape[-1] != k:
        raise ValueError(f"wanted [..., {k}] for weights {list(b.shape)}, got shape {x.shape}")
    if k * 8 * 383 >= 2**31:
        raise OverflowError(f"a sum of K = {k} products may lie beyond int32: split K")


def int4_matmul(a: NDArray[np.int8 | np.uint8], b: PackedInt4, a_zero_point: ArrayLike = 0) -> NDArray[np.int32]:
    """(a - a_zero_point) @ b, exactly: int32 [..., M, N]; scales are not used.

    a: int8 or uint8 codes [..., M, K], any strides. a_zero_point: as in `int8_matmul`. OverflowError if a sum might not
    fit int32 (from K = 701 000 on), TypeError or ValueError for what is none of this.

    >>> int4_matmul(np.array([[1, 2]], np.uint8), prepack_int4(np.array([[3], [4]], np.int8)), 1).tolist()
    [[4]]
    """
    a = np.asarray(a)
    _check(a, b)
    return int8_matmul(a, b.weights, a_zero_point)


def int4_linear(
    x: NDArray[Any], b: PackedInt4, bias: ArrayLike | None = None, input_qparams: QParamsLike | None = None
) -> NDArray[np.float32]:
    """x @ (codes * scale) + bias with x in 8 bits: float32 [..., N].

    x: float32 [..., K], quantized by input_qparams, or (None) by its own range as in ONNX DynamicQuantizeLinear; or
    codes of input_qparams. bias: float32 [N]. The result is bias (or 0), plus for each group in turn
    `float32(sums of the group) * (s_x * scale of the group)`, each step rounded to float32: the same bits from every
    kernel, and for one group those of `Int8Linear`. ValueError for NaN in x, or for what does not fit together.

    >>> int4_linear(np.float32([[0, 255]]), prepack_int4(np.array([[3], [4]], np.int8), 0.5)).tolist()
    [[510.0]]
    """
    x = np.asarray(x)
    _check(x, b)
    codes = x.dtype.char in "bB"
    if codes and input_qparams is None:
        raise ValueError(f"x holds {x.dtype} codes, and their qparams are not known: give input_qparams")
    if x.dtype.char != "f" and not codes:  # of any byte order
        raise TypeError(f"x must be a float32 array, or int8 or uint8 codes, got {x.dtype}: x.astype(np.float32)")
    layer = _layer(b, bias, input_qparams)
    y: NDArray[np.float32] = layer(x)
    return y


def _layer(b: PackedInt4, bias: Any, input_qparams: QParamsLike | None) -> Any:
    """The layer with this bias and input_qparams, which the pack remembers."""
    values = (values_of(bias),)
    for prepared in b.prepared:
        if prepared.values == values and prepared.input_qparams is input_qparams:
            return prepared.made
    addend = None if bias is None else bias_of(bias, b.shape[1]).astype(np.float32)
    if b.shape[0] <= b.group_size:
        layer: Any = Int8Linear(b.weights, b.of_group(0)[0], addend, input_qparams)
    else:
        layer = GroupedLinear(PackedInt4(*b.__reduce__()[1]), addend, input_qparams)  # may not refer to the pack
    remember(b.prepared, Prepared(values, input_qparams, None, layer))
    return layer


SMALL_GROUP = 128  # steps of K; a smaller one ends before it has paid for loading and storing the tiles of its sums
FEW_ROWS, FEW_ROWS_OF_SMALL_GROUPS = 4, 8  # up to which vector registers are faster than AMX


class GroupedLinear:
    """`int4_linear` of weights in groups: what its calls have in common."""

    def __init__(self, b: PackedInt4, bias: NDArray[np.float32] | None, input_qparams: QParamsLike | None) -> None:
        self.b, self.is_dynamic = b, input_qparams is None
        self.bias = np.zeros(len(b.scale) * 16, np.float32)
        self.bias[: b.shape[1]] = 0 if bias is None else bias
        self.qparams_in = DYNAMIC if input_qparams is None else tensor_qparams(input_qparams, "input_qparams")
        self.floats = np.array([*self.qparams_in, 0, 0, 0, 0], np.float32)
        self.records: dict[tuple[str, bool, str], tuple[Any, NDArray[np.int64], tuple[Any, ...]]] = {}

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        (k, n), codes = self.b.shape, x.dtype.char != "f"
        rows = rows_of(x if codes else np.ascontiguousarray(readable(x)), k)
        name, m = kernel(), len(rows)
        if name == "numpy" or 0 in (m, n):
            return self._plain(rows).reshape(*x.shape[:-1], n)
        few = FEW_ROWS if self.b.group_size >= SMALL_GROUP else FEW_ROWS_OF_SMALL_GROUPS
        key = name, m <= few or self.b.group_size % 64 != 0, rows.dtype.char
        run, words, _ = self.records.get(key) or self._record(*key)
        loops, out = load("calls.int4"), empty_aligned((m, n), FLOAT32)
        if codes:
            loops.of_codes(*run.pool(), words, rows.view(np.uint8), self.floats, out)
        else:
            refuse(rows, loops.of_reals(*run.pool(), words, rows, self.floats, out))
        return out.reshape(*x.shape[:-1], n)

    def _record(self, name: str, few_rows: bool, kind: str) -> Any:
        """(kernel, an INT4 as words, what its addresses belong to) for rows of this type; remembered."""
        run, loops, jit, b = compiled_kernel(name, few_rows), load("calls.int4"), load("loops.jit"), self.b
        flip, shift = run.conversion(kind == "b" if kind != "f" else self.qparams_in.qmin < 0)
        range_task = load("calls.layer").range_task.address if kind == "f" else 0
        if run.name == "amx":
            add_groups, add_group = jit.int4_add_groups("amx", max(1, loops.PIECE // b.group_size))
            table, functions = None, {"unpack": jit.unpack("amx", 4), "add_groups": add_groups, "add_group": add_group}
        else:
            table = jit.int4_groups(run.name)
            functions = {"group_kernels": table.ctypes.data}
        values = {
            "task": loops.int4_task.address, "kernel": run.address, "range_task": range_task, **functions,
            "data": b.data.ctypes.data, "panel_bytes": b.weights.panel_bytes, "k": b.weights.padded, "n": b.shape[1],
            "group_size": b.group_size, "groups": b.scale.shape[1], "scales": b.scale.ctypes.data,
            "column_sums": b.column_sums.ctypes.data, "bias": self.bias.ctypes.data, "flip": flip, "zero_point": shift,
        }  # fmt: skip
        record = np.array([values.get(field, 0) for field in loops.INT4.names], np.int64)
        self.records[name, few_rows, kind] = run, record, (table,)
        return self.records[name, few_rows, kind]

    def _plain(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """The definition, in NumPy."""
        tell_cost()
        b, n, (zero_point, lo, hi, scale_in) = self.b, self.b.shape[1], self.qparams_in
        if rows.dtype == np.float32:
            if self.is_dynamic:
                scale_in, zero_point = choose_dynamic(rows)
            rows = quantize_plain(rows, scale_in, np.float32(zero_point), lo, hi)
        weights, y = b.unpack(), np.tile(self.bias[:n], (len(rows), 1))
        for g in range(b.scale.shape[1]):
            (scale, sums), part = b.of_group(g), slice(g * b.group_size, (g + 1) * b.group_size)
            acc = exact_product(rows[:, part], weights[part]) - zero_point * sums
            y += acc.astype(np.float32) * (scale_in * scale)
        return y
