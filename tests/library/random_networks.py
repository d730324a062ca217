"""Random networks, and inputs for them: of rows, images, signals and tokens, and of two inputs.

A network is a random tree: linear layers or convolutions (in groups, with strides, padding, dilation and uneven
kernels), every activation, normalizations, pools, dropouts, residuals with and without a shortcut, chains within
chains, and modules of one's own with two branches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinytorch.core as tc
from tinytorch.core import Inputs, Module, Tensor

from .fuzz_given import Array, Rng, chance

ROWS = 24  # of an input
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """In evaluation mode. x: its inputs, 24 rows. last: the name of its last layer. other: other inputs, numbers twice
    as large. loud: others, 100 times as large."""

    model: Module
    last: str
    x: Any
    other: Any
    loud: Any


class Twofold(Module):
    """A module of one's own: two branches, added or one gating the other."""

    def __init__(self, left: Module, right: Module, gated: bool) -> None:
        self.branches, self.gated = [left, right], gated

    def forward(self, x: Tensor) -> Tensor:
        a, b = (branch(x) for branch in self.branches)
        y: Tensor = a * tc.sigmoid(b) if self.gated else a + b
        return y


class Towers(Module):
    """A module of one's own: two inputs, and two outputs."""

    def __init__(self, left: Module, right: Module, head: Module) -> None:
        self.left, self.right, self.head = left, right, head

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        seen = (self.left(left) + self.right(right)).relu()
        return {"answer": self.head(seen), "seen": seen}


def some_rows(x: Any, part: slice | list[int]) -> Any:
    """Rows of an input, or of each of several."""
    if not isinstance(x, Inputs):
        return x[part]
    return Inputs(*(a[part] for a in x.positional), **{name: a[part] for name, a in x.named.items()})


def with_row(x: Any, other: Any, i: int) -> Any:
    """x, whose row i is that of `other`."""
    if isinstance(x, Inputs):
        return Inputs(
            *(with_row(a, b, i) for a, b in zip(x.positional, other.positional, strict=True)),
            **{name: with_row(a, other.named[name], i) for name, a in x.named.items()},
        )
    changed = x.copy()
    changed[i] = other[i]
    return changed


def arrays_in(x: Any) -> tuple[Array, ...]:
    return (*x.positional, *x.named.values()) if isinstance(x, Inputs) else (x,)


def an_activation(rng: Rng) -> Module:
    kinds = [tc.ReLU, tc.ReLU, tc.GELU, tc.Tanh, tc.Sigmoid, tc.SiLU, tc.ReLU6, tc.LeakyReLU]
    return kinds[int(rng.integers(len(kinds)))]()


def linear(rng: Rng, n_in: int, n_out: int) -> tc.Linear:
    return tc.Linear(n_in, n_out, bias=chance(rng, 0.8), rng=rng)


def some_dropout(rng: Rng) -> list[Module]:
    return [tc.Dropout(float(rng.uniform(0, 0.6)), rng)] if chance(rng, 0.15) else []


def of_rows(rng: Rng, width: int, depth: int, norms: bool = True) -> tuple[list[Module], int]:
    """Layers for rows of `width` numbers, and the width that they give. norms: BatchNorm1d among them."""
    layers: list[Module] = []
    for _ in range(depth):
        kind, new = int(rng.integers(6)), int(rng.integers(2, 20))
        if kind <= 1:
            norm = [tc.BatchNorm1d(new)] if norms and chance(rng, 0.3) else []
            layers += [linear(rng, width, new), *norm, an_activation(rng), *some_dropout(rng)]
            width = new
        elif kind == 2:
            inner, given = of_rows(rng, width, 1, norms)
            layers.append(tc.Residual(tc.Sequential(*inner, linear(rng, given, width))))
        elif kind == 3:
            layers.append(tc.Residual(linear(rng, width, new), linear(rng, width, new)))
            width = new
        elif kind == 4:
            layers.append(Twofold(linear(rng, width, new), linear(rng, width, new), chance(rng, 0.5)))
            width = new
        else:
            inner, width = of_rows(rng, width, 1, norms)
            layers += [tc.LayerNorm(width), tc.Sequential(*inner)] if chance(rng, 0.3) and not inner else inner
    return layers, width


