"""A quantized model on the compiled kernels: the same codes and the same floats, layer by layer.

    fast = accelerate(quantize_static(model, batches))

The notebook's own `QuantizedLinear`, `QuantizedConv2d` and `OnCodes` stay the definition. They are known by name, for
this package does not import the notebook's. A subclass of one may have another `forward`, and stays what it is.
"""

from copy import copy
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import Flatten, MaxPool2d, Module, ReLU, Sequential, Tensor
from ..core.layers import is_exactly
from .conv import Int8Conv2d
from .elementwise import dequantize, quantize
from .linear import Int8Linear
from .pack import pack_int8
from .rulers import Ruler


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes on their way between two accelerated layers: x ~ scale * (q - zero_point).

    kind: the class of quantized tensors outside, called as kind(q, qparams).
    """

    q: NDArray[Any]
    qparams: Any
    kind: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.q.shape

    def dequantize(self) -> NDArray[np.float32]:
        return dequantize(self.q, self.qparams)


def outside(x: Any) -> Any:
    """What other modules understand: Codes become a quantized tensor of the model's own class."""
    return x.kind(x.q, x.qparams) if isinstance(x, Codes) else x


def has_codes(x: Any) -> bool:
    return hasattr(x, "q") and hasattr(x, "qparams")


def same_ruler(a: Any, b: Any) -> bool:
    return a is b or (
        a is not None
        and b is not None
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
        and a.int_type == b.int_type
    )


def check_scale(qparams: Any, expected: Any) -> None:
    """Refuse codes that a calibrated layer was not made for: its bias counts in steps of the expected scale."""
    if np.ndim(qparams.scale) != 0:
        raise ValueError(f"codes on their way need one scale, got a scale of shape {qparams.scale.shape}")
    if expected is not None and qparams.scale != expected.scale:
        raise ValueError("the codes are of another scale than this layer was calibrated for: dequantize first")


def explained(weight: Any, m: Any, relu: bool) -> str:
    """What `explain` says of an accelerated layer."""
    out = "float" if m.output_qparams is None else f"{m.output_qparams.int_type} codes"
    how = "dynamic" if m.input_qparams is None else "static"
    return f"{weight.qparams.int_type} weights, {how}, gives {out}{' after its ReLU' if relu else ''}, compiled"


class Accelerated(Module):
    """`run` may take and give Codes; `forward` gives what is known outside."""

    def run(self, x: Any) -> Any:
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        return outside(self.run(x))

    @property
    def state_type(self) -> str:
        raise TypeError(
            "an accelerated model is packed for this processor and has no state: "
            "save and load the model that was given to accelerate()"
        )


class AcceleratedLinear(Accelerated):
    """A QuantizedLinear, packed. codes, column_sums, scale, bias: all it keeps of the arrays."""

    def __init__(self, layer: Any, relu: bool = False) -> None:
        weight, out = layer.weight, layer.output_qparams
        static, self.kind = layer.input_qparams is not None, type(weight)
        scale = np.broadcast_to(weight.qparams.scale.ravel(), weight.shape[:1])
        packed = pack_int8(weight.q.T)
        self.input_qparams, self.output_qparams = layer.input_qparams, out
        self._product = Int8Linear(packed, scale, layer.bias, layer.input_qparams, out if static else None, relu)
        self.codes, self.column_sums, self.scale = packed.data, packed.column_sums, self._product.scale
        self.bias = self._product.integers if static else self._product.floats
        self._explanation = explained(weight, self, relu)

    def explanation(self) -> str:
        return self._explanation

    def run(self, x: Any) -> Any:
        product = self._product
        if has_codes(x):
            check_scale(x.qparams, self.input_qparams)
        if has_codes(x) and not same_ruler(x.qparams, self.input_qparams):
            y = product.of_codes(x.q, x.qparams)
        else:
            y = product(x.q if has_codes(x) else np.asarray(x.data, np.float32))
        return finished(y, self.output_qparams, self.kind)


class AcceleratedConv2d(Accelerated):
    """A QuantizedConv2d, packed. codes, scale, bias: of each group, all it keeps of the arrays."""

    def __init__(self, layer: Any, relu: bool = False) -> None:
        parts, kernel = layer.products, tuple(layer.kernel)
        self.input_qparams, self.output_qparams = layer.input_qparams, layer.output_qparams
        static, self.kind = self.input_qparams is not None, type(parts[0].weight)
        codes = np.concatenate([part.weight.q for part in parts])
        scales = [np.broadcast_to(part.weight.qparams.scale.ravel(), part.weight.shape[:1]) for part in parts]
        channels = codes.shape[1] // (kernel[0] * kernel[1])
        self._product = Int8Conv2d(
            codes.reshape(len(codes), channels, *kernel), np.concatenate(scales),
            np.concatenate([part.bias for part in parts]), self.input_qparams,
            self.output_qparams if static else None, relu, layer.stride, layer.padding, len(parts),
        )  # fmt: skip
        self.codes = [part.weights.data for part in self._product.layers]
        self.column_sums = [part.weights.column_sums for part in self._product.layers]
        self.scale = [part.scale for part in self._product.layers]
        self.bias = [part.integers if static else part.floats for part in self._product.layers]
        self._explanation = explained(parts[0].weight, self, relu)

    def explanation(self) -> str:
        return self._explanation

    def run(self, x: Any) -> Any:
        product = self._product
        if has_codes(x):
            check_scale(x.qparams, self.input_qparams)
        y = product.of_codes(x.q, x.qparams) if has_codes(x) else product(np.asarray(x.data, np.float32))
        return finished(y, self.output_qparams, self.kind)


