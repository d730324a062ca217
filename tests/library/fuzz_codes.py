"""Calls of the layers that are given codes, or calibrated parameters, with the very codes that each must answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinytorch.core as tc
import tinytorch.quantization as tq
from tinytorch.acceleration import accelerate
from tinytorch.core import Module, Tensor
from tinytorch.quantization import INT8, UINT8, IntType, QParams, QuantizedTensor

from .fuzz_given import REFUSED, Array, Call, Rng, a_shape, chance, disguised, no_array, oracle

f32 = oracle.f32
CALLS: dict[str, Callable[[Rng], Call]] = {}


def call_of(name: str) -> Callable[[Callable[[Rng], Call]], Callable[[Rng], Call]]:
    def add(make: Callable[[Rng], Call]) -> Callable[[Rng], Call]:
        CALLS[name] = make
        return make

    return add


def n(rng: Rng, least: int, below: int) -> int:
    return int(rng.integers(least, below))


def qparams(rng: Rng, int_type: IntType | None = None) -> QParams:
    """Parameters of one tensor, of 8 bits unless int_type says otherwise."""
    int_type = int_type or (INT8, UINT8)[n(rng, 0, 2)]
    return QParams(rng.uniform(0.01, 0.1), n(rng, int_type.qmin, int_type.qmax + 1), int_type)


def codes(rng: Rng, shape: tuple[int, ...], p: QParams) -> QuantizedTensor:
    t = p.int_type
    return QuantizedTensor(rng.integers(t.qmin, t.qmax + 1, shape).astype(t.storage), p)


def weight_codes(rng: Rng, shape: tuple[int, ...]) -> QuantizedTensor:
    """A weight [out, ...] as codes of 2 to 8 bits, none of whose rows is all 0; a scale for each output, or for all."""
    t = IntType(n(rng, 2, 9))
    q = rng.integers(t.qmin, t.qmax + 1, shape).astype(t.storage)
    q.reshape(len(q), -1)[:, 0] = 1
    scale = rng.uniform(0.01, 0.1, (shape[0],) + (1,) * (len(shape) - 1) if chance(rng, 0.6) else ())
    return QuantizedTensor(q, QParams(scale, 0, t))


def scale_of(weight: QuantizedTensor, channel: int) -> float:
    scales: list[float] = weight.qparams.scale.ravel().tolist()
    return scales[channel if len(scales) > 1 else 0]


def code_of(v: float, p: QParams) -> int:
    code: int = oracle.code(v, p.scale.item(), int(p.zero_point), p.int_type.qmin, p.int_type.qmax)
    return code


def given_codes(x: Array | QuantizedTensor, p: QParams) -> tuple[Array, int]:
    """The codes a layer calibrated for p computes with, and the code of 0."""
    if isinstance(x, QuantizedTensor):
        return x.q.astype(int), int(x.qparams.zero_point)
    return np.reshape([code_of(v, p) for v in x.ravel().tolist()], x.shape).astype(int), int(p.zero_point)


def an_input(rng: Rng, shape: tuple[int, ...], p: QParams) -> Array | QuantizedTensor:
    """Reals, codes of p, or codes of the same scale and another zero point."""
    kind = n(rng, 0, 3)
    if kind == 0:
        return np.asarray(rng.normal(size=shape) * 3, np.float32)
    t = p.int_type
    return codes(rng, shape, p if kind == 1 else QParams(p.scale, n(rng, t.qmin, t.qmax + 1), t))


def answer(acc: int, step: float, bias: float, out: QParams | None) -> float:
    """What a calibrated layer gives for a sum of products of codes: a real number, or a code of `out`.

    step: s_x * s_w in float32, which the bias is rounded to.
    """
    acc += round(float(bias) / step)
    if out is None:
        return f32(f32(acc) * step)
    m = f32(step / out.scale.item())
    code: int = oracle.requantized(acc, m, int(out.zero_point), out.int_type.qmin, out.int_type.qmax)
    return code


def numbers_of(out: Any) -> Array:
    """Codes as they are, or real numbers."""
    return out.q if isinstance(out, QuantizedTensor) else out.data


def run_of(rng: Rng, layer: Module, x: Any) -> Callable[[], Any]:
    """The call of the layer, or of its accelerated form, which gives the same numbers."""
    return lambda: numbers_of((accelerate(layer) if chance(rng, 0.3) else layer)(x))


def wrong_input(rng: Rng, layer: Any, shape: tuple[int, ...]) -> Call:
    """Codes of another scale, a scale for each slice, another width, or no array."""
    p = layer.input_qparams
    other = QParams(p.scale * 2, p.zero_point, p.int_type)
    sliced = QParams(np.full((*shape[:1], *(1 for _ in shape[1:])), p.scale), 0, INT8)
    wrong: list[Any] = [
        codes(rng, shape, other), QuantizedTensor(np.zeros(shape, np.int8), sliced), codes(rng, (*shape, 7), p),
        no_array(rng, shape), codes(rng, (), p), np.full(shape, np.nan, np.float32),
    ]  # fmt: skip
    x = wrong[n(rng, 0, 6)]
    return Call(lambda: numbers_of(layer(x)), REFUSED)


def wrong_layer(rng: Rng, kind: Any, weight: QuantizedTensor, p: QParams) -> Call:
    """Weight codes with a zero point, scales along the inputs, parameters that are no parameters of one tensor."""
    q, t = weight.q, weight.qparams.int_type
    inputs = np.full((1, weight.shape[1] + (weight.shape[1] == 1), *(1 for _ in q.shape[2:])), 0.1)
    wide = np.concatenate([q, q], 1) if weight.shape[1] == 1 else q
    of_slices = QParams(np.ones((3, 1)), 0)
    calls: list[Callable[[], Any]] = [
        lambda: kind(QuantizedTensor(q, QParams(0.1, 1, t))),
        lambda: kind(QuantizedTensor(wide, QParams(inputs, 0, t))),
        lambda: kind(weight, input_qparams=of_slices),
        lambda: kind(weight, input_qparams=p, output_qparams=of_slices),
        lambda: kind(weight, input_qparams=0.1),
        lambda: kind(weight, output_qparams=INT8),
        lambda: kind(weight, np.zeros((*weight.shape[:1], 1))),
    ]
    return Call(calls[n(rng, 0, 7)], REFUSED)


@call_of("QuantizedLinear, static")
def _(rng: Rng) -> Call:
    n_out, n_in = n(rng, 1, 4), n(rng, 1, 4)
    weight, bias = weight_codes(rng, (n_out, n_in)), (rng.normal(size=n_out) * 3).astype(np.float32)
    p, out = qparams(rng), qparams(rng) if chance(rng, 0.6) else None
    if chance(rng, 0.15):
        return wrong_layer(rng, tq.QuantizedLinear, weight, p)
    layer = tq.QuantizedLinear(weight, bias, p, out)
    shape = (*a_shape(rng, most=2), n_in)
    if chance(rng, 0.15):
        return wrong_input(rng, layer, (2, n_in))
    x = an_input(rng, shape, p)
    q, zero = given_codes(x, p)
    wanted = np.zeros((*shape[:-1], n_out))
    for at in np.ndindex(wanted.shape):
        acc = sum((int(v) - zero) * int(w) for v, w in zip(q[at[:-1]], weight.q[at[-1]], strict=True))
        step = f32(p.scale.item() * scale_of(weight, at[-1]))
        wanted[at] = answer(acc, step, bias[at[-1]].item(), out)
    return Call(run_of(rng, layer, x), wanted)


@call_of("QuantizedLinear, dynamic, of codes")
def _(rng: Rng) -> Call:
    n_out, n_in = n(rng, 1, 4), n(rng, 1, 4)
    weight, bias = weight_codes(rng, (n_out, n_in)), (rng.normal(size=n_out) * 3).astype(np.float32)
    out = qparams(rng) if chance(rng, 0.5) else None
    layer, x = tq.QuantizedLinear(weight, bias, None, out), codes(rng, (*a_shape(rng, most=1), n_in), qparams(rng))
    wanted = np.zeros((*x.shape[:-1], n_out))
    for at in np.ndindex(wanted.shape):
        zero = int(x.qparams.zero_point)
        acc = sum((int(v) - zero) * int(w) for v, w in zip(x.q[at[:-1]], weight.q[at[-1]], strict=True))
        step = f32(x.qparams.scale.item() * scale_of(weight, at[-1]))
        real = f32(f32(f32(acc) * step) + bias[at[-1]].item())
        wanted[at] = real if out is None else code_of(real, out)
    return Call(lambda: numbers_of(layer(x)), wanted)


@call_of("QuantizedConv2d, static")
def _(rng: Rng) -> Call:
    groups, stride, padding = n(rng, 1, 3), n(rng, 1, 3), n(rng, 0, 2)
    per, n_out, kernel = n(rng, 1, 3), groups * n(rng, 1, 3), (n(rng, 1, 3), n(rng, 1, 3))
    weight, bias = weight_codes(rng, (n_out, per, *kernel)), (rng.normal(size=n_out) * 3).astype(np.float32)
    p, out = qparams(rng), qparams(rng) if chance(rng, 0.6) else None
    if chance(rng, 0.15):
        return wrong_layer(rng, tq.QuantizedConv2d, weight, p)
    layer = tq.QuantizedConv2d(weight, bias, p, out, stride=stride, padding=padding, groups=groups)
    shape = (n(rng, 0, 3), groups * per, *(n(rng, k, 5) for k in kernel))
    if chance(rng, 0.15):
        return wrong_input(rng, layer, (2, *shape[1:]))
    x = an_input(rng, shape, p)
    q, zero = given_codes(x, p)
    image = np.pad(q, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=zero) - zero
    rows, columns = ((s + 2 * padding - k) // stride + 1 for s, k in zip(shape[2:], kernel, strict=True))
    wanted = np.zeros((shape[0], n_out, rows, columns))
    for i, o, r, c in np.ndindex(wanted.shape):
        first = o // (n_out // groups) * per
        window = image[i, first : first + per, r * stride : r * stride + kernel[0], c * stride : c * stride + kernel[1]]
        acc = sum(int(v) * int(w) for v, w in zip(window.ravel(), weight.q[o].ravel(), strict=True))
        wanted[i, o, r, c] = answer(acc, f32(p.scale.item() * scale_of(weight, o)), bias[o].item(), out)
    return Call(run_of(rng, layer, x), wanted)


@call_of("OnCodes")
def _(rng: Rng) -> Call:
    """The codes of what the layer gives for the reals that the codes stand for."""
    if chance(rng, 0.1):
        wrong: Any = [tc.GELU(), tc.AvgPool2d(2), None, tc.MaxPool2d, np.ones(2)][n(rng, 0, 5)]
        return Call(lambda: tq.OnCodes(wrong), REFUSED)
    p = qparams(rng, IntType(n(rng, 2, 9), chance(rng, 0.5)))
    kind = n(rng, 0, 3)
    size, stride = n(rng, 1, 3), n(rng, 1, 3)
    shape = (n(rng, 0, 3), n(rng, 1, 3), n(rng, 2, 5), n(rng, 2, 5)) if kind == 0 else a_shape(rng, 1)
    x = codes(rng, shape, p)
    if kind == 0:
        layer: Any = tq.OnCodes(tc.MaxPool2d(size, stride))
        rows, columns = ((s - size) // stride + 1 for s in shape[2:])
        wanted = np.zeros((*shape[:2], rows, columns))
        for i, j, r, c in np.ndindex(wanted.shape):
            window = x.q[i, j, r * stride : r * stride + size, c * stride : c * stride + size]
            wanted[i, j, r, c] = max(window.ravel().tolist())
    elif kind == 1:
        layer, wanted = tq.OnCodes(tc.Flatten()), x.q.reshape(shape[0], math.prod(shape[1:]))
    else:
        layer = tq.OnCodes(tc.ReLU())
        wanted = np.reshape([max(q, int(p.zero_point)) for q in x.q.ravel().tolist()], shape)
    if chance(rng, 0.15):
        sliced = QuantizedTensor(np.zeros((2, 1, 3, 3), np.int8), QParams(np.ones((2, 1, 1, 1)), 0))
        bad: Any = sliced if chance(rng, 0.5) else no_array(rng)
        return Call(lambda: numbers_of(layer(bad)), REFUSED)
    return Call(lambda: numbers_of((accelerate(layer) if chance(rng, 0.3) else layer)(x)), wanted)


@call_of("QuantizedResidual")
def _(rng: Rng) -> Call:
    width = n(rng, 1, 4)
    p, middle, out = qparams(rng), qparams(rng), qparams(rng) if chance(rng, 0.7) else None
    weight = weight_codes(rng, (width if chance(rng, 0.85) else width + 1, width))
    x = an_input(rng, (*a_shape(rng, most=1), width), p)
    kind = n(rng, 0, 10)
    if kind == 0:
        block: Any = [tc.Linear(width, width), tq.QuantizedLinear(weight, None, p), tc.ReLU(), None][n(rng, 0, 4)]
        return Call(lambda: numbers_of(tq.QuantizedResidual(block, p, out)(x)), REFUSED)
    layer = tq.QuantizedResidual(tq.QuantizedLinear(weight, None, p, middle), p, out)
    if kind == 1 or weight.shape[0] != width:
        return wrong_input(rng, layer, (2, width)) if kind == 1 else Call(lambda: numbers_of(layer(x)), REFUSED)
    q, zero = given_codes(x, p)
    wanted = np.zeros(q.shape)
    for at in np.ndindex(q.shape):
        acc = sum((int(v) - zero) * int(w) for v, w in zip(q[at[:-1]], weight.q[at[-1]], strict=True))
        y = answer(acc, f32(p.scale.item() * scale_of(weight, at[-1])), 0.0, middle)
        steps, around = int(y) - int(middle.zero_point), int(q[at]) - zero
        if out is None:
            wanted[at] = f32(f32(around * p.scale.item()) + f32(steps * middle.scale.item()))
            continue
        units = [
            f32(d * f32(s.scale.item() / out.scale.item())) for d, s in ((around, p), (steps, middle))
        ]  # fmt: skip
        code = round(f32(sum(units))) + int(out.zero_point)
        wanted[at] = min(max(code, out.int_type.qmin), out.int_type.qmax)
    return Call(lambda: numbers_of(layer(x)), wanted)


@call_of("WeightOnlyLinear")
def _(rng: Rng) -> Call:
    n_out, n_in, size = n(rng, 1, 4), n(rng, 1, 7), n(rng, 1, 4)
    real, t = rng.normal(size=(n_out, n_in)).astype(np.float32), IntType(n(rng, 2, 9))
    weight = QuantizedTensor.from_float(real, t, group_size=size)
    layer, bias = tq.WeightOnlyLinear(weight, np.arange(n_out)), np.arange(n_out)
    x = rng.normal(size=(*a_shape(rng, most=2), n_in)).astype(np.float32)
    if chance(rng, 0.15):
        bad: Any = [no_array(rng), np.ones((2, n_in + 1)), np.float32(1), codes(rng, x.shape, qparams(rng))][
            n(rng, 0, 4)
        ]
        return Call(lambda: layer(bad).data, REFUSED)
    kept = np.zeros(real.shape)
    for i, j in np.ndindex(real.shape):
        group = real[i, j // size * size : j // size * size + size].tolist()
        scale = oracle.symmetric_scale(min(group), max(group), 2 ** (t.bits - 1) - 1)
        kept[i, j] = oracle.real(oracle.code(real[i, j].item(), scale, 0, t.qmin, t.qmax), scale, 0)
    wanted = np.zeros((*x.shape[:-1], n_out))
    for at in np.ndindex(wanted.shape):
        wanted[at] = math.fsum((x[at[:-1]].astype(float) * kept[at[-1]]).tolist()) + bias[at[-1]]
    form, may = disguised(rng, x)
    return Call(lambda: layer(form).data, wanted, (form,), may or not isinstance(form, np.ndarray), within=1e-5)


@call_of("Tensor of a layer on codes")
def _(rng: Rng) -> Call:
    """A Tensor and its array are the same input."""
    weight, p = weight_codes(rng, (2, 3)), qparams(rng)
    layer, x = tq.QuantizedLinear(weight, None, p), rng.normal(size=(4, 3)).astype(np.float32)
    return Call(lambda: layer(Tensor(x)).data, layer(x).data)
