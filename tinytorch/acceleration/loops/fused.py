"""The drivers of a whole layer: one pass for the range, one to quantize, the product, and one pass over its sums."""

from typing import Any

import numpy as np

from ..runtime.compiled import Array, Entry, add, at, call, compiled, inlined, ints, keep, reals, task, words
from ..runtime.threads import EVERYBODY, run
from . import small
from .gemm import (
    CHUNK,
    CODES,
    EXTREMES,
    FINISH,
    MANY,
    NONE,
    PACK,
    QUANTIZE,
    column_start,
    entrance,
    padded,
    product,
    up,
)
from .small import (
    AFTER,
    BIASES,
    DATA,
    DONE,
    FLIP,
    INFINITE,
    INT_BIASES,
    NAN,
    OTHER,
    PANEL,
    RULER_IN,
    RULER_OUT,
    RUNG,
    SCALES,
    SHIFT,
    SUMS,
    ZERO,
    K,
    N,
    scratch,
    small_product,
)

BIAS, FLOATS = "Array(int32, 1, 'C', readonly=True)", "Array(float32, 1, 'C', readonly=True)"
ONE: Any = np.float32(1)
REALS = "Array(float32, 2, 'C', readonly=True)"
LAYER = f"{PACK}, {FLOATS}, {FLOATS}, {BIAS}, {FLOATS}, int64, uint8[::1]"


