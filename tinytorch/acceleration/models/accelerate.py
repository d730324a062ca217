"""A quantized model on the compiled kernels: the same codes and the same floats, layer by layer.

    fast = accelerate(quantize_static(model, batches))

The notebook's own `QuantizedLinear`, `QuantizedConv2d` and `OnCodes` stay the definition. They are known by name, for
this package does not import the notebook's. A subclass of one may have another `forward`, and stays what it is.
"""

from __future__ import annotations

import sys
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import (
    AvgPool2d,
    Flatten,
    GlobalAvgPool2d,
    MaxPool1d,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Tensor,
)
from ...core.layers import Remaining, as_module, is_exactly, names_in
from ..operations.conv import Int8Conv2d
from ..operations.elementwise import quantize
from ..operations.int8 import kept_bits, prepack_int8
from ..operations.linear import Int8Linear
from ..operations.qparams import QParamsLike
from . import planning
from .between import AcceleratedLookup, AcceleratedMean, AcceleratedOnCodes, AcceleratedResidual, AcceleratedSum, ran
from .codes import Accelerated, Codes, check_scale, has_codes, outside, reshaped, same_qparams
from .jobs import Jobs, Value
from .network import Plans, planning_of
from .weight_only import AcceleratedWeightOnly, can_be_packed


def explained(layer: Any, relu: bool) -> str:
    """What `explain` says of an accelerated layer: what the layer itself says, and that it is compiled."""
    return f"{layer.explanation()}{', its ReLU in the same pass' if relu else ''}, compiled"


def repr_like(layer: Any, kind: str, relu: bool) -> str:
    """What the quantized layer said of itself, under another name."""
    said = repr(layer).partition("(")[2].removesuffix(")")
    return f"{kind}({said}{', ReLU' if relu else ''})"


class AcceleratedLinear(Accelerated):
    """A QuantizedLinear, packed. codes, column_sums, scale, bias: all it keeps of the arrays."""

    def __init__(self, layer: Any, relu: bool = False) -> None:
        weight, out = layer.weight, layer.output_qparams
        static, self.kind = layer.input_qparams is not None, type(weight)
        scale = np.broadcast_to(weight.qparams.scale.ravel(), weight.shape[:1])
        packed = prepack_int8(weight.q.T, kept_bits(weight.qparams.int_type.bits))
        self.input_qparams, self.output_qparams = layer.input_qparams, out
        out_codes, self.per_row = out if static else None, bool(layer.per_row)
        self._product = Int8Linear(packed, scale, layer.bias, layer.input_qparams, out_codes, relu, self.per_row)
        self.codes, self.column_sums, self.scale = packed.data, packed.column_sums, self._product.scale
        self.bias = self._product.int_bias if static else self._product.float_bias
        self._explanation, self._repr = explained(layer, relu), repr_like(layer, "AcceleratedLinear", relu)

    def __repr__(self) -> str:
        return self._repr

    def explanation(self) -> str:
        return self._explanation

    def run(self, x: Any) -> Any:
        product = self._product
        if has_codes(x):
            check_scale(x.qparams, self.input_qparams, int(self.per_row))
        if has_codes(x) and not same_qparams(x.qparams, self.input_qparams):
            y = product.of_codes(x.q, x.qparams)
        else:
            y = product(x.q if has_codes(x) else np.asarray(x.data, np.float32))
        return finished(y, self.output_qparams, self.kind)

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        y = planning.linear(jobs, self._product, x) if self.takes(x) else None
        return None if y is None else replace(y, qparams=self.output_qparams, kind=self.kind)

    def takes(self, x: Value) -> bool:
        """Whether x is what the layer was calibrated for: reals, or codes of its quantization parameters."""
        return not self.per_row and (x.qparams is None or same_qparams(x.qparams, self.input_qparams))


