"""Layers of stored codes and float arithmetic, compiled: the same float32 weights, added up in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import Tensor
from ..operations.arrays import FLOAT32, empty_aligned, readable, rows_of
from ..operations.dispatch import tell_cost
from ..operations.int8 import filled, kept_bits, pack_codes, unpack_codes
from ..runtime.features import kernel
from ..runtime.once import load
from .codes import Accelerated, outside

STEPS = 16  # of K: what 64 bytes hold of 2-bit codes, and so what groups must be made of


def can_be_packed(layer: Any) -> bool:
    """Whether its groups are whole vectors of codes: of a multiple of 16, or one for each row."""
    group, k = layer.weight.group_size, layer.weight.shape[1]
    return 0 not in layer.weight.shape and (group is None or group >= k or group % STEPS == 0)


def by_panel(values: NDArray[Any], k: int, group: int, dtype: Any) -> NDArray[Any]:
    """values [N, groups] or one for all, as [N/16, groups up to step k, 16], filled up with zeros."""
    n, groups = values.shape
    full = np.zeros((-(-n // 16) * 16, -(-k // group)), dtype)
    full[:n, :groups] = values
    return np.ascontiguousarray(full.reshape(-1, 16, full.shape[1]).transpose(0, 2, 1))


class AcceleratedWeightOnly(Accelerated):
    """A WeightOnlyLinear, packed. codes, scale, zero_points, bias: all it keeps of the arrays.

    Its weights are those of the layer, float32 `scale * (q - zero_point)`. Each result is within
    `(64 + K / 64 + 1) * 2**-24 * (|x| @ |weights| + |bias|)` of the exact sum, and the same from every compiled kernel;
    the kernel "numpy" gives the bits of the layer.
    """

    def __init__(self, layer: Any) -> None:
        weight, p = layer.weight, layer.weight.qparams
        (self.n, self.k), self.bits = weight.shape, kept_bits(p.int_type.bits)
        shift = 0 if p.int_type.signed else 2 ** (p.int_type.bits - 1)  # to codes around 0
        q = (weight.q.astype(np.int16) - shift).astype(np.int8).reshape(self.n, -1)[:, : self.k]
        self.padded = -(-self.k // 64) * 64
        self.group_size = self.padded if weight.group_size in (None, q.shape[1]) else weight.group_size
        groups = -(-self.k // self.group_size)
        scale, zero_point = (np.broadcast_to(a.reshape(a.shape[:2]) if a.ndim else a, (self.n, groups)) for a in
            (p.scale, p.zero_point - shift))  # fmt: skip
        self.codes = pack_codes(filled(q.T, self.padded), self.bits)
        self.scale = by_panel(scale, self.padded, self.group_size, np.float32)
        self.zero_points = by_panel(zero_point, self.padded, self.group_size, np.int8) if zero_point.any() else None
        self.bias = np.zeros(len(self.scale) * 16, np.float32)
        self.bias[: self.n] = 0 if layer.bias is None else layer.bias
        self._explanation, self._repr = f"{layer.explanation()}, compiled", f"Accelerated{layer!r}"
        self._records: dict[str, tuple[Any, NDArray[np.int64]]] = {}

    def __repr__(self) -> str:
        return self._repr

    def __getstate__(self) -> dict[str, Any]:
        """Records hold addresses of this process: a copy or a pickle goes without."""
        return {**self.__dict__, "_records": {}}

    def explanation(self) -> str:
        return self._explanation

    def weights(self) -> NDArray[np.float32]:
        """float32 [N, K], as the layer's own."""
        steps = unpack_codes(self.codes, self.bits, self.padded).T[: self.n, : self.k].astype(np.int32)
        if self.zero_points is not None:
            steps = steps - self._of_steps(self.zero_points)
        return np.ascontiguousarray(steps.astype(np.float32) * self._of_steps(self.scale))

    def _of_steps(self, values: NDArray[Any]) -> NDArray[Any]:
        """What `by_panel` made, for each weight: [N, K]."""
        each = values.transpose(0, 2, 1).reshape(-1, values.shape[1])[: self.n]
        return np.repeat(each, self.group_size, 1)[:, : self.k]

    def run(self, x: Any) -> Tensor:
        x = outside(x)
        if x.shape[-1:] != (self.k,):
            wanted = f"[..., in] for a weight [out, in] {(self.n, self.k)}"
            raise ValueError(f"wanted input {wanted}, got shape {x.shape}")
        rows = rows_of(np.ascontiguousarray(readable(np.asarray(x.data, np.float32))), self.k)
        name = kernel()
        if name == "numpy" or 0 in rows.shape:
            tell_cost()
            y = x.data @ self.weights().T
            return Tensor(y + self.bias[: self.n])
        run, words = self._records.get(name) or self._record(name)
        out = empty_aligned((len(rows), self.n), FLOAT32)
        load("calls.weight_only").weight_only(*run.pool(), words, rows, out)
        return Tensor(out.reshape(*x.shape[:-1], self.n))

    def _record(self, name: str) -> tuple[Any, NDArray[np.int64]]:
        """(kernel of float32, a WEIGHT_ONLY as words), remembered. AMX does not multiply float32: AVX-512 does."""
        loops, jit, zeros = load("calls.weight_only"), load("loops.jit"), self.zero_points
        run = jit.float_kernel("avx512_vnni" if name == "amx" else name)
        values = {
            "task": loops.weight_only_task.address, "kernel": run.address,
            "real_weights": jit.real_weights(run.name, self.bits, zeros is not None),
            "data": self.codes.ctypes.data, "panel_bytes": self.padded * 2 * self.bits,
            "codes_per_byte": 8 // self.bits, "k": self.k, "n": self.n, "group_size": self.group_size,
            "groups": self.scale.shape[1], "scales": self.scale.ctypes.data,
            "zero_points": 0 if zeros is None else zeros.ctypes.data, "bias": self.bias.ctypes.data,
        }  # fmt: skip
        self._records[name] = run, np.array([values.get(field, 0) for field in loops.WEIGHT_ONLY.names], np.int64)
        return self._records[name]
