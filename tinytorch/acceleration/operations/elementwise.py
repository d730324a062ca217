"""quantize and dequantize in one pass over memory: the bits of the definitions in `tinytorch.quantization`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import NDArray

from ...core.checks import check_fits
from ..runtime.features import kernel
from ..runtime.layout import ROW_FLOATS
from ..runtime.once import load
from .arrays import FLOAT32, readable
from .dispatch import compiled_kernel
from .qparams import QParamsLike, refuse

TINY = np.finfo(np.float32).tiny
DEQUANTIZE = {"b": "dequantize_int8", "B": "dequantize_uint8"}  # by the type of codes
SHARED = 1 << 15  # elements that threads may share
KEPT = 256  # rulers that are remembered


@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def choose_dynamic(x: NDArray[np.float32], by_rows: bool = False) -> tuple[Any, Any]:
    """uint8 (scale, zero point) of x's own range, in NumPy; `fused.dynamic_ruler` is the same. Source: ONNX.

    by_rows: x is [M, ...], and what is returned [M, 1, ...]: of the ranges of its M rows.
    """
    axes: Any = tuple(range(1, x.ndim)) if by_rows else None
    lo, hi = (np.asarray(f(x, axes, keepdims=by_rows, initial=0)) for f in (np.min, np.max))
    is_nan = np.isnan(lo + hi).any() and np.isnan(x).any()
    refuse(x, -1 if is_nan else -2 if np.isinf(lo).any() or np.isinf(hi).any() else 0)
    length = hi - lo
    scale = length / np.float32(255)
    zero_point = np.rint(np.clip(-lo / scale, 0, 255))
    beyond = np.isinf(length) | (length < 255 * TINY)  # float32 cannot hold this range
    if np.any(beyond):
        wide = ((hi.astype(np.float64) - lo) / 255).astype(np.float32)
        wide = np.where(wide < TINY, np.float32(1), wide)
        far = np.clip(np.rint(-lo.astype(np.float64) / wide), 0, 255)
        scale, zero_point = np.where(beyond, wide, scale), np.where(beyond, far, zero_point)
    return (scale, zero_point.astype(np.int64)) if by_rows else (np.float32(scale), int(zero_point))


def find_dynamic(x: NDArray[np.float32]) -> tuple[np.float32, int]:
    """`choose_dynamic`, compiled where there is a compiler."""
    name, x = kernel(), readable(x)
    if name == "numpy" or x.size == 0:
        return choose_dynamic(x)
    run, ruler = compiled_kernel(name), np.zeros(8, np.float32)
    refuse(x, load("loops.layer").range_of(run.pool()[0], run.address, run.range_task, x.ravel(order="K"), ruler))
    return ruler[3], int(ruler[0])


def quantize_rows(x: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Codes of x [M, ...] and the scale and the zero point of each row, [M, 1, ...], by its own range."""
    name, x = kernel(), np.ascontiguousarray(readable(x))
    if name == "numpy" or x.size == 0:
        scale, zero_point = choose_dynamic(x, by_rows=True)
        return quantize_plain(x, scale, zero_point.astype(np.float32), 0, 255), scale, zero_point
    run, driver = compiled_kernel(name), load("loops.rows")
    quantizer = load("loops.plans").quantizer_of(run, 0)
    rows, qparams = x.reshape(len(x), -1), np.empty((len(x), ROW_FLOATS), np.float32)
    codes, function = np.empty(rows.shape, np.uint8), driver.quantize_rows.address
    refuse(x, driver.codes_of_rows(run.pool()[0], run.address, function, quantizer, rows, codes, qparams))
    one_each = (len(x), *[1] * (x.ndim - 1))
    scale, zero_point = qparams[:, 3].reshape(one_each), qparams[:, 0].reshape(one_each).astype(np.int64)
    return codes.reshape(x.shape), scale, zero_point


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


