"""What a layer on codes has to do, as jobs of `jobs.Jobs`: the same compiled tasks that its calls run, prepared.

Each function adds jobs and returns the Value that they make, or None where a call must go another way.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..operations.conv import Int8Conv2d
from ..operations.dispatch import compiled_kernel
from ..operations.linear import Int8Linear
from ..operations.pooling import Answers, Sum, Windows
from ..operations.qparams import QParamsLike
from ..runtime.once import load
from .jobs import Buffer, Job, Jobs, Value, rounded

FLOAT32 = np.dtype(np.float32)
BLOCK = 1 << 10  # pixels whose channels are interleaved together
SHARED = 1 << 18  # bytes from which threads share a job that multiplies nothing


def floats_of(qparams: QParamsLike) -> NDArray[np.float32]:
    """The quantization parameters of a tensor, as generated code reads them."""
    t = qparams.int_type
    return np.array([qparams.zero_point, t.qmin, t.qmax, qparams.scale], np.float32)


def quantized(jobs: Jobs, x: Value, qparams: QParamsLike, kind: Any) -> Value | None:
    """Reals as codes, channels innermost."""
    if np.ndim(qparams.scale) or x.dtype != FLOAT32:
        return None
    floats, flips = floats_of(qparams), np.zeros(1, np.uint8)  # no bit of the codes is flipped
    prologue = {
        "function": load("loops.jit").passes(compiled_kernel(jobs.kernel).name)["quantize"],
        "qparams": floats, "flip": flips,
    }  # fmt: skip
    y = Value(Buffer(x.size), x.shape, np.dtype(qparams.int_type.storage), qparams, kind)
    job = _in_one_piece(x, prologue) if x.has_channels_last else _interleaved(x, prologue)
    job.buffers |= {"x": x.buffer, "y": y.buffer}
    job.nan_count, job.owners = "nan_count", (floats, flips)
    job.threads = jobs.threads if x.size >= SHARED // 4 else 1
    if "scratch" in job.buffers:
        job.buffers["scratch"].nbytes *= job.threads
    jobs.add(job)
    return y


def _in_one_piece(x: Value, prologue: dict[str, Any]) -> Job:
    """What comes side by side goes side by side."""
    loops, rows = load("loops.matrix"), prod(x.shape[:-2]) if len(x.shape) > 2 else x.shape[0]
    columns = x.size // rows
    block = max(1, loops.CHUNK // columns)
    record = load("calls.plans").record_of(load("loops.records").MATRIX, {
        "function": prologue["function"], "x_stride": columns * 4, "rows": rows, "columns": columns,
        "y_stride": columns, "u": prologue["qparams"], "v": prologue["flip"], "block_rows": block,
    })  # fmt: skip
    return Job(record, {}, loops.matrix_task.address, -(-rows // block), is_long=x.size >= loops.MANY)


def _interleaved(x: Value, prologue: dict[str, Any]) -> Job:
    """[N, channels, height, width] becomes [N, height, width, channels]."""
    loops, (n, channels, *size) = load("models.running"), x.shape
    pixels, block = prod(size), min(prod(size), BLOCK)
    blocks, scratch = -(-pixels // block), rounded(channels * block)
    record = load("calls.plans").record_of(loops.INTERLEAVED, {
        "quantize": prologue["function"], "qparams": prologue["qparams"], "flip": prologue["flip"],
        "channels": channels, "pixels": pixels, "block": block, "blocks": blocks, "thread_scratch": scratch,
    })  # fmt: skip
    return Job(record, {"scratch": Buffer(scratch)}, loops.interleaved_task.address, n * blocks, is_long=True)


def linear(jobs: Jobs, layer: Int8Linear, x: Value) -> Value | None:
    """A layer of static quantization parameters, for rows [M, K]."""
    (k, n), m = layer.weights.shape, x.shape[0]
    if layer.input_qparams is None or x.shape != (m, k):
        return None
    calls, y = load("models.running"), Buffer(m * n * layer.result_dtype.itemsize)
    run = compiled_kernel(jobs.kernel, m <= layer.weights.few_rows)
    plan = load("calls.plans").of_layer(layer, run, x.dtype.char)
    way = calls.layer_of_reals if x.dtype == FLOAT32 else calls.layer_of_codes
    used = {"x": x.buffer, "y": y}
    jobs.add(
        Job(plan.words, used, way=way.address, operand=m, weight_bytes=layer.weights.data.nbytes, owners=(plan, layer))
    )
    return Value(y, (m, n), layer.result_dtype)


def convolution(jobs: Jobs, conv: Int8Conv2d, x: Value) -> Value | None:
    """A convolution of codes of its input_qparams."""
    n, channels, height, width = x.shape
    if channels != conv.channels or not x.has_channels_last:
        return None
    try:
        plan = conv.plan(jobs.kernel, x.dtype.char, (n, height, width, channels))
    except ValueError:  # of images that are too small the layer says more
        return None
    _, rows, columns, filters = plan.shape
    way = int(plan.record.view(load("calls.convolution").CONVOLUTION)["way"][0])
    y = Buffer(prod(plan.shape) * conv.layer.result_dtype.itemsize)
    used, qparams = {"x": x.buffer, "y": y}, conv.qparams
    jobs.add(
        Job(
            plan.record,
            used,
            way=way,
            operand=qparams.ctypes.data,
            weight_bytes=conv.layer.weights.data.nbytes,
            owners=(plan, conv),
        )
    )
    return Value(y, (n, filters, rows, columns), conv.layer.result_dtype)


def pooled(jobs: Jobs, windows: Windows, x: Value, with_padding: bool = True) -> Value | None:
    """The largest code, or the mean of reals, of each window of images [N, channels, height, width]."""
    n, channels, _, width = x.shape
    of_codes = x.dtype.itemsize == 1
    if not x.has_channels_last or (not of_codes and channels == 1):
        return None  # NumPy adds these up in another order
    loops, plan = load("calls.pooling"), windows.plan_for(x.shape, x.dtype.char == "b", with_padding)
    _, rows, columns, _ = plan.shape
    record, room = plan.record.copy().view(loops.POOL), width * channels + 64
    record["thread_scratch"] = room
    shared = jobs.threads if x.size * x.dtype.itemsize >= SHARED else 1
    y = Buffer(prod(plan.shape) * x.dtype.itemsize)
    used = {"x": x.buffer, "y": y, "scratch": Buffer(shared * room)}
    task = loops.max_pool_task if of_codes else loops.mean_pool_task
    jobs.add(Job(record, used, task.address, n * rows, shared, True))
    return Value(y, (n, channels, rows, columns), x.dtype, x.qparams, x.kind)


def _by_elements(jobs: Jobs, task: int, record: Any, used: dict[str, Buffer], count: int, owners: Any) -> None:
    """A job that does the same with each of `count` elements."""
    loops = load("calls.pooling")
    record["n"] = count
    shared = jobs.threads if used["y"].nbytes >= SHARED else 1
    jobs.add(Job(record, used, task, -(-count // loops.ELEMENTS), shared, True, owners=(owners,)))


def summed(jobs: Jobs, of: Sum, a: Value, b: Value) -> Value | None:
    """a + b, of equal shapes that lie in one order."""
    if a.shape != b.shape or a.is_channels_last != b.is_channels_last or (a.dtype.itemsize != b.dtype.itemsize):
        return None
    loops, (record, *owners) = load("calls.pooling"), of.record_for(a.dtype, a.qparams, b.dtype, b.qparams)
    dtype = FLOAT32 if of.out is None else np.dtype(of.out.int_type.storage)
    task = loops.sum_of_reals_task if a.qparams is None else loops.reals_of_codes_task
    task, y = task if of.out is None else loops.sum_of_codes_task, Buffer(a.size * dtype.itemsize)
    used = {"a": a.buffer, "b": b.buffer, "y": y}
    _by_elements(jobs, task.address, record.copy().view(loops.SUM), used, a.size, owners)
    return Value(y, a.shape, dtype, of.out, a.kind, a.is_channels_last)


def looked_up(jobs: Jobs, answers: Answers, x: Value) -> Value:
    """The answer for each code."""
    loops, dtype = load("calls.pooling"), answers.values.dtype
    record = load("calls.plans").record_of(loops.TABLE, {"answers": answers.values})
    task, y = loops.code_table_task if dtype.itemsize == 1 else loops.real_table_task, Buffer(x.size * dtype.itemsize)
    _by_elements(jobs, task.address, record, {"x": x.buffer, "y": y}, x.size, answers)
    return Value(y, x.shape, dtype, x.qparams, x.kind, x.is_channels_last)


def flattened(jobs: Jobs, x: Value) -> Value:
    """[N, ...] as [N, features], in the order of the axes as they are seen."""
    n, channels, *size = *x.shape, 1
    if x.has_channels_first:
        return x.reshaped(n, x.size // n)
    loops, y = load("models.running"), Buffer(x.size * x.dtype.itemsize)
    told = {"channels": channels, "pixels": prod(size), "itemsize": x.dtype.itemsize}
    record = load("calls.plans").record_of(loops.FLATTENED, told)
    shared = jobs.threads if y.nbytes >= SHARED else 1
    jobs.add(Job(record, {"x": x.buffer, "y": y}, loops.flattened_task.address, n, shared, True))
    return Value(y, (n, x.size // n), x.dtype, x.qparams, x.kind)


def channels_first(jobs: Jobs, x: Value) -> Value:
    """Images as NumPy lays them out: what adds them up goes in memory's order."""
    return replace(flattened(jobs, x), shape=x.shape, is_channels_last=False)
