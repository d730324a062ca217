"""Given: where the error of a quantized model comes from, layer by layer and channel by channel.

`compare_layers` runs a float model and its quantized form side by side. A tensor's own SQNR hides much: of 64 channels
one that is 60 times as large as the others takes nearly all codes, and the signal's power as well, so that 30 dB of the
whole may be 1 dB of every other channel. So each tensor is judged by its median channel, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from tinytorch.core import BatchNorm2d, Conv2d, Linear, Module, Tensor, accuracy, evaluating, outputs
from tinytorch.core.checks import said, true_or_false
from tinytorch.core.layers import as_module
from tinytorch.quantization.layers import WeightOnlyLinear, WindowedProducts, codes_of
from tinytorch.quantization.mixed_precision import Sensitivity
from tinytorch.quantization.networks import QuantizedLinear
from tinytorch.quantization.qat import FakeQuantized, fake_quantize, fold_batch_norms
from tinytorch.quantization.qparams import IntType, QParams, as_int_type
from tinytorch.quantization.quantize import (
    MinMaxObserver,
    choose_qparams,
    dequantize,
    quantize,
    sqnr_db,
    value_range,
)
from tinytorch.quantization.reprs import said_channels
from tinytorch.quantization.rules import Wrapped, check_rules, is_quantizable
from tinytorch.quantization.tensors import QuantizedTensor
from tinytorch.quantization.trees import inputs_of, map_modules

__all__ = [
    "ChannelError",
    "LayerError",
    "LayerErrors",
    "TensorError",
    "activation_sensitivity",
    "compare_layers",
]


@dataclass(frozen=True)
class ChannelError:
    """One channel of a tensor. lo, hi: its range in float32. clipped: the share of it, in [0, 1], beyond the codes.

    times_median: its largest magnitude, relative to that of the tensor's median channel.
    """

    channel: int
    sqnr_db: float
    lo: float
    hi: float
    clipped: float
    times_median: float


@dataclass(frozen=True)
class TensorError:
    """A tensor of a layer, by its channels along one axis, the worst first.

    name: "inputs", "outputs", "weights by output" or "weights by input": along which axis the channels lie.
    sqnr_db: of the whole tensor. clipped: the share of it beyond the codes.
    """

    name: str
    sqnr_db: float
    clipped: float
    channels: tuple[ChannelError, ...]

    @property
    def dead(self) -> list[int]:
        """The channels that hold nothing but zeros."""
        return sorted(c.channel for c in self.channels if (c.lo, c.hi) == (0, 0))

    @property
    def median_db(self) -> float:
        """The SQNR of the median channel, of those that are not all zero."""
        heard = [c.sqnr_db for c in self.channels if c.channel not in self.dead]
        return float(np.sort(heard)[len(heard) // 2]) if heard else inf

    @property
    def worst_db(self) -> float:
        """The SQNR of the whole or of the median channel, whichever is worse: a loud channel hides the others."""
        return min(self.sqnr_db, self.median_db)

    @property
    def loudest(self) -> ChannelError:
        """The channel of the largest magnitude."""
        return max(self.channels, key=lambda c: c.times_median)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest number of the float32 tensor."""
        return min(c.lo for c in self.channels), max(c.hi for c in self.channels)

    def __str__(self) -> str:
        loud = self.loudest
        parts = f"{self.median_db:.1f} dB in the median channel, {self.sqnr_db:.1f} dB in all"
        outlier = f"channel {loud.channel} is {loud.times_median:.3g} times the median channel"
        return f"{self.name}: {parts}; {outlier}; {self.clipped:.2%} clipped"


@dataclass(frozen=True)
class LayerError:
    """What quantization does to one layer. kind: the class of its quantized form.

    Of weights and inputs the error is this layer's own, for they are rounded as the float model has them. Of outputs it
    is all that has come together so far.
    """

    layer: str
    kind: str
    weights: TensorError
    inputs: TensorError
    outputs: TensorError

    @property
    def worst(self) -> TensorError:
        """The weights or the inputs, whichever lose more."""
        return min(self.weights, self.inputs, key=lambda t: t.worst_db)

    def __str__(self) -> str:
        return f"{self.layer or 'the model'} ({self.kind}), {self.worst}"


