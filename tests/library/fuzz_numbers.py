"""Calls of the functions of tinytorch.quantization that take and give arrays, with what each must answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

import tinytorch.quantization as tq
from tinytorch.core import Tensor
from tinytorch.quantization import IntType, QParams, QuantizedTensor

from .fuzz_given import (
    REFUSED,
    Array,
    Call,
    Rng,
    a_shape,
    an_integer,
    chance,
    disguised,
    no_array,
    no_integer,
    numbers,
    oracle,
)

CALLS: dict[str, Callable[[Rng], Call]] = {}


def call_of(name: str) -> Callable[[Callable[[Rng], Call]], Callable[[Rng], Call]]:
    """Adds calls of the function `name`."""

    def add(make: Callable[[Rng], Call]) -> Callable[[Rng], Call]:
        CALLS[name] = make
        return make

    return add


def each(f: Callable[..., Any], *arrays: Any) -> Array:
    """f of one number at a time, the arrays broadcast."""
    together = np.broadcast_arrays(*arrays)
    values = [f(*(v.item() for v in at)) for at in zip(*(a.ravel() for a in together), strict=True)]
    return np.array(values).reshape(together[0].shape) if values else np.zeros(together[0].shape)


def an_int_type(rng: Rng) -> IntType:
    bits, kind = int(rng.integers(2, 9)), rng.integers(3)
    return IntType(bits, signed=bool(kind), narrow=kind == 2)


def some_qparams(rng: Rng, shape: tuple[int, ...] = (), int_type: IntType | None = None) -> QParams:
    int_type = int_type or an_int_type(rng)
    scale = rng.uniform(1e-3, 2, shape) * 10.0 ** (rng.integers(-30, 30) if chance(rng, 0.1) else 0)
    zero = rng.integers(int_type.qmin, int_type.qmax + 1, shape if chance(rng, 0.7) else ())
    return QParams(scale, zero, int_type)


def codes(rng: Rng, shape: tuple[int, ...], int_type: IntType) -> Array:
    return rng.integers(int_type.qmin, int_type.qmax + 1, shape).astype(int_type.storage)


def ends(p: QParams) -> tuple[int, int]:
    """The lowest and the highest code, not as the code under test counts them."""
    t = p.int_type
    lowest = -(2 ** (t.bits - 1)) + t.narrow if t.signed else 0
    return lowest, 2 ** (t.bits - t.signed) - 1


def a_slicing(rng: Rng, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of quantization parameters for x of this shape, or sometimes one that does not belong to it."""
    if chance(rng, 0.5) or not shape:
        return ()
    if chance(rng, 0.2):
        return (*(n + 1 for n in shape[:1]), *(1 for _ in shape[1:]))[: len(shape)] if shape[0] > 0 else ()
    kept = rng.integers(len(shape))
    return tuple(n if i == kept else 1 for i, n in enumerate(shape))


def fits(scale: tuple[int, ...], x: tuple[int, ...]) -> bool:
    return not scale or (len(scale) == len(x) and all(s in (1, n) for s, n in zip(scale, x, strict=True)))


# Types and parameters


@call_of("IntType")
def _(rng: Rng) -> Call:
    if chance(rng, 0.3):
        bad = no_integer(rng) if chance(rng, 0.5) else int(rng.choice([-1, 0, 1, 9, 64]))
        return Call(lambda: IntType(bad), REFUSED)
    bits, signed = int(rng.integers(2, 9)), chance(rng, 0.5)
    given = an_integer(rng, bits)
    wanted = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1]

    def run() -> Any:
        t = IntType(given, signed)
        return [t.qmin, t.qmax]

    return Call(run, wanted)


@call_of("QParams")
def _(rng: Rng) -> Call:
    scale, t = np.abs(numbers(rng, a_shape(rng))), an_int_type(rng)
    zero = int(rng.integers(-300, 300)) if chance(rng, 0.3) else int(rng.integers(t.qmin, t.qmax + 1))
    given_scale, may = disguised(rng, scale)
    if chance(rng, 0.1):
        bad = no_array(rng)
        return Call(lambda: QParams(bad, 0, t), REFUSED)
    right = bool(np.all(np.isfinite(scale) & (scale > 0))) and t.qmin <= zero <= t.qmax

    def run() -> Any:
        p = QParams(given_scale, an_integer(rng, zero), t)
        return np.append(p.scale.ravel(), p.zero_point)

    return Call(run, np.append(scale.ravel(), np.float32(zero)) if right else REFUSED, (given_scale,), may)


