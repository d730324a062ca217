"""Weights of 8 bits or fewer, prepacked, and the product of codes with them.

b [K, N]                        packed [N/16, K/4, 16, 4]: the order in which the micro-kernels read

      16 columns                panel 0              panel 1
    +-----------+-----------+   +---- 64 bytes ----+ +--
4 k |  panel 0  |  panel 1  |   | 4 k of 16 columns| |     one vpdpbusd of 512 bits, one row of an AMX tile
    +-----------+-----------+   +------------------+ +--
4 k |           |           |   | the next 4 k     | |

Codes of 4 or 2 bits lie in the same order, two or four a byte: the lowest bits of 64 bytes are of the first 4 k, the
next ones of the next 4 k. Micro-kernels read int8: weights are unpacked into the cache where rows meet them.

Everything is checked here, before an address is made; compiled code trusts what it gets.

int8_matmul(a, pack, zero_point)   a short call of a plain matrix: one look-up of a plan, one call of compiled code
  _matmul_of_any                   batches, strides, zero points of rows, large results, and every refusal
    plan.run_large                 compiled
    _exact                         NumPy in int64
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from ..runtime.features import kernel
from ..runtime.layout import ALIGNMENT
from ..runtime.once import load
from .arrays import INT32, aligned, empty_aligned, rows_of
from .dispatch import compiled_kernel, exact_product, tell_cost
from .qparams import zero_point_of

TILES_FROM = 1 << 17  # products of all rows but one from which AMX pays: its tiles sleep, and take half a us to wake


BITS = (2, 4, 8)  # in which a code may be kept


def kept_bits(bits: int) -> int:
    """Bits in which a code of so many is kept: 3 take 4 here, and 5 to 7 take 8, so that no code lies in two bytes."""
    return next(each for each in BITS if bits <= each)


def pack_codes(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Codes [K, N], K a multiple of 64 and N of 16, in the order above: uint8 [K * N * bits / 8]."""
    (k, n), each = codes.shape, 8 // bits
    parts = codes.view(np.uint8).reshape(k // (4 * each), each, 4, n // 16, 16).transpose(1, 3, 0, 4, 2)
    data = aligned(k * n // each)
    packed = data.reshape(parts.shape[1:])
    for i, part in enumerate(parts):
        packed |= (part & (2**bits - 1)) << bits * i
    return data


def unpack_codes(data: NDArray[np.uint8], bits: int, k: int) -> NDArray[np.int8]:
    """The codes that `pack_codes` has packed: int8 [K, N]."""
    each, packed = 8 // bits, data.view(np.int8).reshape(-1, k * bits // 32, 16, 4)
    parts = [(packed << (8 - bits * (i + 1))).astype(np.int8) >> (8 - bits) for i in range(each)]
    return np.stack(parts, 2).transpose(1, 2, 4, 0, 3).reshape(k, -1)


def filled(b: NDArray[np.int8], k: int) -> NDArray[np.int8]:
    """b [K, N] filled up with zeros, to k steps and a multiple of 16 columns."""
    full = np.zeros((k, -(-b.shape[1] // 16) * 16), np.int8)
    full[: b.shape[0], : b.shape[1]] = b
    return full


def check_codes(b: NDArray[Any], bits: int = 8) -> None:
    """TypeError or ValueError unless b is a matrix of int8 codes of so many bits."""
    if b.dtype != np.int8:
        raise TypeError(f"weights must be int8, got {b.dtype}: quantize them first")
    if b.ndim != 2:
        raise ValueError(f"weights must be [K, N], got shape {b.shape}")
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if bits < 8 and b.size and (b.min() < low or b.max() > high):
        raise ValueError(f"INT{bits} codes lie in [{low}, {high}], got [{b.min()}, {b.max()}]")


@dataclass(frozen=True, eq=False)
class PackedInt8:
    """Weights [K, N] of at most 8 bits, packed once for every kernel; made by `prepack_int8`.

    data: uint8, the weights as (N/16, K/4, 16, 4), K padded to 64 and N to 16 with zeros; of 4 or 2 bits half or a
    quarter as many bytes. column_sums: int64 [N]. max_abs_sum: the largest sum of |weights| of a column, which bounds
    every int32 sum. bits: of a code in memory, 8, 4 or 2.
    """

    data: NDArray[np.uint8] = field(repr=False)
    shape: tuple[int, int]
    column_sums: NDArray[np.int64] = field(repr=False)
    max_abs_sum: int
    bits: int = 8
    panel_bytes: int = field(init=False, repr=False)  # bytes of 16 columns
    few_rows: int = field(init=False, repr=False)  # the largest number of rows that are not worth an AMX tile
    plans: dict[tuple[str, str, bool], Any] = field(init=False, repr=False)  # see find_plan
    prepared: list[Any] = field(init=False, repr=False)  # layers that `int8_linear` made: see `prepared`

    def __post_init__(self) -> None:
        k, n = self.shape
        object.__setattr__(self, "panel_bytes", self.padded * 2 * self.bits)
        if self.data.shape != (self.panel_bytes * -(-n // 16),) or self.column_sums.shape != (n,):
            raise ValueError(
                f"a pack of {self.shape} does not have {self.data.nbytes} bytes: make it with prepack_int8"
            )
        object.__setattr__(self, "few_rows", max(1, 1 + TILES_FROM // max(k * n, 1)))
        object.__setattr__(self, "plans", {})
        object.__setattr__(self, "prepared", [])
        self.data.flags.writeable = self.column_sums.flags.writeable = False

    @property
    def padded(self) -> int:
        """K as it is stored: a multiple of 64."""
        return max(-(-self.shape[0] // 64), 1) * 64

    def find_plan(self, name: str, kind: str, few_rows: bool) -> Any:
        """The plan (see `calls.plans`) for codes of type `kind` on kernel `name`; None where there is none."""
        if name == "numpy" or kind not in "bB":
            return None
        self.plans[name, kind, few_rows] = load("calls.plans").of_pack(self, compiled_kernel(name, few_rows), kind)
        return self.plans[name, kind, few_rows]

    def without_memory(self) -> PackedInt8:
        """The same weights, not copied, without what is remembered of earlier calls."""
        return PackedInt8(self.data, self.shape, self.column_sums, self.max_abs_sum, self.bits)

    def __reduce__(self) -> tuple[Any, ...]:
        """Plans hold addresses of this process: a copy or a pickle goes without."""
        return PackedInt8, (self.data, self.shape, self.column_sums, self.max_abs_sum, self.bits)

    @property
    def nbytes(self) -> int:
        """Bytes the pack keeps alive."""
        return self.data.nbytes + ALIGNMENT + self.column_sums.nbytes

    def unpack(self) -> NDArray[np.int8]:
        """The weights again: int8 [K, N]."""
        k, n = self.shape
        return np.ascontiguousarray(unpack_codes(self.data, self.bits, self.padded)[:k, :n])


def prepack_int8(b: NDArray[np.int8], bits: int = 8) -> PackedInt8:
    """Lay out weights b, int8 [K, N], for the kernels, once; use them many times. Later changes of b are not seen.

    bits: in which a code is kept, 8, 4 or 2. TypeError unless int8, ValueError unless two-dimensional, and for codes
    that do not fit their bits.

    >>> prepack_int8(np.ones((3, 2), np.int8)).column_sums.tolist()
    [3, 3]
    """
    b = np.asarray(b)
    if bits not in BITS:
        raise ValueError(f"bits must be 2, 4 or 8, got {bits!r}: codes of 3 fit 4, and of 5 to 7 they fit 8")
    check_codes(b, bits)
    data = pack_codes(filled(b, max(-(-len(b) // 64), 1) * 64), bits)
    abs_sums = np.abs(b.astype(np.int16)).sum(0, np.int64)
    return PackedInt8(data, b.shape, b.sum(0, np.int64), int(abs_sums.max(initial=0)), bits)


def check(a: NDArray[Any], b: PackedInt8) -> None:
    """Refuse what is not [..., K] and a pack of [K, N]."""
    if type(b) is not PackedInt8:
        raise TypeError(f"weights must be packed, got {type(b).__name__}: prepack_int8(b) once, then use the pack")
    if a.shape[-1:] != b.shape[:1]:
        raise ValueError(f"wanted [..., {b.shape[0]}] for weights {list(b.shape)}, got shape {a.shape}")


def _as_int32(acc: NDArray[np.int64], k: int) -> NDArray[np.int32]:
    """The sums of K products as int32. OverflowError if one does not fit."""
    int32 = np.iinfo(np.int32)
    if acc.size and not (int32.min <= acc.min() and acc.max() <= int32.max):
        raise OverflowError(f"a sum of K = {k} products reaches {np.abs(acc).max()}, beyond int32: split K")
    return acc.astype(np.int32, copy=False)


def _exact(a: NDArray[Any], b: PackedInt8, zero_point: Any) -> NDArray[np.int32]:
    """The product by NumPy, in int64: for rows with zero points of their own, and where int32 might not do."""
    return _as_int32(exact_product(a, b.unpack()) - zero_point * b.column_sums, b.shape[0])


def int8_matmul(a: NDArray[np.int8 | np.uint8], b: PackedInt8, a_zero_point: ArrayLike = 0) -> NDArray[np.int32]:
    """(a - a_zero_point) @ b, exactly: int32 [..., M, N], the bits of `integer_matmul`, by the fastest kernel there is.

    a: int8 or uint8 codes [..., M, K], any strides. b: weights [K, N], packed once by `prepack_int8`. a_zero_point: an
    integer in [-128, 255], or one for each row, [M] or [M, 1]. TypeError or ValueError for anything else; OverflowError
    if a result does not fit int32, never a wrapped sum.

    >>> from tinytorch.acceleration import prepack_int8
    >>> int8_matmul(np.array([[1, 2]], np.uint8), prepack_int8(np.array([[3], [4]], np.int8)), 1).tolist()
    [[4]]
    """
    zero_point = a_zero_point
    of_two_axes = type(a) is ndarray and a.ndim == 2
    if of_two_axes and type(b) is PackedInt8 and type(zero_point) is int and -128 <= zero_point <= 255:
        name, kind, m = kernel(), a.dtype.char, len(a)
        few_rows = m <= b.few_rows
        plan = b.plans.get((name, kind, few_rows)) or b.find_plan(name, kind, few_rows)
        if plan is not None and 0 < m <= plan.max_rows_unaligned:
            out = np.empty((m, plan.columns), INT32)
            if m <= plan.max_small_rows:
                status = (plan.run or plan.compiled())(plan.words, a, zero_point, out)
            else:
                status = plan.run_large(plan.words, a, zero_point, out)
            if status == 0:
                return out
    return _matmul_of_any(np.asarray(a), b, zero_point)


def _matmul_of_any(a: NDArray[Any], b: PackedInt8, a_zero_point: Any) -> NDArray[np.int32]:
    """`int8_matmul` for every shape and stride, and for zero points of rows."""
    check(a, b)
    kind = a.dtype.char
    if kind not in "bB":
        raise TypeError(f"codes must be int8 or uint8, got {a.dtype}: quantize first")
    k, n = b.shape
    rows = rows_of(a, k)
    m, shape = rows.shape[0], a.shape[:-1] + b.shape[1:]
    zero_point, name = zero_point_of(a_zero_point, a.shape), kernel()
    if name == "numpy" or type(zero_point) is not int or (255 + abs(zero_point)) * b.max_abs_sum >= 2**31:
        tell_cost()
        return _exact(rows, b, zero_point).reshape(shape)
    if m * n * k == 0:
        return np.zeros(shape, np.int32)
    few_rows, out = m <= b.few_rows, empty_aligned((m, n), INT32)
    plan = b.plans.get((name, kind, few_rows)) or b.find_plan(name, kind, few_rows)
    plan.run_large(plan.words, rows, zero_point, out)
    return out.reshape(shape)