class LayerErrors(tuple[LayerError, ...]):
    """Layers, the one whose own weights or inputs lose most first.

    It prints as a sentence on that one, a table, and the channels that hold nothing but zeros.
    """

    def __str__(self) -> str:
        names = [
            "layer",
            *(f"{t} dB" for t in ("weights", "inputs", "outputs")),
            "clipped",
            "input range",
            "loudest input",
        ]
        rows = [names, *(_cells(row) for row in self)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(names))]
        table = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows]
        zeros = [line for row in self for line in _dead(row)]
        return "\n".join([str(self[0]) if self else "no layers", "", *table, *zeros])

    __repr__ = __str__

    def plot(self, layer: str | None = None) -> Any:
        """The SQNR of every channel of a layer, the first one if None, as a figure of matplotlib."""
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("a plot needs matplotlib: pip install matplotlib") from error
        rows = {row.layer: row for row in self}
        name = self[0].layer if layer is None else layer
        if name not in rows:
            raise KeyError(f"no layer is named {name!r}: the names are {', '.join(map(repr, rows))}")
        tensors = (rows[name].weights, rows[name].inputs, rows[name].outputs)
        figure, axes = plt.subplots(len(tensors), 1, figsize=(8, 7), layout="constrained")
        for axis, tensor in zip(axes, tensors, strict=True):
            channels = sorted(tensor.channels, key=lambda c: c.channel)
            axis.bar([c.channel for c in channels], [c.sqnr_db if np.isfinite(c.sqnr_db) else 0 for c in channels])
            axis.axhline(tensor.sqnr_db if np.isfinite(tensor.sqnr_db) else 0, color="0.3", ls="--", label="the whole")
            axis.set(title=f"{name}, {tensor.name}", xlabel="channel", ylabel="SQNR, dB")
            axis.legend()
        return figure


def _cells(row: LayerError) -> list[str]:
    """The row of a table: of each tensor the median channel's SQNR, and that of the whole."""
    dbs = [f"{t.median_db:.1f} ({t.sqnr_db:.1f})" for t in (row.weights, row.inputs, row.outputs)]
    lo, hi = row.inputs.range
    loud = row.inputs.loudest
    return [
        row.layer or "the model", *dbs, f"{row.inputs.clipped:.2%}", f"{lo:.3g} to {hi:.3g}",
        f"channel {loud.channel}, {loud.times_median:.3g} times",
    ]  # fmt: skip


def _dead(row: LayerError) -> list[str]:
    """A line for each tensor of the layer that has channels of zeros."""
    tensors = [t for t in (row.weights, row.inputs, row.outputs) if t.dead]
    return [f"{row.layer or 'the model'}, {t.name}: always 0 in {said_channels(t.dead)}" for t in tensors]


@dataclass
class ChannelSums:
    """Signal, noise, range and clipped numbers of each channel, added up over batches."""

    name: str
    axis: int
    batches: list[NDArray[np.float64]] = field(
        default_factory=list
    )  # each: signal, noise, lo, hi, clipped, count [6, n]

    def add(self, x: NDArray[Any], x_hat: NDArray[Any], clipped: NDArray[Any] | float = 0.0) -> None:
        x, x_hat, beyond = (
            np.moveaxis(np.broadcast_to(a, x.shape), self.axis, 0).reshape(x.shape[self.axis], -1).astype(np.float64)
            for a in (x, x_hat, clipped)
        )
        if x.size:
            sums = [
                (x**2).sum(1),
                ((x - x_hat) ** 2).sum(1),
                x.min(1),
                x.max(1),
                beyond.sum(1),
                np.full(len(x), x.shape[1]),
            ]
            self.batches.append(np.array(sums))

    def error(self) -> TensorError:
        """The channels, the worst first; there must have been a number."""
        signal, noise, lows, highs, clipped, count = np.moveaxis(np.array(self.batches), 1, 0)
        lo, hi, peaks = lows.min(0), highs.max(0), np.maximum(-lows.min(0), highs.max(0))
        median = np.median(peaks[peaks > 0]) if np.any(peaks > 0) else 1.0
        dbs = [_db(s, n) for s, n in zip(signal.sum(0), noise.sum(0), strict=True)]
        shares = clipped.sum(0) / count.sum(0)
        found = [
            ChannelError(i, dbs[i], float(lo[i]), float(hi[i]), float(shares[i]), float(peaks[i] / median))
            for i in range(len(dbs))
        ]
        channels = tuple(sorted(found, key=lambda c: c.sqnr_db))
        return TensorError(self.name, _db(signal.sum(), noise.sum()), float(clipped.sum() / count.sum()), channels)


def _db(signal: float, noise: float) -> float:
    if noise == 0:
        return inf
    return float(10 * np.log10(signal / noise)) if signal > 0 else -inf


class Watched(Wrapped):
    """A layer of which the last input and output are kept."""

    def __init__(self, layer: Module) -> None:
        self.layer = layer
        self.took: Any = None
        self.gave: Any = None

    def forward(self, x: Any) -> Any:
        self.took, self.gave = x, self.layer(x)
        return self.gave


def _is_compared(m: Module) -> bool:
    """Whether a layer has weights that quantization may have changed."""
    return is_quantizable(m) or isinstance(m, (QuantizedLinear, WindowedProducts, WeightOnlyLinear, FakeQuantized))


