"""Calls of `Int8Linear`: quantize where the product reads, scale or requantize where its sums lie.

    x --find its range--> qparams --prologue: quantize--> codes @ weights --epilogue: scale, bias, ReLU, requantize--> y

A layer with input_qparams has the first step behind it, and one whose input are codes the second, too.
"""

from typing import Any

import numpy as np

from ..loops.gemm import product, prologue_of_codes
from ..loops.matrix import CHUNK, MANY
from ..loops.memory import ceil_div
from ..loops.records import FLIP, LEAST, PRODUCT_BYTES, kernel_at, plan_at, product_at, qparams_at
from ..runtime.compiled import Array, Entry, compiled, inlined, task
from ..runtime.intrinsics import address_of, call, float32s_at, int32s_at, int64s_at, keep_alive
from ..runtime.records import atomic_add, fields, view_of
from ..runtime.threads import EVERYBODY, run
from .matmul import (
    DONE,
    INFINITE,
    INPUT,
    NAN,
    OTHER,
    TYPES,
    new_product,
    set_operands,
    small_product,
    small_scratch,
)

FLOATS = "Array(float32, 1, 'C', readonly=True)"
RANGE = fields("extremes x size parts nan_count")
range_at = view_of(RANGE)
PART = 64  # bytes of a part of a range: a cache line for each task


@task
def range_task(record: Any, index: int, thread: int) -> None:
    """The range of a chunk of x, to two floats of its own."""
    found, first = range_at(address_of(record)), index * CHUNK
    size, part = min(CHUNK, found.size - first), found.parts + index * PART
    if call(found.extremes, (found.x + first * 4, 0, 1, size, part, 0, 0, 0)) != 0:
        atomic_add(found, "nan_count", 1)


