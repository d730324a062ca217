"""Calls of tinytorch.quantization's layers and of what turns one model into another, with what each must answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinytorch.core as tc
import tinytorch.quantization as tq
from tinytorch.core import Module, Tensor
from tinytorch.quantization import INT8, UINT8, QParams, QuantizedTensor

from .fuzz_given import REFUSED, Array, Call, Rng, a_shape, an_integer, chance, disguised, no_array, numbers, oracle
from .fuzz_layers import set_to

CALLS: dict[str, Callable[[Rng], Call]] = {}


def call_of(name: str) -> Callable[[Callable[[Rng], Call]], Callable[[Rng], Call]]:
    def add(make: Callable[[Rng], Call]) -> Callable[[Rng], Call]:
        CALLS[name] = make
        return make

    return add


# Layers on codes


def real_of(out: Any) -> Array:
    return np.asarray(out.dequantize() if isinstance(out, QuantizedTensor) else out.data)


def moderate(rng: Rng, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.normal(size=shape), np.float32)


def dynamic_wanted(x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
    """(x [M, K] by its own range) @ (weight [N, K] by the range of each row).T + bias; and how large the terms are."""
    scale, zero = oracle.dynamic_qparams(x.ravel().tolist() or [0.0])
    q = [[oracle.code(v, scale, zero, 0, 255) for v in row] for row in x.tolist()]
    scales, codes = oracle.symmetric_rows(weight.tolist())
    acc = np.array(oracle.sums(q, zero, codes), np.float64).reshape(len(x), len(weight))
    real = acc * scale * np.array(scales)
    return real + bias, np.abs(real) + np.abs(bias)


@call_of("QuantizedLinear, dynamic")
def _(rng: Rng) -> Call:
    n, k = (int(v) for v in rng.integers(1, 4, 2))
    weight, bias = moderate(rng, (n, k)), moderate(rng, (n,))
    kind = rng.integers(12)
    if kind == 0:
        wrong: Any = [no_array(rng), weight[0], weight[None], np.full((n, k), np.nan)][int(rng.integers(4))]
        return Call(lambda: tq.QuantizedLinear(wrong), REFUSED)
    if kind == 1:
        wrong = [no_array(rng, (n,)), np.ones(n + 1), np.ones((n, 1, 1)), np.full(n, np.nan)][int(rng.integers(4))]
        if wrong is None:
            wrong = "bias"
        return Call(lambda: tq.QuantizedLinear(weight, wrong), REFUSED)
    (given, may), per_row = disguised(rng, weight), chance(rng, 0.5)
    layer = tq.QuantizedLinear(given, bias, per_row=per_row)
    x = moderate(rng, (*a_shape(rng, most=2), k if chance(rng, 0.85) else k + 1))
    if kind == 2:
        bad = no_array(rng)
        return Call(lambda: layer(bad).data, REFUSED)
    if x.shape[-1] != k:
        return Call(lambda: layer(x).data, REFUSED, (x,))
    rows = x.reshape(-1, k)
    inputs = np.split(rows, len(rows)) if per_row and len(rows) else [rows]  # each has a scale of its own
    pairs = [dynamic_wanted(some, weight, bias) for some in inputs]
    wanted, size = (np.concatenate(parts).reshape(*x.shape[:-1], n) for parts in zip(*pairs, strict=True))
    form, may_x = disguised(rng, x)
    return Call(
        lambda: layer(form).data, wanted, (form,), may or may_x or not isinstance(form, np.ndarray), 1e-5 * size + 1e-7
    )


@call_of("QuantizedConv2d, dynamic")
def _(rng: Rng) -> Call:
    groups, stride, padding = int(rng.integers(1, 3)), int(rng.integers(1, 3)), int(rng.integers(0, 2))
    per, out = int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    weight, bias = moderate(rng, (out, per, *(int(v) for v in rng.integers(1, 3, 2)))), moderate(rng, (out,))
    if chance(rng, 0.1):
        name, bad = str(rng.choice(["stride", "padding", "groups"])), [2.5, "2", None, -1][int(rng.integers(4))]
        return Call(lambda: tq.QuantizedConv2d(weight, bias, **{name: bad}), REFUSED)  # type: ignore[arg-type]
    kernel = weight.shape[2:]
    per_row, stride_given, groups_given = chance(rng, 0.5), an_integer(rng, stride), an_integer(rng, groups)
    layer = tq.QuantizedConv2d(weight, bias, stride=stride_given, padding=padding, groups=groups_given, per_row=per_row)
    x = moderate(rng, (int(rng.integers(0, 3)), groups * per, *(int(v) for v in rng.integers(1, 5, 2))))
    if min(s + 2 * padding - k for s, k in zip(x.shape[2:], kernel, strict=True)) < 0:
        return Call(lambda: layer(x).data, REFUSED, (x,))
    if chance(rng, 0.1):
        x = x[0] if len(x) else np.zeros((1, groups * per + 1, 5, 5), np.float32)
        return Call(lambda: layer(x).data, REFUSED, (x,))
    kept = np.zeros(0)
    for some in x if per_row else [x]:  # each has a scale of its own
        scale, zero = oracle.dynamic_qparams(some.ravel().tolist() or [0.0])
        steps = [oracle.code(v, scale, zero, 0, 255) for v in some.ravel().tolist()]
        kept = np.append(kept, [oracle.real(step, scale, zero) for step in steps])
    padded = np.pad(kept.reshape(x.shape), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    scales, codes = oracle.symmetric_rows(weight.reshape(out, -1).tolist())
    filters = (np.array(codes) * np.array(scales)[:, None]).reshape(weight.shape)
    rows, columns = ((s + 2 * padding - k) // stride + 1 for s, k in zip(x.shape[2:], kernel, strict=True))
    wanted = np.zeros((len(x), out, rows, columns))
    for n, o, i, j in np.ndindex(wanted.shape):
        first = o // (out // groups) * per
        window = padded[
            n, first : first + per, i * stride : i * stride + kernel[0], j * stride : j * stride + kernel[1]
        ]
        wanted[n, o, i, j] = math.fsum((window * filters[o]).ravel().tolist()) + bias[o].item()
    return Call(lambda: layer(x).data, wanted, (x,), within=1e-4)


@call_of("quantized_add")
def _(rng: Rng) -> Call:
    shape = a_shape(rng)
    p, q, out = (QParams(rng.uniform(0.01, 1), int(rng.integers(-128, 128))) for _ in range(3))
    a = QuantizedTensor(rng.integers(-128, 128, shape).astype(np.int8), p)
    b = QuantizedTensor(rng.integers(-128, 128, shape).astype(np.int8), q)
    if chance(rng, 0.2):
        wrong: Any = [QuantizedTensor(np.zeros((*shape, 2), np.int8), q), a.q, None, Tensor(np.ones(shape))][
            int(rng.integers(4))
        ]
        return Call(lambda: tq.quantized_add(a, wrong, out), REFUSED)
    f = oracle.f32
    wanted = np.zeros(shape, int)
    for at in np.ndindex(shape):
        units = [
            f((int(t.q[at]) - int(t.qparams.zero_point)) * f(t.qparams.scale.item() / out.scale.item())) for t in (a, b)
        ]
        wanted[at] = min(max(round(f(sum(units))) + int(out.zero_point), -128), 127)
    return Call(lambda: tq.quantized_add(a, b, out).q, wanted)


@call_of("Lookup")
def _(rng: Rng) -> Call:
    p = QParams(rng.uniform(0.01, 0.1), int(rng.integers(0, 256)), UINT8)
    x = numbers(rng, a_shape(rng))
    layer = tq.Lookup(tc.Tanh(), p)
    if chance(rng, 0.15):
        bad = no_array(rng)
        return Call(lambda: layer(bad).data, REFUSED)
    if np.isnan(x).any():
        return Call(lambda: layer(x).data, REFUSED, (x,))
    s, z = p.scale.item(), int(p.zero_point)
    wanted = [math.tanh(oracle.real(oracle.code(v, s, z, 0, 255), s, z)) for v in x.ravel().tolist()]
    return Call(lambda: layer(x).data, np.reshape(wanted, x.shape), (x,), within=1e-6)


@call_of("expected_mse, kl_divergence")
def _(rng: Rng) -> Call:
    cells = int(rng.integers(1, 6))
    counts, centers = rng.integers(0, 5, cells), np.sort(rng.normal(size=cells))
    counts[rng.integers(cells)] += 1
    p = QParams(rng.uniform(0.05, 0.5), 0, tq.IntType(3))
    if chance(rng, 0.5):
        wanted = oracle.expected_mse(counts.tolist(), centers.tolist(), p.scale.item(), 0, -4, 3)
        return Call(lambda: tq.expected_mse(counts, centers, p), wanted, (counts, centers), within=1e-6)
    codes = [oracle.code(v, p.scale.item(), 0, -4, 3) for v in centers.tolist()]
    clipped = counts.copy()
    clipped[0] += rng.integers(3)
    wanted = oracle.kl_divergence(counts.tolist(), codes, clipped.tolist())
    return Call(
        lambda: tq.kl_divergence(counts, np.array(codes, np.int8), clipped), wanted, (counts, clipped), within=1e-9
    )


# Models


class Doubled(tc.Linear):
    """A Linear that computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2.0


