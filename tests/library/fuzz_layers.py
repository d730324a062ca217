"""Calls of tinytorch.core's tensors, layers, losses, optimizers and data, with what each must answer in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import tinytorch.core as tc
from tinytorch.core import Module, Tensor

from .fuzz_given import REFUSED, Array, Call, Rng, a_shape, an_integer, chance, disguised, no_array, no_integer, numbers

CALLS: dict[str, Callable[[Rng], Call]] = {}
ULP = 2.0**-23


def call_of(name: str) -> Callable[[Callable[[Rng], Call]], Callable[[Rng], Call]]:
    def add(make: Callable[[Rng], Call]) -> Callable[[Rng], Call]:
        CALLS[name] = make
        return make

    return add


def each(f: Callable[[float], float], x: Array) -> Array:
    return np.array([f(v) for v in x.ravel().tolist()], np.float64).reshape(x.shape)


def layer_call(rng: Rng, layer: Module, x: Array, wanted: Any, within: Any) -> Call:
    """The layer is called with x in some form, or, now and then, with what is no array."""
    if chance(rng, 0.1):
        bad = no_array(rng, x.shape or (1,))
        return Call(lambda: layer(bad).data, REFUSED)
    given, may = disguised(rng, x)
    return Call(lambda: layer(given).data, wanted, (given,), may or not isinstance(given, np.ndarray), within)


# Tensors


@call_of("Tensor")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    given, may = disguised(rng, x)
    if chance(rng, 0.2):
        bad = no_array(rng)
        return Call(lambda: Tensor(bad), REFUSED)
    return Call(lambda: Tensor(given).data, x, (given,), may)


@call_of("Tensor.sum, mean, max")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng, 1), wild=False).astype(np.float64)
    axis = [None, *range(-x.ndim - 1, x.ndim + 1), (0, 1), 0.5, "0"][int(rng.integers(2 * x.ndim + 6))]
    name, keepdims = str(rng.choice(["sum", "mean", "max"])), chance(rng, 0.5)
    asked = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)

    def run() -> Any:
        return getattr(Tensor(x), name)(axis, keepdims).data

    if any(not isinstance(a, int) or not -x.ndim <= a < x.ndim for a in asked):
        return Call(run, REFUSED, (x,))
    axes = [a % x.ndim for a in asked]
    groups: dict[tuple[int, ...], list[float]] = {
        at: [] for at in np.ndindex(*(1 if i in axes else n for i, n in enumerate(x.shape)))
    }
    for at in np.ndindex(x.shape):
        groups[tuple(0 if i in axes else n for i, n in enumerate(at))].append(x[at].item())
    if not x.size and (name == "max" or (name == "mean" and groups)):
        return Call(run, REFUSED, (x,))
    of: dict[str, Callable[[list[float]], float]] = {
        "sum": math.fsum, "mean": lambda g: math.fsum(g) / len(g), "max": max,
    }  # fmt: skip
    kept = np.array([of[name](g) for g in groups.values()])
    kept = kept.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])
    wanted = kept if keepdims else kept.reshape([n for i, n in enumerate(x.shape) if i not in axes])
    return Call(run, wanted, (x,), within=1e-12 * np.abs(x).sum())


# Functions of one number


@call_of("ReLU")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    return layer_call(rng, tc.ReLU(), x, each(lambda v: v if v != v else max(v, 0.0), x), 0)


@call_of("Sigmoid")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    wanted = each(lambda v: v if v != v else 1 / (1 + math.exp(-v)) if v > -700 else 0.0, x)
    return layer_call(rng, tc.Sigmoid(), x, wanted, 2 * ULP)


@call_of("Tanh")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    return layer_call(rng, tc.Tanh(), x, each(math.tanh, x), 2 * ULP)


@call_of("GELU")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    x = np.where(np.isinf(x), np.float32(0), x)
    wanted = each(lambda v: v * math.erfc(-v / math.sqrt(2)) / 2, x)
    return layer_call(rng, tc.GELU(), x, wanted, 4e-7 * (np.abs(x) + 1e-6))


@call_of("softmax")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng, 1), wild=False)
    axis: Any = [*range(-x.ndim - 1, x.ndim + 1), 0.5, "0"][int(rng.integers(2 * x.ndim + 4))]
    if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        return Call(lambda: tc.softmax(Tensor(x), axis), REFUSED, (x,))
    wanted = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        line = [x[(*at[: axis % x.ndim], i, *at[axis % x.ndim + 1 :])].item() for i in range(x.shape[axis])]
        wanted[at] = 1 / math.fsum(math.exp(min(v - x[at].item(), 700)) for v in line)
    return Call(lambda: tc.softmax(Tensor(x), axis).data, wanted, (x,), x.size == 0, within=1e-6)


# Layers


def set_to(rng: Rng, layer: Module) -> Module:
    """Its parameters become other numbers, a few of them large."""
    for p in layer.parameters():
        p.data = rng.normal(size=p.shape).astype(np.float32)
    return layer


@call_of("Linear")
def _(rng: Rng) -> Call:
    n_in, n_out = (int(n) for n in rng.integers(1, 5, 2))
    if chance(rng, 0.15):
        bad: Any = no_integer(rng) if chance(rng, 0.7) else int(rng.choice([0, -1]))
        return Call(lambda: tc.Linear(*[(bad, 3), (3, bad)][int(rng.integers(2))]), REFUSED)
    layer: Any = set_to(rng, tc.Linear(an_integer(rng, n_in), an_integer(rng, n_out), bias=chance(rng, 0.7)))
    shape = (*a_shape(rng, most=2), n_in if chance(rng, 0.85) else n_in + 1)
    if chance(rng, 0.05):
        shape = ()
    x = numbers(rng, shape, wild=False)
    if not shape or shape[-1] != n_in:
        return layer_call(rng, layer, x, REFUSED, 0)
    w, wanted, size = layer.weight.data.tolist(), np.zeros((*shape[:-1], n_out)), np.zeros((*shape[:-1], n_out))
    for at in np.ndindex(wanted.shape):
        terms = [x[(*at[:-1], k)].item() * w[at[-1]][k] for k in range(n_in)]
        terms += [layer.bias.data[at[-1]].item()] if layer.bias is not None else []
        wanted[at], size[at] = math.fsum(terms), math.fsum(map(abs, terms))
    return layer_call(rng, layer, x, wanted, 8 * ULP * size)


@call_of("Conv2d")
def _(rng: Rng) -> Call:
    groups, kernel, stride, padding = (
        int(v) for v in (rng.integers(1, 3), rng.integers(1, 4), rng.integers(1, 3), rng.integers(0, 3))
    )
    n_in, n_out = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    if chance(rng, 0.1):
        name, bad = str(rng.choice(["stride", "padding", "groups"])), no_integer(rng) if chance(rng, 0.5) else -1
        return Call(lambda: tc.Conv2d(2, 2, 3, **{name: bad}), REFUSED)  # type: ignore[arg-type]
    layer: Any = set_to(rng, tc.Conv2d(n_in, n_out, an_integer(rng, kernel), stride, padding, groups=groups))
    n, h, w = int(rng.integers(0, 3)), int(rng.integers(1, 6)), int(rng.integers(1, 6))
    x = numbers(rng, (n, n_in, h, w) if chance(rng, 0.85) else a_shape(rng, 3, 5), wild=False)
    if x.ndim != 4 or x.shape[1] != n_in or min(x.shape[2:]) + 2 * padding < kernel:
        return layer_call(rng, layer, x, REFUSED, 0)
    n, _, h, w = x.shape
    rows, columns = ((size + 2 * padding - kernel) // stride + 1 for size in (h, w))
    weight, wanted, size = layer.weight.data, np.zeros((n, n_out, rows, columns)), np.zeros((n, n_out, rows, columns))
    for at in np.ndindex(wanted.shape):
        terms = [layer.bias.data[at[1]].item()]
        for c, i, j in np.ndindex(weight.shape[1:]):
            r, s = at[2] * stride + i - padding, at[3] * stride + j - padding
            if 0 <= r < h and 0 <= s < w:
                channel = at[1] // (n_out // groups) * (n_in // groups) + c
                terms.append(x[at[0], channel, r, s].item() * weight[at[1], c, i, j].item())
        wanted[at], size[at] = math.fsum(terms), math.fsum(map(abs, terms))
    return layer_call(rng, layer, x, wanted, 16 * ULP * size)


def pool_call(rng: Rng, kind: Any, of: Callable[[list[float]], float]) -> Call:
    size, stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    if chance(rng, 0.15):
        bad: Any = no_integer(rng) if chance(rng, 0.7) else int(rng.choice([0, -1]))
        bad = [0] if bad is None else bad  # no stride is one
        return Call(lambda: kind(*[(bad,), (2, bad)][int(rng.integers(2))]), REFUSED)
    x = numbers(rng, a_shape(rng, 4, 4) if chance(rng, 0.9) else a_shape(rng), wild=False)
    layer = kind(an_integer(rng, size), an_integer(rng, stride))
    if x.ndim != 4 or min(x.shape[2:]) < size:
        return layer_call(rng, layer, x, REFUSED, 0)
    n, c, h, w = x.shape
    wanted = np.zeros((n, c, (h - size) // stride + 1, (w - size) // stride + 1))
    for at in np.ndindex(wanted.shape):
        i, j = at[2] * stride, at[3] * stride
        wanted[at] = of(x[at[0], at[1], i : i + size, j : j + size].ravel().tolist())
    return layer_call(rng, layer, x, wanted, 16 * ULP * np.abs(x).max(initial=0))


@call_of("MaxPool2d")
def _(rng: Rng) -> Call:
    return pool_call(rng, tc.MaxPool2d, max)


@call_of("AvgPool2d")
def _(rng: Rng) -> Call:
    return pool_call(rng, tc.AvgPool2d, lambda window: math.fsum(window) / len(window))


@call_of("GlobalAvgPool2d")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng, 4, 4) if chance(rng, 0.7) else a_shape(rng), wild=False)
    if x.ndim != 4 or 0 in x.shape[2:]:
        return layer_call(rng, tc.GlobalAvgPool2d(), x, REFUSED, 0)
    wanted = np.zeros((*x.shape[:2], 1, 1))
    for at in np.ndindex(x.shape[:2]):
        wanted[at] = math.fsum(x[at].ravel().tolist()) / x[at].size
    return layer_call(rng, tc.GlobalAvgPool2d(), x, wanted, 16 * ULP * np.abs(x).max(initial=0))


@call_of("Flatten")
def _(rng: Rng) -> Call:
    x = numbers(rng, a_shape(rng))
    return layer_call(rng, tc.Flatten(), x, x.reshape(len(x), math.prod(x.shape[1:])) if x.ndim else REFUSED, 0)


@call_of("LayerNorm")
def _(rng: Rng) -> Call:
    n = int(rng.integers(1, 5))
    layer: Any = set_to(rng, tc.LayerNorm(an_integer(rng, n)))
    if chance(rng, 0.15):
        bad: Any = no_integer(rng) if chance(rng, 0.6) else int(rng.choice([0, -1]))
        return Call(lambda: tc.LayerNorm(bad), REFUSED)
    x = numbers(rng, (*a_shape(rng, most=2), n if chance(rng, 0.85) else n + 1), wild=False)
    if x.shape[-1] != n:
        return layer_call(rng, layer, x, REFUSED, 0)
    wanted = np.zeros(x.shape)
    for at in np.ndindex(x.shape[:-1]):
        row = x[at].tolist()
        mean = math.fsum(row) / n
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in row) / n + layer.eps)
        for i, v in enumerate(row):
            wanted[(*at, i)] = (v - mean) / deviation * layer.weight.data[i].item() + layer.bias.data[i].item()
    return layer_call(rng, layer, x, wanted, 64 * ULP * (np.abs(x).max(initial=0) / math.sqrt(layer.eps) + 10))


@call_of("BatchNorm2d")
def _(rng: Rng) -> Call:
    n = int(rng.integers(1, 4))
    if chance(rng, 0.15):
        bad: Any = no_integer(rng) if chance(rng, 0.6) else int(rng.choice([0, -1]))
        return Call(lambda: tc.BatchNorm2d(bad), REFUSED)
    layer: Any = set_to(rng, tc.BatchNorm2d(an_integer(rng, n)))
    training = chance(rng, 0.5)
    layer.train(training)
    x = numbers(
        rng,
        (int(rng.integers(0, 4)), n, *(int(v) for v in rng.integers(1, 4, 2)))
        if chance(rng, 0.9)
        else a_shape(rng, 3, 5),
        wild=False,
    )
    if x.ndim != 4 or x.shape[1] != n or (training and x.size // n < 2):
        return layer_call(rng, layer, x, REFUSED, 0)
    wanted = np.zeros(x.shape)
    for c in range(n):
        values = x[:, c].ravel().tolist()
        mean, variance = 0.0, 1.0
        if training:
            mean = math.fsum(values) / len(values)
            variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
        g = layer.weight.data[c].item() / math.sqrt(variance + layer.eps)
        wanted[:, c] = each(lambda v, m=mean, g=g, c=c: (v - m) * g + layer.bias.data[c].item(), x[:, c])  # type: ignore[misc]
    return layer_call(rng, layer, x, wanted, 64 * ULP * (np.abs(x).max(initial=0) / math.sqrt(layer.eps) + 10))


@call_of("Embedding")
def _(rng: Rng) -> Call:
    n, width = (int(v) for v in rng.integers(1, 5, 2))
    if chance(rng, 0.1):
        bad: Any = no_integer(rng) if chance(rng, 0.6) else int(rng.choice([0, -1]))
        return Call(lambda: tc.Embedding(bad, 2), REFUSED)
    layer: Any = tc.Embedding(an_integer(rng, n), an_integer(rng, width))
    tokens = rng.integers(0, n, a_shape(rng))
    if chance(rng, 0.2) and tokens.size:
        tokens = tokens.astype(np.float64)
        tokens.flat[0] = rng.choice([-1, n, 0.5, np.nan, np.inf, 1e30])
        return layer_call(rng, layer, tokens, REFUSED, 0)
    wanted = np.zeros((*tokens.shape, width), np.float32)
    for at in np.ndindex(tokens.shape):
        wanted[at] = layer.weight.data[int(tokens[at])]
    kind = [np.int8, np.uint8, np.int16, np.int32, np.uint64, np.int64, np.float32][int(rng.integers(7))]
    return layer_call(rng, layer, tokens.astype(kind), wanted, 0)


@call_of("SelfAttention")
def _(rng: Rng) -> Call:
    heads = int(rng.integers(1, 3))
    width = heads * int(rng.integers(1, 3))
    if chance(rng, 0.1):
        bad: Any = no_integer(rng) if chance(rng, 0.6) else int(rng.choice([0, -1]))
        return Call(lambda: tc.SelfAttention(*[(bad, 1), (4, bad)][int(rng.integers(2))]), REFUSED)
    layer: Any = tc.SelfAttention(an_integer(rng, width), an_integer(rng, heads))
    x = numbers(
        rng,
        (int(rng.integers(0, 3)), int(rng.integers(0, 4)), width) if chance(rng, 0.85) else a_shape(rng),
        wild=False,
    )
    x = np.clip(x, -20, 20)
    if x.ndim != 3 or x.shape[2] != width:
        return layer_call(rng, layer, x, REFUSED, 0)
    wide, d = x.astype(np.float64), width // heads
    q, k, v = (wide @ m.weight.data.astype(np.float64).T + m.bias.data for m in (layer.query, layer.key, layer.value))
    mixed = np.zeros(x.shape)
    for i, t, h in np.ndindex(*x.shape[:2], heads):
        at = slice(h * d, h * d + d)
        scores = [math.fsum(q[i, t, at] * k[i, u, at]) / math.sqrt(d) for u in range(x.shape[1])]
        weights = [math.exp(s - max(scores)) for s in scores]
        mixed[i, t, at] = sum(w * v[i, u, at] for u, w in enumerate(weights)) / math.fsum(weights)
    wanted = mixed @ layer.out.weight.data.astype(np.float64).T + layer.out.bias.data
    return layer_call(rng, layer, x, wanted, 1e-3)


@call_of("Residual")
def _(rng: Rng) -> Call:
    width = int(rng.integers(1, 4))
    inner: Any = tc.Linear(width, width if chance(rng, 0.7) else 1)
    x = numbers(rng, (*a_shape(rng, most=2), width), wild=False)
    if len(inner.weight.data) != width:
        return layer_call(rng, tc.Residual(inner), x, REFUSED, 0)
    wanted = x + (x.astype(np.float64) @ inner.weight.data.T.astype(np.float64) + inner.bias.data)
    return layer_call(rng, tc.Residual(inner), x, wanted, 32 * ULP * (np.abs(x).max(initial=0) * 4 + 1))


# Training


@call_of("CrossEntropyLoss")
def _(rng: Rng) -> Call:
    n, classes = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    z = np.clip(numbers(rng, (n, classes), wild=False), -1e5, 1e5)
    y = rng.integers(0, classes, n)
    kind = rng.integers(8)
    loss = tc.CrossEntropyLoss()
    bad: list[Any] = [
        y.astype(np.float32), y + classes, y - classes - 1, y[:, None], y[:-1], np.full(n, "a"), np.ones(n, bool), None,
    ]  # fmt: skip
    if kind == 0:
        labels = bad[int(rng.integers(8))]
        return Call(lambda: loss(Tensor(z), labels), REFUSED, (z,))
    if kind == 1:
        logits = [z[0], np.zeros((0, classes)), np.zeros((n, 0)), z[..., None]][int(rng.integers(4))]
        return Call(lambda: loss(Tensor(logits), y), REFUSED)
    rows = []
    for i in range(n):
        highest = max(z[i].tolist())
        rows.append(math.log(math.fsum(math.exp(v - highest) for v in z[i].tolist())) - (z[i, y[i]].item() - highest))
    types = [np.int8, np.uint8, np.int16, np.uint32, np.uint64, np.int64]
    labels = y.astype(types[int(rng.integers(6))])
    labels = labels.tolist() if chance(rng, 0.3) else labels
    given: Any = z if chance(rng, 0.3) else Tensor(z)
    return Call(
        lambda: loss(given, labels).item(), math.fsum(rows) / n, (z,), given is z, within=1e-5 * (1 + np.abs(z).max())
    )


def optimizer_call(rng: Rng, make: Callable[[list[Tensor]], Any], rule: Callable[[list[float]], list[float]]) -> Call:
    """Three steps of one parameter; `rule` gives how much each moves it."""
    grads = (rng.normal(size=3) * 10.0 ** rng.integers(-12, 4)).astype(np.float32)
    if chance(rng, 0.2):
        bad = no_array(rng)
        return Call(lambda: make(bad), REFUSED)

    def run() -> Any:
        p = Tensor(np.zeros((1,), np.float32), requires_grad=True)
        optimizer = make([p])
        for grad in grads:
            p.grad = np.array([grad])
            optimizer.step()
        return p.data[0]

    moves = rule([float(grad) for grad in grads])
    return Call(run, math.fsum(moves), (grads,), within=1e-5 * math.fsum(map(abs, moves)))


@call_of("SGD")
def _(rng: Rng) -> Call:
    name, bad = (
        str(rng.choice(["lr", "momentum", "weight_decay"])),
        [-1, math.nan, math.inf, "1", None][int(rng.integers(5))],
    )
    if chance(rng, 0.3):
        given: dict[str, Any] = {"lr": 0.1, name: bad}
        return Call(lambda: tc.SGD([Tensor([1.0], True)], **given), REFUSED)

    def rule(grads: list[float]) -> list[float]:
        moves, v, w = [], 0.0, 0.0
        for g in grads:
            v = 0.9 * v + g + 0.1 * w
            moves.append(-0.5 * v)
            w += moves[-1]
        return moves

    return optimizer_call(rng, lambda params: tc.SGD(params, 0.5, 0.9, 0.1), rule)


@call_of("Adam")
def _(rng: Rng) -> Call:
    bad = [-1, math.nan, math.inf, "1", None][int(rng.integers(5))]
    if chance(rng, 0.3):
        given: Any = [{"lr": bad}, {"eps": bad}, {"betas": (bad, 0.9)}, {"betas": (0.9, 1)}, {"betas": bad}]
        which = given[int(rng.integers(5))]
        return Call(lambda: tc.Adam([Tensor([1.0], True)], **which), REFUSED)

    def rule(grads: list[float]) -> list[float]:
        m = v = 0.0
        moves = []
        for t, g in enumerate(grads, 1):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            moves.append(-0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8))
        return moves

    return optimizer_call(rng, lambda params: tc.Adam(params, 0.1), rule)


@call_of("batches")
def _(rng: Rng) -> Call:
    n, size = int(rng.integers(0, 7)), int(rng.integers(-1, 4))
    x, y = numbers(rng, (n, 2)), rng.integers(0, 9, n)
    given: Any = no_integer(rng) if chance(rng, 0.15) else an_integer(rng, size)
    kind = rng.integers(6)
    if kind == 0:
        y = rng.integers(0, 9, n + 1)
    seed: Any = [None, 3, (1, 2)][int(rng.integers(3))]

    def run() -> Any:
        pairs = list(tc.batches(x, y, given, seed))
        assert all(len(a) == size for a, _ in pairs[:-1]) and all(len(a) for a, _ in pairs)
        return np.sort(np.concatenate([np.zeros(0, np.int64), *[b for _, b in pairs]]))

    wrong = kind == 0 or size < 1 or not isinstance(given, (int, np.integer))
    return Call(run, REFUSED if wrong else np.sort(y), (x, y))


@call_of("accuracy")
def _(rng: Rng) -> Call:
    n, classes = int(rng.integers(0, 6)), int(rng.integers(2, 4))
    x = rng.permuted(np.tile(np.arange(classes, dtype=np.float32), (n, 1)), axis=1)
    y = rng.integers(0, classes, n)
    model = tc.Sequential()
    kind = rng.integers(6)
    if kind == 0 or n == 0:
        bad: Any = [y[:, None], y.astype(float) + 0.5, y[:-1], np.full(n, "a"), None, y + classes][int(rng.integers(6))]
        return Call(lambda: tc.accuracy(model, x, bad), REFUSED, (x,))
    hits = sum(max(range(classes), key=lambda c: x[i, c]) == y[i] for i in range(n))
    size = an_integer(rng, int(rng.integers(1, 8)))
    return Call(lambda: tc.accuracy(model, x, y, size), hits / n, (x, y), within=1e-12)


@call_of("fit")
def _(rng: Rng) -> Call:
    """A network without hidden layer, one step of SGD on one sample: the loss before it."""
    x, y = rng.normal(size=(1, 3)).astype(np.float32), np.array([int(rng.integers(2))])
    layer: Any = tc.Linear(3, 2)
    z = [math.fsum(a * b for a, b in zip(x[0].tolist(), w, strict=True)) for w in layer.weight.data.tolist()]
    z = [a + b for a, b in zip(z, layer.bias.data.tolist(), strict=True)]
    wanted = math.log(math.fsum(map(math.exp, z))) - z[y[0]]
    kind = rng.integers(3)
    if kind == 0:
        epochs: Any = [no_integer(rng), -1][int(rng.integers(2))]
        return Call(lambda: tc.fit(layer, x, y, epochs), REFUSED)
    if kind == 1:
        labels = [y.astype(float), y[:, None], y[:0], y + 2][int(rng.integers(4))]
        return Call(lambda: tc.fit(layer, x, labels, 1), REFUSED)
    return Call(lambda: tc.fit(layer, x, y, an_integer(rng, 1))[0], wanted, (x, y), within=1e-5)
