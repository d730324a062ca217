"""Calls of what measures and explains networks, trains them in half precision, and holds their data."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

import tinytorch.core as tc
import tinytorch.quantization as tq
from tinytorch.core import Dataset, Module, Tensor
from tinytorch.quantization import IntType

from .fuzz_given import REFUSED, Array, Call, Rng, a_shape, chance, no_array, no_integer, oracle
from .fuzz_layers import set_to

CALLS: dict[str, Callable[[Rng], Call]] = {}


def call_of(name: str) -> Callable[[Callable[[Rng], Call]], Callable[[Rng], Call]]:
    def add(make: Callable[[Rng], Call]) -> Callable[[Rng], Call]:
        CALLS[name] = make
        return make

    return add


def n(rng: Rng, least: int, below: int) -> int:
    return int(rng.integers(least, below))


def no_model(rng: Rng) -> Any:
    return [None, 3, "model", np.ones(2), [tc.Linear(2, 2)], tc.Linear][n(rng, 0, 6)]


class Own(tc.Linear):
    """A layer with a function of its own."""


# What became of a network, and how large it is


def a_chain(rng: Rng) -> tuple[tc.Sequential, list[int]]:
    """Linear layers with a ReLU behind each; and the widths from the first input to the last output."""
    widths = [n(rng, 1, 6) for _ in range(n(rng, 2, 5))]
    return tc.Sequential(*(m for a, b in pairwise(widths) for m in (tc.Linear(a, b), tc.ReLU()))), widths


@call_of("explain")
def _(rng: Rng) -> Call:
    if chance(rng, 0.1):
        bad = no_model(rng)
        return Call(lambda: tq.explain(bad), REFUSED)
    layers: list[Module] = [tc.Linear(3, 3), tc.ReLU(), tc.LayerNorm(3), Own(3, 3), tc.Linear(3, 3), tc.GELU()]
    for layer in layers:
        if isinstance(layer, tc.Linear):
            layer.bias.data[:] = 1  # type: ignore[union-attr]  # or a ReLU might give 0 for all of x
    order = rng.permutation(6)
    model = tc.Sequential(*(layers[i] for i in order))
    first = f"layers.{list(order).index(0)}"
    t = IntType(n(rng, 2, 9))
    static, left = chance(rng, 0.5), chance(rng, 0.4)
    rules = {first: None} if left else {}
    how = {
        tc.ReLU: "in float: nothing to quantize",
        tc.LayerNorm: "in float: its mean and variance are taken of each input, in float",
        Own: "in float: a subclass of Linear, Conv1d or Conv2d, whose forward may be any function",
        tc.GELU: "a table of 256 answers" if static else "in float: a table of its answers is made by quantize_static",
    }
    x = rng.normal(size=(9, 3)).astype(np.float32)

    def run() -> bool:
        made = tq.quantize_static(model, [x], weight_type=t, rules=rules) if static else tq.quantize_dynamic(
            model, t, rules=rules
        )  # fmt: skip
        told = {name: (kind, said) for name, kind, said in tq.explain(made)}
        for name, m in made.named_modules():
            if type(m) in how and type(m) is not tc.GELU:
                assert told[name] == (type(m).__name__, how[type(m)]), told[name]
        integer = [said for kind, said in told.values() if kind == "QuantizedLinear"]
        mode = "static" if static else "dynamic"
        assert len(integer) == 2 - left and all(said.startswith(f"{t} weights, {mode}, gives") for said in integer)
        assert sum(kind == "Linear" and said == "in float: not quantized" for kind, said in told.values()) == left
        assert sum(kind == "Lookup" and said.startswith(how[tc.GELU]) for kind, said in told.values()) == static
        return True

    return Call(run, True)


@call_of("model_nbytes")
def _(rng: Rng) -> Call:
    if chance(rng, 0.1):
        bad = no_model(rng)
        return Call(lambda: tq.model_nbytes(bad), REFUSED)
    model, widths = a_chain(rng)
    sizes, t = list(pairwise(widths)), IntType(n(rng, 2, 9))
    codes = sum(math.ceil(a * b * t.bits / 8) for a, b in sizes)
    axis = 0 if chance(rng, 0.5) else None
    scales = sum(4 * b if axis == 0 else 4 for _, b in sizes)
    small = codes + scales + sum(4 + 4 * b for _, b in sizes)  # a zero point and the biases
    full = sum(4 * (a * b + b) for a, b in sizes)
    kind = n(rng, 0, 4)
    if kind == 0:
        return Call(lambda: tq.model_nbytes(tq.quantize_dynamic(model, t, axis)), small)
    if kind == 1:
        return Call(lambda: tq.model_nbytes(tq.quantize_weight_only(model, t, None, axis)), small)
    if kind == 2:  # used twice, kept once
        return Call(lambda: tq.model_nbytes(tc.Sequential(model, *model.layers)), full)

    def with_views_and_gradients() -> Any:
        first = model.layers[0]
        assert isinstance(first, tc.Linear)
        first.weight.data = np.zeros((sizes[0][1] + 2, sizes[0][0]), np.float32)[2:]  # keeps all rows alive
        first.weight.grad = np.zeros(first.weight.shape, np.float32)
        return tq.model_nbytes(model)

    return Call(with_views_and_gradients, full + 8 * sizes[0][0] + 4 * sizes[0][0] * sizes[0][1])


def db(wanted: Array, got: Array) -> float:
    noise = math.fsum(((wanted - got) ** 2).ravel().tolist())
    signal = math.fsum((wanted**2).ravel().tolist())
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


@call_of("sensitivity")
def _(rng: Rng) -> Call:
    """Of one layer: what its weights by each row's range do to the outputs."""
    k, classes, samples = n(rng, 2, 5), n(rng, 2, 4), n(rng, 2, 6)
    layer = tc.Linear(k, classes)
    model, x = tc.Sequential(layer), rng.normal(size=(samples, k)).astype(np.float32)
    y = rng.integers(0, classes, samples)
    t = IntType(n(rng, 3, 9))
    bad: list[Callable[[], Any]] = [
        lambda: tq.sensitivity(model, x, y[:-1], [t]), lambda: tq.sensitivity(model, x, y + classes, [t]),
        lambda: tq.sensitivity(model, x, y * 0.5, [t]), lambda: tq.sensitivity(model, x[:0], y[:0], [t]),
        lambda: tq.sensitivity(model, x, y, [4]), lambda: tq.sensitivity(model, x, y, t),  # type: ignore[arg-type, list-item]
        lambda: tq.sensitivity(model, x, y, [t], axis=2), lambda: tq.sensitivity(no_model(rng), x, y, [t]),
        lambda: tq.sensitivity(tc.Sequential(tc.ReLU()), x, y, [t]), lambda: tq.sensitivity(model, x[:, 1:], y, [t]),
    ]  # fmt: skip
    if chance(rng, 0.3):
        return Call(bad[n(rng, 0, len(bad))], REFUSED)
    weight, bias = layer.weight.data, layer.bias.data.astype(float)  # type: ignore[union-attr]
    scales, codes = oracle.symmetric_rows(weight.tolist(), t.qmax)
    got = x.astype(float) @ (np.array(codes, float).T * np.array(scales)) + bias
    full = x.astype(float) @ weight.T.astype(float) + bias
    hits = sum(int(row.argmax()) == label for row, label in zip(got, y.tolist(), strict=True))
    nbytes = math.ceil(k * classes * t.bits / 8) + 4 * classes + 4

    def run() -> Any:
        [row] = tq.sensitivity(model, x, y, [t])
        assert (row.layer, row.int_type) == ("layers.0", t)
        return row.nbytes, row.sqnr_db, row.accuracy

    return Call(run, (nbytes, db(full, got), hits / samples), (x, y), within=1e-2)


