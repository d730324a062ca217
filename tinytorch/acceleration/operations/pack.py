"""INT8 weights, prepacked: laid out in the order in which the micro-kernels read them.

b [K, N]                        packed [N/16, K/4, 16, 4]

      16 columns                panel 0              panel 1
    +-----------+-----------+   +---- 64 bytes ----+ +--
4 k |  panel 0  |  panel 1  |   | 4 k of 16 columns| |     one vpdpbusd of 512 bits, one row of an AMX tile
    +-----------+-----------+   +------------------+ +--
4 k |           |           |   | the next 4 k     | |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.layout import ALIGNMENT
from ..runtime.once import load
from .dispatch import compiled_kernel

TILES_FROM = 1 << 17  # products of all rows but one from which AMX pays: its tiles sleep, and take half a us to wake


def aligned(nbytes: int, make: Callable[..., NDArray[np.uint8]] = np.zeros) -> NDArray[np.uint8]:
    """Zeroed bytes (or whatever `make` makes) at an address that divides by 64."""
    block = make(nbytes + ALIGNMENT, np.uint8)
    skip = -block.ctypes.data % ALIGNMENT
    return block[skip : skip + nbytes]


@dataclass(frozen=True, eq=False)
class PackedInt8:
    """int8 weights [K, N], packed once for every kernel; made by `prepack_int8`.

    data: uint8, the weights as (N/16, K/4, 16, 4), K padded to 64 and N to 16 with zeros. column_sums: int64 [N].
    max_abs_sum: the largest sum of |weights| of a column, which bounds every int32 sum.
    """

    data: NDArray[np.uint8] = field(repr=False)
    shape: tuple[int, int]
    column_sums: NDArray[np.int64] = field(repr=False)
    max_abs_sum: int
    panel_bytes: int = field(init=False, repr=False)  # bytes of 16 columns
    few_rows: int = field(init=False, repr=False)  # the largest number of rows that are not worth an AMX tile
    plans: dict[tuple[str, str, bool], Any] = field(init=False, repr=False)  # see find_plan
    prepared: list[Any] = field(init=False, repr=False)  # layers that `int8_linear` made: see `prepared`

    def __post_init__(self) -> None:
        k, n = self.shape
        object.__setattr__(self, "panel_bytes", max(-(-k // 64), 1) * 1024)
        if self.data.shape != (self.panel_bytes * -(-n // 16),) or self.column_sums.shape != (n,):
            raise ValueError(
                f"a pack of {self.shape} does not have {self.data.nbytes} bytes: make it with prepack_int8"
            )
        object.__setattr__(self, "few_rows", max(1, 1 + TILES_FROM // max(k * n, 1)))
        object.__setattr__(self, "plans", {})
        object.__setattr__(self, "prepared", [])
        self.data.flags.writeable = self.column_sums.flags.writeable = False

    def find_plan(self, name: str, kind: str, few_rows: bool) -> Any:
        """The plan (see `loops.plans`) for codes of type `kind` on kernel `name`; None where there is none."""
        if name == "numpy" or kind not in "bB":
            return None
        self.plans[name, kind, few_rows] = load("loops.plans").of_pack(self, compiled_kernel(name, few_rows), kind)
        return self.plans[name, kind, few_rows]

    def without_memory(self) -> PackedInt8:
        """The same weights, not copied, without what is remembered of earlier calls."""
        return PackedInt8(self.data, self.shape, self.column_sums, self.max_abs_sum)

    def __reduce__(self) -> tuple[Any, ...]:
        """Plans hold addresses of this process: a copy or a pickle goes without."""
        return PackedInt8, (self.data, self.shape, self.column_sums, self.max_abs_sum)

    @property
    def nbytes(self) -> int:
        """Bytes the pack keeps alive."""
        return self.data.nbytes + ALIGNMENT + self.column_sums.nbytes

    def unpack(self) -> NDArray[np.int8]:
        """The weights again: int8 [K, N]."""
        k, n = self.shape
        blocks = self.data.view(np.int8).reshape(-1, self.panel_bytes // 64, 16, 4)
        return np.ascontiguousarray(blocks.transpose(1, 3, 0, 2).reshape(self.panel_bytes // 16, -1)[:k, :n])


def prepack_int8(b: NDArray[np.int8]) -> PackedInt8:
    """Lay out weights b, int8 [K, N], for the kernels, once; use them many times. Later changes of b are not seen.

    TypeError unless int8, ValueError unless two-dimensional.

    >>> prepack_int8(np.ones((3, 2), np.int8)).column_sums.tolist()
    [3, 3]
    """
    b = np.asarray(b)
    if b.dtype != np.int8:
        raise TypeError(f"weights must be int8, got {b.dtype}: quantize them first")
    if b.ndim != 2:
        raise ValueError(f"weights must be [K, N], got shape {b.shape}")
    k, n = b.shape
    groups, panels = max(-(-k // 64), 1) * 16, -(-n // 16)
    data = aligned(panels * groups * 64)
    full = np.zeros((groups * 4, panels * 16), np.int8)
    full[:k, :n] = b
    data.view(np.int8).reshape(panels, groups, 16, 4)[...] = full.reshape(groups, 4, panels, 16).transpose(2, 0, 3, 1)
    abs_sums = np.abs(b.astype(np.int16)).sum(0, np.int64)
    return PackedInt8(data, (k, n), b.sum(0, np.int64), int(abs_sums.max(initial=0)))
