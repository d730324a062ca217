"""How arrays lie in a TFLite file: channels last, signals as images one row high, flattened images in that order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.steps import Add, Convolution, FlattenCodes, MaxPool, ReluOnCodes, Table, Trace, Value


class Layout:
    """Of the values of a network. orders: of a flattened image, for each place in the file its index in the network."""

    def __init__(self, steps: Trace) -> None:
        self.has_signals = any(isinstance(s, (Convolution, MaxPool)) and len(s.x.shape) == 2 for s in steps.steps)
        self.orders: dict[str, NDArray[np.intp]] = {}
        for step in steps.steps:
            keeps = isinstance(step, (FlattenCodes, ReluOnCodes, Table))
            if isinstance(step, Add):
                keeps = self.same_order(step.x, step.other)
            if isinstance(step, FlattenCodes) and self.is_image(step.x):
                places = np.arange(np.prod(step.x.shape, dtype=int)).reshape(step.x.shape)
                self.orders[step.y.name] = np.moveaxis(places, 0, -1).ravel()
            elif keeps and step.x.name in self.orders:
                self.orders[step.y.name] = self.orders[step.x.name]

    def is_image(self, value: Value) -> bool:
        """Whether the value has channels and one or two axes of windows."""
        return len(value.shape) == 3 or (len(value.shape) == 2 and self.has_signals)

    def same_order(self, a: Value, b: Value) -> bool:
        one, other = self.orders.get(a.name), self.orders.get(b.name)
        return one is other if one is None or other is None else np.array_equal(one, other)

    def shape(self, value: Value) -> tuple[int, ...]:
        """Of one sample in the file."""
        if not self.is_image(value):
            return value.shape
        channels, *sides = value.shape
        return (*([1] if len(sides) == 1 else []), *sides, channels)

    def in_file(self, value: Value, array: NDArray[Any]) -> NDArray[Any]:
        """An array [N, *value.shape] as the file has it."""
        if value.name in self.orders:
            array = array[:, self.orders[value.name]]
        elif self.is_image(value):
            array = np.moveaxis(array, 1, -1)
        return np.ascontiguousarray(array).reshape(len(array), *self.shape(value))

    def from_file(self, value: Value, array: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `in_file`; an array of another shape as it is."""
        if array.shape[1:] != self.shape(value):
            return array
        if value.name in self.orders:
            return array[:, np.argsort(self.orders[value.name])]
        if self.is_image(value):
            array = np.moveaxis(array, -1, 1)
        return array.reshape(len(array), *value.shape)