@call_of("outputs")
def _(rng: Rng) -> Call:
    """In evaluation mode, whatever the mode of the model, which it keeps, as it keeps its statistics."""
    channels = n(rng, 1, 4)
    norm: Any = set_to(rng, tc.BatchNorm2d(channels)).train(chance(rng, 0.5))
    norm.running_mean, norm.running_var = (
        rng.normal(size=channels).astype(np.float32),
        rng.uniform(1, 2, channels).astype(np.float32),
    )
    x = rng.normal(size=(n(rng, 0, 3), channels, n(rng, 1, 3), 2)).astype(np.float32)
    if chance(rng, 0.2):
        bad: Any = [(no_model(rng), x), (norm, no_array(rng)), (norm, x[:, 0])][n(rng, 0, 3)]
        return Call(lambda: tq.outputs(*bad), REFUSED)
    mode, mean, variance = norm.training, norm.running_mean.copy(), norm.running_var.copy()
    wanted = np.zeros(x.shape)
    for i, c, j, k in np.ndindex(x.shape):
        deviation = math.sqrt(variance[c].item() + norm.eps)
        wanted[i, c, j, k] = (x[i, c, j, k].item() - mean[c].item()) / deviation * norm.weight.data[c].item()
        wanted[i, c, j, k] += norm.bias.data[c].item()

    def run() -> Any:
        return tq.outputs(norm, x), norm.training == mode, norm.running_mean, norm.running_var

    return Call(run, (wanted, True, mean, variance), (x,), within=1e-5)