def _reals(x: Any) -> NDArray[np.float32]:
    """x as float32."""
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x must be real numbers, got {x.dtype}")
    with np.errstate(over="ignore"):
        return readable(x)


@dataclass(frozen=True, slots=True)
class Pass:
    """What a ruler for a whole tensor needs on one rung, from one type: `run` takes (pool, loop, x, y)."""

    run: Any
    loop: NDArray[np.int64]  # a LOOP of `loops.elementwise`
    target: np.dtype[Any]
    keep: tuple[Any, ...]  # what the addresses in the loop belong to


_passes: dict[tuple[int, str, str], Pass] = {}  # by the ruler's id, which is its own as long as `keep` holds the ruler


def _is_fixed(qparams: Any) -> bool:
    """Whether a ruler can never change: a frozen dataclass of arrays that nobody can write to."""
    frozen = getattr(getattr(qparams, "__dataclass_params__", None), "frozen", False)
    arrays = (qparams.scale, qparams.zero_point)
    return frozen and all(type(a) is ndarray and not a.flags.writeable and a.base is None for a in arrays)


def _address(name: str, verb: str) -> int:
    """Where a pass begins that is compiled for kernel `name`. Nothing that products need is compiled for it."""
    address: int = load("loops.jit").passes(name)[verb]
    return address


def _find_pass(qparams: QParamsLike, name: str, kind: str) -> Pass | None:
    """The pass of a ruler on rung `name`, from reals ("f") or codes; None where it is not one for the whole tensor."""
    if name == "numpy" or np.ndim(qparams.scale) != 0:
        return None
    lo, hi, loops = qparams.int_type.qmin, qparams.int_type.qmax, load("loops.elementwise")
    ruler = np.array([qparams.zero_point, lo, hi, qparams.scale, 0], np.float32)  # at last: no bit of codes is flipped
    verb, target = ("quantize", "b" if lo < 0 else "B") if kind == "f" else (DEQUANTIZE[kind], "f")
    loop = loops.loop_of(_address(name, verb), kind, target, ruler)
    made = Pass(loops.WHOLE_TENSOR[kind, target].made, loop, np.dtype(target), (ruler, qparams))
    if _is_fixed(qparams):
        if len(_passes) >= KEPT:
            _passes.clear()
        _passes[id(qparams), name, kind] = made
    return made


def _by_rows(scale: Any, shape: tuple[int, ...]) -> bool:
    """Whether a ruler is one for each slice of the first axis; other shapes are for NumPy."""
    return bool(scale.shape == (*shape[:1], *[1] * (len(shape) - 1)))


def _pool(size: int) -> int:
    """The threads that share a pass over `size` elements: their address, 0 for none."""
    return load("runtime.threads").pool().address if size >= SHARED else 0


def _run_by_rows(x: NDArray[Any], y: NDArray[Any], qparams: QParamsLike, function: int) -> int:
    """x through the loop at `function` into y, with a scale for each row. Returns not 0 for NaN."""
    loops, scales = load("loops.elementwise"), np.asarray(qparams.scale, np.float32).reshape(-1)
    zero_points = np.asarray(qparams.zero_point, np.int32).reshape(-1)
    ruler = np.array([0, qparams.int_type.qmin, qparams.int_type.qmax, 0, 0], np.float32)
    kinds = x.dtype.char, y.dtype.char
    loop = loops.loop_of(function, *kinds, ruler)
    seen: int = loops.BY_ROWS[kinds](_pool(x.size), loop, x.ravel(), scales, zero_points, y.ravel())
    return seen


def _quantize_otherwise(x: NDArray[np.float32], qparams: QParamsLike, name: str) -> NDArray[Any]:
    """By a ruler for each slice of the first axis, compiled; by any other, or without a compiler, in NumPy."""
    lo, hi = qparams.int_type.qmin, qparams.int_type.qmax
    if name == "numpy" or x.size == 0 or not _by_rows(qparams.scale, x.shape):
        check_fits("a scale", qparams.scale.shape, x.shape)
        return quantize_plain(x, qparams.scale, np.asarray(qparams.zero_point, np.float32), lo, hi)
    q = np.empty(x.shape, np.int8 if lo < 0 else np.uint8)
    if _run_by_rows(readable(x), q, qparams, _address(name, "quantize")):
        refuse(x, -1)
    return q