class AcceleratedConv1d(Accelerated):
    """A QuantizedConv1d: its convolution over images one row high, packed."""

    def __init__(self, layer: Any, relu: bool = False) -> None:
        self.over_images = AcceleratedConv2d(layer.over_images, relu)
        self.input_qparams, self.output_qparams = self.over_images.input_qparams, self.over_images.output_qparams

    def explanation(self) -> str:
        return self.over_images.explanation()

    def run(self, x: Any) -> Any:
        if len(x.shape) != 3:
            raise ValueError(f"wanted signals [N, channels, length], got shape {x.shape}")
        y = self.over_images.run(reshaped(x, lambda a: a[:, :, None]))
        return reshaped(y, lambda a: a[:, :, 0])

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        y = self.over_images.plan(jobs, x.as_images()) if len(x.shape) == 3 else None
        return None if y is None else y.as_signals()


class AcceleratedConv2d(Accelerated):
    """A QuantizedConv2d, packed. codes, column_sums, scale, bias: all it keeps of the arrays."""

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
            self.output_qparams if static else None, relu, layer.stride, layer.padding, len(parts), layer.dilation,
            bool(layer.per_row), kept_bits(parts[0].weight.qparams.int_type.bits),
        )  # fmt: skip
        self.per_row = bool(layer.per_row)
        packed = self._product.layer
        self.codes, self.column_sums, self.scale = packed.weights.data, packed.weights.column_sums, packed.scale
        self.bias = packed.int_bias if static else packed.float_bias
        self._explanation = explained(layer, relu)
        self._repr = repr_like(layer, "AcceleratedConv2d", relu)

    def __repr__(self) -> str:
        return self._repr

    def explanation(self) -> str:
        return self._explanation

    def run(self, x: Any) -> Any:
        product = self._product
        if has_codes(x):
            check_scale(x.qparams, self.input_qparams, 3 * self.per_row)
        y = product.of_codes(x.q, x.qparams) if has_codes(x) else product(np.asarray(x.data, np.float32))
        return finished(y, self.output_qparams, self.kind)

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        given = self.input_qparams
        if given is None or self.per_row or len(x.shape) != 4:
            return None
        if x.qparams is None:
            codes = planning.quantized(jobs, x, given, self.kind)
        else:
            codes = x if same_qparams(x.qparams, given) else None
        y = None if codes is None else planning.convolution(jobs, self._product, codes)
        return None if y is None else replace(y, qparams=self.output_qparams, kind=self.kind)


def finished(y: NDArray[Any], qparams: QParamsLike | None, kind: Any) -> Any:
    """A layer's result: codes as Codes, reals as a Tensor, or as Codes if a dynamic layer is to give some."""
    if qparams is None:
        return Tensor(y)
    return Codes(quantize(y, qparams) if y.dtype == np.float32 else y, qparams, kind)


WITH_RELU = (AcceleratedLinear, AcceleratedConv1d, AcceleratedConv2d, AcceleratedResidual, AcceleratedSum)


class Chain(Sequential):
    """A Sequential in which Codes travel as they are from one accelerated layer to the next; in one call where that can
    be planned, see `network`."""

    _plans: Plans | None = None

    @property
    def plans(self) -> Plans:
        """Of the layers as they are now."""
        if self._plans is None or self._plans.layers != self.layers:
            self._plans = Plans(list(self.layers))
        return self._plans

    def run(self, x: Any) -> Any:
        i, plans = 0, self.plans
        while i < len(plans.layers):
            taken, x = plans.run(i, x)
            if taken == 0:
                taken, x = 1, ran(plans.layers[i], x)
            i += taken
        return x

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        y: Value | None = x
        for layer in self.layers:
            y = None if y is None else planning_of(layer, jobs, y)
        return y

    def forward(self, x: Any) -> Any:
        return outside(self.run(x))


def _is(m: Module, name: str, base: str = "Module") -> bool:
    """Whether m is the module's own layer of that name, made of `base`, and not a subclass of it."""
    bases = [each.__name__ for each in type(m).__bases__]
    return type(m).__name__ == name and bases == [base] and is_exactly(m, type(m))