@call_of("choose_qparams")
def _(rng: Rng) -> Call:
    shape, t = a_shape(rng), an_int_type(rng)
    symmetric = chance(rng, 0.4)
    lo, hi = numbers(rng, shape), numbers(rng, shape)
    if chance(rng, 0.8):
        lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
    (a, may_a), (b, may_b) = disguised(rng, lo), disguised(rng, hi)
    if chance(rng, 0.1):
        a, lo = no_array(rng, shape), np.full(shape, np.nan)
        if not lo.size:
            return Call(lambda: tq.choose_qparams(None, b, t, symmetric), REFUSED)  # type: ignore[arg-type]
    wrong = not np.all(np.isfinite(lo) & np.isfinite(hi)) or np.any(lo > hi) or (symmetric and not t.signed)
    qmin, qmax = ends(QParams(1, t.qmax, t))

    def run() -> Any:
        p = tq.choose_qparams(a, b, t, symmetric)
        return np.stack([p.scale, np.broadcast_to(p.zero_point, p.scale.shape).astype(np.float32)])

    if wrong:
        return Call(run, REFUSED, (a, b))
    if symmetric:
        scale, zero = each(lambda u, v: oracle.symmetric_scale(u, v, qmax), lo, hi), np.zeros(shape)
    else:
        both = each(lambda u, v: complex(*oracle.qparams(u, v, qmin, qmax)), lo, hi)
        scale, zero = both.real, both.imag
    return Call(run, np.stack([scale, zero]), (a, b), may_a or may_b)


# Codes


@call_of("quantize")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    p = some_qparams(rng, a_slicing(rng, x.shape))
    given, may = disguised(rng, x)
    if chance(rng, 0.1):
        bad = no_array(rng, x.shape or (1,))
        return Call(lambda: tq.quantize(bad, p), REFUSED)
    if np.isnan(x).any() or not fits(p.scale.shape, x.shape):
        return Call(lambda: tq.quantize(given, p), REFUSED, (given,))
    wanted = each(lambda v, s, z: oracle.code(v, s, z, *ends(p)), x, p.scale, p.zero_point)
    return Call(lambda: tq.quantize(given, p), wanted, (given,), may)


@call_of("dequantize")
def _(rng: Rng) -> Call:
    shape = a_shape(rng)
    p = some_qparams(rng, a_slicing(rng, shape))
    q = codes(rng, shape, p.int_type)
    given, may = disguised(rng, q)
    if chance(rng, 0.15):
        bad = no_array(rng, shape or (1,)) if chance(rng, 0.5) else np.full(shape or (1,), 0.5)
        return Call(lambda: tq.dequantize(bad, p), REFUSED)
    if not fits(p.scale.shape, shape):
        return Call(lambda: tq.dequantize(given, p), REFUSED, (given,))
    wanted = each(oracle.real, q, p.scale, p.zero_point)
    return Call(lambda: tq.dequantize(given, p), wanted, (given,), may or not isinstance(given, np.ndarray))


@call_of("error_parts")
def _(rng: Rng) -> Call:
    x, p = numbers(rng, a_shape(rng), wild=chance(rng, 0.3)), some_qparams(rng)
    given, may = disguised(rng, x)
    if not np.all(np.abs(x) < 1e30 * np.minimum(p.scale, 1)):
        return Call(lambda: tq.error_parts(given, p), REFUSED, (given,), may_refuse=not np.isnan(x).any())
    wanted = oracle.error_parts(x.ravel().tolist(), p.scale.item(), int(p.zero_point), *ends(p))
    return Call(lambda: tq.error_parts(given, p), wanted, (given,), may, within=1e-9 * max(1e-300, *wanted) + 1e-300)


@call_of("sqnr_db")
def _(rng: Rng) -> Call:
    shape = a_shape(rng)
    x = numbers(rng, shape, wild=False)
    other = shape if chance(rng, 0.8) else (*shape, 1) if chance(rng, 0.5) else (2, *shape)
    x_hat = numbers(rng, other, wild=False) if chance(rng, 0.7) else np.resize(x, other)
    (a, may_a), (b, may_b) = disguised(rng, x), disguised(rng, x_hat)
    if chance(rng, 0.15):
        bad = no_array(rng, (2, 3)) if chance(rng, 0.5) else np.full((2, 3), np.nan)
        return Call(lambda: tq.sqnr_db(bad, np.ones((2, 3))), REFUSED)
    if other != shape:
        return Call(lambda: tq.sqnr_db(a, b), REFUSED, (a, b))
    signal, noise = math.fsum(Fraction(v) ** 2 for v in x.ravel().tolist()), 0.0
    noise = float(
        sum((Fraction(u) - Fraction(v)) ** 2 for u, v in zip(x.ravel().tolist(), x_hat.ravel().tolist(), strict=True))
    )
    wanted = math.inf if noise == 0 else -math.inf if signal == 0 else 10 * math.log10(signal / noise)
    return Call(lambda: tq.sqnr_db(a, b), wanted, (a, b), may_a or may_b or x.size == 0, within=1e-9)