@inlined
def range_by_threads(pool: int, kernel: Any, task_address: int, x: Array) -> Any:
    """(least, greatest, chunks that hold a NaN) of x and 0."""
    record, count = np.empty(1, RANGE), ceil_div(x.size, CHUNK)
    parts, found = np.zeros((count + 1, PART // 4), np.float32), record[0]
    found.extremes, found.x, found.size = kernel.extremes, address_of(x), x.size
    found.parts, found.nan_count = address_of(parts), 0
    run(pool, task_address, address_of(record), count, EVERYBODY, x.size >= MANY)
    least, greatest = np.float32(0), np.float32(0)
    for i in range(count):
        least, greatest = min(least, parts[i, 0]), max(greatest, parts[i, 1])
    nan_count: int = found.nan_count
    keep_alive(record)
    return least, greatest, nan_count


@inlined
def dynamic_qparams(lo: Any, hi: Any) -> Any:
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
def set_dynamic(qparams: Any, lo: Any, hi: Any) -> int:
    """Quantization parameters of the range [lo, hi], if it is finite."""
    if lo == -np.inf or hi == np.inf:
        return INFINITE
    scale, zero_point = dynamic_qparams(lo, hi)
    qparams.zero_point, qparams.lowest, qparams.highest, qparams.scale = zero_point, 0, 255, scale
    return DONE


@inlined
def find_qparams(kernel: Any, x: Array, qparams: Any) -> int:
    """Fill in quantization parameters whose scale is 0, from the range of x."""
    if qparams.scale != 0:
        return DONE
    if call(kernel.extremes, (address_of(x), 0, 1, x.size, address_of(qparams) + LEAST, 0, 0, 0)) != 0:
        return NAN
    status: int = set_dynamic(qparams, qparams.least, qparams.greatest)
    return status


@inlined
def find_qparams_by_threads(pool: int, kernel: Any, task_address: int, x: Array, qparams: Any) -> int:
    """The same with the pool's help, where x is large. task_address: of `range_task`."""
    if qparams.scale != 0:
        return DONE
    if x.size <= CHUNK:
        return find_qparams(kernel, x, qparams)
    lo, hi, nan_count = range_by_threads(pool, kernel, task_address, x)
    return NAN if nan_count != 0 else set_dynamic(qparams, lo, hi)


@compiled(f"int64(int64, int64, int64, {FLOATS}, float32[::1])")
def range_of(pool: int, kernel: int, task_address: int, x: Array, qparams: Array) -> int:
    """`find_qparams_by_threads` for those who call from Python. qparams: 8 floats; the first four are filled in."""
    status: int = find_qparams_by_threads(pool, kernel_at(kernel), task_address, x, qparams_at(address_of(qparams)))
    return status


@inlined
def set_columns(plan: Any, p: Any, qparams: Any) -> None:
    """For each column, where its sums begin (bias - zero point * sum of weights), and what they are multiplied by."""
    start, biases, column_sums = int32s_at(p.start), int32s_at(plan.int_biases), int64s_at(plan.column_sums)
    scales, of_weights = float32s_at(p.epilogue_u), float32s_at(plan.scales)
    zero_point = np.int64(qparams.zero_point) + plan.shift
    for j in range(p.n):
        start[j] = biases[j] - zero_point * column_sums[j]
        scales[j] = of_weights[j] * qparams.scale
    if plan.to_codes != 0:
        for j in range(p.n):
            scales[j] /= qparams_at(plan.qparams_out).scale


@inlined
def set_layer(plan: Any, p: Any, x: Array, out: Array, qparams: Any) -> None:
    """Operands of a layer: reals are quantized by the prologue, codes come as they are."""
    set_operands(p, x, out)
    set_columns(plan, p, qparams)
    kernel, flip = kernel_at(p.kernel), address_of(plan) + FLIP
    if x.itemsize == 4:
        p.prologue, p.prologue_u, p.prologue_v = kernel.quantize, address_of(qparams), flip
    else:
        p.prologue, p.prologue_u, p.prologue_v = prologue_of_codes(p, plan.flip), flip, 0


@inlined
def new_qparams(plan: Any, address: int) -> Any:
    """A call's own quantization parameters: the layer's, or a scale of 0."""
    qparams, given = qparams_at(address + PRODUCT_BYTES), qparams_at(plan.qparams_in)
    qparams.zero_point, qparams.lowest, qparams.highest = given.zero_point, given.lowest, given.highest
    qparams.scale = given.scale
    return qparams


@inlined
def is_contiguous(plan: Any, x: Array) -> bool:
    """Whether x [M, K] lies in one piece."""
    k: int = product_at(plan.product).k
    return x.shape[1] == k and x.strides[1] == x.itemsize and (x.shape[0] == 1 or x.strides[0] == k * x.itemsize)


def _small_layer(plan_words: Array, x: Array, out: Array) -> int:
    """Reals, or codes of the layer's input_qparams -> reals or codes, where the product is small."""
    plan = plan_at(address_of(plan_words))
    if not is_contiguous(plan, x):
        return OTHER
    block, address = new_product(plan, small_scratch(plan, out.shape[0]))
    p, qparams = product_at(address), new_qparams(plan, address)
    status = find_qparams(kernel_at(p.kernel), x, qparams)
    if status == DONE:
        set_layer(plan, p, x, out, qparams)
        status = NAN if small_product(p) != 0 else DONE
    keep_alive(block)
    return status


def _large_layer(pool: int, threads: int, task_address: int, plan_words: Array, x: Array, out: Array) -> int:
    """The same for any size. task_address: of `range_task`."""
    plan = plan_at(address_of(plan_words))
    if not is_contiguous(plan, x):
        return OTHER
    block, address = new_product(plan, 0)
    p, qparams = product_at(address), new_qparams(plan, address)
    status = find_qparams_by_threads(pool, kernel_at(p.kernel), task_address, x, qparams)
    if status == DONE:
        set_layer(plan, p, x, out, qparams)
        status = NAN if product(pool, threads, p) != 0 else DONE
    keep_alive(block)
    return status


def _layer_of_codes(
    pool: int, threads: int, plan_words: Array, x: Array, zero_point: int, scale: float, out: Array
) -> None:
    """The same for codes of any quantization parameters and of rows that may lie apart."""
    plan = plan_at(address_of(plan_words))
    block, address = new_product(plan, 0)
    p, qparams = product_at(address), new_qparams(plan, address)
    qparams.zero_point, qparams.scale = zero_point, scale
    set_layer(plan, p, x, out, qparams)
    product(pool, threads, p)
    keep_alive(block)


SMALL, LARGE = (  # by the types that come in and go out
    {
        (x, out): Entry(function, f"int64({first}int64[::1], {INPUT[x]}, {TYPES[out]}[:, ::1])")
        for x in TYPES
        for out in TYPES
    }
    for function, first in ((_small_layer, ""), (_large_layer, "int64, int64, int64, "))
)
OF_CODES = {
    (x, out): Entry(
        _layer_of_codes, f"void(int64, int64, int64[::1], {INPUT[x]}, int64, float32, {TYPES[out]}[:, ::1])"
    )
    for x in "bB"
    for out in TYPES
}
