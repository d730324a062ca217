"""Real images, in the shapes that training wants."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .checks import whole_number
from .tensor import Array


@dataclass(frozen=True)
class Dataset:
    """x float32 [N, pixels] in [0, 1]; y int64 [N] labels from 0."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    name: str

    def images(self) -> Dataset:
        """The same data with x [N, 1, height, width], as convolutions want it; ValueError unless they are square."""
        pixels = math.prod(self.x_train.shape[1:])
        side = math.isqrt(pixels)
        if pixels == 0 or side * side != pixels:
            raise ValueError(f"images are square, got {pixels} pixels a sample: reshape x yourself")
        x_train, x_test = (x.reshape(len(x), 1, side, side) for x in (self.x_train, self.x_test))
        return replace(self, x_train=x_train, x_test=x_test)


def batches(x: Array, y: Array, size: int, seed: int | tuple[int, ...] | None = None) -> Iterator[tuple[Array, Array]]:
    """Pairs of `size` rows of x and y, every row once, the last pair maybe shorter; shuffled when a seed is given.

    Raises TypeError for lists, ValueError if x and y differ in length or size < 1.
    """
    if isinstance(x, (list, tuple)) or isinstance(y, (list, tuple)):
        raise TypeError("batches takes rows of arrays, got a list: use np.asarray")
    if len(x) != len(y):
        raise ValueError(f"x and y must have as many rows, got {len(x)} and {len(y)}")
    size = whole_number("batches", "size", size)
    order = np.arange(len(x)) if seed is None else np.random.default_rng(seed).permutation(len(x))
    parts = (order[start : start + size] for start in range(0, len(x), size))
    return ((x[rows], y[rows]) for rows in parts)


def load_digits(seed: int = 0) -> Dataset:
    """The 1 797 handwritten digits of UCI (8 x 8 pixels; see digits.md): 1 297 to train, 500 to test, split by seed."""
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        x, y = (file["images"] / 16).astype(np.float32), file["labels"].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = order[:-500], order[-500:]
    return Dataset(x[train], y[train], x[test], y[test], "digits")