@dataclass(frozen=True)
class Along:
    """One axis of a convolution or a pool: its size, stride, padding and dilation."""

    kernel: int
    stride: int
    padding: int
    dilation: int = 1

    def gives(self, n: int) -> int:
        return (n + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @staticmethod
    def of_convolution(rng: Rng, n: int) -> Along:
        kernel = int(rng.integers(1, min(n, 3) + 1))
        dilation = int(rng.integers(1, 3)) if 2 * (kernel - 1) < n else 1
        padding = dilation * (kernel - 1) // 2 + int(rng.integers(0, 2))
        return Along(kernel, int(rng.integers(1, 3)) if n > 4 else 1, padding, dilation)

    @staticmethod
    def of_pool(rng: Rng) -> Along:
        kernel = int(rng.integers(2, 4))
        return Along(kernel, int(rng.integers(1, 3)), int(rng.integers(0, kernel // 2 + 1)))


def sizes(axes: list[Along], name: str) -> Any:
    """This size along each axis: of signals one number, of images a pair."""
    values = tuple(getattr(axis, name) for axis in axes)
    return values if len(values) > 1 else values[0]


def of_windows(rng: Rng, channels: int, shape: Shape, depth: int) -> tuple[list[Module], int, Shape]:
    """Layers for signals or images [N, channels, *shape], and the channels and the shape that they give."""
    flat = len(shape) == 1
    convolution, norm = (tc.Conv1d, tc.BatchNorm1d) if flat else (tc.Conv2d, tc.BatchNorm2d)
    pools: list[Any] = [tc.MaxPool1d, tc.AvgPool1d] if flat else [tc.MaxPool2d, tc.AvgPool2d]
    layers: list[Module] = []
    for _ in range(depth):
        groups = int(rng.choice([g for g in (1, 1, 2, 4) if channels % g == 0]))
        if chance(rng, 0.25):
            block = convolution(channels, channels, 3, padding=1, groups=groups, rng=rng)
            layers.append(tc.Residual(tc.Sequential(block, tc.ReLU(), convolution(channels, channels, 1, rng=rng))))
            continue
        axes, new = [Along.of_convolution(rng, n) for n in shape], groups * int(rng.integers(1, 4))
        kernel, stride, padding, dilation = (sizes(axes, name) for name in ("kernel", "stride", "padding", "dilation"))
        has_bias = chance(rng, 0.7)
        layers.append(convolution(channels, new, kernel, stride, padding, has_bias, rng, groups, dilation))
        channels, shape = new, tuple(axis.gives(n) for axis, n in zip(axes, shape, strict=True))
        layers += [norm(channels)] if chance(rng, 0.5) else []
        layers += [an_activation(rng), *some_dropout(rng)]
        if min(shape) >= 4 and chance(rng, 0.4):
            pool = [Along.of_pool(rng) for _ in shape]
            kind = pools[int(rng.integers(2))]
            layers.append(kind(*(sizes(pool, name) for name in ("kernel", "stride", "padding"))))
            shape = tuple(axis.gives(n) for axis, n in zip(pool, shape, strict=True))
    return layers, channels, shape


def rows_network(rng: Rng) -> Network:
    width = int(rng.integers(2, 20))
    layers, given = of_rows(rng, width, int(rng.integers(1, 5)))
    return _chain(rng, layers, given, rng.normal(size=(ROWS, width)))


def windows_network(rng: Rng) -> Network:
    channels, axes = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    shape = tuple(int(n) for n in rng.integers(4, 10 if axes == 2 else 20, axes))
    layers, last, small = of_windows(rng, channels, shape, int(rng.integers(1, 4)))
    pooled = axes == 2 and chance(rng, 0.3)
    layers += [tc.GlobalAvgPool2d()] if pooled else []
    given = last * (1 if pooled else int(np.prod(small)))
    return _chain(rng, [*layers, tc.Flatten()], given, rng.normal(size=(ROWS, channels, *shape)))


def tokens_network(rng: Rng) -> Network:
    n, width, length = int(rng.integers(2, 30)), int(rng.integers(2, 12)), int(rng.integers(1, 6))
    layers, given = of_rows(rng, width, int(rng.integers(0, 3)), norms=False)  # which would take tokens for channels
    tokens = rng.integers(0, n, (ROWS, length)).astype(np.float32)
    model = [tc.Embedding(n, width, rng=rng), *layers, tc.Flatten(), linear(rng, given * length, 3)]
    others = n - 1 - tokens
    return Network(tc.Sequential(*model), f"layers.{len(model) - 1}", tokens, others, others)


def towers_network(rng: Rng) -> Network:
    width, n = int(rng.integers(2, 16)), int(rng.integers(2, 30))
    layers, given = of_rows(rng, width, int(rng.integers(1, 4)))
    model = Towers(tc.Sequential(*layers), tc.Embedding(n, given, rng=rng), linear(rng, given, 3))
    x, tokens = rng.normal(size=(ROWS, width)).astype(np.float32), rng.integers(0, n, ROWS)
    others = [Inputs(factor * x, right=n - 1 - tokens) for factor in (2, 100)]
    return Network(model, "head", Inputs(x, right=tokens), *others)


def _chain(rng: Rng, layers: list[Module], given: int, x: Array) -> Network:
    x = (x * rng.uniform(0.5, 3)).astype(np.float32)
    return Network(tc.Sequential(*layers, linear(rng, given, 3)), f"layers.{len(layers)}", x, 2 * x, 100 * x)


KINDS: list[Callable[[Rng], Network]] = [rows_network, windows_network, windows_network, tokens_network, towers_network]


def a_network(seed: int) -> Network:
    """The network of a seed: the same one at every call."""
    rng = np.random.default_rng(seed)
    network = KINDS[int(rng.integers(len(KINDS)))](rng)
    for _, m in network.model.named_modules():
        if isinstance(m, tc.BatchNorm2d):
            m.running_mean[:], m.running_var[:] = rng.normal(size=len(m.weight)), rng.uniform(0.5, 2, len(m.weight))
    network.model.eval()
    return network
