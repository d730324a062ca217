"""quantize and dequantize in one pass over memory: the bits of the definitions in `tinytorch.quantization`.

quantize(x, qparams)
  checks     real numbers, and what compiled code can read (`arrays.readable`)
  plan       one scale and zero point for all of x: found once for each QParams, kernel and type, then remembered
  rows       a scale for each slice of the first axis: compiled, too
  NumPy      a scale in any other shape, nothing to convert, or no compiler
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from ...core.checks import check_fits, float32_array
from ..runtime.features import kernel
from ..runtime.layout import ROW_FLOATS
from ..runtime.once import load
from .arrays import FLOAT32, readable
from .dispatch import compiled_kernel
from .qparams import QParamsLike, as_integers, check_codes, check_qparams, is_fixed, refuse

TINY = np.finfo(np.float32).tiny
DEQUANTIZE = {"b": "dequantize_int8", "B": "dequantize_uint8"}  # the compiled loops, by the type of codes
READ = ("f", *DEQUANTIZE)  # the types that compiled loops read
SHARED_FROM = 1 << 15  # elements from which threads share a call
MAX_PLANS = 256  # that are remembered


@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def choose_dynamic(x: NDArray[np.float32], per_row: bool = False) -> tuple[Any, Any]:
    """The uint8 (scale, zero point) of x's own range, in NumPy; `calls.layer` finds the same. Source: ONNX.

    per_row: x is [M, ...], and scale and zero point are [M, 1, ...]: those of the range of each of its M rows.
    """
    axes: Any = tuple(range(1, x.ndim)) if per_row else None
    lo, hi = (np.asarray(f(x, axes, keepdims=per_row, initial=0)) for f in (np.min, np.max))
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
    return (scale, zero_point.astype(np.int64)) if per_row else (np.float32(scale), int(zero_point))


def find_dynamic(x: NDArray[np.float32]) -> tuple[np.float32, int]:
    """`choose_dynamic`, compiled where there is a compiler."""
    name, x = kernel(), readable(x)
    if name == "numpy" or x.size == 0:
        return choose_dynamic(x)
    run, qparams = compiled_kernel(name), np.zeros(8, np.float32)
    layer, pool = load("calls.layer"), run.pool()[0]
    refuse(x, layer.range_of(pool, run.address, layer.range_task.address, x.ravel(order="K"), qparams))
    return qparams[3], int(qparams[0])


def quantize_rows(x: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Codes of x [M, ...], each row quantized by its own range; then scale and zero point of each row, [M, 1, ...]."""
    name, x = kernel(), np.ascontiguousarray(readable(x))
    if name == "numpy" or x.size == 0:
        scale, zero_point = choose_dynamic(x, per_row=True)
        return quantize_plain(x, scale, zero_point.astype(np.float32), 0, 255), scale, zero_point
    run, driver = compiled_kernel(name), load("calls.rows")
    quantizer = load("calls.plans").quantizer_of(run, 0)
    rows, qparams = x.reshape(len(x), -1), np.empty((len(x), ROW_FLOATS), np.float32)
    codes, function = np.empty(rows.shape, np.uint8), driver.quantize_rows.address
    refuse(x, driver.codes_of_rows(run.pool()[0], run.address, function, quantizer, rows, codes, qparams))
    one_each = (len(x), *[1] * (x.ndim - 1))
    scale, zero_point = qparams[:, 3].reshape(one_each), qparams[:, 0].reshape(one_each).astype(np.int64)
    return codes.reshape(x.shape), scale, zero_point


@np.errstate(over="ignore", invalid="ignore")
def quantize_plain(x: NDArray[np.float32], scale: Any, zero_point: Any, lo: int, hi: int) -> NDArray[Any]:
    """The definition in NumPy, which allocates one array besides the result."""
    if np.isnan(np.min(x, initial=np.inf)):
        refuse(x, -1)
    steps = np.asarray(np.divide(x, scale, dtype=np.float32))
    np.rint(steps, out=steps)  # ties to even, before the zero point
    steps += zero_point
    np.clip(steps, lo, hi, out=steps)
    return steps.astype(np.int8 if lo < 0 else np.uint8)