@call_of("value_range")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    x = np.where(np.isnan(x), np.float32(0), x)
    axis: Any = [None, *range(-x.ndim - 2, x.ndim + 2), (0, 1), (0, 0), 1.5, "0"][int(rng.integers(2 * x.ndim + 9))]
    given, may = disguised(rng, x)
    kept = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    wrong = any(not isinstance(a, int) or not -x.ndim <= a < x.ndim for a in kept) or len(set(kept)) < len(kept)
    if wrong or len({a % max(x.ndim, 1) for a in kept}) < len(kept):
        return Call(lambda: tq.value_range(given, axis), REFUSED, (given,))
    kept = tuple(a % x.ndim for a in kept)
    shape = () if axis is None else tuple(n if i in kept else 1 for i, n in enumerate(x.shape))
    shape = shape if x.size else ()  # without a number the range is (0, 0)
    lo, hi = np.zeros(shape), np.zeros(shape)
    for at in product(*(range(n) for n in shape)):
        values = [x[i].item() for i in np.ndindex(x.shape) if axis is None or all(i[a] == at[a] for a in kept)]
        lo[at], hi[at] = (min(values), max(values)) if values else (0, 0)
    wrongs_may = may or not isinstance(given, np.ndarray) or x.size == 0
    return Call(lambda: tq.value_range(given, axis), (lo, hi), (given,), wrongs_may)


