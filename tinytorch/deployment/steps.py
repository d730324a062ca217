"""What a quantized network computes, as a flat list of steps that every engine knows.

`trace(model, x)` runs the model and notes each step with the arrays it gave. A writer turns steps into a file, a
comparison asks an engine for the same arrays. Codes stay as the network has them: what an engine wants otherwise, such
as other layouts or unsigned codes, is its writer's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import (
    Dropout,
    Flatten,
    Identity,
    MaxPool1d,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Tensor,
    evaluating,
)
from tinytorch.core.layers import as_module, names_in
from tinytorch.quantization import (
    Lookup,
    OnCodes,
    QParams,
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedLinear,
    QuantizedResidual,
    QuantizedTensor,
    quantize,
)
from tinytorch.quantization.qparams import as_qparams

__all__ = [
    "Add",
    "Convolution",
    "Dequantize",
    "FlattenCodes",
    "FloatLayer",
    "MaxPool",
    "Product",
    "Quantize",
    "ReluOnCodes",
    "Step",
    "Table",
    "Trace",
    "Value",
    "trace",
]


@dataclass(frozen=True)
class Value:
    """What goes from one step to the next. shape: of one sample. qparams: of its codes; None: it is float32.

    name: of the layer that gave it, as in `named_modules()`.
    """

    name: str
    shape: tuple[int, ...]
    qparams: QParams | None = None


@dataclass(frozen=True)
class Step:
    """One operation. layer: the dotted name of the layer it belongs to."""

    layer: str
    x: Value
    y: Value


@dataclass(frozen=True)
class Quantize(Step):
    """float32 -> codes of y.qparams."""


@dataclass(frozen=True)
class Dequantize(Step):
    """Codes of x.qparams -> float32."""


@dataclass(frozen=True)
class Product(Step):
    """Codes [..., in] times weight [out, in], plus bias int32 [out]; codes or float32 [..., out].

    What a unit of the sum is worth is x's scale times the weight's, of its row or of all.
    """

    weight: QuantizedTensor = field(repr=False)
    bias: NDArray[np.int32] = field(repr=False)


@dataclass(frozen=True)
class Convolution(Step):
    """Product with every window: weight [out, in / groups, *kernel], one or two axes of windows."""

    weight: QuantizedTensor = field(repr=False)
    bias: NDArray[np.int32] = field(repr=False)
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class MaxPool(Step):
    """The largest code of every window, which is the code of the largest number."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


@dataclass(frozen=True)
class ReluOnCodes(Step):
    """No code below the zero point."""


@dataclass(frozen=True)
class FlattenCodes(Step):
    """A row a sample, of codes."""


@dataclass(frozen=True)
class Table(Step):
    """answers[code - qmin]: codes, or float32."""

    answers: NDArray[Any] = field(repr=False)


@dataclass(frozen=True)
class Add(Step):
    """x + other: codes to codes of y.qparams, or float32 to float32."""

    other: Value


@dataclass(frozen=True)
class FloatLayer(Step):
    """A layer that computes in float32."""

    module: Module


Predict: TypeAlias = Callable[[NDArray[np.float32]], list[NDArray[Any]]]
"""What an engine makes of a file: a batch -> some of its arrays, as the network has them."""


@dataclass(frozen=True)
class Trace:
    """The steps of a network in their order, and what each gave: arrays[value.name], codes or float32, [N, *shape]."""

    x: Value
    y: Value
    steps: tuple[Step, ...]
    arrays: dict[str, NDArray[Any]] = field(repr=False)


def trace(model: Module, x: ArrayLike) -> Trace:
    """The steps of a model, and the arrays that it gives for the batch x.

    Sequentials, Residuals and statically quantized layers are followed into their parts; every other module is one
    FloatLayer, and so is a layer that is quantized dynamically: it takes and gives floats. A model that ends in codes
    gets a Dequantize at its end.
    """
    tracer = _Tracer()
    with evaluating(as_module(model)):
        first = tracer.holds("input", Tensor(np.array(x, np.float32, order="C")))
        last = tracer.as_floats("", tracer.follow("", model, first), "output")
    arrays = {name: y.q if isinstance(y, QuantizedTensor) else y.data for name, y in tracer.held.items()}
    return Trace(first, last, tuple(tracer.steps), arrays)


