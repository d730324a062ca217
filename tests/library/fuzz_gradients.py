"""Calls of backward(), for every layer of tinytorch.core and every operation of its tensors.

The gradient that must come is the quotient of differences: each number is moved a little in both directions, in
float64, and the weighted sum of the results changes in proportion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinytorch.core as tc
from tinytorch.core import Module, Tensor

from .fuzz_given import REFUSED, Array, Call, Rng, a_shape, chance, no_array

CALLS: dict[str, Callable[[Rng], Call]] = {}
Function = Callable[[list[Tensor]], Tensor]
STEP = 1e-6


def differences(f: Function, given: list[Array], weights: Array) -> tuple[Array, ...]:
    """d sum(weights * f(given)) / d given, by differences of both sides."""

    def total() -> float:
        return float((weights * f([Tensor(x.copy()) for x in given]).data).sum())

    slopes = []
    for x in given:
        slope = np.zeros(x.shape)
        for at in np.ndindex(x.shape):
            middle = x[at]
            x[at] = middle + STEP
            above = total()
            x[at] = middle - STEP
            slope[at] = (above - total()) / (2 * STEP)
            x[at] = middle
        slopes.append(slope)
    return tuple(slopes)


def gradient_call(rng: Rng, f: Function, given: list[Array]) -> Call:
    """The gradients of f by each of `given`, in float64."""
    given = [np.array(x) for x in given]
    weights = rng.normal(size=f([Tensor(x) for x in given]).shape)
    wanted = differences(f, [x.copy() for x in given], weights)

    def run() -> Any:
        leaves = [Tensor(x, requires_grad=True) for x in given]
        f(leaves).backward(weights)
        return tuple(np.zeros(leaf.shape) if leaf.grad is None else leaf.grad for leaf in leaves)

    largest = max((np.abs(slope).max(initial=0) for slope in wanted), default=0)
    return Call(run, wanted, tuple(given), within=1e-5 * (1 + largest))


def layer_call(rng: Rng, layer: Module, x: Array) -> Call:
    """The gradients by the input, if it is of real numbers, and by every parameter."""
    parameters = dict(layer.named_parameters())
    is_real = x.dtype.kind == "f"

    def f(tensors: list[Tensor]) -> Tensor:
        for name, tensor in zip(parameters, tensors[is_real:], strict=True):
            layer._put(name, tensor)
        y: Tensor = layer(tensors[0] if is_real else x)
        return y

    return gradient_call(rng, f, [x] * is_real + [rng.normal(size=p.shape) for p in parameters.values()])


def of_layer(name: str) -> Callable[[Callable[[Rng], tuple[Module, Array]]], Any]:
    """Adds calls of the backward pass of a layer, made with an input for it."""

    def add(make: Callable[[Rng], tuple[Module, Array]]) -> Any:
        CALLS[f"{name}, backward"] = lambda rng: layer_call(rng, *make(rng))
        return make

    return add


def n(rng: Rng, least: int, below: int) -> int:
    return int(rng.integers(least, below))


def images(rng: Rng, channels: int, least: int = 1) -> Array:
    return rng.normal(size=(n(rng, 0, 3), channels, n(rng, least, 5), n(rng, least, 5)))


@of_layer("Linear")
def _(rng: Rng) -> tuple[Module, Array]:
    n_in = n(rng, 1, 4)
    return tc.Linear(n_in, n(rng, 1, 4), bias=chance(rng, 0.7)), rng.normal(size=(*a_shape(rng, most=2), n_in))


@of_layer("Conv2d")
def _(rng: Rng) -> tuple[Module, Array]:
    groups = n(rng, 1, 3)
    kernel, stride, padding = n(rng, 1, 3), n(rng, 1, 3), n(rng, 0, 2)
    sizes = groups * n(rng, 1, 3), groups * n(rng, 1, 3)
    layer = tc.Conv2d(*sizes, kernel, stride, padding, bias=chance(rng, 0.7), groups=groups)
    return layer, images(rng, sizes[0], kernel)


@of_layer("MaxPool2d")
def _(rng: Rng) -> tuple[Module, Array]:
    size = n(rng, 1, 4)
    return tc.MaxPool2d(size, n(rng, 1, 4)), images(rng, n(rng, 1, 3), size)


@of_layer("AvgPool2d")
def _(rng: Rng) -> tuple[Module, Array]:
    size = n(rng, 1, 4)
    return tc.AvgPool2d(size, n(rng, 1, 4)), images(rng, n(rng, 1, 3), size)


@of_layer("GlobalAvgPool2d, Flatten")
def _(rng: Rng) -> tuple[Module, Array]:
    return tc.Sequential(tc.GlobalAvgPool2d(), tc.Flatten()), images(rng, n(rng, 1, 3))


@of_layer("ReLU, Sigmoid, Tanh, GELU")
def _(rng: Rng) -> tuple[Module, Array]:
    kind = [tc.ReLU, tc.Sigmoid, tc.Tanh, tc.GELU][n(rng, 0, 4)]
    return kind(), rng.normal(size=a_shape(rng)) * rng.choice([0.1, 1, 5])


@of_layer("BatchNorm2d")
def _(rng: Rng) -> tuple[Module, Array]:
    layer: Any = tc.BatchNorm2d(n(rng, 1, 4)).train(chance(rng, 0.6))
    channels = len(layer.running_mean)
    layer.running_mean, layer.running_var = rng.normal(size=channels), rng.uniform(0.5, 2, channels)
    return layer, rng.normal(size=(n(rng, 2, 4), channels, n(rng, 1, 3), n(rng, 1, 3)))


@of_layer("LayerNorm")
def _(rng: Rng) -> tuple[Module, Array]:
    width = n(rng, 2, 5)
    return tc.LayerNorm(width), rng.normal(size=(*a_shape(rng, most=2), width))


@of_layer("Embedding")
def _(rng: Rng) -> tuple[Module, Array]:
    tokens = n(rng, 1, 5)
    return tc.Embedding(tokens, n(rng, 1, 4)), rng.integers(0, tokens, a_shape(rng))


@of_layer("SelfAttention")
def _(rng: Rng) -> tuple[Module, Array]:
    heads = n(rng, 1, 3)
    width = heads * n(rng, 1, 3)
    return tc.SelfAttention(width, heads), rng.normal(size=(n(rng, 1, 3), n(rng, 1, 4), width))


@of_layer("Residual")
def _(rng: Rng) -> tuple[Module, Array]:
    width = n(rng, 1, 4)
    shortcut = tc.Linear(width, width) if chance(rng, 0.5) else None
    block = tc.Sequential(tc.Linear(width, width), tc.Tanh())
    return tc.Residual(block, shortcut), rng.normal(size=(*a_shape(rng, most=1), width))


@of_layer("a layer used twice")
def _(rng: Rng) -> tuple[Module, Array]:
    width = n(rng, 1, 4)
    layer = tc.Linear(width, width)
    return tc.Sequential(layer, tc.Tanh(), layer), rng.normal(size=(n(rng, 0, 3), width))


# Tensors


def call_of(name: str) -> Callable[[Callable[[Rng], Call]], Callable[[Rng], Call]]:
    def add(make: Callable[[Rng], Call]) -> Callable[[Rng], Call]:
        CALLS[name] = make
        return make

    return add


def stretched(rng: Rng, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to this one: without its first axes, others of length 1."""
    return tuple(1 if chance(rng, 0.3) else size for size in shape[n(rng, 0, len(shape) + 1) :])


