"""Random networks, quantized: every kind of layer that goes into a file, in sizes that nothing is tuned for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytorch.core import (
    GELU,
    Conv2d,
    Flatten,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    ReLU6,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
)
from tinytorch.quantization import INT4, INT8, UINT8, IntType, quantize_static

FUNCTIONS = (ReLU, ReLU, ReLU, ReLU6, LeakyReLU, Sigmoid, Tanh, SiLU, GELU)


@dataclass(frozen=True)
class Case:
    """A quantized network and a batch for it."""

    model: Module
    x: NDArray[np.float32]
    seed: int


def case(seed: int) -> Case:
    """The network of a seed."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.3:
        model, shape = _of_rows(rng)
    else:
        model, shape = _of_images(rng)
    x = (rng.normal(size=(int(rng.integers(1, 8)), *shape)) * 10 ** rng.uniform(-2, 2)).astype(np.float32)
    axis = 0 if rng.random() < 0.7 else None
    weights = [INT8, INT8, INT4, IntType(7)][rng.integers(4)]
    codes = [INT8, INT8, INT8, UINT8, IntType(6), IntType(8, narrow=True)][rng.integers(6)]
    calibration = (rng.normal(size=(16, *shape)) * np.abs(x).max() / 4).astype(np.float32)
    model = quantize_static(model, [calibration], weight_type=weights, axis=axis, activation_type=codes)
    return Case(model, x, seed)


def _function(rng: np.random.Generator) -> Module:
    return FUNCTIONS[rng.integers(len(FUNCTIONS))]()


def _of_rows(rng: np.random.Generator) -> tuple[Module, tuple[int, ...]]:
    widths = [int(n) for n in rng.integers(1, 70, rng.integers(2, 6))]
    layers: list[Module] = []
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layers += [Linear(n_in, n_out, bias=rng.random() < 0.8, rng=rng), _function(rng)]
        if rng.random() < 0.2:
            hidden = int(rng.integers(1, 40))
            block = Sequential(Linear(n_out, hidden, rng=rng), _function(rng), Linear(hidden, n_out, rng=rng))
            layers.append(Residual(block))
    shape = (int(rng.integers(1, 5)), widths[0]) if rng.random() < 0.3 else (widths[0],)
    return Sequential(*layers[: -1 if rng.random() < 0.7 else None]), shape


def _of_images(rng: np.random.Generator) -> tuple[Module, tuple[int, ...]]:
    channels, height, width = int(rng.integers(1, 5)), int(rng.integers(6, 17)), int(rng.integers(6, 17))
    shape, layers = (channels, height, width), list[Module]()
    for _ in range(rng.integers(1, 4)):
        kernel = (int(rng.integers(1, min(4, height) + 1)), int(rng.integers(1, min(4, width) + 1)))
        padding = (int(rng.integers(0, kernel[0])), int(rng.integers(0, kernel[1])))
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        groups = channels if rng.random() < 0.3 else 1
        out = groups * int(rng.integers(1, 3)) if groups > 1 else int(rng.integers(1, 17))
        layer = Conv2d(channels, out, kernel, stride=stride, padding=padding, groups=groups, rng=rng)
        layers += [layer, _function(rng)]
        height, width = (
            (n + 2 * p - k) // s + 1 for n, p, k, s in zip((height, width), padding, kernel, stride, strict=True)
        )
        channels = out
        if rng.random() < 0.2:
            block = Sequential(Conv2d(out, out, 3, padding=1, rng=rng), _function(rng), Conv2d(out, out, 1, rng=rng))
            layers.append(Residual(block))
        if rng.random() < 0.4 and min(height, width) >= 3:
            size, apart = int(rng.integers(2, 4)), int(rng.integers(1, 3))
            layers.append(MaxPool2d(size, apart, padding=int(rng.random() < 0.3)))
            padded = layers[-1].padding[0] * 2  # type: ignore[attr-defined]
            height, width = ((n + padded - size) // apart + 1 for n in (height, width))
    if rng.random() < 0.8:
        layers += [Flatten(), Linear(channels * height * width, int(rng.integers(1, 20)), rng=rng)]
    return Sequential(*layers), shape
