"""Quantization parameters as the kernels take them, and which zero points, scales, biases and inputs are refused."""

from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from ...core.checks import real_array, said


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


def check_qparams(value: Any) -> None:
    """TypeError for what is no `QParams`, such as a scale alone."""
    if not hasattr(value, "int_type"):
        raise TypeError(f"wanted QParams(scale, zero_point, int_type), got {said(value)}")


def is_fixed(qparams: QParamsLike) -> bool:
    """Whether a `QParams` can never change: a frozen dataclass of arrays that nobody can write to."""
    frozen = getattr(getattr(qparams, "__dataclass_params__", None), "frozen", False)
    arrays = (qparams.scale, qparams.zero_point)
    return frozen and all(type(a) is ndarray and not a.flags.writeable and a.base is None for a in arrays)


def as_integers(name: str, q: ArrayLike) -> NDArray[Any]:
    """q as an array of integers from which a zero point can be taken in int32. TypeError or OverflowError."""
    q, end = real_array(name, q), 2**31 - 256
    if q.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {q.dtype}")
    if q.dtype.itemsize >= 4 and q.size and (q.min() < -end or q.max() >= end):
        raise OverflowError(f"{name} must fit int32 and lie in [{-end}, {end}), got {q.min()} to {q.max()}")
    return q


def check_codes(q: NDArray[Any], int_type: Any) -> None:
    """TypeError or ValueError for bytes that are no codes of this type. Wider integers count steps, and may be any."""
    if q.dtype.itemsize > 1:
        return
    if q.dtype != int_type.storage:
        raise TypeError(f"codes of {int_type} are stored as {int_type.storage}, got {q.dtype}: quantize first")
    if q.size and int_type.qmax - int_type.qmin < 255 and (q.min() < int_type.qmin or q.max() > int_type.qmax):
        wanted = f"[{int_type.qmin}, {int_type.qmax}]"
        raise ValueError(f"codes of {int_type} lie in {wanted}, got {q.min()} to {q.max()}: quantize clips")


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
    """ValueError for the status of compiled code that is not 0: x holds a NaN (-1), or infinity (-2)."""
    if status == -1:
        where = np.argwhere(np.isnan(x))[0].tolist()
        raise ValueError(f"x must not hold NaN, got one at index {where}: no code stands for it; find where it arose")
    if status == -2:
        raise ValueError(f"a range must be finite, got [{x.min():g}, {x.max():g}]: mask or clip x before measuring it")