@call_of("outputs, of codes")
def _(rng: Rng) -> Call:
    """The reals that they stand for."""
    p = tq.choose_qparams(-1, 1)
    layer = tq.QuantizedLinear(np.eye(2), None, p, p)
    x = rng.uniform(-1, 1, (n(rng, 0, 4), 2)).astype(np.float32)
    return Call(lambda: tq.outputs(layer, x), x, (x,), within=1.01 * float(p.scale))


# Half precision


def half(x: Array, dtype: str) -> Array:
    """x, a number at a time: 11 or 8 bits of precision, no exponent but float16's smallest."""

    def one(v: float) -> float:
        bits, smallest = (11, -24) if dtype == "float16" else (8, -133)
        step = 2.0 ** max(math.frexp(v)[1] - bits, smallest)
        return round(v / step) * step

    return np.reshape([one(v) for v in x.ravel().tolist()], x.shape)


def no_half(rng: Rng) -> Any:
    return [None, "float32", 16, np.float16, "half", ["float16"]][n(rng, 0, 6)]


@call_of("autocast")
def _(rng: Rng) -> Call:
    """Operands and results of products are rounded within, and only there, even after an error."""
    dtype = str(rng.choice(["float16", "bfloat16"]))
    layer: Any = set_to(rng, tc.Linear(n(rng, 1, 4), n(rng, 1, 4)))
    x = (rng.normal(size=(*a_shape(rng, most=1), layer.weight.shape[1])) * 10.0 ** n(rng, -2, 3)).astype(np.float32)
    if chance(rng, 0.15):
        wrong = no_half(rng)

        def refused() -> None:
            with tq.autocast(wrong):
                layer(x)

        return Call(refused, REFUSED)
    w = layer.weight.data.astype(float)
    full, size = x.astype(float) @ w.T, np.abs(x).astype(float) @ np.abs(w.T)
    product = half(x, dtype) @ half(w, dtype).T
    wanted = product + half(layer.bias.data, dtype)  # in bfloat16 sums stay float32, in float16 both are rounded
    digit = 2.0 ** (-10 if dtype == "float16" else -7)

    def run() -> Any:
        with tq.autocast(dtype):
            within = layer(x)
        try:
            with tq.autocast(dtype):
                raise KeyError
        except KeyError:
            after = layer(x)
        return within.data, after.data

    apart = digit * (np.abs(wanted) + np.abs(product) + np.abs(layer.bias.data)) + 1e-6 * size
    return Call(run, (wanted, full + layer.bias.data), (x,), within=float(apart.max(initial=0)))