class Shifted(tc.Sequential):
    """A Sequential that computes something else."""

    def forward(self, x: Any) -> Any:
        return super().forward(x) + 3.0


def a_model(rng: Rng) -> tuple[Module, Array]:
    """A model of every kind of layer, and an input for it."""
    width = int(rng.integers(2, 5))
    linear = Doubled if chance(rng, 0.3) else tc.Linear
    chain = Shifted if chance(rng, 0.3) else tc.Sequential
    if chance(rng, 0.4):
        body: list[Module] = [
            tc.Conv2d(2, width, 3, padding=1),
            *([tc.BatchNorm2d(width)] if chance(rng, 0.5) else []),
            tc.ReLU(),
        ]
        body += [tc.MaxPool2d(2)] if chance(rng, 0.5) else []
        pixels = 4 if any(isinstance(m, tc.MaxPool2d) for m in body) else 16
        model = chain(*body, tc.Flatten(), linear(width * pixels, 3))
        x = moderate(rng, (8, 2, 4, 4))
    elif chance(rng, 0.5):
        model = chain(tc.Linear(4, width), tc.ReLU(), tc.Residual(linear(width, width)), tc.Linear(width, 3))
        x = moderate(rng, (16, 4))
    else:  # channels lie last, and a Flatten mixes them with what is before
        model = chain(tc.Linear(4, width), tc.ReLU(), tc.Flatten(), linear(3 * width, 3))
        x = moderate(rng, (8, 3, 4))
    for m in (m for _, m in model.named_modules() if isinstance(m, (tc.Linear, tc.Conv2d, tc.BatchNorm2d))):
        set_to(rng, m)
    return model.eval(), x