def _layer(m: Any, relu: bool = False) -> Accelerated | None:
    """What takes the place of m; None: nothing does, or its sums might not fit int32."""
    try:
        if _is(m, "QuantizedConv2d", "WindowedProducts") and all(_is(part, "QuantizedLinear") for part in m.products):
            return AcceleratedConv2d(m, relu)
        if _is(m, "QuantizedConv1d") and isinstance(_layer(m.over_images), AcceleratedConv2d):
            return AcceleratedConv1d(m, relu)
        if _is(m, "QuantizedLinear"):
            return AcceleratedLinear(m, relu)
        if _is(m, "WeightOnlyLinear") and can_be_packed(m):
            return AcceleratedWeightOnly(m)
    except OverflowError:
        return None
    return _between(m, relu)


def _between(m: Any, relu: bool) -> Accelerated | None:
    """What takes the place of a layer that multiplies nothing."""
    if _is(m, "OnCodes") and is_exactly(m.layer, ReLU, MaxPool1d, MaxPool2d, Flatten):
        return AcceleratedOnCodes(m.layer)
    kind = getattr(sys.modules[type(m).__module__], "QuantizedTensor", None)
    if _is(m, "Lookup") and kind is not None:
        return AcceleratedLookup(m, kind)
    if _is(m, "QuantizedResidual") and kind is not None:
        return AcceleratedResidual(m, _accelerated(m.block), kind, relu)
    if is_exactly(m, Residual):
        return AcceleratedSum(_accelerated(m.block), None if m.shortcut is None else _accelerated(m.shortcut), relu)
    if is_exactly(m, AvgPool2d) or is_exactly(m, GlobalAvgPool2d):
        return AcceleratedMean(m)
    return None


def _gives_reals(layer: Any) -> bool:
    """Whether a ReLU behind the layer may be part of it."""
    return is_exactly(layer, Residual) or getattr(layer, "output_qparams", layer) is None


def _chain(layers: list[Module]) -> Chain:
    """The layers, a ReLU made part of the accelerated layer before it where that gives floats."""
    made: list[Module] = []
    names: list[str] = []
    rest, keys = list(layers), names_in(layers)
    while rest:
        layer, *rest = rest
        names.append(keys[-len(rest) - 1])
        relu = bool(rest) and is_exactly(rest[0], ReLU) and _gives_reals(layer)
        fast = _layer(layer, relu)
        made.append(_accelerated(layer) if fast is None else fast)
        if relu and isinstance(fast, WITH_RELU):
            rest = rest[1:]
    chain = Chain()
    chain.layers = Remaining(made, names)
    return chain


def accelerate(model: Module) -> Module:
    """A new model that gives the same codes and floats as `model`, on the compiled kernels.

    Every QuantizedLinear, QuantizedConv1d and QuantizedConv2d becomes a packed layer that keeps no other copy of its
    weights, together with a ReLU that follows it; what works on codes as they are is taken along; all else is copied.
    Codes of weights take 2, 4 or 8 bits each: those of 3 bits take 4, and of 5 to 7 bits 8. A layer whose sums might
    not fit int32 stays what it was, as does a subclass. The new model is in evaluation mode.

    A WeightOnlyLinear computes in float32: its products are those of the layer, but they are added up in another order,
    within a bound that `AcceleratedWeightOnly` states. One whose groups are no multiples of 16 stays what it was.
    ValueError for a model in which nothing is to be accelerated.
    """
    fast = _accelerated(as_module(model)).eval()
    if not any(isinstance(m, Accelerated) and m.is_quantized for _, m in fast.named_modules()):
        raise ValueError(
            "nothing to accelerate: the model holds no QuantizedLinear or QuantizedConv2d whose sums fit int32, nor a "
            "WeightOnlyLinear, subclasses aside: quantize_static, quantize_dynamic or quantize_weight_only makes them"
        )
    return fast


def _accelerated(model: Module) -> Module:
    """The model, or a part of one, with everything in it accelerated that can be."""
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
            setattr(new, name, _accelerated(value))
        elif isinstance(value, list):
            parts = [_accelerated(item) if isinstance(item, Module) else item for item in value]
            setattr(new, name, Remaining(parts, names_in(value)))
    return new