@call_of("Tensor + - * /, backward")
def _(rng: Rng) -> Call:
    shape = a_shape(rng)
    a, b = rng.normal(size=shape), rng.uniform(0.5, 2, stretched(rng, shape)) * rng.choice([-1, 1])
    if chance(rng, 0.5):
        a, b = b, np.where(a < 0, a - 0.5, a + 0.5)
    operations: list[Function] = [
        lambda t: t[0] + t[1], lambda t: t[0] - t[1], lambda t: t[0] * t[1], lambda t: t[0] / t[1],
        lambda t: 2.0 - t[0] * t[0] / t[1], lambda t: 1.0 / t[1] - -t[0],
    ]  # fmt: skip
    return gradient_call(rng, operations[n(rng, 0, 6)], [a, b])


@call_of("Tensor @, backward")
def _(rng: Rng) -> Call:
    m, k, columns = (n(rng, 0, 4) for _ in range(3))
    batch = a_shape(rng, most=1)
    a = rng.normal(size=(*batch, m, k) if chance(rng, 0.7) else (k,))
    b = rng.normal(size=(*stretched(rng, batch), k, columns) if chance(rng, 0.7) else (k,))
    return gradient_call(rng, lambda t: t[0] @ t[1], [a, b])


@call_of("Tensor.exp, log, sqrt, tanh, **, backward")
def _(rng: Rng) -> Call:
    exponents: list[Any] = [2, 0, 1, -1, 0.5, 3.0, np.float32(2)]
    x, exponent = rng.uniform(0.3, 3, a_shape(rng)), exponents[n(rng, 0, 7)]
    functions: list[Function] = [
        lambda t: t[0].exp(),
        lambda t: t[0].log(),
        lambda t: t[0].sqrt(),
        lambda t: t[0].tanh(),
        lambda t: t[0] ** exponent,
    ]
    return gradient_call(rng, functions[n(rng, 0, 5)], [x])