def finished(y: NDArray[Any], ruler: Ruler | None, kind: Any) -> Any:
    """A layer's result: codes as Codes, reals as a Tensor, or as Codes if a dynamic layer is to give some."""
    if ruler is None:
        return Tensor(y)
    return Codes(quantize(y, ruler) if y.dtype == np.float32 else y, ruler, kind)


class AcceleratedOnCodes(Accelerated):
    """MaxPool2d, Flatten or ReLU on codes as they are; memory keeps its order."""

    def __init__(self, layer: Module) -> None:
        self.layer = layer

    def explanation(self) -> str:
        return f"{type(self.layer).__name__} on codes"

    def run(self, x: Any) -> Any:
        if not has_codes(x):
            return self.layer(x)
        check_scale(x.qparams, None)
        q, layer = x.q, self.layer
        if isinstance(layer, MaxPool2d):
            if q.ndim != 4 or min(q.shape[2:]) < layer.size:
                self.layer(Tensor(q.astype(np.float32)))  # which says what is wrong
            q = pooled(q, layer.size, layer.stride)
        elif isinstance(layer, Flatten):
            q = q.reshape(len(q), prod(q.shape[1:]))
        else:
            q = np.maximum(q, np.asarray(x.qparams.zero_point).astype(q.dtype))
        return Codes(q, x.qparams, x.kind if isinstance(x, Codes) else type(x))


def pooled(q: NDArray[Any], size: int, stride: int) -> NDArray[Any]:
    """The largest of each window: rows first, then columns."""
    for axis in (2, 3):
        count = (q.shape[axis] - size) // stride + 1
        views = [q[(slice(None),) * axis + (slice(i, i + (count - 1) * stride + 1, stride),)] for i in range(size)]
        q = views[0]
        for view in views[1:]:
            q = np.maximum(q, view)
    return q


class Chain(Sequential):
    """A Sequential in which Codes travel as they are from one accelerated layer to the next."""

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.run(x) if isinstance(layer, Accelerated) else layer(outside(x))
        return outside(x)


def _is(m: Module, name: str, base: str = "Module") -> bool:
    """Whether m is the module's own layer of that name, made of `base`, and not a subclass of it."""
    bases = [each.__name__ for each in type(m).__bases__]
    return type(m).__name__ == name and bases == [base] and is_exactly(m, type(m))


def _layer(m: Any, relu: bool = False) -> Accelerated | None:
    """What takes the place of m; None: nothing does, or its sums might not fit int32."""
    try:
        if _is(m, "QuantizedConv2d", "WindowedProducts") and all(_is(part, "QuantizedLinear") for part in m.products):
            return AcceleratedConv2d(m, relu)
        if _is(m, "QuantizedLinear"):
            return AcceleratedLinear(m, relu)
    except OverflowError:
        return None
    if _is(m, "OnCodes") and is_exactly(m.layer, ReLU, MaxPool2d, Flatten):
        return AcceleratedOnCodes(m.layer)
    return None


def _chain(layers: list[Module]) -> Chain:
    """The layers, a ReLU made part of the accelerated layer before it where that gives floats."""
    made: list[Module] = []
    rest = list(layers)
    while rest:
        layer, *rest = rest
        relu = bool(rest) and is_exactly(rest[0], ReLU) and getattr(layer, "output_qparams", layer) is None
        fast = _layer(layer, relu)
        made.append(accelerate(layer) if fast is None else fast)
        if relu and isinstance(fast, (AcceleratedLinear, AcceleratedConv2d)):
            rest = rest[1:]
    return Chain(*made)


def accelerate(model: Module) -> Module:
    """A new model that gives the same codes and floats as `model`, on the compiled kernels.

    Every QuantizedLinear and QuantizedConv2d becomes a packed layer that keeps no other copy of its weights, together
    with a ReLU that follows it; what works on codes as they are is taken along; all else is copied. Weights of fewer
    than 8 bits take a byte each here. A layer whose sums might not fit int32 stays what it was, as does a subclass.
    """
    layer = _layer(model)
    if layer is not None:
        return layer
    if hasattr(model, "weight") or hasattr(model, "products"):  # its forward needs the parts that it has
        return copy(model)
    if is_exactly(model, Sequential):
        return _chain(model.layers)
    new = copy(model)
    for name, value in vars(model).items():
        if isinstance(value, Module):
            setattr(new, name, accelerate(value))
        elif isinstance(value, list):
            setattr(new, name, [accelerate(item) if isinstance(item, Module) else item for item in value])
    return new
