"""The bfloat16 product: half the bytes of float32 and several times its speed, for training and for inference.

Both operands are rounded to bfloat16 (8 significant bits, ties to even), products are exact, sums are float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.features import bf16_kernel, kernel
from ..runtime.layout import ALIGNMENT
from ..runtime.once import load
from .arrays import FLOAT32, aligned, empty_aligned, readable
from .dispatch import tell_cost

Matrix = NDArray[np.float32]


def round_to_bf16(x: ArrayLike) -> Matrix:
    """x rounded to bfloat16, ties to even, held in float32 [shape of x]. A NaN stays one; 3.3962e38 on is infinity."""
    x = np.asarray(x, np.float32)
    bits = x.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    quiet = bits | np.uint32(0x400000)  # a NaN keeps a bit in the half that stays
    return (np.where(np.isnan(x), quiet, rounded) & np.uint32(0xFFFF0000)).view(np.float32)


@dataclass(frozen=True, eq=False)
class PackedBf16:
    """Weights [K, N] in bfloat16, packed for every kernel; made by `prepack_bf16`.

    data: uint8, the weights as (N/16, K/2, 16, 2), K padded to 32 and N to 16 with zeros.
    """

    data: NDArray[np.uint8] = field(repr=False)
    shape: tuple[int, int]
    panel_bytes: int = field(init=False, repr=False)  # bytes of 16 columns

    def __post_init__(self) -> None:
        k, n = self.shape
        object.__setattr__(self, "panel_bytes", max(-(-k // 32), 1) * 1024)
        if self.data.dtype != np.uint8 or self.data.shape != (self.panel_bytes * -(-n // 16),):
            raise ValueError(
                f"a pack of {self.shape} does not have {self.data.nbytes} bytes: make it with prepack_bf16"
            )
        self.data.flags.writeable = False

    @property
    def nbytes(self) -> int:
        """Bytes the pack keeps alive."""
        return self.data.nbytes + ALIGNMENT

    def unpack(self) -> Matrix:
        """The rounded weights: float32 [K, N]."""
        k, n = self.shape
        pairs = self.data.view(np.uint16).reshape(-1, self.panel_bytes // 64, 16, 2).transpose(1, 3, 0, 2)
        bits = pairs.reshape(self.panel_bytes // 32, -1)[:k, :n].astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)


def _readable(x: Matrix) -> Matrix:
    """x, or a copy, with elements side by side along one of its two axes."""
    return readable(x) if 4 in x.strides else np.ascontiguousarray(readable(x))


def prepack_bf16(b: Matrix) -> PackedBf16:
    """Round weights b, float32 [K, N] in any strides, to bfloat16 and pack them. Later changes of b are not seen.

    It costs about as much as reading b. TypeError unless float32, ValueError unless two-dimensional.

    >>> prepack_bf16(np.float32([[1.01, -2.0]])).unpack().tolist()
    [[1.0078125, -2.0]]
    """
    b = np.asarray(b)
    if b.dtype.char != "f":  # of any byte order
        raise TypeError(f"weights must be float32, got {b.dtype}")
    if b.ndim != 2:
        raise ValueError(f"weights must be [K, N], got shape {b.shape}")
    (k, n), name = b.shape, bf16_kernel(kernel())
    panel = max(-(-k // 32), 1) * 1024
    if name is None or b.size == 0:
        full = np.zeros((panel // 32, -(-n // 16) * 16), np.float32)
        full[:k, :n] = b
        half = (round_to_bf16(full).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        data = aligned(panel * -(-n // 16))
        data.view(np.uint16).reshape(-1, panel // 64, 16, 2)[...] = half.reshape(panel // 64, 2, -1, 16).transpose(
            2, 0, 3, 1
        )
        return PackedBf16(data, (k, n))
    driver, data, readable = load("calls.bf16"), aligned(panel * -(-n // 16), np.empty), _readable(b)
    block = load("loops.jit").block(name, "k" if readable.strides[1] == 4 else "n", "k")
    record = np.array([driver.convert_task.address, block, 0, panel])
    driver.pack(load("runtime.threads").pool().address, record, readable, data)
    return PackedBf16(data, (k, n))


def _product(a: Matrix, b: PackedBf16, name: str) -> Matrix:
    """a [M, K] @ b, compiled."""
    m, n, run, driver = len(a), b.shape[1], load("loops.jit").bf16_kernel(name), load("calls.bf16")
    out, readable = empty_aligned((m, n), FLOAT32), _readable(a)
    block = load("loops.jit").block(name, "n" if readable.strides[1] == 4 else "k", "n")
    record = np.array([driver.convert_task.address, block, run.address, b.panel_bytes])
    driver.matmul(*run.pool(), record, readable, b.data, out)
    return out


def bf16_matmul(a: Matrix, b: PackedBf16 | Matrix) -> Matrix:
    """a @ b with both operands rounded to bfloat16 and sums in float32: float32 [..., M, N].

    a: float32 [..., M, K], any strides. b: weights [K, N] by `prepack_bf16`, or a plain float32 array [..., K, N],
    rounded here, batches as in NumPy's matmul. Let s = sum of |a[k]| |b[k]|; the result differs from a @ b by at most
    (2**-7 + 2**-16 + K * 2**-23) * s, and K * 2**-125 * (largest |a| or |b|, at least 1) for subnormal numbers, which
    may count as 0. Kernels differ within this bound, for they add in another order. TypeError or ValueError for
    anything else. Pack weights that meet few rows: to round a plain b costs more than to multiply it by one row, and
    a @ b is then faster.

    >>> bf16_matmul(np.float32([[1, 2]]), prepack_bf16(np.float32([[3], [4]]))).tolist()
    [[11.0]]
    """
    a = np.asarray(a)
    packed = isinstance(b, PackedBf16)
    for what, array in (("a", a), ("b", a if packed else np.asarray(b))):
        if array.dtype.char != "f":  # of any byte order
            raise TypeError(f"{what} must be float32, got {array.dtype}")
        if array.ndim < 2:
            raise ValueError(f"{what} must have two axes or more, got shape {array.shape}")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"wanted a [..., {b.shape[-2]}] for b {tuple(b.shape)}, got shape {a.shape}")
    name = bf16_kernel(kernel())
    if name is None or 0 in (*a.shape, *b.shape):
        tell_cost()
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(round_to_bf16(a) @ (b.unpack() if isinstance(b, PackedBf16) else round_to_bf16(b)))
    if isinstance(b, PackedBf16) or b.ndim == 2:
        weights = b if isinstance(b, PackedBf16) else prepack_bf16(b)
        rows = a if a.ndim == 2 else a.reshape(prod(a.shape[:-1]), a.shape[-1])
        one = "avx512_vnni" if len(rows) == 1 and bf16_kernel("avx512_vnni") else name
        return _product(rows, weights, one).reshape(*a.shape[:-1], b.shape[1])
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.empty((*batch, a.shape[-2], b.shape[-1]), np.float32)
    wide_a, wide_b = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))
    for at in np.ndindex(*batch):
        out[at] = _product(wide_a[at], prepack_bf16(wide_b[at]), name)
    return out