@inlined
def per_column(
    sums: Array, scale: Array, bias: Array, int_bias: Array, ruler_out: Array, codes: bool, scale_in: float,
    zero_point: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """What each column needs: (where its sums start, what they are multiplied by, what is added)."""
    n = sums.size
    start, u, v = column_start(sums, zero_point, int_bias), padded(scale, scale_in, n), padded(bias, ONE, n)
    if codes:
        for j in range(n):
            u[j] /= ruler_out[3]
    return start, u, v


@inlined
def layer(
    pool: int, threads: int, rung: Array, x: int, ldx: int, x_size: int, before: int, before_u: int, before_v: int,
    m: int, k: int, weights: Array, panel: int, sums: Array, scale: Array, bias: Array, int_bias: Array,
    ruler_out: Array, finish: int, out: Array, scale_in: float, zero_point: int,
) -> int:  # fmt: skip
    """Codes -> sums -> reals (finish 1, with ReLU 2), or codes (3) of ruler_out: zero point, lo, hi, scale. Returns the
    first byte of the result in out, or -1 for NaN."""
    n, codes = sums.size, finish == 3
    size = 1 if codes else 4
    skip = -at(out) % 64 if out.size > m * n * size else 0
    start, u, v = per_column(sums, scale, bias, int_bias, ruler_out, codes, scale_in, zero_point)
    nan = product(
        pool, threads, rung, x, ldx, x_size, before, before_u, before_v, at(weights), panel, k, m, n, at(out) + skip,
        n * size, size, at(start), rung[FINISH + finish], at(u), at(ruler_out) if codes else at(v), 0 if codes else 4,
        NONE,
    )  # fmt: skip
    keep(start)
    keep(u)
    keep(v)
    return skip if nan == 0 else -1


@compiled(f"int64(int64, int64, int64[::1], {CODES}, int64, int64, float32, {LAYER})")
def linear_codes(
    pool: int, threads: int, rung: Array, a: Array, flip: int, zero_point: int, scale_in: float, weights: Array,
    panel: int, sums: Array, scale: Array, bias: Array, int_bias: Array, ruler_out: Array, finish: int, out: Array,
) -> int:  # fmt: skip
    """A layer whose input comes in codes."""
    (m, k), mask = a.shape, np.empty(1, np.uint8)
    mask[0] = flip
    skip = layer(
        pool, threads, rung, at(a), a.strides[0], 1, entrance(rung, a, flip), at(mask), NONE, m, k, weights, panel,
        sums, scale, bias, int_bias, ruler_out, finish, out, scale_in, zero_point,
    )  # fmt: skip
    keep(mask)
    return skip


@task
def extremes_task(w: Any, index: int, thread: int) -> None:
    """The range of a piece of x, to two floats of its own."""
    first = index * CHUNK
    seen = call(w[0], (w[1] + first * 4, 0, 1, min(CHUNK, w[2] - first), w[3] + index * 64, 0, 0, 0))
    if seen != 0:
        add(at(w) + 32, seen)


@inlined
def extremes(pool: int, rung: Array, task_address: int, x: Array) -> Any:
    """(lo, hi, how many pieces met a NaN) of x and 0."""
    w, count = np.zeros(6, np.int64), up(x.size, CHUNK) // CHUNK
    parts = np.zeros((count + 1, 16), np.float32)
    w[0], w[1], w[2], w[3] = rung[EXTREMES], at(x), x.size, at(parts)
    run(pool, task_address, at(w), count, EVERYBODY, x.size >= MANY)
    lo, hi = np.float32(0), np.float32(0)
    for i in range(count):
        lo, hi = min(lo, parts[i, 0]), max(hi, parts[i, 1])
    return lo, hi, w[4]


@inlined
def dynamic_ruler(lo: Any, hi: Any) -> Any:
    """uint8 (scale, zero point) for [lo, hi], which holds 0, in float32. Source: ONNX DynamicQuantizeLinear."""
    length, tiny = np.float32(hi - lo), np.float32(1.1754943508222875e-38)
    if length == np.inf or length < np.float32(255) * tiny:  # float32 cannot hold this range: see choose_qparams
        scale = np.float32((np.float64(hi) - np.float64(lo)) / 255)
        if scale < tiny:
            scale = np.float32(1)
        return scale, np.float32(min(max(np.rint(-np.float64(lo) / np.float64(scale)), 0.0), 255.0))
    scale = np.float32(length / np.float32(255))
    place = np.float32(-lo / scale)
    return scale, np.rint(np.float32(min(max(place, np.float32(0)), np.float32(255))))


@inlined
def find_ruler(pool: int, rung: Array, extremes_address: int, x: Array, ruler: Array) -> int:
    """Fill in a ruler (zero point, lowest, highest code, scale) whose scale is 0, from the range of x. Returns 0, or -1
    for NaN in x, or -2 for a range that is not finite."""
    if ruler[3] == 0:
        lo, hi, nan = extremes(pool, rung, extremes_address, x)
        if nan != 0:
            return -1
        if lo == -np.inf or hi == np.inf:
            return -2
        ruler[3], ruler[0] = dynamic_ruler(lo, hi)
    return 0


@compiled(f"int64(int64, int64[::1], int64, {FLOATS}, float32[::1])")
def range_of(pool: int, rung: Array, extremes_address: int, x: Array, ruler: Array) -> int:
    """`find_ruler` for those who call from Python."""
    status: int = find_ruler(pool, rung, extremes_address, x, ruler)
    return status


@compiled(f"int64(int64, int64, int64[::1], int64, {REALS}, {FLOATS}, int64, int64, {LAYER})")
def linear(
    pool: int, threads: int, rung: Array, extremes_address: int, x: Array, ruler_in: Array, flip: int, shift: int,
    weights: Array, panel: int, sums: Array, scale: Array, bias: Array, int_bias: Array, ruler_out: Array,
    finish: int, out: Array,
) -> int:  # fmt: skip
    """A layer whose input comes in reals. Returns the result's first byte in out, or the status of `find_ruler`."""
    ruler = ruler_in.copy()
    (m, k), status = x.shape, find_ruler(pool, rung, extremes_address, x, ruler)
    if status != 0:
        return status
    zero_point: Any = np.int64(ruler[0])
    mask = np.empty(1, np.uint8)
    mask[0] = flip
    skip = layer(
        pool, threads, rung, at(x), k * 4, 4, rung[QUANTIZE], at(ruler), at(mask), m, k, weights, panel, sums, scale,
        bias, int_bias, ruler_out, finish, out, ruler[3], zero_point + shift,
    )  # fmt: skip
    keep(ruler)
    keep(mask)
    return skip


@inlined
def _range(rung: Any, x: Array, ruler: Array) -> int:
    """`find_ruler` in one piece: x lies in the first cache."""
    seen, lo, hi = call(rung[EXTREMES], (at(x), 0, 1, x.size, at(ruler), 0, 0, 0)), ruler[0], ruler[1]
    if seen != 0:
        return NAN
    if lo == -np.inf or hi == np.inf:
        return INFINITE
    scale, zero = dynamic_ruler(lo, hi)
    ruler[0], ruler[1], ruler[2], ruler[3] = zero, 0, 255, scale
    return DONE


@inlined
def _prepare(plan: Array, rung: Any, x: Array, ruler: Array, start: Any, scale: Any) -> int:
    """The ruler of x, and what each column needs, as `per_column`."""
    given, last, bias = reals(plan[RULER_IN]), reals(plan[RULER_OUT]), ints(plan[INT_BIASES])
    zero, of_weights, of_columns = plan[ZERO], words(plan[SUMS]), reals(plan[SCALES])
    for i in range(4):
        ruler[i] = given[i]
    if ruler[3] == 0:
        status = _range(rung, x, ruler)
        if status != DONE:
            return status
        zero = np.int64(ruler[0])
    zero += plan[SHIFT]
    for j in range(plan[N]):
        start[j] = bias[j] - zero * of_weights[j]
        scale[j] = of_columns[j] * ruler[3]
    if plan[AFTER] == 3:
        for j in range(plan[N]):
            scale[j] /= last[3]
    return DONE


@inlined
def _passes(plan: Array, rung: Any, x: Array, ruler: Array) -> tuple[int, int, int, int, int, int]:
    """The passes on both sides: (before, its u and v, after, its v, bytes of that for a column)."""
    flip, after = at(plan) + 8 * FLIP, rung[FINISH + plan[AFTER]]
    v, v_step = (plan[RULER_OUT], 0) if plan[AFTER] == 3 else (plan[BIASES], 4)
    if x.itemsize == 4:
        return rung[QUANTIZE], at(ruler), flip, after, v, v_step
    return entrance(rung, x, plan[FLIP]), flip, NONE, after, v, v_step


@inlined
def _fits(plan: Array, x: Array) -> bool:
    """Whether x lies as the passes read it, and its range is found at once."""
    return x.shape[1] == plan[K] and x.strides[1] == x.itemsize and x.strides[0] == x.shape[1] * x.itemsize


def _small_layer(plan: Array, x: Array, out: Array) -> int:
    """`linear` or `linear_codes` where it is small."""
    if not _fits(plan, x):
        return OTHER
    ruler, rung, m = np.empty(4, np.float32), words(plan[RUNG]), out.shape[0]
    block, start, scale, codes, sums = scratch(plan, rung, m)
    status = _prepare(plan, rung, x, ruler, ints(start), reals(scale))
    if status == DONE:
        before, before_u, before_v, after, v, v_step = _passes(plan, rung, x, ruler)
        nan = small_product(
            plan, rung, at(x), x.strides[0], before, before_u, before_v, m, at(out), out.itemsize, start, after, scale,
            v, v_step, codes, sums, NONE,
        )  # fmt: skip
        status = NAN if nan != 0 else DONE
    keep(block)
    keep(ruler)
    return status


def _large_layer(pool: int, threads: int, plan: Array, x: Array, out: Array) -> int:
    """The same by `product`."""
    if not _fits(plan, x) or x.size > CHUNK:
        return OTHER
    ruler, rung, (m, n) = np.empty(4, np.float32), words(plan[RUNG]), out.shape
    start, scale = np.empty(up(n, 16) + 16, np.int32), np.empty(up(n, 16) + 16, np.float32)
    status = _prepare(plan, rung, x, ruler, start, scale)
    if status == DONE:
        before, before_u, before_v, after, v, v_step = _passes(plan, rung, x, ruler)
        nan = product(
            pool, threads, rung, at(x), x.strides[0], x.itemsize, before, before_u, before_v, plan[DATA], plan[PANEL],
            plan[K], m, n, at(out), n * out.itemsize, out.itemsize, at(start), after, at(scale), v, v_step, NONE,
        )  # fmt: skip
        status = NAN if nan != 0 else DONE
    keep(start)
    keep(scale)
    keep(ruler)
    return status


SMALL, LARGE = (  # by the types that come in and go out
    {
        (x, out): Entry(function, f"int64({team}int64[::1], {small.INPUT[x]}, {small.TYPES[out]}[:, ::1])")
        for x in small.TYPES
        for out in small.TYPES
    }
    for function, team in ((_small_layer, ""), (_large_layer, "int64, int64, "))
)