@call_of("split_groups")
def _(rng: Rng) -> Call:
    x, size = numbers(rng, a_shape(rng)), int(rng.integers(-1, 7))
    given, may = disguised(rng, x)
    group: Any = no_integer(rng) if chance(rng, 0.1) else an_integer(rng, size)
    if x.ndim != 2 or isinstance(group, (float, str, list, tuple, complex, np.ndarray, type(None))) or size < 1:
        return Call(lambda: tq.split_groups(given, group), REFUSED, (given,))
    if isinstance(group, np.floating):
        return Call(lambda: tq.split_groups(given, group), REFUSED, (given,))  # type: ignore[arg-type]
    rows, columns = x.shape
    groups = math.ceil(columns / size)
    wanted = np.zeros((rows, groups, size))
    for i, j in np.ndindex(x.shape):
        wanted[i, j // size, j % size] = x[i, j]
    return Call(lambda: tq.split_groups(given, group), wanted, (given,), may or not isinstance(given, np.ndarray))


@call_of("pack_int4, unpack_int4")
def _(rng: Rng) -> Call:
    shape, signed = a_shape(rng), chance(rng, 0.5)
    q = codes(rng, shape, IntType(4, signed))
    if chance(rng, 0.2) and q.size:
        q.flat[0] = 100
        return Call(lambda: tq.pack_int4(q), REFUSED, (q,))
    given, may = disguised(rng, q)
    if chance(rng, 0.5):
        may = may or not isinstance(given, np.ndarray)
        return Call(lambda: tq.pack_int4(given), oracle.pack(q.ravel().tolist()), (given,), may)
    packed, asked = np.array(oracle.pack(q.ravel().tolist()), np.uint8), shape
    kind = rng.integers(4)
    if kind == 1:
        packed, wrong = np.append(packed, np.uint8(0)), True
    elif kind == 2:
        packed, wrong = packed.astype(rng.choice(["int8", "float32", "int64"])), True
    else:
        wrong = False
    return Call(lambda: tq.unpack_int4(packed, asked, signed), REFUSED if wrong else q, (packed,))


@call_of("pack_bits, unpack_bits")
def _(rng: Rng) -> Call:
    shape, bits, signed = a_shape(rng), int(rng.integers(2, 9)), chance(rng, 0.5)
    q = codes(rng, shape, IntType(bits, signed))
    stream = sum((int(v) % 2**bits) << (bits * i) for i, v in enumerate(q.ravel().tolist()))
    content = np.array([stream >> (8 * i) & 255 for i in range(math.ceil(q.size * bits / 8))], np.uint8)
    given_bits = an_integer(rng, bits)
    kind = rng.integers(5)
    if kind == 0:
        return Call(lambda: tq.pack_bits(q, given_bits), content, (q,))
    if kind == 1 and q.size and bits < 8:
        q.flat[-1] = 2**bits - 1 if signed else 2**bits
        return Call(lambda: tq.pack_bits(q, given_bits), REFUSED, (q,))
    if kind == 2:
        return Call(
            lambda: tq.unpack_bits(content[1:] if content.size else np.zeros(1, np.uint8), bits, shape, signed), REFUSED
        )
    if kind == 3:
        bad: Any = no_integer(rng) if chance(rng, 0.5) else int(rng.choice([0, 1, 9, -2]))
        return Call(lambda: tq.unpack_bits(content, bad, shape, signed), REFUSED)
    return Call(lambda: tq.unpack_bits(content, given_bits, shape, signed), q, (content,))


def sliced_wanted(x: Array, t: IntType, symmetric: bool, axis: int | None) -> Array:
    """x quantized by the range of each slice, and back, one number at a time."""
    qmin, qmax = ends(QParams(1, t.qmax, t))
    out = np.zeros(x.shape, np.float32)
    groups: dict[int, list[tuple[int, ...]]] = {}
    for at in np.ndindex(x.shape):
        groups.setdefault(0 if axis is None else at[axis], []).append(at)
    for places in groups.values():
        values = [x[at].item() for at in places]
        if symmetric:
            scale, zero = oracle.symmetric_scale(min(values), max(values), qmax), 0
        else:
            scale, zero = oracle.qparams(min(values), max(values), qmin, qmax)
        for at, v in zip(places, values, strict=True):
            out[at] = oracle.real(oracle.code(v, scale, zero, qmin, qmax), scale, zero)
    return out


@call_of("QuantizedTensor.from_float")
def _(rng: Rng) -> Call:
    x, t = numbers(rng, a_shape(rng)), an_int_type(rng)
    axis = [None, None, *range(-x.ndim - 1, x.ndim + 1)][int(rng.integers(2 * x.ndim + 4))]
    symmetric = t.signed and chance(rng, 0.7)
    given, may = disguised(rng, x)
    if chance(rng, 0.1):
        bad = no_array(rng)
        return Call(lambda: QuantizedTensor.from_float(bad, t, symmetric, axis), REFUSED)
    wrong = not np.isfinite(x).all() or (axis is not None and not -x.ndim <= axis < x.ndim)
    wanted = REFUSED if wrong else sliced_wanted(x, t, symmetric, axis if axis is None or axis >= 0 else axis + x.ndim)

    def run() -> Any:
        return QuantizedTensor.from_float(given, t, symmetric, axis).dequantize()

    return Call(run, wanted, (given,), may)


@call_of("QuantizedTensor, with groups")
def _(rng: Rng) -> Call:
    rows, columns, size, t = (
        int(rng.integers(0, 4)),
        int(rng.integers(0, 9)),
        int(rng.integers(1, 5)),
        IntType(int(rng.integers(2, 9))),
    )
    x = numbers(rng, (rows, columns), wild=False)
    wanted = np.zeros(x.shape, np.float32)
    for i in range(rows):
        for start in range(0, columns, size):
            wanted[i, start : start + size] = sliced_wanted(x[i, start : start + size], t, True, None)
    group = an_integer(rng, size)
    return Call(lambda: QuantizedTensor.from_float(x, t, group_size=group).dequantize(), wanted, (x,))


# Observers


def batches_of(rng: Rng) -> list[Array]:
    shape = a_shape(rng, 1)
    return [
        numbers(rng, (int(rng.integers(0, 4)), *shape[1:]), wild=chance(rng, 0.2)) for _ in range(rng.integers(0, 4))
    ]


def observed(observer: Any, given: list[Any]) -> Any:
    for x in given:
        observer.observe(x)
    return observer.range()


def observer_call(rng: Rng, make: Callable[[], Any], wanted: Callable[[list[Array]], Any], within: float = 0.0) -> Call:
    """An observer sees some batches; those without a number do not count."""
    seen = batches_of(rng)
    if chance(rng, 0.1):
        bad = no_array(rng)
        return Call(lambda: observed(make(), [bad]), REFUSED)
    pairs = [disguised(rng, x) for x in seen]
    given, full = [one for one, _ in pairs], [x for x in seen if x.size]
    wrong = not full or not all(np.isfinite(x).all() for x in full)
    return Call(
        lambda: observed(make(), given), REFUSED if wrong else wanted(full), tuple(given), any(may for _, may in pairs),
        within,
    )  # fmt: skip


@call_of("MinMaxObserver")
def _(rng: Rng) -> Call:
    def wanted(seen: list[Array]) -> Any:
        values = [v for x in seen for v in x.ravel().tolist()]
        return min(values), max(values)

    return observer_call(rng, tq.MinMaxObserver, wanted)


@call_of("MovingAverageObserver")
def _(rng: Rng) -> Call:
    momentum = float(rng.choice([0, 0.25, 0.9]))
    if chance(rng, 0.15):
        bad = [1.0, -0.1, math.nan, "0.9", None, math.inf][int(rng.integers(6))]
        return Call(lambda: tq.MovingAverageObserver(bad), REFUSED)  # type: ignore[arg-type]

    def wanted(seen: list[Array]) -> Any:
        return tuple(oracle.moving_average([end(x.ravel().tolist()) for x in seen], momentum) for end in (min, max))

    return observer_call(rng, lambda: tq.MovingAverageObserver(momentum), wanted, within=1e-6)


@call_of("PercentileObserver")
def _(rng: Rng) -> Call:
    percentile = float(rng.choice([50, 99.9, 100]))
    if chance(rng, 0.15):
        bad = [0, -1, 101, math.nan, "99", None][int(rng.integers(6))]
        return Call(lambda: tq.PercentileObserver(bad), REFUSED)  # type: ignore[arg-type]
    x = numbers(rng, a_shape(rng), wild=False)
    if not x.size:
        return Call(lambda: observed(tq.PercentileObserver(percentile), [x]), REFUSED)
    values = x.ravel().tolist()
    t = oracle.percentile_magnitude(values, percentile)
    wanted = max(min(values), -t), min(max(values), t)
    cell = 4 / 4096 * max(map(abs, values))  # what a cell of the histogram may be wide
    return Call(lambda: observed(tq.PercentileObserver(percentile), [x]), wanted, (x,), within=cell + 1e-37)


def histogram(values: list[float]) -> tuple[list[int], float]:
    """Counts in 4096 cells over [-limit, limit], limit the power of two that reaches the largest; and the limit."""
    limit = 2.0**-126
    while limit < max(map(abs, values)):
        limit *= 2
    counts = [0] * 4096
    for v in values:
        counts[min(int((v + limit) / (2 * limit / 4096)), 4095)] += 1
    return counts, limit


def histogram_cost(counts: list[int], limit: float, lo: float, hi: float, objective: str, p: QParams) -> float:
    """What quantizing all numbers by p costs, each taken for the middle of its cell."""
    cell = 2 * limit / 4096
    edges = [(i * cell - limit, (i + 1) * cell - limit) for i in range(4096)]
    if objective == "mse":
        full = [i for i in range(4096) if counts[i]]
        at = [sum(edges[i]) / 2 for i in full]
        return float(oracle.expected_mse([counts[i] for i in full], at, p.scale.item(), int(p.zero_point), *ends(p)))
    inside = [i for i, (left, right) in enumerate(edges) if right > lo and left < hi]
    inside = inside or [max((i for i, (left, _) in enumerate(edges) if left < hi), default=0)]
    codes = [oracle.code(sum(edges[i]) / 2, p.scale.item(), int(p.zero_point), *ends(p)) for i in inside]
    clipped = [counts[i] for i in inside]
    clipped[0] += sum(counts[: inside[0]])
    clipped[-1] += sum(counts[inside[-1] + 1 :])
    return float(oracle.kl_divergence([counts[i] for i in inside], codes, clipped))


@call_of("HistogramObserver")
def _(rng: Rng) -> Call:
    """The parameters that it chooses are those of a candidate, and none costs less: every one is tried."""
    objective, candidates = str(rng.choice(["mse", "entropy"])), int(rng.integers(1, 5))
    if chance(rng, 0.15):
        bad: Any = [0, -1, no_integer(rng)][int(rng.integers(3))]
        return Call(lambda: tq.HistogramObserver(objective, bad), REFUSED)
    if chance(rng, 0.1):
        bad = [None, "kl", 2, b"mse"][int(rng.integers(4))]
        return Call(lambda: tq.HistogramObserver(bad), REFUSED)
    seen = [x for x in batches_of(rng) if chance(rng, 0.9)]
    given = [disguised(rng, x) for x in seen]
    int_type = IntType(int(rng.integers(2, 9)), chance(rng, 0.7))
    symmetric = int_type.signed and chance(rng, 0.5)

    def chosen() -> QParams:
        observer = tq.HistogramObserver(objective, an_integer(rng, candidates))
        for x, _ in given:
            observer.observe(x)
        return observer.qparams(int_type, symmetric)

    values = [v for x in seen for v in x.ravel().tolist()]
    if not values or not np.isfinite(values).all():
        return Call(chosen, REFUSED, tuple(x for x, _ in given))
    counts, limit = histogram(values)
    lowest, highest, qends = min(values), max(values), ends(QParams(1, int_type.qmax, int_type))
    costs: dict[tuple[float, int], float] = {}
    for i in range(1, candidates + 1):
        t = max(-lowest, highest) * i / candidates
        lo, hi = max(lowest, -t), min(highest, t)
        if lo > hi:
            continue
        scale, zero = (oracle.symmetric_scale(lo, hi, qends[1]), 0) if symmetric else oracle.qparams(lo, hi, *qends)
        costs[scale, zero] = histogram_cost(counts, limit, lo, hi, objective, QParams(scale, zero, int_type))

    def run() -> bool:
        p = chosen()
        small = 1e-9 * (limit**2 if objective == "mse" else 1)  # squared units of x, or nats
        return costs[p.scale.item(), int(p.zero_point)] <= min(costs.values()) * (1 + 1e-4) + small

    return Call(run, True, tuple(x for x, _ in given), any(may for _, may in given))


# Products


@call_of("integer_matmul")
def _(rng: Rng) -> Call:
    m, k, n = (int(v) for v in rng.integers(0, 4, 3))
    a, b = codes(rng, (m, k), IntType(8, chance(rng, 0.5))), codes(rng, (k, n), IntType(8, chance(rng, 0.5)))
    za, zb = int(rng.integers(-128, 256)), int(rng.integers(-128, 256))
    wanted: Any = np.array(oracle.matmul(a.tolist(), b.tolist(), [za] * m, [zb] * n), np.int64).reshape(m, n)
    given, may = disguised(rng, a)
    zero: Any = an_integer(rng, za)
    kind = rng.integers(6)
    if kind == 0:
        zero, wanted = [0.5, math.nan, "1", np.full((m + 2, 1), za), None][int(rng.integers(5))], REFUSED
    elif kind == 1:
        given, wanted = (
            [a.astype(np.int32), a.astype(np.float32), a[:, :-1] if k else a.ravel(), None][int(rng.integers(4))],
            REFUSED,
        )
    elif kind == 2:
        zero = np.full((m, 1), za)
    may = may or not isinstance(given, np.ndarray)
    return Call(lambda: tq.integer_matmul(given, b, zero, zb), wanted, (given, b), may)


@call_of("quantize_multiplier")
def _(rng: Rng) -> Call:
    m = np.abs(numbers(rng, a_shape(rng)))
    given, may = disguised(rng, m)
    if chance(rng, 0.1):
        bad = no_array(rng)
        return Call(lambda: tq.quantize_multiplier(bad), REFUSED)
    if not np.all((m > 0) & (m < 2**30)):
        return Call(lambda: tq.quantize_multiplier(given), REFUSED, (given,))
    wanted = [each(lambda v, part=part: oracle.multiplier(v)[part], m) for part in (0, 1)]
    return Call(lambda: tq.quantize_multiplier(given), tuple(wanted), (given,), may)


@call_of("requantize")
def _(rng: Rng) -> Call:
    shape, t = a_shape(rng), an_int_type(rng)
    acc = rng.integers(-(2**31), 2**31, shape) >> int(rng.integers(0, 30))
    m, rounding = float(10.0 ** rng.uniform(-8, 2)), str(rng.choice(["float", "gemmlowp", "single"]))
    p = QParams(1.0, int(rng.integers(t.qmin, t.qmax + 1)), t)
    given, may = disguised(rng, acc.astype(np.int32))
    kind = rng.integers(8)
    if kind == 0:
        bad = [math.nan, 0.0, -1.0, math.inf, "1", None][int(rng.integers(6))]
        return Call(lambda: tq.requantize(given, bad, p, rounding), REFUSED)  # type: ignore[arg-type]
    if kind == 1:
        return Call(lambda: tq.requantize(given, m, p, "up"), REFUSED)
    if kind == 2:
        wrong: Any = np.full(shape or (1,), 0.5) if chance(rng, 0.5) else no_array(rng)
        return Call(lambda: tq.requantize(wrong, m, p, rounding), REFUSED)
    used = float(np.float32(m)) if rounding == "float" else m
    wanted = each(lambda v: oracle.requantized(v, used, int(p.zero_point), *ends(p), rounding), acc)
    return Call(
        lambda: tq.requantize(given, m, p, rounding), wanted, (given,), may or not isinstance(given, np.ndarray)
    )


@call_of("dynamic_quantize, by slices")
def _(rng: Rng) -> Call:
    """Along one axis, kept by its number from either end: each slice's codes by its own range."""
    x = np.asarray(rng.normal(size=tuple(rng.integers(1, 4, int(rng.integers(1, 4))))), np.float32)
    axis = int(rng.integers(-x.ndim, x.ndim))
    given, may = disguised(rng, x)
    if chance(rng, 0.1):
        return Call(lambda: tq.dynamic_quantize(given, x.ndim), REFUSED, (given,))
    wanted = np.zeros(x.shape)
    slices, codes = np.moveaxis(x, axis, 0), np.moveaxis(wanted, axis, 0)
    for i in range(len(slices)):
        some = np.asarray(slices[i])
        scale, zero = oracle.dynamic_qparams(some.ravel().tolist())
        codes[i] = each(lambda v, s=scale, z=zero: oracle.code(v, s, z, 0, 255), some)
    return Call(lambda: tq.dynamic_quantize(given, axis)[0], wanted, (given,), may)


@call_of("dynamic_quantize")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    given, may = disguised(rng, x)
    if chance(rng, 0.1):
        bad = no_array(rng)
        return Call(lambda: tq.dynamic_quantize(bad), REFUSED)
    if not np.isfinite(x).all():
        return Call(lambda: tq.dynamic_quantize(given), REFUSED, (given,))
    if x.size and float(np.ptp(np.append(x, 0).astype(np.float64))) > 3e38:
        return Call(lambda: tq.dynamic_quantize(given)[0].shape, x.shape, (given,), may)  # float32 cannot hold it
    scale, zero = oracle.dynamic_qparams(x.ravel().tolist() or [0.0])
    wanted = each(lambda v: oracle.code(v, scale, zero, 0, 255), x)

    def run() -> Any:
        return tq.dynamic_quantize(given)[0]

    return Call(run, wanted, (given,), may)


# Measures


@call_of("accuracy_interval")
def _(rng: Rng) -> Call:
    total = int(rng.choice([1, 2, 100, 65_535, 10**9, 0, -1]))
    correct = int(rng.integers(-1, max(total, 0) + 2))
    c, n = an_integer(rng, correct), an_integer(rng, total)
    if chance(rng, 0.15):
        bad = no_integer(rng)
        return Call(lambda: tq.accuracy_interval(bad, 10), REFUSED)
    if not 0 <= correct <= total or total < 1:
        return Call(lambda: tq.accuracy_interval(c, n), REFUSED)
    wanted = oracle.wilson(correct, total, 1.96)
    return Call(lambda: tq.accuracy_interval(c, n), [max(wanted[0], 0), min(wanted[1], 1)], within=1e-6)


@call_of("speedup")
def _(rng: Rng) -> Call:
    shape = (int(rng.integers(0, 5)),)
    a, b = rng.uniform(0.1, 2, shape), rng.uniform(0.1, 2, shape if chance(rng, 0.8) else (shape[0] + 1,))
    if chance(rng, 0.2):
        bad = [np.zeros(3), np.full(3, np.nan), -np.ones(3), no_array(rng, (3,))][int(rng.integers(4))]
        return Call(lambda: tq.speedup(np.ones(3), bad), REFUSED)
    if a.shape != b.shape or not a.size:
        return Call(lambda: tq.speedup(a, b), REFUSED)
    ratios = sorted(u / v for u, v in zip(a.tolist(), b.tolist(), strict=True))
    middle = len(ratios) // 2
    wanted = ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2
    return Call(lambda: tq.speedup(a, b), wanted, (a, b), within=1e-12)


# Half precision


def bfloat16(v: float) -> float:
    """The nearest of all numbers m * 2**e with 8 bits in m, ties to the even m; beyond the largest, infinite."""
    if v == 0 or not math.isfinite(v):
        return v
    step = Fraction(2) ** max(math.frexp(v)[1] - 8, -133)
    rounded = round(Fraction(v) / step) * step
    return math.copysign(float(rounded) if abs(rounded) < 2**128 else math.inf, v)


@call_of("to_bfloat16")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    given, may = disguised(rng, x)
    if chance(rng, 0.1):
        bad = no_array(rng)
        return Call(lambda: tq.to_bfloat16(bad), REFUSED)
    return Call(lambda: tq.to_bfloat16(given), each(bfloat16, x), (given,), may)


@call_of("round_half")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    given, may = disguised(rng, x)
    if chance(rng, 0.1):
        bad = [None, "float32", 16, np.float16][int(rng.integers(4))]
        return Call(lambda: tq.round_half(x, bad), REFUSED)  # type: ignore[arg-type]
    limit = 65520.0

    def float16(v: float) -> float:
        if v == 0 or not math.isfinite(v):
            return v
        step = Fraction(2) ** max(math.frexp(v)[1] - 11, -24)
        return math.copysign(float(round(Fraction(v) / step) * step) if abs(v) < limit else math.inf, v)

    return Call(lambda: tq.round_half(given, "float16"), each(float16, x), (given,), may)


@call_of("lost_share")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    given, may = disguised(rng, x)
    values = x.ravel().tolist()
    zero = sum(v != 0 and bfloat16(v) == 0 for v in values)
    infinite = sum(math.isinf(bfloat16(v)) and not math.isinf(v) for v in values)
    wanted = zero / max(len(values), 1), infinite / max(len(values), 1)
    return Call(lambda: tq.lost_share(given, "bfloat16"), wanted, (given,), may)


# Training


@call_of("fake_quantize")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    p = some_qparams(rng, a_slicing(rng, x.shape))
    if np.isnan(x).any() or not fits(p.scale.shape, x.shape):
        return Call(lambda: tq.fake_quantize(Tensor(x), p), REFUSED, (x,))
    low, high = ends(p)

    def unclipped(v: float, s: float, z: int) -> float:
        steps = oracle.f32(v / s)
        return steps if math.isinf(steps) else round(steps) + z

    real = each(lambda v, s, z: oracle.real(oracle.code(v, s, z, low, high), s, z), x, p.scale, p.zero_point)
    slope = each(lambda v, s, z: float(low <= unclipped(v, s, z) <= high), x, p.scale, p.zero_point)

    def run() -> Any:
        leaf = Tensor(x, requires_grad=True)
        out = tq.fake_quantize(leaf, p)
        out.backward(np.ones(x.shape))
        return out.data, leaf.grad

    return Call(run, (real, slope), (x,))


@call_of("learned_step_quantize")
def _(rng: Rng) -> Call:
    x, t = numbers(rng, a_shape(rng), wild=False), IntType(int(rng.integers(2, 9)))
    scale = np.float32(rng.uniform(1e-3, 2))
    if chance(rng, 0.2):
        bad = rng.choice([0.0, -1.0, np.nan, np.inf])
        return Call(lambda: tq.learned_step_quantize(Tensor(x), Tensor(bad), 0, t, 1.0), REFUSED)
    low, high = ends(QParams(1, 0, t))
    wanted = each(lambda v: oracle.real(oracle.code(v, scale.item(), 0, low, high), scale.item(), 0), x)
    return Call(lambda: tq.learned_step_quantize(Tensor(x), Tensor(scale), 0, t, 1.0).data, wanted, (x,))


@call_of("LearnedStepSize")
def _(rng: Rng) -> Call:
    """Its first tensor starts the step: within half of it all is kept that is not clipped."""
    x, bits = numbers(rng, a_shape(rng, 1)), int(rng.integers(2, 9))
    if not np.isfinite(x).all():
        return Call(lambda: tq.LearnedStepSize(IntType(bits), batched=True)(Tensor(x)), REFUSED, (x,))
    values = x.ravel().tolist()
    qmax = 2 ** (bits - 1) - 1
    zero = -(2 ** (bits - 1)) if min(values, default=0) >= 0 else 0
    mean = math.fsum(map(abs, values)) / max(len(values), 1)
    scale = min(oracle.usable(2 * mean / math.sqrt(qmax - zero)), float(np.finfo(np.float32).max))
    wanted = each(lambda v: oracle.real(oracle.code(v, scale, zero, -qmax - 1, qmax), scale, zero), x)
    within = each(
        lambda v: scale if oracle.from_tie(oracle.f32(v / scale)) < 1e-2 else 1e-5 * abs(v), x
    ) + 1e-4 * np.abs(wanted)
    return Call(
        lambda: tq.LearnedStepSize(IntType(bits), batched=True)(Tensor(x)).data, wanted, (x,), within=within + 1e-44
    )


@call_of("GradScaler")
def _(rng: Rng) -> Call:
    name = str(rng.choice(["init_scale", "growth_factor", "backoff_factor", "growth_interval"]))
    bad: Any = [0, -1, math.nan, math.inf, "2", None, 1j, True, np.ones(2), [2]][int(rng.integers(10))]
    if chance(rng, 0.5):
        return Call(lambda: tq.GradScaler(**{name: bad}), REFUSED)
    interval = int(rng.integers(1, 100))
    given = an_integer(rng, interval)
    return Call(lambda: tq.GradScaler(8, growth_interval=given).growth_interval, interval)


@call_of("assign_bits")
def _(rng: Rng) -> Call:
    """By trying every choice."""
    types = [IntType(b) for b in (2, 4, 8)]
    rows = [
        tq.Sensitivity(name, t, int(rng.integers(1, 9)) * t.bits, float(rng.uniform(0, 60)), 0.5)
        for name in "abc"[: rng.integers(1, 4)]
        for t in types
    ]
    by_layer: dict[str, list[Any]] = {}
    for row in rows:
        by_layer.setdefault(row.layer, []).append(row)
    budget = int(rng.integers(0, 120))
    plans = [plan for plan in product(*by_layer.values()) if sum(r.nbytes for r in plan) <= budget]
    noises = [math.fsum(10 ** (-r.sqnr_db / 10) for r in plan) for plan in plans]

    def run() -> Any:
        chosen = tq.assign_bits(rows, an_integer(rng, budget))
        return math.fsum(10 ** (-r.sqnr_db / 10) for r in rows if chosen[r.layer] == r.int_type)

    return Call(run, min(noises) if plans else REFUSED, within=1e-9)
