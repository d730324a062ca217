"""Given: what parameters, tensors, observers and layers say of themselves: a line, and of a tensor a picture as well.

Each function takes the object itself, and its class makes it a method: `__repr__ = repr_of_qparams`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from tinytorch.core.windows import shown

__all__: list[str] = []

NAMED_TYPES = {(8, True): "INT8", (8, False): "UINT8", (4, True): "INT4", (4, False): "UINT4"}


def said_bytes(nbytes: int) -> str:
    """A number of bytes for people, where a kB is 1000 bytes.

    >>> said_bytes(640), said_bytes(18432), said_bytes(2_100_000)
    ('640 bytes', '18.4 kB', '2.1 MB')
    """
    if nbytes < 1000:
        return f"{nbytes} bytes"
    return f"{nbytes / 1e3:.1f} kB" if nbytes < 999_950 else f"{nbytes / 1e6:.1f} MB"


def said_range(numbers: Any) -> str:
    """The smallest and the largest of some numbers: "0.002 to 0.02", or "0.01" where these look alike."""
    if np.size(numbers) == 0:
        return "none"
    lo, hi = f"{np.min(numbers):.3g}", f"{np.max(numbers):.3g}"
    return lo if lo == hi else f"{lo} to {hi}"


def said_channels(channels: Sequence[int]) -> str:
    """At most eight channels by number, and how many more there are.

    >>> said_channels([3]), said_channels(range(12))
    ('channel 3', 'channels 0, 1, 2, 3, 4, 5, 6, 7 and 4 more')
    """
    more = f" and {len(channels) - 8} more" if len(channels) > 8 else ""
    return f"channel{'s' if len(channels) > 1 else ''} {', '.join(map(str, channels[:8]))}{more}"


def repr_of_int_type(t: Any) -> str:
    """What makes the type again: `INT8`, `IntType(3)`, `IntType(8, narrow=True)`."""
    if not t.narrow and (t.bits, t.signed) in NAMED_TYPES:
        return NAMED_TYPES[t.bits, t.signed]
    return f"IntType({t.bits}{'' if t.signed else ', signed=False'}{', narrow=True' if t.narrow else ''})"


def repr_of_qparams(p: Any) -> str:
    """What makes one scale and its zero point again; of many scales, their shape and range."""
    if p.scale.shape == ():
        return f"QParams({p.scale}, {p.zero_point}, {p.int_type!r})"
    zero = f"zero point {said_range(p.zero_point)}"
    return f"QParams({p.int_type}, scales {list(p.scale.shape)} of {said_range(p.scale)}, {zero})"


def granularity(t: Any) -> str:
    """Which numbers of a QuantizedTensor share a scale."""
    q_shape, scale_shape = t.q.shape, t.qparams.scale.shape
    if np.prod(scale_shape) == 1:
        return "per tensor"
    if len(q_shape) > len(t.shape):
        return f"groups of {q_shape[-1]}"
    aligned = (1,) * (len(q_shape) - len(scale_shape)) + scale_shape
    axes = [axis for axis, size in enumerate(aligned) if size != 1]
    return "per channel" if axes == [0] else f"a scale for each slice along {', '.join(f'axis {a}' for a in axes)}"


def repr_of_tensor(t: Any) -> str:
    """`QuantizedTensor(int4 [256, 256], groups of 32, 41.0 kB)`."""
    kind = type(t).__name__
    return f"{kind}({t.qparams.int_type} {list(t.shape)}, {granularity(t)}, {said_bytes(t.nbytes)})"


def html_of_tensor(t: Any) -> str:
    """The line, and below it how many numbers have each code, as bars from the lowest code to the highest."""
    int_type, q = t.qparams.int_type, t.q
    counts = np.bincount(q.ravel().astype(np.int64) - int_type.qmin, minlength=int_type.qmax - int_type.qmin + 1)
    tallest, width = max(int(counts.max(initial=0)), 1), 512 / len(counts)
    bars = "".join(
        f'<rect x="{i * width:g}" y="{60 - 60 * count / tallest:.2f}" width="{width:g}" '
        f'height="{60 * count / tallest:.2f}"><title>code {i + int_type.qmin}: {count}</title></rect>'
        for i, count in enumerate(counts.tolist())
        if count
    )
    ends = f"codes {int_type.qmin} to {int_type.qmax}, {np.count_nonzero(counts)} of {len(counts)} in use"
    picture = f'<svg width="512" height="60" fill="currentColor" role="img" aria-label="{ends}">{bars}</svg>'
    return f"<div><code>{escape(repr(t))}</code><br>{picture}<br><small>{ends}</small></div>"


def _passing(what: str, qparams: Any) -> list[str]:
    """ "input int8 scale 0.02", if the quantization parameters of a layer's input, or output, are fixed."""
    return [] if qparams is None else [f"{what} {qparams.int_type} scale {said_range(qparams.scale)}"]


def how_quantized(input_qparams: Any, row: str | None = None) -> str:
    """How a layer's inputs become codes. row: what has a scale of its own in a dynamic layer; None: the whole input."""
    if input_qparams is not None:
        return "static"
    return "dynamic" if row is None else f"dynamic per {row}"


def said_product(layer: Any, weight: Any, row: str) -> str:
    """What there is to say of a product of codes: its weight, and how its input and output are quantized."""
    how = how_quantized(layer.input_qparams, row if layer.per_row else None)
    passing = _passing("input", layer.input_qparams) + _passing("output", layer.output_qparams)
    return ", ".join([f"{weight.qparams.int_type} {granularity(weight)}", how, *passing])


