"""INT4 weights under 8-bit activations: a quarter of a byte's bandwidth of float32's eight, where memory is the limit.

That is so when few rows meet many weights, as when a language model writes one token. Weights keep a scale for each
column, or for each group of some rows of a column, which is what makes four bits accurate enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.features import kernel
from ..runtime.layout import ALIGNMENT
from ..runtime.once import load
from .arrays import aligned, readable, rows_of
from .dispatch import compiled_kernel, exact_product, tell_cost
from .elementwise import choose_dynamic, quantize_plain
from .prepared import Prepared, remember, values_of
from .qparams import DYNAMIC, QParamsLike, TensorQParams, bias_of, check_scales, refuse, tensor_qparams, zero_point_of

UNIT = 64  # K is padded to it


@dataclass(frozen=True, eq=False)
class PackedInt4:
    """INT4 weights [K, N], two a byte, packed once for every kernel; made by `prepack_int4`.

    data: uint8, the codes as (N/16, K/8, 16, 4): the low nibble is of the first four of eight steps of K, the high one
    of the second. scale: float32 [groups, N padded to 16]; column_sums: int32, the same shape, of each group.
    """

    data: NDArray[np.uint8] = field(repr=False)
    shape: tuple[int, int]
    group_size: int
    scale: NDArray[np.float32] = field(repr=False)
    column_sums: NDArray[np.int32] = field(repr=False)
    prepared: list[Prepared] = field(init=False, repr=False, default_factory=list)  # what `int4_linear` remembers

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle goes without what is remembered of earlier calls."""
        return PackedInt4, (self.data, self.shape, self.group_size, self.scale, self.column_sums)

    def __post_init__(self) -> None:
        groups, n = -(-self.padded // self.group_size), -(-self.shape[1] // 16) * 16
        wanted = {"data": (n * self.padded // 2,), "scale": (groups, n), "column_sums": (groups, n)}
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}: make it with prepack_int4")
            array.flags.writeable = False

    @property
    def padded(self) -> int:
        """K as it is stored: a multiple of 64, and of a group's size where that is smaller than K."""
        return max(-(-self.shape[0] // UNIT), 1) * UNIT

    @property
    def nbytes(self) -> int:
        """Bytes the pack keeps alive."""
        return self.data.nbytes + ALIGNMENT + self.scale.nbytes + self.column_sums.nbytes

    def unpack(self) -> NDArray[np.int8]:
        """The codes again: int8 [K, N]."""
        (k, n), both = self.shape, self.data.view(np.int8).reshape(-1, self.padded // 8, 1, 16, 4)
        codes = np.concatenate([(both << 4).astype(np.int8) >> 4, both >> 4], axis=2)
        return np.ascontiguousarray(codes.transpose(1, 2, 4, 0, 3).reshape(self.padded, -1)[:k, :n])


def prepack_int4(b: NDArray[np.int8], scale: ArrayLike = 1.0, group_size: int | None = None) -> PackedInt4:
    """Pack weights b, int8 [K, N] with codes in [-8, 7], once; use them many times.

    scale: float32 [N], or one for all; with group_size, a multiple of 8, float32 [ceil(K / group_size), N]: a scale for
    each group of so many steps of K. TypeError or ValueError for anything else.

    >>> prepack_int4(np.array([[7], [-8]], np.int8)).unpack().tolist()
    [[7], [-8]]
    """
    b, scale = np.asarray(b), np.asarray(scale, np.float32)
    if b.dtype != np.int8:
        raise TypeError(f"weights must be int8, got {b.dtype}: quantize them first")
    if b.ndim != 2:
        raise ValueError(f"weights must be [K, N], got shape {b.shape}")
    if b.size and (b.min() < -8 or b.max() > 7):
        raise ValueError(f"INT4 codes lie in [-8, 7], got [{b.min()}, {b.max()}]")
    (k, n), k_up, n_up = b.shape, max(-(-b.shape[0] // UNIT), 1) * UNIT, -(-b.shape[1] // 16) * 16
    group = k_up if group_size is None else group_size
    if group < 8 or group % 8:
        raise ValueError(f"group_size must be a multiple of 8, got {group}")
    used, groups = max(-(-k // group), 1), -(-k_up // group)
    if group_size is not None and scale.size != 1 and scale.shape != (used, n):
        raise ValueError(f"scale must have shape {(used, n)}, a row for each group of {group}, got {scale.shape}")
    if group_size is None and scale.size not in (1, n):
        raise ValueError(f"scale must have 1 or {n} values, one a column of the weights, got {scale.size}")
    check_scales(scale)
    full, scales = np.zeros((groups * group, n_up), np.int8), np.zeros((groups, n_up), np.float32)
    full[:k, :n] = b
    scales[:used, :n] = scale if scale.shape == (used, n) else scale.reshape(-1)
    eights = full[:k_up].reshape(k_up // 8, 2, 4, n_up // 16, 16).transpose(1, 3, 0, 4, 2).view(np.uint8)
    data = aligned(n_up * k_up // 2)
    data.reshape(eights.shape[1:])[...] = (eights[0] & 15) | (eights[1] << 4)
    sums = full.reshape(groups, group, n_up).sum(1, np.int32)
    return PackedInt4(data, (k, n), group, scales, sums)


def _check(x: NDArray[Any], b: PackedInt4) -> None:
    if not isinstance(b, PackedInt4):
        raise TypeError(f"weights must be packed, got {type(b).__name__}: prepack_int4(b) once, then use the pack")
    if x.ndim == 0 or x.shape[-1] != b.shape[0]:
        raise ValueError(f"wanted [..., {b.shape[0]}] for weights {list(b.shape)}, got shape {x.shape}")


FEW_ROWS, FEW_ROWS_OF_SMALL_GROUPS = 4, 24  # up to which VNNI is faster than AMX
SMALL_GROUP = 128  # steps of K; a smaller one ends before it has paid for loading and storing the tiles of its sums


def _kernel(b: PackedInt4, m: int) -> Any:
    """The kernel for m rows. AMX multiplies 64 steps of K at once, which groups must be multiples of."""
    few = FEW_ROWS if b.group_size >= SMALL_GROUP else FEW_ROWS_OF_SMALL_GROUPS
    return compiled_kernel(kernel(), m <= few or b.group_size % UNIT != 0)


def _multiply(
    run: Any, x: NDArray[Any], b: PackedInt4, qparams: Any, zero_point: int, bias: NDArray[np.float32] | None
) -> NDArray[Any]:
    """x [M, K] @ b, compiled: int32, or with a bias float32. x: codes, or float32 that qparams quantize; their
    zero_point, and the QPARAMS as float32 [8]."""
    loops, n, to_float = load("calls.int4"), b.shape[1], bias is not None
    is_codes, out = x.dtype != np.float32, np.empty((len(x), n), np.float32 if to_float else np.int32)
    flip, shift = run.conversion(x.dtype == np.int8 if is_codes else qparams[1] < 0)
    addresses = load("loops.jit").int4_loops(run.name)
    range_task = 0 if is_codes else load("calls.layer").range_task.address
    values = {
        "task": loops.int4_task.address, "kernel": run.address, "range_task": range_task,
        "unpack": addresses["int4_unpack"], "add_sums": addresses["int4_add_sums"],
        "add_group": addresses["int4_group_to_float" if to_float else "int4_group_to_int32"],
        "data": b.data.ctypes.data, "panel_bytes": b.padded * 8, "k": b.padded, "n": n,
        "group_size": b.group_size, "groups": len(b.scale), "scales": b.scale.ctypes.data,
        "column_sums": b.column_sums.ctypes.data, "to_float": to_float, "bias": 0 if bias is None else bias.ctypes.data,
        "out": out.ctypes.data, "flip": flip, "zero_point": zero_point + shift,
    }  # fmt: skip
    record = np.array([values.get(name, 0) for name in loops.INT4.names], np.int64)
    if is_codes:
        status = loops.of_codes(*run.pool(), record, x.view(np.uint8), qparams)
    else:
        status = loops.of_reals(*run.pool(), record, x, qparams)
    if status < 0:
        refuse(x, status)
    return out


def int4_matmul(a: NDArray[np.int8 | np.uint8], b: PackedInt4, a_zero_point: ArrayLike = 0) -> NDArray[np.int32]:
    """(a - a_zero_point) @ b, exactly: int32 [..., M, N]; scales are not used.

    a: int8 or uint8 codes [..., M, K], any strides. a_zero_point: as in `int8_matmul`. OverflowError if a sum might not
    fit int32 (from K = 701 000 on), TypeError or ValueError for what is none of this.

    >>> int4_matmul(np.array([[1, 2]], np.uint8), prepack_int4(np.array([[3], [4]], np.int8)), 1).tolist()
    [[4]]
    """
    a = np.asarray(a)
    _check(a, b)
    if a.dtype.char not in "bB":
        raise TypeError(f"codes must be int8 or uint8, got {a.dtype}: quantize first")
    zero_point = zero_point_of(a_zero_point, a.shape)
    _check_reach(b)
    n, rows = b.shape[1], rows_of(a, b.shape[0])
    if kernel() == "numpy" or type(zero_point) is not int or 0 in (*rows.shape, n):
        acc: NDArray[Any] = exact_product(rows, b.unpack()) - zero_point * b.column_sums.sum(0, np.int64)[:n]
        return np.asarray(acc, np.int32).reshape(*a.shape[:-1], n)
    out = _multiply(_kernel(b, len(rows)), rows, b, np.zeros(8, np.float32), zero_point, None)
    return out.reshape(*a.shape[:-1], n)


def _check_reach(b: PackedInt4) -> None:
    if b.shape[0] * 8 * 383 >= 2**31:
        raise OverflowError(f"a sum of K = {b.shape[0]} products may lie beyond int32: split K")


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
    _check_reach(b)
    codes, n = x.dtype.char in "bB", b.shape[1]
    if codes and input_qparams is None:
        raise ValueError(f"x holds {x.dtype} codes, and their qparams are not known: give input_qparams")
    if x.dtype.char != "f" and not codes:  # of any byte order
        raise TypeError(f"x must be a float32 array, or int8 or uint8 codes, got {x.dtype}: x.astype(np.float32)")
    addend, of_input = _prepared(b, bias, input_qparams)
    rows = rows_of(x if codes else np.ascontiguousarray(readable(x)), b.shape[0])
    if kernel() == "numpy" or 0 in (*rows.shape, n):
        return _plain(rows, b, addend, of_input, input_qparams is None).reshape(*x.shape[:-1], n)
    qparams = np.array([*of_input, 0, 0, 0, 0], np.float32)
    out = _multiply(_kernel(b, len(rows)), rows, b, qparams, of_input[0] if codes else 0, addend)
    return out.reshape(*x.shape[:-1], n)


def _prepared(b: PackedInt4, bias: Any, input_qparams: QParamsLike | None) -> tuple[NDArray[np.float32], TensorQParams]:
    """(the bias padded as the weights are, the input's quantization parameters), which the pack remembers."""
    values = (values_of(bias),)
    for prepared in b.prepared:
        if prepared.values == values and prepared.input_qparams is input_qparams:
            found: tuple[NDArray[np.float32], TensorQParams] = prepared.made
            return found
    addend, given = np.zeros(b.scale.shape[1], np.float32), bias_of(bias, b.shape[1])
    addend[: given.size] = given
    of_input = DYNAMIC if input_qparams is None else tensor_qparams(input_qparams, "input_qparams")
    remember(b.prepared, Prepared(values, input_qparams, None, (addend, of_input)))
    return addend, of_input


def _plain(
    rows: NDArray[Any], b: PackedInt4, bias: NDArray[np.float32], of_input: TensorQParams, dynamic: bool
) -> NDArray[np.float32]:
    """The definition, in NumPy."""
    tell_cost()
    zero_point, lo, hi, scale_in = of_input
    if rows.dtype == np.float32:
        if dynamic:
            scale_in, zero_point = choose_dynamic(rows)
        rows = quantize_plain(rows, scale_in, np.float32(zero_point), lo, hi)
    weights, n, y = b.unpack(), b.shape[1], np.tile(bias[: b.shape[1]], (len(rows), 1))
    for g, (scale, sums) in enumerate(zip(b.scale[:, :n], b.column_sums[:, :n], strict=True)):
        part = slice(g * b.group_size, (g + 1) * b.group_size)
        acc = exact_product(rows[:, part], weights[part]) - zero_point * sums
        y += acc.astype(np.float32) * (scale_in * scale)
    return y