def _dequantize_plain(q: NDArray[Any], qparams: QParamsLike) -> NDArray[np.float32]:
    """The definition in NumPy, for codes and for sums that count steps of the scale."""
    check_fits("a scale", qparams.scale.shape, q.shape)
    steps = q.astype(np.int32) - np.asarray(qparams.zero_point, np.int32)
    return np.asarray(steps.astype(np.float32) * np.asarray(qparams.scale, np.float32))


@dataclass(frozen=True, slots=True)
class Plan:
    """What calls with one scale and zero point for the whole tensor have in common, on one kernel, from one type."""

    run: Any  # compiled; it takes (pool, loop, x, y)
    loop: NDArray[np.int64]  # a LOOP of `calls.elementwise`
    result_dtype: np.dtype[Any]
    checked_type: Any  # the integer type whose codes are fewer than those of int8 or uint8, else None
    owners: tuple[Any, ...]  # what the addresses in the loop belong to


_plans: dict[
    tuple[int, str, str], Plan
] = {}  # by the id of a QParams, which no other object gets while `owners` has it


def _loop_address(name: str, verb: str) -> int:
    """The address of a compiled loop for kernel `name`. Nothing that only products need is compiled for it."""
    address: int = load("loops.jit").passes(name)[verb]
    return address


def _find_plan(qparams: QParamsLike, name: str, kind: str) -> Plan | None:
    """The plan for kernel `name`, from reals ("f") or codes; None where one scale does not serve the whole tensor."""
    if name == "numpy" or np.ndim(qparams.scale) != 0 or kind not in READ:
        return None
    lo, hi, loops = qparams.int_type.qmin, qparams.int_type.qmax, load("calls.elementwise")
    floats = np.array([qparams.zero_point, lo, hi, qparams.scale, 0], np.float32)  # 0: no bit of codes is flipped
    verb, target = ("quantize", "b" if lo < 0 else "B") if kind == "f" else (DEQUANTIZE[kind], "f")
    loop = loops.loop_of(_loop_address(name, verb), kind, target, floats)
    checked_type = qparams.int_type if hi - lo < 255 else None
    plan = Plan(loops.WHOLE_TENSOR[kind, target].made, loop, np.dtype(target), checked_type, (floats, qparams))
    if is_fixed(qparams):
        if len(_plans) >= MAX_PLANS:
            _plans.clear()
        _plans[id(qparams), name, kind] = plan
    return plan


def _has_scale_per_row(qparams: QParamsLike, shape: tuple[int, ...]) -> bool:
    """Whether there is one scale for each slice of the first axis, which is compiled; other shapes are for NumPy."""
    return bool(qparams.scale.shape == (*shape[:1], *[1] * (len(shape) - 1)))


def _pool_for(size: int) -> int:
    """The address of the thread pool for `size` elements; 0 where the caller works alone."""
    return load("runtime.threads").pool().address if size >= SHARED_FROM else 0


def _run_by_rows(x: NDArray[Any], y: NDArray[Any], qparams: QParamsLike, function: int) -> int:
    """x through the loop at address `function` into y, with a scale for each row. Returns nonzero if x holds a NaN."""
    loops, scales = load("calls.elementwise"), np.asarray(qparams.scale, np.float32).reshape(-1)
    zero_points = np.asarray(qparams.zero_point, np.int32).reshape(-1)
    floats = np.array([0, qparams.int_type.qmin, qparams.int_type.qmax, 0, 0], np.float32)
    kinds = x.dtype.char, y.dtype.char
    loop = loops.loop_of(function, *kinds, floats)
    nonzero_for_nan: int = loops.BY_ROWS[kinds](_pool_for(x.size), loop, x.ravel(), scales, zero_points, y.ravel())
    return nonzero_for_nan