def repr_of_linear(layer: Any) -> str:
    """`QuantizedLinear(64 -> 10, int8 per channel, static, input int8 scale 0.02)`."""
    n_out, n_in = layer.weight.shape
    return f"{type(layer).__name__}({n_in} -> {n_out}, {said_product(layer, layer.weight, 'row')})"


def repr_of_convolution(layer: Any) -> str:
    """`QuantizedConv2d(8 -> 16, 3x3, padding 1, int8 per channel, dynamic)`."""
    parts, (height, width), groups = layer.products, layer.kernel, len(layer.products)
    n_in, n_out = (sum(part.weight.shape[axis] for part in parts) for axis in (1, 0))
    pairs = {"stride": (layer.stride, "1"), "padding": (layer.padding, "0"), "dilation": (layer.dilation, "1")}
    usual = {name: (shown(pair), default) for name, (pair, default) in pairs.items()} | {"groups": (str(groups), "1")}
    options = [f"{name} {value}" for name, (value, default) in usual.items() if value != default]
    said = said_product(layer, parts[0].weight, "sample")
    sizes = f"{n_in // (height * width)} -> {n_out}, {height}x{width}"
    return f"{type(layer).__name__}({', '.join([sizes, *options, said])})"


def repr_of_weight_only(layer: Any) -> str:
    """`WeightOnlyLinear(64 -> 10, int4 groups of 32, float arithmetic)`."""
    n_out, n_in = layer.weight.shape
    said = f"{layer.weight.qparams.int_type} {granularity(layer.weight)}"
    return f"{type(layer).__name__}({n_in} -> {n_out}, {said}, float arithmetic)"


def repr_of_embedding(layer: Any) -> str:
    """`WeightOnlyEmbedding(1000, 64, int8 per channel)`: as many tokens, and numbers for each."""
    tokens, width = layer.weight.shape
    said = f"{layer.weight.qparams.int_type} {granularity(layer.weight)}"
    return f"{type(layer).__name__}({tokens}, {width}, {said})"


def repr_of_table(layer: Any) -> str:
    """`Lookup(256 answers, input int8 scale 0.02)`."""
    passing = _passing("input", layer.input_qparams) + _passing("output", layer.output_qparams)
    return f"{type(layer).__name__}({', '.join([f'{len(layer.values)} answers', *passing])})"


def repr_of_residual(layer: Any) -> str:
    """`QuantizedResidual(Sequential(...), input int8 scale 0.02)`."""
    passing = _passing("input", layer.input_qparams) + _passing("output", layer.output_qparams)
    return f"{type(layer).__name__}({', '.join([repr(layer.block), *passing])})"


def repr_of_histogram(h: Any) -> str:
    """`Histogram(4096 bins, 1000 numbers of -1 to 2)`."""
    seen = f"{h.total} numbers of {said_range([h.lo, h.hi])}" if h.total else "empty"
    return f"Histogram({h.counts.size} bins, {seen})"


OPTIONS = ("axis", "momentum", "percentile", "objective")  # of observers


def repr_of_observer(observer: Any) -> str:
    """`MovingAverageObserver(momentum 0.9, range -1 to 2)`: of one that keeps `lo` and `hi`, or a `histogram`.

    One of somebody's own may keep what it likes under these names, or nothing: then its name is all.
    """
    state = vars(observer)
    options = [f"{name} {state[name]}" for name in OPTIONS if state.get(name) is not None]
    histogram, lo, hi = (state.get(name) for name in ("histogram", "lo", "hi"))
    seen = []
    if hasattr(histogram, "counts"):
        seen = [repr_of_histogram(histogram).split(", ")[1].removesuffix(")")]
    elif lo is None and "lo" in state:
        seen = ["empty"]
    elif all(end is not None and np.asarray(end).dtype.kind in "fiu" for end in (lo, hi)):
        seen = [f"range {said_range([np.min(lo), np.max(hi)])}"]
    return f"{type(observer).__name__}({', '.join(options + seen)})"


def repr_of_fake_quantize(quantizer: Any) -> str:
    """`FakeQuantize(int8, MovingAverageObserver(momentum 0.9, range -1 to 2), scale 0.0118, frozen)`."""
    said = [f"{quantizer.int_type}{' symmetric' if quantizer.symmetric else ''}"]
    said += [] if quantizer.axis is None else [f"axis {quantizer.axis}"]
    said += [] if quantizer.observer is None else [repr(quantizer.observer)]
    said += [] if quantizer.qparams is None else [f"scale {said_range(quantizer.qparams.scale)}"]
    return f"{type(quantizer).__name__}({', '.join(said + ['frozen'] * quantizer.frozen)})"


def repr_of_learned_step(quantizer: Any) -> str:
    """`LearnedStepSize(int4, axis 0, scale 0.01 to 0.2)`."""
    said = [str(quantizer.int_type)] + ([] if quantizer.axis is None else [f"axis {quantizer.axis}"])
    said += ["no scale yet" if quantizer.scale is None else f"scale {said_range(quantizer.scale.data)}"]
    return f"{type(quantizer).__name__}({', '.join(said)})"


def repr_of_scaler(scaler: Any) -> str:
    """`GradScaler(scale 65536, 12 updates, 3 good steps)`."""
    return f"GradScaler(scale {scaler.loss_scale:g}, {scaler.updates} updates, {scaler.good_steps} good steps)"


def repr_of_masters(masters: Any) -> str:
    """`MasterWeights(4 tensors, Adam)`."""
    return f"MasterWeights({len(masters.masters)} tensors, {type(masters.optimizer).__name__})"