def db(wanted: Array, got: Array) -> float:
    noise = math.fsum(((wanted.astype(float) - got) ** 2).ravel().tolist())
    return 10 * math.log10(math.fsum((wanted.astype(float) ** 2).ravel().tolist()) / max(noise, 1e-30))


def corrected(model: Module, x: Array, **how: Any) -> Module:
    return tq.correct_bias(tq.prepare_qat(model, [x], **how), [x[:3], x[:0], x[3:]])


QUANTIZERS: dict[str, Callable[..., Any]] = {
    "quantize_dynamic": lambda model, x, **how: tq.quantize_dynamic(model, **how),
    "quantize_static": lambda model, x, **how: tq.quantize_static(model, [x], **how),
    "quantize_weight_only": lambda model, x, **how: tq.quantize_weight_only(model, INT8, 2, **how),
    "prepare_qat, convert": lambda model, x, **how: tq.convert(tq.prepare_qat(model, [x], **how)),
    "prepare_qat, correct_bias": corrected,
}


def quantizer_call(name: str) -> Callable[[Rng], Call]:
    def make(rng: Rng) -> Call:
        model, x = a_model(rng)
        quantize = QUANTIZERS[name]
        kind = rng.integers(8)
        if kind == 0:
            rules: Any = [{"nowhere": INT8}, {"layers.0": 4}, {"layers.0": "int4"}][int(rng.integers(3))]
            return Call(lambda: quantize(model, x, rules=rules), REFUSED, (x,))
        if kind == 1 and name != "quantize_weight_only":
            axis: Any = [1, 2, 3, -1, "0", 0.5][int(rng.integers(6))]
            return Call(lambda: quantize(model, x, axis=axis), REFUSED, (x,))
        if kind == 2:
            bad: Any = [None, 3, "model", x, [model], type(model)][int(rng.integers(6))]
            return Call(lambda: quantize(bad, x), REFUSED, (x,))
        if name == "quantize_weight_only" and not any(type(m) is tc.Linear for _, m in model.named_modules()):
            return Call(lambda: quantize(model, x), REFUSED, (x,))
        wanted, before = model(x).data, model.state_dict()

        def run() -> Any:
            got = real_of(quantize(model, x)(x))
            after = model.state_dict()
            unchanged = all(np.array_equal(before[name], after[name]) for name in before)
            return got.shape == wanted.shape, db(wanted, got) > 20, unchanged

        return Call(run, (True, True, True), (x,))

    return make


CALLS |= {name: quantizer_call(name) for name in QUANTIZERS}


def same_function_call(change: Callable[[Module], Module]) -> Callable[[Rng], Call]:
    """The changed model computes what the model did."""

    def make(rng: Rng) -> Call:
        model, x = a_model(rng)
        if chance(rng, 0.3):  # a channel far larger than the others
            next(p for p in model.parameters()).data[0] *= 100
        if chance(rng, 0.1):
            bad: Any = [None, 3, "model", x, [model]][int(rng.integers(5))]
            return Call(lambda: change(bad), REFUSED)
        wanted = model(x).data
        return Call(lambda: real_of(change(model)(x)), wanted, (x,), within=1e-4 * np.abs(wanted).max())

    return make


CALLS["equalize"] = same_function_call(tq.equalize)
CALLS["fold_batch_norms"] = same_function_call(tq.fold_batch_norms)


@call_of("MasterWeights")
def _(rng: Rng) -> Call:
    """Ten small steps of SGD, each below a half of float16's last digit."""
    start = np.float16(rng.uniform(1, 2))
    if chance(rng, 0.2):
        bad: Any = [None, [3], "x", [np.ones(2)]][int(rng.integers(4))]
        return Call(lambda: tq.MasterWeights(bad), REFUSED)

    def run() -> Any:
        p = Tensor(np.array([start]), requires_grad=True)
        masters = tq.MasterWeights([p], lambda params: tc.SGD(params, 1e-4))
        for _ in range(10):
            p.grad = np.ones(1, np.float16)
            masters.step()
        return masters.masters[0].data[0]

    return Call(run, float(start) - 1e-3, within=1e-6)