@call_of("Tensor.sum, mean, max, softmax, backward")
def _(rng: Rng) -> Call:
    x = rng.normal(size=tuple(n(rng, 1, 4) for _ in range(n(rng, 1, 4))))
    axis = [None, *range(-x.ndim, x.ndim)][n(rng, 0, 2 * x.ndim + 1)]
    keepdims = chance(rng, 0.5)
    functions: list[Function] = [
        lambda t: t[0].sum(axis, keepdims),
        lambda t: t[0].mean(axis, keepdims),
        lambda t: t[0].max(axis, keepdims),
        lambda t: tc.softmax(t[0], -1 if axis is None else axis),
    ]
    return gradient_call(rng, functions[n(rng, 0, 4)], [x])


@call_of("Tensor.reshape, transpose, [], backward")
def _(rng: Rng) -> Call:
    x = rng.normal(size=a_shape(rng, 1))
    order = rng.permutation(x.ndim) - x.ndim * rng.integers(0, 2, x.ndim)
    rows: Array | list[int] = rng.integers(-len(x), len(x), n(rng, 0, 5)) if len(x) else []  # some of them twice
    functions: list[Function] = [
        lambda t: t[0].reshape(-1) if x.size else t[0].reshape(0),
        lambda t: t[0].transpose(*order.tolist()),
        lambda t: t[0].T,
        lambda t: t[0][rows] if len(x) else t[0][:0],
        lambda t: t[0][..., ::2],
    ]
    return gradient_call(rng, functions[n(rng, 0, 5)], [x])


@call_of("CrossEntropyLoss, backward")
def _(rng: Rng) -> Call:
    z = rng.normal(size=(n(rng, 1, 4), n(rng, 1, 4))) * rng.choice([1, 30])
    y = rng.integers(0, z.shape[1], len(z))
    return gradient_call(rng, lambda t: tc.CrossEntropyLoss()(t[0], y), [z])


@call_of("Tensor.backward")
def _(rng: Rng) -> Call:
    """It starts from a gradient of the result's shape, or from one number."""
    x = rng.normal(size=a_shape(rng))
    leaf = Tensor(x, requires_grad=True)
    kind = n(rng, 0, 5)
    if kind == 0:
        wrong: Any = no_array(rng, (2, 3)) if chance(rng, 0.5) else np.ones((2, 3, 1))
        wrong = "grad" if wrong is None else wrong
        return Call(lambda: (Tensor(np.ones((2, 3)), True) * 2.0).backward(wrong), REFUSED)
    if kind == 1:
        return Call(lambda: _raised_as_value_error(lambda: Tensor(x).backward(np.ones(x.shape))), REFUSED)
    if kind == 2 and x.size != 1:
        return Call(lambda: _raised_as_value_error((leaf * 2.0).backward), REFUSED)

    def run() -> Any:
        for _ in range(2):  # gradients add up
            (leaf * 3.0).backward(np.full(x.shape, 2))
        return leaf.grad, leaf.dtype == leaf.grad.dtype  # type: ignore[union-attr]

    return Call(run, (np.full(x.shape, 12.0), True), (x,))


def _raised_as_value_error(call: Callable[[], Any]) -> None:
    """The RuntimeError of a call that comes too early or too late is a refusal, too."""
    try:
        call()
    except RuntimeError as error:
        raise ValueError(str(error)) from error