def _dequantize_otherwise(q: NDArray[Any], qparams: QParamsLike, name: str) -> NDArray[np.float32]:
    """The way back."""
    if name == "numpy" or q.size == 0 or not _by_rows(qparams.scale, q.shape):
        check_fits("a scale", qparams.scale.shape, q.shape)
        steps = q.astype(np.float32) - np.asarray(qparams.zero_point, np.float32)
        return np.asarray(steps * np.asarray(qparams.scale, np.float32))
    x = np.empty(q.shape, np.float32)
    _run_by_rows(q, x, qparams, _address(name, DEQUANTIZE[q.dtype.char]))
    return x


def _checked(out: NDArray[Any], source: NDArray[Any], target: np.dtype[Any]) -> NDArray[Any]:
    """The memory of `out`, a plain array or a subclass of it, if it can be written to while `source` is read."""
    if not isinstance(out, ndarray) or out.dtype != target or out.shape != source.shape:
        got = f"{out.dtype} {list(out.shape)}" if isinstance(out, ndarray) else type(out).__name__
        raise ValueError(f"out must be an array {target} {list(source.shape)}, got {got}")
    if not out.flags.carray or np.may_share_memory(out, source):
        raise ValueError("out must be writeable, contiguous, aligned, and apart from the input: as np.empty makes it")
    return np.asarray(out)


def _into(out: NDArray[Any] | None, source: NDArray[Any], result: NDArray[Any]) -> NDArray[Any]:
    """The result, in `out` if there is one."""
    if out is None:
        return result
    _checked(out, source, result.dtype)[...] = result
    return out


def quantize(x: NDArray[Any], qparams: QParamsLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """`clip(rint(x / scale) + zero_point, qmin, qmax)` as int8 or uint8 [shape of x]; bit-equal to the definition.

    x: float32, any shape; other reals are converted. NaN is refused (ValueError), what lies outside saturates. Rulers
    for one tensor and for slices of the first axis are compiled; others go through NumPy. out: where the codes go,
    contiguous, of their type and x's shape: a large array that is used again saves the system's making new pages.
    """
    if type(x) is not ndarray or x.dtype is not FLOAT32:
        x = _reals(x)
    name = kernel()
    whole = _passes.get((id(qparams), name, "f")) or _find_pass(qparams, name, "f")
    if whole is None:
        return _into(out, x, _quantize_otherwise(x, qparams, name))
    q = np.empty(x.shape, whole.target) if out is None else _checked(out, x, whole.target)
    try:
        seen = whole.run(_pool(x.size), whole.loop, x.ravel(), q.ravel())
    except TypeError:  # not `readable`
        seen = whole.run(_pool(x.size), whole.loop, readable(x).ravel(), q.ravel())
    if seen:
        refuse(x, -1)
    return q if out is None else out


def dequantize(q: NDArray[Any], qparams: QParamsLike, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """`scale * (q - zero_point)`, float32 [shape of q]. q: int8 or uint8 codes, any shape. out: as in `quantize`."""
    if type(q) is not ndarray:
        q = np.asarray(q)
    name, kind = kernel(), q.dtype.char
    if kind not in DEQUANTIZE:
        raise TypeError(f"codes must be int8 or uint8, got {q.dtype}")
    whole = _passes.get((id(qparams), name, kind)) or _find_pass(qparams, name, kind)
    if whole is None:
        return _into(out, q, _dequantize_otherwise(q, qparams, name))
    x = np.empty(q.shape, FLOAT32) if out is None else _checked(out, q, FLOAT32)
    whole.run(_pool(q.size), whole.loop, q.ravel(), x.ravel())
    return x if out is None else out