class _Tracer:
    """Follows an input through a tree of modules. held: what every value is, by its name."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.held: dict[str, Tensor | QuantizedTensor] = {}

    def holds(self, name: str, y: Tensor | QuantizedTensor) -> Value:
        self.held[name] = y
        return Value(name, y.shape[1:], y.qparams if isinstance(y, QuantizedTensor) else None)

    def add(self, step: Step) -> Value:
        self.steps.append(step)
        return step.y

    def run(self, name: str, m: Module, x: Value) -> Value:
        """What the module gives for x, under its name."""
        return self.holds(name or "model", m(self.held[x.name]))

    def as_codes(self, name: str, x: Value, qparams: QParams) -> Value:
        """x as codes: as they are, or quantized."""
        given = self.held[x.name]
        if isinstance(given, QuantizedTensor):
            return x
        codes = self.holds(f"{name or 'model'}.input", QuantizedTensor(quantize(given.data, qparams), qparams))
        return self.add(Quantize(name, x, codes))

    def as_floats(self, name: str, x: Value, called: str) -> Value:
        given = self.held[x.name]
        if not isinstance(given, QuantizedTensor):
            return x
        return self.add(Dequantize(name, x, self.holds(called, Tensor(given.dequantize()))))

    def follow(self, name: str, m: Module, x: Value) -> Value:
        """The steps of a module; what it gives."""
        if type(m) is Sequential:
            for key, layer in zip(names_in(m.layers), m.layers, strict=True):
                x = self.follow(_join(name, f"layers.{key}"), layer, x)
            return x
        if type(m) in (Dropout, Identity):
            return x
        if type(m) is Residual:
            return self.residual(name, m, x)
        if type(m) is QuantizedResidual:
            return self.added_codes(name, m, self.as_codes(name, x, as_qparams(m.input_qparams)))
        if type(m) is OnCodes:
            return self.on_codes(name, m.layer, x)
        if type(m) in (QuantizedLinear, QuantizedConv1d, QuantizedConv2d, Lookup) and not is_dynamic(m):
            codes = self.as_codes(name, x, m.input_qparams)  # type: ignore[attr-defined]
            return self.add(_integer_step(name, m, codes, self.run(name, m, codes)))
        return self.add(FloatLayer(name, x, self.run(name, m, x), m))

    def on_codes(self, name: str, layer: Module, x: Value) -> Value:
        if x.qparams is None:
            return self.follow(name, layer, x)
        y = self.run(name, OnCodes(layer), x)
        if isinstance(layer, (MaxPool1d, MaxPool2d)):
            windows = [as_tuple(v) for v in (layer.size, layer.stride, layer.padding)]
            return self.add(MaxPool(name, x, y, *windows))
        kinds: dict[type[Module], type[Step]] = {Flatten: FlattenCodes, ReLU: ReluOnCodes}
        return self.add(kinds[type(layer)](name, x, y))

    def residual(self, name: str, m: Residual, x: Value) -> Value:
        y = self.follow(_join(name, "block"), m.block, x)
        around = x if m.shortcut is None else self.follow(_join(name, "shortcut"), m.shortcut, x)
        return self.sum_of_floats(name, around, y)

    def added_codes(self, name: str, m: QuantizedResidual, x: Value) -> Value:
        y = self.follow(_join(name, "block"), m.block, x)
        if m.output_qparams is None:
            return self.sum_of_floats(name, x, y)
        return self.add(Add(name, x, self.run(name, m, x), y))

    def sum_of_floats(self, name: str, x: Value, other: Value) -> Value:
        called = name or "model"
        x, other = self.as_floats(name, x, f"{called}.x"), self.as_floats(name, other, f"{called}.other")
        a, b = self.held[x.name], self.held[other.name]
        assert isinstance(a, Tensor) and isinstance(b, Tensor)
        return self.add(Add(name, x, self.holds(called, b + a), other))


def is_dynamic(m: Module) -> bool:
    """Whether a layer chooses the scale of its input by each input."""
    return type(m) in (QuantizedLinear, QuantizedConv1d, QuantizedConv2d) and m.input_qparams is None  # type: ignore[attr-defined]


def computes_in_float(step: FloatLayer) -> str:
    """The step by its name, and that it is no step on codes; for a refusal."""
    called = f"{step.layer or 'the model'}, a {type(step.module).__name__},"
    return f"{called} {'is quantized dynamically' if is_dynamic(step.module) else 'computes in float'}"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def as_tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def pair(along: tuple[int, ...], down: int) -> tuple[int, int]:
    """(down, right): of a signal, which has one axis, the given one and its own."""
    return (down if len(along) == 1 else along[0]), along[-1]


def _integer_step(name: str, m: Any, x: Value, y: Value) -> Step:
    if isinstance(m, Lookup):
        answers = m.values if m.output_qparams is None else quantize(m.values, m.output_qparams)
        return Table(name, x, y, answers)
    if isinstance(m, QuantizedLinear):
        return Product(name, x, y, _as_int8(name, m.weight), m.bias.astype(np.int32))
    images = m.over_images if isinstance(m, QuantizedConv1d) else m
    first = 1 if isinstance(m, QuantizedConv1d) else 0  # signals are images one row high
    windows = (images.kernel, images.stride, images.padding, images.dilation)
    kernel, stride, padding, dilation = (v[first:] for v in windows)
    bias = np.concatenate([p.bias for p in images.products]).astype(np.int32)
    weight = _as_int8(name, _whole([p.weight for p in images.products], kernel))
    return Convolution(name, x, y, weight, bias, stride, padding, dilation, len(images.products))


def _as_int8(name: str, weight: QuantizedTensor) -> QuantizedTensor:
    """The weight as it is. TypeError for codes beyond int8, in which every file stores them."""
    if weight.qparams.int_type.qmax > 127:
        kind = weight.qparams.int_type
        raise TypeError(f"{name or 'the model'} has {kind} weights, and files hold int8 ones: quantize them to int8")
    return weight


def _whole(parts: Sequence[QuantizedTensor], kernel: tuple[int, ...]) -> QuantizedTensor:
    """The filters of all groups of channels as one weight [out, in / groups, *kernel], a scale for each or for all."""
    q = np.concatenate([part.q for part in parts])
    q = q.reshape(len(q), q.shape[1] // prod(kernel), *kernel)
    scales = np.concatenate([np.broadcast_to(p.qparams.scale.ravel(), p.shape[0]) for p in parts])
    scale = scales[0] if np.all(scales == scales[0]) else scales.reshape(-1, *[1] * (q.ndim - 1))
    return QuantizedTensor(q, QParams(scale, 0, parts[0].qparams.int_type))
