"""Quantization parameters as the kernels take them, and which zero points, scales, biases and inputs are refused."""

from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class TensorQParams(NamedTuple):
    """The quantization parameters of one whole tensor, in the order in which compiled code reads them."""

    zero_point: int
    qmin: int
    qmax: int
    scale: np.float32


DYNAMIC = TensorQParams(0, 0, 255, np.float32(0))  # uint8; the scale 0 asks to find scale and zero point in each input


class QParamsLike(Protocol):
    """What is read of a `QParams`: x ~ scale * (q - zero_point)."""

    @property
    def scale(self) -> Any: ...
    @property
    def zero_point(self) -> Any: ...
    @property
    def int_type(self) -> Any: ...


def check_scales(scale: NDArray[np.float32]) -> None:
    """ValueError for a scale that is not above 0 and finite."""
    usable = np.isfinite(scale) & (scale > 0)
    if not np.all(usable):
        raise ValueError(f"scale must be > 0 and finite, got {scale[~usable].flat[0]:g}")


def tensor_qparams(qparams: QParamsLike, what: str) -> TensorQParams:
    """The quantization parameters of one whole tensor. ValueError, which names `what`, for more than one scale."""
    scale, zero_point = np.asarray(qparams.scale, np.float32), np.asarray(qparams.zero_point)
    if scale.size != 1 or zero_point.size != 1:
        raise ValueError(
            f"{what} must be one scale and zero point for the whole tensor, got a scale of shape {scale.shape}"
        )
    check_scales(scale)
    int_type = qparams.int_type
    return TensorQParams(int(zero_point.item()), int(int_type.qmin), int(int_type.qmax), np.float32(scale.item()))


def zero_point_of(zero_point: Any, shape: tuple[int, ...]) -> int | NDArray[np.int64]:
    """One zero point for all of a [..., M, K], or [rows, 1], one for each of its rows. [M] is [M, 1], as in ONNX.

    TypeError for what is no integer, ValueError for no code or another shape.
    """
    z = np.asarray(zero_point if type(zero_point) is not int else min(max(zero_point, -(2**63)), 2**63 - 1))
    if z.dtype.kind not in "iu":
        raise TypeError(f"a_zero_point must be an integer, got {z.dtype}: it is a code")
    if z.size and not -128 <= int(z.min()) <= int(z.max()) <= 255:
        far = zero_point if z.size == 1 else z.min() if z.min() < -128 else z.max()
        raise ValueError(f"a_zero_point must be an integer in [-128, 255], got {far}: it is a code")
    if z.size == 1:
        return int(z.item())
    each, rows = z[:, None] if z.ndim == 1 else z, (*shape[:-1], 1)
    if each.ndim > len(rows) or any(n not in (1, m) for n, m in zip(each.shape[::-1], rows[::-1], strict=False)):
        raise ValueError(f"a_zero_point must be one integer or one a row, shape {rows}, got shape {z.shape}")
    return np.broadcast_to(each, rows).reshape(prod(shape[:-1]), 1).astype(np.int64)


def bias_of(bias: Any, n: int) -> NDArray[Any]:
    """The bias [N] of N columns: int32 as it is, other numbers as float32; [0] for None. A copy."""
    if bias is None:
        return np.zeros(0, np.float32)
    given = np.asarray(bias)
    if given.shape not in ((0,), (n,)):
        raise ValueError(f"bias must have {n} values, one a column of the weights, got shape {given.shape}")
    if given.dtype.kind not in "fiub":
        raise TypeError(f"bias must be real numbers, got {given.dtype}")
    if given.dtype.kind == "f" and not np.all(np.isfinite(given)):
        raise ValueError(f"bias must be finite, got {given[~np.isfinite(given)][0]:g}")
    return given.astype(np.int32 if given.dtype.newbyteorder("=") == np.int32 else np.float32)


def refuse(x: NDArray[np.float32], status: int) -> None:
    """Say what is wrong with x: NaN (-1), or a range that is not finite (-2)."""
    if status == -1:
        where = np.argwhere(np.isnan(x))[0].tolist()
        raise ValueError(
            f"x must not hold NaN, got one at index {where}: no code stands for it, find out where it arose"
        )
    if status == -2:
        raise ValueError(f"a range must be finite, got [{x.min():g}, {x.max():g}]: mask or clip x before measuring it")
