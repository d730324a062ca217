"""Given: a tensor of codes, and dynamic quantization. A student's own functions do the arithmetic."""

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core.checks import real_array, whole_number
from tinytorch.quantization.packing import pack_bits, unpack_bits
from tinytorch.quantization.qparams import (
    INT8,
    UINT8,
    IntType,
    QParams,
    as_qparams,
    as_range,
    as_real,
    check_codes,
    check_fits,
)
from tinytorch.quantization.quantize import (
    choose_qparams,
    dequantize,
    pack_int4,
    quantize,
    split_groups,
    unpack_int4,
    value_range,
)

__all__ = [
    "QuantizedTensor",
    "dynamic_quantize",
]


class QuantizedTensor:
    """Codes and their quantization parameters: `x ~ dequantize()`. Stored as int8 or uint8, packed below 8 bits.

    q: codes, of dtype `qparams.int_type.storage`. shape: of the real tensor, where it differs from that of q: with
    groups q is [rows, groups, group_size] and shape (rows, columns).
    """

    def __init__(self, q: NDArray[Any], qparams: QParams, shape: tuple[int, ...] | None = None) -> None:
        q, int_type = real_array("codes", q), as_qparams(qparams).int_type
        check_codes(q, int_type)
        check_fits("a scale", qparams.scale.shape, q.shape)
        self.qparams = qparams
        self.shape = q.shape if shape is None else tuple(whole_number("a shape", "each size", n, 0) for n in shape)
        if self.shape != q.shape and not self._has_groups(q.shape):
            raise ValueError(f"codes of shape {q.shape} are no tensor of shape {self.shape}, nor its rows in groups")
        self._q_shape = q.shape
        self.stored = np.array(q, order="C")
        if int_type.bits < 8:
            self.stored = pack_int4(q) if int_type.bits == 4 else pack_bits(q, int_type.bits)

    def _has_groups(self, q_shape: tuple[int, ...]) -> bool:
        """Whether q [rows, groups, group_size] are this shape's rows (rows, columns), as `split_groups` cuts them."""
        if len(q_shape) != 3 or len(self.shape) != 2:
            return False
        rows, groups, group_size = q_shape
        return rows == self.shape[0] and (groups - 1) * group_size < self.shape[1] <= groups * group_size

    @classmethod
    def from_float(
        cls,
        x: ArrayLike,
        int_type: IntType = INT8,
        symmetric: bool = True,
        axis: int | tuple[int, ...] | None = None,
        group_size: int | None = None,
    ) -> "QuantizedTensor":
        """Quantize x by its own range: that of all of x, of each slice along `axis`, or of each group of a row.

        >>> QuantizedTensor.from_float(np.eye(64), IntType(4), group_size=32).nbytes  # 2048 of codes, 512 of scales, 4
        2564
        """
        x = as_real(x)
        shape = x.shape
        if group_size is not None:
            if axis not in (None, 0):
                raise ValueError(f"groups run along the columns of each row: leave axis out, got {axis}")
            x, axis = split_groups(x, group_size), (0, 1)
        qparams = choose_qparams(*value_range(x, axis), int_type, symmetric)
        return cls(quantize(x, qparams), qparams, shape)

    @property
    def q(self) -> NDArray[Any]:
        """The codes, unpacked: int8 or uint8, as quantized (with groups [rows, groups, group_size])."""
        int_type = self.qparams.int_type
        if int_type.bits == 8:
            return self.stored
        if int_type.bits == 4:
            return unpack_int4(self.stored, self._q_shape, int_type.signed)
        return unpack_bits(self.stored, int_type.bits, self._q_shape, int_type.signed)

    def dequantize(self) -> NDArray[np.float32]:
        """float32 [shape]."""
        x = dequantize(self.q, self.qparams)
        if x.shape == self.shape:
            return x
        rows, columns = self.shape
        return x.reshape(rows, x.shape[1] * x.shape[2])[:, :columns]

    @property
    def nbytes(self) -> int:
        """Bytes held: codes and parameters."""
        return self.stored.nbytes + self.qparams.nbytes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a state dict saves: the stored codes, the scale and the zero point."""
        return {"q": self.stored, **self.qparams.arrays()}

    @property
    def state_type(self) -> str:
        """What a state dict tells beyond the arrays: the integer type, and the shape that packed codes do not show."""
        codes = "" if self._q_shape == self.shape else f" in codes {list(self._q_shape)}"
        return f"{self.qparams.int_type} {list(self.shape)}{codes}"

    def with_arrays(self, arrays: dict[str, NDArray[Any]]) -> "QuantizedTensor":
        """The same kind of tensor, holding other arrays."""
        if arrays["q"].shape != self.stored.shape or arrays["q"].dtype != self.stored.dtype:
            wanted, got = (f"{a.dtype} {a.shape}" for a in (self.stored, arrays["q"]))
            raise ValueError(f"codes must be {wanted}, got {got}: is the saved model quantized in another way?")
        new = copy(self)
        new.stored, new.qparams = arrays["q"], self.qparams.with_arrays(arrays)
        return QuantizedTensor(new.q, new.qparams, self.shape)  # which checks the codes


@np.errstate(over="ignore")  # hi - lo may overflow to infinity, which is looked for
def dynamic_quantize(x: ArrayLike) -> tuple[NDArray[np.uint8], QParams]:
    """uint8 codes of x and the quantization parameters of its own range, all in float32.

    Source: ONNX DynamicQuantizeLinear.
    `scale = (max(0, hi) - min(0, lo)) / 255`, `zero_point = rint(clip(-lo / scale, 0, 255))`.

    >>> codes, p = dynamic_quantize([-1, 0, 0.5, 2])
    >>> codes.tolist(), int(p.zero_point)
    ([0, 85, 127, 255], 85)
    """
    x = as_real(x)
    lo, hi = np.float32(np.min(x, initial=0)), np.float32(np.max(x, initial=0))
    as_range(lo, hi)
    if np.float32(hi - lo) == np.inf or hi - lo < 255 * np.finfo(np.float32).tiny:  # float32 cannot hold this range
        qparams = choose_qparams(lo, hi, UINT8)
    else:
        scale = np.float32((hi - lo) / np.float32(255))
        qparams = QParams(scale, np.rint(np.clip(-lo / scale, 0, 255)), UINT8)
    return quantize(x, qparams), qparams