def _quantize_without_plan(x: NDArray[np.float32], qparams: QParamsLike, name: str) -> NDArray[Any]:
    """With a scale for each row, compiled; with scales in another shape, or without a compiler, in NumPy."""
    lo, hi = qparams.int_type.qmin, qparams.int_type.qmax
    if name == "numpy" or x.size == 0 or not _has_scale_per_row(qparams, x.shape):
        check_fits("a scale", qparams.scale.shape, x.shape)
        return quantize_plain(x, qparams.scale, np.asarray(qparams.zero_point, np.float32), lo, hi)
    q = np.empty(x.shape, np.int8 if lo < 0 else np.uint8)
    if _run_by_rows(readable(x), q, qparams, _loop_address(name, "quantize")):
        refuse(x, -1)
    return q


def _dequantize_without_plan(q: NDArray[Any], qparams: QParamsLike, name: str) -> NDArray[np.float32]:
    """The way back."""
    if name == "numpy" or q.size == 0 or q.dtype.char not in READ or not _has_scale_per_row(qparams, q.shape):
        return _dequantize_plain(q, qparams)
    x = np.empty(q.shape, np.float32)
    _run_by_rows(q, x, qparams, _loop_address(name, DEQUANTIZE[q.dtype.char]))
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


def quantize(x: ArrayLike, qparams: QParamsLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """`clip(rint(x / scale) + zero_point, qmin, qmax)` as int8 or uint8 [shape of x]; what lies outside saturates.

    This is `tinytorch.quantization.quantize`, compiled: the same arguments, bits and errors. x: float32, any shape;
    other reals are converted, NaN is refused (ValueError). One scale for the tensor, or one for each slice of the
    first axis, is compiled; scales in another shape go through NumPy. out: where the codes go, contiguous, of their
    type and x's shape: a large array that is used again saves the system's making new pages.

    >>> from tinytorch.quantization import QParams
    >>> quantize([-1.0, 0.25, 0.75, 1000.0], QParams(0.5, 3)).tolist()
    [1, 3, 5, 127]
    """
    if type(x) is not ndarray or x.dtype is not FLOAT32:
        x = readable(float32_array("x", x))
    name = kernel()
    plan = _plans.get((id(qparams), name, "f"))
    if plan is None:
        check_qparams(qparams)
        plan = _find_plan(qparams, name, "f")
    if plan is None:
        return _into(out, x, _quantize_without_plan(x, qparams, name))
    q = np.empty(x.shape, plan.result_dtype) if out is None else _checked(out, x, plan.result_dtype)
    try:
        nonzero_for_nan = plan.run(_pool_for(x.size), plan.loop, x.ravel(), q.ravel())
    except TypeError:  # not `readable`
        nonzero_for_nan = plan.run(_pool_for(x.size), plan.loop, readable(x).ravel(), q.ravel())
    if nonzero_for_nan:
        refuse(x, -1)
    return q if out is None else out


def dequantize(q: ArrayLike, qparams: QParamsLike, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """`scale * (q - zero_point)`, float32 [shape of q]: `tinytorch.quantization.dequantize`, compiled.

    The same arguments, bits and errors. q: codes as int8 or uint8, any shape; wider integers, such as int32 sums, are
    taken, too, and go through NumPy. out: as in `quantize`.

    >>> from tinytorch.quantization import QParams
    >>> dequantize(np.array([1, 3, 5], np.int8), QParams(0.5, 3)).tolist()
    [-1.0, 0.0, 1.0]
    """
    if type(q) is not ndarray or q.dtype.char not in DEQUANTIZE:
        q = as_integers("codes", q)
    name, kind = kernel(), q.dtype.char
    plan = _plans.get((id(qparams), name, kind))
    if plan is None:
        check_qparams(qparams)
        check_codes(q, qparams.int_type)
        plan = _find_plan(qparams, name, kind)
    elif plan.checked_type is not None:
        check_codes(q, plan.checked_type)
    if plan is None:
        return _into(out, q, _dequantize_without_plan(q, qparams, name))
    x = np.empty(q.shape, FLOAT32) if out is None else _checked(out, q, FLOAT32)
    plan.run(_pool_for(q.size), plan.loop, q.ravel(), x.ravel())
    return x if out is None else out
