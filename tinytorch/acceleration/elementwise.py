"""quantize and dequantize in one pass over memory: the bits of the definitions in `tinytorch.quantization`."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .features import kernel
from .int8 import rung
from .rulers import Ruler, refuse

TINY = np.finfo(np.float32).tiny


@cache
def _streams() -> Any:
    from . import streams

    return streams


@cache
def fused_driver() -> Any:
    from . import fused

    return fused


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


def find_dynamic(x: NDArray[np.float32]) -> tuple[np.float32, int]:
    """`choose_dynamic`, compiled where there is a compiler."""
    name = kernel()
    if name == "numpy" or x.size == 0:
        return choose_dynamic(x)
    run, ruler = rung(name), np.zeros(4, np.float32)
    refuse(x, fused_driver().range_of(run.team()[0], run.addresses, run.extremes, x.ravel(order="K"), ruler))
    return ruler[3], int(ruler[0])


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


def _kind_of(qparams: Ruler, shape: tuple[int, ...]) -> str:
    """Which driver a ruler takes: "all", one for the whole tensor; "rows", one for each slice of the first axis; or ""
    for NumPy."""
    scale = qparams.scale
    if getattr(scale, "ndim", 0) == 0:
        return "all"
    return "rows" if scale.shape == (*shape[:1], *[1] * (len(shape) - 1)) else ""


def _rows(qparams: Ruler) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A scale for each row, and a zero point for each or for all."""
    return np.asarray(qparams.scale, np.float32).reshape(-1), np.asarray(qparams.zero_point, np.int32).reshape(-1)


def quantize(x: NDArray[Any], qparams: Ruler) -> NDArray[Any]:
    """`clip(rint(x / scale) + zero_point, qmin, qmax)` as int8 or uint8 [shape of x]; bit-equal to the definition.

    x: float32, any shape; other reals are converted. NaN is refused (ValueError), what lies outside saturates. Rulers
    for one tensor and for slices of the first axis are compiled; others go through NumPy.
    """
    x = np.asarray(x)
    if x.dtype.char != "f":
        if x.dtype.kind not in "fiub":
            raise TypeError(f"x must be real numbers, got {x.dtype}")
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
    name, kind, lo, hi = kernel(), _kind_of(qparams, x.shape), qparams.int_type.qmin, qparams.int_type.qmax
    if name == "numpy" or not kind or x.size == 0:
        return quantize_plain(x, qparams.scale, np.asarray(qparams.zero_point, np.float32), lo, hi)
    run, q = rung(name), np.empty(x.size, np.uint8)
    pool, table, reals = run.team()[0], run.addresses, x.ravel()
    if kind == "all":
        seen = _streams().quantize_all(pool, table, reals, float(qparams.scale), int(qparams.zero_point), lo, hi, q)
    else:
        seen = _streams().quantize_rows(pool, table, reals, *_rows(qparams), lo, hi, q)
    if seen:
        refuse(x, -1)
    return (q.view(np.int8) if lo < 0 else q).reshape(x.shape)


def dequantize(q: NDArray[Any], qparams: Ruler) -> NDArray[np.float32]:
    """`scale * (q - zero_point)`, float32 [shape of q]. q: int8 or uint8 codes, any shape."""
    q = np.asarray(q)
    signed = q.dtype.char == "b"
    if not signed and q.dtype.char != "B":
        raise TypeError(f"codes must be int8 or uint8, got {q.dtype}")
    name, kind = kernel(), _kind_of(qparams, q.shape)
    if name == "numpy" or not kind or q.size == 0:
        steps = q.astype(np.float32) - np.asarray(qparams.zero_point, np.float32)
        return np.asarray(steps * np.asarray(qparams.scale, np.float32))
    run, x = rung(name), np.empty(q.size, np.float32)
    pool, table, codes = run.team()[0], run.addresses, (q.view(np.uint8) if signed else q).ravel()
    function = run.sweeps["dequantize_int8" if signed else "dequantize_uint8"]
    if kind == "all":
        scale, zero_point = float(qparams.scale), int(qparams.zero_point)
        _streams().dequantize_all(pool, table, function, codes, scale, zero_point, x)
    else:
        _streams().dequantize_rows(pool, table, function, codes, *_rows(qparams), x)
    return x.reshape(q.shape)
