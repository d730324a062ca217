"""quantize and dequantize in one pass over memory: the bits of the definitions in `tinytorch.quantization`."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .features import kernel
from .int8 import ALIGN_FROM, rung
from .pack import aligned
from .rulers import Ruler, refuse

TINY = np.finfo(np.float32).tiny


@cache
def _streams() -> Any:
    from . import streams

    return streams


def choose_dynamic(x: NDArray[np.float32]) -> tuple[np.float32, int]:
    """uint8 (scale, zero point) of x's own range, in NumPy; `fused.dynamic_ruler` is the same. Source: ONNX."""
    lo, hi = np.float32(np.min(x, initial=0)), np.float32(np.max(x, initial=0))
    refuse(x, -1 if np.isnan(lo + hi) and np.isnan(x).any() else -2 if np.isinf(lo) or np.isinf(hi) else 0)
    with np.errstate(over="ignore"):
        length = np.float32(hi - lo)
    if np.isinf(length) or length < 255 * TINY:
        wide = np.float32((float(hi) - float(lo)) / 255)
        scale = np.float32(1) if wide < TINY else wide
        return scale, int(np.clip(np.rint(-float(lo) / float(scale)), 0, 255))
    scale = np.float32(length / np.float32(255))
    return scale, int(np.rint(np.clip(-lo / scale, 0, 255)))


@np.errstate(over="ignore", invalid="ignore")
def quantize_plain(x: NDArray[np.float32], scale: Any, zero_point: Any, lo: int, hi: int) -> NDArray[Any]:
    """The definition in NumPy, with one array besides the result."""
    if np.isnan(np.min(x, initial=np.inf)):
        refuse(x, -1)
    steps = np.asarray(np.divide(x, scale, dtype=np.float32))
    np.rint(steps, out=steps)  # ties to even, before the zero point
    steps += zero_point
    np.clip(steps, lo, hi, out=steps)
    return steps.astype(np.int8 if lo < 0 else np.uint8)


def _values(qparams: Ruler, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32], int] | None:
    """(scales, zero points, rows): one ruler for all, or for each slice of the first axis; None for other shapes."""
    scale, zero_point = np.asarray(qparams.scale, np.float32), np.asarray(qparams.zero_point, np.float32)
    if scale.ndim and scale.shape != (*shape[:1], *[1] * (len(shape) - 1)):
        return None
    return scale.reshape(-1), zero_point.reshape(-1), scale.size


def _result(shape: tuple[int, ...], kind: type[np.generic], nbytes: int) -> NDArray[Any]:
    """An array to fill; a large one begins with a cache line, for a vector stored across two costs double."""
    return np.empty(shape, kind) if nbytes < ALIGN_FROM else aligned(nbytes, np.empty).view(kind).reshape(shape)


def quantize(x: NDArray[Any], qparams: Ruler) -> NDArray[Any]:
    """`clip(rint(x / scale) + zero_point, qmin, qmax)` as int8 or uint8 [shape of x]; bit-equal to the definition.

    x: float32, any shape; other reals are converted. NaN is refused (ValueError), what lies outside saturates. Rulers
    for one tensor and for slices of the first axis are compiled; others go through NumPy.
    """
    x = np.asarray(x)
    if x.dtype != np.float32:
        if x.dtype.kind not in "fiub":
            raise TypeError(f"x must be real numbers, got {x.dtype}")
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
    name, rulers, int_type = kernel(), _values(qparams, x.shape), qparams.int_type
    if name == "numpy" or rulers is None or x.size == 0:
        zero_point = np.asarray(qparams.zero_point, np.float32)
        return quantize_plain(x, qparams.scale, zero_point, int_type.qmin, int_type.qmax)
    run, q, (scales, zeros, rows) = rung(name), _result(x.shape, np.uint8, x.size), rulers
    reals, codes = np.ascontiguousarray(x).reshape(rows, -1), q.reshape(rows, -1)
    seen = _streams().quantize_rows(
        run.team()[0], run.addresses, reals, scales, zeros, int_type.qmin, int_type.qmax, codes
    )
    if seen:
        refuse(x, -1)
    return q if int_type.qmin == 0 else q.view(np.int8)


def dequantize(q: NDArray[Any], qparams: Ruler) -> NDArray[np.float32]:
    """`scale * (q - zero_point)`, float32 [shape of q]. q: int8 or uint8 codes, any shape."""
    q = np.asarray(q)
    if q.dtype != np.int8 and q.dtype != np.uint8:
        raise TypeError(f"codes must be int8 or uint8, got {q.dtype}")
    name, rulers = kernel(), _values(qparams, q.shape)
    if name == "numpy" or rulers is None or q.size == 0:
        steps = q.astype(np.float32) - np.asarray(qparams.zero_point, np.float32)
        return np.asarray(steps * np.asarray(qparams.scale, np.float32))
    run, x, (scales, zeros, rows) = rung(name), _result(q.shape, np.float32, 4 * q.size), rulers
    codes = np.ascontiguousarray(q).view(np.uint8).reshape(rows, -1)
    function = run.sweeps["dequantize_int8" if q.dtype == np.int8 else "dequantize_uint8"]
    _streams().dequantize_rows(run.team()[0], run.addresses, function, codes, scales, zeros, x.reshape(rows, -1))
    return x