def _watched(model: Module) -> tuple[Module, list[tuple[str, Watched]]]:
    """A copy of the model, and in it the layers with weights, in order."""
    copied = map_modules(model, lambda _, m: Watched(m) if _is_compared(m) else None)
    return copied, [(name, m) for name, m in copied.named_modules() if isinstance(m, Watched)]


def _real(x: Any) -> NDArray[Any]:
    return x.dequantize() if isinstance(x, QuantizedTensor) else x.data


def _weight(layer: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """What the layer multiplies by, as real numbers of this shape. ValueError if it has another number of weights."""
    if isinstance(layer, FakeQuantized):
        weight = layer.weight(layer.layer.weight).data
    elif isinstance(layer, WindowedProducts):
        weight = np.concatenate([product.weight.dequantize() for product in layer.products])
    else:
        weight = layer.weight.dequantize() if isinstance(layer.weight, QuantizedTensor) else layer.weight.data
    if weight.size != np.prod(shape) or len(weight) != shape[0]:
        raise ValueError(f"the two models are not of one network: a weight {shape} meets one of shape {weight.shape}")
    return weight.reshape(shape)


def _input(layer: Any, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[Any] | float]:
    """(x as the layer's input type holds it, which numbers of x lie beyond the codes)."""
    if isinstance(layer, FakeQuantized):
        qparams = layer.input.qparams
    elif isinstance(layer, (QuantizedLinear, WindowedProducts)):
        row_axes = 3 if isinstance(layer, WindowedProducts) else 1
        qparams = codes_of(Tensor(x), layer.input_qparams, row_axes * layer.per_row)[1]
    else:
        return x, 0.0
    code = np.rint(x / qparams.scale) + qparams.zero_point
    beyond = (code < qparams.int_type.qmin) | (code > qparams.int_type.qmax)
    return dequantize(quantize(x, qparams), qparams), beyond


@dataclass
class Pair:
    """A float layer beside its quantized form, and what was measured of the two."""

    name: str
    ours: Watched
    theirs: Watched

    def __post_init__(self) -> None:
        channels = 1 if isinstance(self.ours.layer, Conv2d) else -1
        self.inputs, self.outputs = ChannelSums("inputs", channels), ChannelSums("outputs", channels)

    def add(self) -> None:
        """What the two were given and gave at the last batch, if their models use them."""
        if self.ours.took is None or self.theirs.took is None:
            return
        x, y = _real(self.ours.took), _real(self.ours.gave)
        self.inputs.add(x, *_input(self.theirs.layer, x))
        given = self.theirs.gave
        if isinstance(given, QuantizedTensor) and np.all(given.qparams.zero_point == given.qparams.int_type.qmin):
            y = np.maximum(y, 0)  # a ReLU has become part of the layer
        self.outputs.add(y, _real(given))

    def error(self) -> LayerError:
        weight: NDArray[np.float32] = self.ours.layer.weight.data
        rounded = _weight(self.theirs.layer, weight.shape)
        by_channel = [ChannelSums("weights by output", 0), ChannelSums("weights by input", 1)]
        for sums in by_channel:
            sums.add(weight, rounded)
        weights = min((sums.error() for sums in by_channel), key=lambda t: t.median_db)
        if weights.sqnr_db < -1:  # 0 is a code, so that a number's nearest code is nearer than the number is large
            raise ValueError(
                f"the weights of layer {self.name!r} are not the float model's, rounded ({weights.sqnr_db:.1f} dB): "
                "compare with the float model that was quantized, folded and equalized as it was"
            )
        kind = type(self.theirs.layer).__name__
        return LayerError(self.name, kind, weights, self.inputs.error(), self.outputs.error())


def compare_layers(float_model: Module, quantized_model: Module, batches: Iterable[Any]) -> LayerErrors:
    """Where the error comes from: a row for each Linear, Conv1d and Conv2d of the float model, the worst first.

    quantized_model: what quantize_static, quantize_dynamic, quantize_weight_only, prepare_qat or convert made of the
    float model; where batch norms were folded in between, they are folded here, too. After `equalize` the float model
    is the equalized one. batches: inputs [batch, ...] or pairs (x, y). Names are the float model's. print(...) says
    which layer, tensor and channel is worst; `plot()` draws the channels. ValueError for models that have not the same
    layers, as after `accelerate`, which changes no number, or other weights.
    """
    names = [name for name, m in as_module(float_model).named_modules() if is_quantizable(m)]
    inputs = [x for x in inputs_of(batches, as_module(float_model)) if len(x)]
    if not inputs:
        raise ValueError("compare_layers needs at least one batch with a sample in it, got none")
    _check_order(float_model, as_module(quantized_model))
    ours, our_layers = _watched(_folded_alike(float_model, quantized_model, inputs))
    theirs, their_layers = _watched(quantized_model)
    if not names or not len(names) == len(our_layers) == len(their_layers):
        raise ValueError(
            f"the two models must be of one network: the first holds {len(our_layers)} layers with weights, the second "
            f"{len(their_layers)}; of an accelerated model compare the one that was given to accelerate()"
        )
    pairs = [Pair(n, a, b) for n, (_, a), (_, b) in zip(names, our_layers, their_layers, strict=True)]
    with evaluating(ours):
        for x in inputs:
            ours(x), theirs(x)
            for pair in pairs:
                pair.add()
    rows = [pair.error() for pair in pairs if pair.inputs.batches]
    return LayerErrors(sorted(rows, key=lambda row: row.worst.worst_db))


def _folded_alike(model: Module, other: Module, inputs: list[Any]) -> Module:
    """The float model with as many of its batch norms folded as in the other one. ValueError where that cannot be."""
    wanted = _norms(other)
    with catch_warnings():
        simplefilter("ignore")  # of batch norms that stay, as they do in the other model
        for how in (None, (), (inputs,)):
            folded = model if how is None else fold_batch_norms(model, *how)
            if _norms(folded) == wanted:
                return folded
    raise ValueError(
        f"the second model has the batch norms {_said(wanted)}, the first {_said(_norms(model))}, and fold_batch_norms "
        "does not make them alike: compare with the folded float model that was quantized"
    )


def _norms(model: Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, BatchNorm2d)]