@call_of("mixed_step")
def _(rng: Rng) -> Call:
    """A step of SGD: each weight moves by lr times the slope of the mean cross-entropy, but for half's rounding."""
    k, classes, samples = n(rng, 1, 4), n(rng, 2, 4), n(rng, 1, 5)
    layer: Any = tc.Linear(k, classes)
    x, y = rng.normal(size=(samples, k)).astype(np.float32), rng.integers(0, classes, samples)
    dtype, overflows = str(rng.choice(["float16", "bfloat16"])), chance(rng, 0.3)
    scaler = tq.GradScaler(2.0**100) if overflows else tq.GradScaler(8.0) if chance(rng, 0.5) else None
    if overflows:
        dtype = "float16"  # bfloat16 holds a gradient of 2**100
    optimizer = tc.SGD(layer.parameters(), 0.5)
    bad: list[Callable[[], Any]] = [
        lambda: tq.mixed_step(no_half(rng))(layer, optimizer, x, y),
        lambda: tq.mixed_step(dtype)(layer, optimizer, x, y * 1.0),
        lambda: tq.mixed_step(dtype)(layer, optimizer, x[:0], y[:0]),
        lambda: tq.mixed_step(dtype, loss_weight="2"),  # type: ignore[arg-type]
        lambda: tq.mixed_step(dtype, loss_weight=math.nan),
        lambda: tq.mixed_step(dtype, 65536.0),  # type: ignore[arg-type]
    ]
    if chance(rng, 0.2):
        return Call(bad[n(rng, 0, 6)], REFUSED)
    weight, bias = layer.weight.data.astype(float), layer.bias.data.astype(float)
    z = x.astype(float) @ weight.T + bias
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -math.fsum(math.log(row[label]) for row, label in zip(p, y.tolist(), strict=True)) / samples
    slope = (p - np.eye(classes)[y]) / samples
    moved = (0.0 if overflows else 0.5) * (slope.T @ x), (0.0 if overflows else 0.5) * slope.sum(0)

    def run() -> Any:
        said = tq.mixed_step(dtype, scaler)(layer, optimizer, x, y)
        if overflows:
            assert scaler is not None and scaler.loss_scale == 2.0**99 and np.array_equal(layer.weight.data, weight)
        return said, layer.weight.data, layer.bias.data

    within = 8 * 2.0 ** (-10 if dtype == "float16" else -7) * (1 + np.abs(x).max())
    return Call(run, (loss, weight - moved[0], bias - moved[1]), (x, y), within=within)


# Data


@call_of("Dataset.images")
def _(rng: Rng) -> Call:
    side, samples = n(rng, 0, 4), [n(rng, 0, 3), n(rng, 0, 3)]
    pixels = side * side if chance(rng, 0.7) else [2, 3, 5, 8][n(rng, 0, 4)]
    x = [rng.uniform(size=(m, pixels)).astype(np.float32) for m in samples]
    y = [rng.integers(0, 9, m) for m in samples]
    data = Dataset(x[0], y[0], x[1], y[1], "some")
    side = math.isqrt(pixels)
    if side * side != pixels or pixels == 0:
        return Call(lambda: data.images().x_train, REFUSED)

    def run() -> Any:
        images = data.images()
        again = images.images()  # images stay images
        return images.x_train, images.x_test, again.x_train, images.y_test

    train, test = (a.reshape(len(a), 1, side, side) for a in x)
    return Call(run, (train, test, train, y[1]), tuple(x))


@call_of("load_digits")
def _(rng: Rng) -> Call:
    """Every sample once, whatever the seed."""
    if chance(rng, 0.3):
        bad: Any = [no_integer(rng), -1][n(rng, 0, 2)]
        bad = 2.5 if bad is None or isinstance(bad, (list, tuple, np.ndarray)) else bad  # these are seeds
        return Call(lambda: tc.load_digits(bad), REFUSED)
    seed = n(rng, 0, 100)

    def run() -> Any:
        data = tc.load_digits(seed)
        x = np.concatenate([data.x_train, data.x_test])
        return x.shape, x.sum(dtype=np.float64), x.min(), x.max(), np.bincount([*data.y_train, *data.y_test])

    with np.load(DIGITS) as file:
        counts, total = [file["labels"].tolist().count(c) for c in range(10)], file["images"].sum(dtype=np.int64)
    return Call(run, ((1797, 64), float(total) / 16, 0.0, 1.0, counts), within=1e-6)


DIGITS = str(tc.__file__).replace("__init__.py", "digits.npz")


@call_of("Tensor as an input")
def _(rng: Rng) -> Call:
    x = rng.normal(size=(3, 2)).astype(np.float32)
    return Call(lambda: tq.outputs(tc.Sequential(), Tensor(x)), x, (x,))