def _said(names: list[str]) -> str:
    return ", ".join(name or "the model itself" for name in names) or "none"


def _check_order(first: Module, second: Module) -> None:
    """ValueError if the first model is a quantized one."""
    for name, m in first.named_modules():
        if _is_compared(m) and not is_quantizable(m):
            is_float = all(is_quantizable(other) for _, other in second.named_modules() if _is_compared(other))
            got = f"{name or 'it'} is a {type(m).__name__}{': are the two swapped?' if is_float else ''}"
            raise ValueError(f"the first model must be the float one, but {got}")


class RoundedInput(Module):
    """A layer whose input is rounded to the codes of `qparams` and back, or of the type `by_rows`, each row (of a
    convolution each sample) by its own range; None of both: only watched."""

    def __init__(self, layer: Module, qparams: QParams | None = None, by_rows: IntType | None = None) -> None:
        self.layer, self.qparams, self.by_rows = layer, qparams, by_rows
        self.seen, self.sample = MinMaxObserver(), tuple[int, ...]()

    def forward(self, x: Tensor) -> Tensor:
        if self.by_rows is not None:
            kept = range(x.ndim - 1 if isinstance(self.layer, Linear) else 1)
            return self.layer(fake_quantize(x, choose_qparams(*value_range(x.data, tuple(kept)), self.by_rows)))
        if self.qparams is None:
            self.seen.observe(x.data)
            self.sample = x.shape[1:]
            return self.layer(x)
        return self.layer(fake_quantize(x, self.qparams))


class ActivationSensitivity(Sensitivity):
    """A row of activation_sensitivity. nbytes: of the codes of one sample's input."""

    of = "inputs"


def _replaced(model: Module, name: str, layer: Module) -> Module:
    """A new model with `layer` where the module of that dotted name is."""
    return map_modules(model, lambda at, m: layer if at == name else None)


def activation_sensitivity(
    model: Module, x: NDArray[Any], y: NDArray[Any], int_types: Iterable[IntType], per_row: bool = False
) -> list[Sensitivity]:
    """A row for each quantizable layer and each type: that layer's input in that type, everything else in float32.

    What `sensitivity` does for weights. The input is quantized by the range that it has for all of x, with one scale
    and a zero point; per_row: each of its rows by its own, as in quantize_dynamic. nbytes: of the codes of one sample's
    input. assign_bits makes rules of the rows that set the types of inputs, for quantize_static and prepare_qat.
    """
    check_rules(model, None)
    true_or_false("per_row", per_row)
    if not isinstance(int_types, Iterable):
        raise TypeError(f"int_types must be a list of them, such as [INT8, INT4], got {said(int_types)}")
    watched = map_modules(model, lambda name, m: RoundedInput(m) if is_quantizable(m) else None)
    reference, int_types = outputs(watched, x), [as_int_type(t) for t in int_types]
    table: list[Sensitivity] = []
    for name, seen in [(name, m) for name, m in watched.named_modules() if isinstance(m, RoundedInput)]:
        for int_type in int_types:
            how: dict[str, Any] = {"by_rows": int_type} if per_row else {"qparams": seen.seen.qparams(int_type)}
            alone = _replaced(model, name, RoundedInput(seen.layer, **how))
            sqnr = sqnr_db(reference, outputs(alone, x))
            nbytes = int_type.nbytes(seen.sample)
            table.append(ActivationSensitivity(name, int_type, nbytes, sqnr, accuracy(alone, x, y)))
    return table
