"""A quantized network as a Core ML program: int8 weights, activations through quantize and dequantize."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch import core
from tinytorch.core import Module
from tinytorch.deployment.extras import library
from tinytorch.deployment.steps import (
    Add,
    Convolution,
    Dequantize,
    FlattenCodes,
    FloatLayer,
    MaxPool,
    Product,
    Quantize,
    ReluOnCodes,
    Step,
    Table,
    Trace,
    Value,
    as_tuple,
    trace,
)
from tinytorch.deployment.stored import int8_limits, int8_zero_point, qparams_of, stored
from tinytorch.quantization import QuantizedTensor, WeightOnlyLinear

__all__ = ["to_coreml"]


def to_coreml(model: Module, input_shape: tuple[int, ...], batch: int = 1) -> Any:
    """The model as a Core ML program, an `MLModel` of coremltools to be saved as .mlpackage, for Apple's systems.

    input_shape: of one sample. Weights are int8, a scale for each output or one for all, or INT4 and INT8 in blocks of
    layers whose weights alone are quantized (iOS 18, macOS 15); activations pass quantize and dequantize (iOS 17,
    macOS 14). TypeError for a layer that has no counterpart.
    """
    steps = trace(model, np.zeros((batch, *input_shape), np.float32))
    blocks = any(isinstance(s, FloatLayer) and isinstance(s.module, WeightOnlyLinear) for s in steps.steps)
    tools = _tools()
    target = tools.target.iOS18 if blocks else tools.target.iOS17
    return tools.convert(
        _program(steps, batch, target),
        source="milinternal",
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=tools.precision.FLOAT32,
        skip_model_load=True,
    )


def _tools() -> Any:
    return library("coremltools")


def _mb() -> Any:
    return library("coremltools.converters.mil").Builder


def _program(steps: Trace, batch: int, target: Any) -> Any:
    """The steps as operations of MIL. Between them all values are floats, those of codes multiples of their scale."""
    mb = _mb()

    @mb.program(input_specs=[mb.TensorSpec(shape=(batch, *steps.x.shape))], opset_version=target)  # type: ignore[untyped-decorator]
    def main(input: Any) -> Any:
        held = {steps.x.name: input}
        for step in steps.steps:
            held[step.y.name] = WRITERS[type(step)](mb, step, held)
        return mb.identity(x=held[steps.y.name], name="output")

    return main


Held = Mapping[str, Any]


def rounded(mb: Any, x: Any, y: Value) -> Any:
    """Floats through the codes of y."""
    p = qparams_of(y)
    zero, limits = np.int8(int8_zero_point(p)), int8_limits(p)
    if limits != (-128, 127):  # a byte holds more codes than the type has
        lowest, highest = ((np.float32(code) - np.float32(zero)) * p.scale for code in limits)
        x = mb.clip(x=x, alpha=np.float32(lowest), beta=np.float32(highest))
    scale = np.float32(p.scale)
    q = mb.quantize(input=x, scale=scale, zero_point=zero, output_dtype="int8", name=f"{y.name}.codes")
    return mb.dequantize(input=q, scale=scale, zero_point=zero, name=y.name)


def _out(mb: Any, x: Any, y: Value) -> Any:
    return x if y.qparams is None else rounded(mb, x, y)


def _weight(mb: Any, step: Product | Convolution) -> Any:
    p = step.weight.qparams
    scale = p.scale.reshape(-1) if p.scale.ndim else np.repeat(p.scale.reshape(1), step.weight.shape[0])
    zeros = np.zeros(len(scale), np.int8)
    q = step.weight.q.astype(np.int8)
    return mb.constexpr_affine_dequantize(quantized_data=q, zero_point=zeros, scale=scale.astype(np.float32), axis=0)


def _bias(step: Product | Convolution) -> NDArray[np.float32]:
    unit = qparams_of(step.x).scale * step.weight.qparams.scale.reshape(-1)
    return (step.bias.astype(np.float32) * unit).astype(np.float32)


def _product(mb: Any, step: Product, held: Held) -> Any:
    return _out(mb, mb.linear(x=held[step.x.name], weight=_weight(mb, step), bias=_bias(step)), step.y)


def _windows(stride: tuple[int, ...], padding: tuple[int, ...]) -> dict[str, Any]:
    sides = [n for p in padding for n in (p, p)]
    return {"strides": list(stride), "pad_type": "custom", "pad": sides}


def _convolution(mb: Any, step: Convolution, held: Held) -> Any:
    windows = _windows(step.stride, step.padding) | {"dilations": list(step.dilation), "groups": step.groups}
    y = mb.conv(x=held[step.x.name], weight=_weight(mb, step), bias=_bias(step), **windows)
    return _out(mb, y, step.y)


def _max_pool(mb: Any, step: MaxPool, held: Held) -> Any:
    windows = _windows(step.stride, step.padding)
    return mb.max_pool(x=held[step.x.name], kernel_sizes=list(step.size), **windows, name=step.y.name)


def _flatten(mb: Any, step: FlattenCodes, held: Held) -> Any:
    return mb.reshape(x=held[step.x.name], shape=[-1, *step.y.shape], name=step.y.name)


def _table(mb: Any, step: Table, held: Held) -> Any:
    """The answers as floats, looked up by the code."""
    x, p = held[step.x.name], qparams_of(step.x)
    q = mb.quantize(input=x, scale=np.float32(p.scale), zero_point=np.int8(int8_zero_point(p)), output_dtype="int8")
    index = mb.sub(x=mb.cast(x=q, dtype="int32"), y=np.int32(int8_limits(p)[0]))
    answers = step.answers
    if step.y.qparams is not None:
        y = step.y.qparams
        codes = stored(answers, y).astype(np.float32)
        answers = (codes - np.float32(int8_zero_point(y))) * y.scale
    return mb.gather(x=answers.astype(np.float32), indices=index, axis=0, name=step.y.name)


def _float_layer(mb: Any, step: FloatLayer, held: Held) -> Any:
    kind = type(step.module)
    if kind not in FLOAT_LAYERS:
        raise TypeError(f"{step.layer or 'the model'}, a {kind.__name__}, has no counterpart in Core ML: leave it out")
    return FLOAT_LAYERS[kind](mb, held[step.x.name], step.module)


WRITERS: Mapping[type[Step], Callable[[Any, Any, Held], Any]] = {
    Add: lambda mb, step, held: _out(mb, mb.add(x=held[step.x.name], y=held[step.other.name]), step.y),
    Convolution: _convolution,
    Dequantize: lambda mb, step, held: held[step.x.name],
    FlattenCodes: _flatten,
    FloatLayer: _float_layer,
    MaxPool: _max_pool,
    Product: _product,
    Quantize: lambda mb, step, held: rounded(mb, held[step.x.name], step.y),
    ReluOnCodes: lambda mb, step, held: mb.relu(x=held[step.x.name], name=step.y.name),
    Table: _table,
}

# Layers in float32


def _linear(mb: Any, x: Any, m: core.Linear) -> Any:
    bias = np.zeros(len(m.weight.data), np.float32) if m.bias is None else m.bias.data
    return mb.linear(x=x, weight=m.weight.data, bias=bias)


def _weight_only(mb: Any, x: Any, m: WeightOnlyLinear) -> Any:
    bias = np.zeros(m.weight.shape[0], np.float32) if m.bias is None else m.bias
    return mb.linear(x=x, weight=_blocks(mb, m.weight), bias=bias.astype(np.float32))


def _blocks(mb: Any, weight: QuantizedTensor) -> Any:
    """A matrix of codes with a scale for each group of a row, each row, or all."""
    p, group, rows = weight.qparams, weight.group_size, weight.shape[0]
    if group is not None and weight.shape[1] % group:
        raise TypeError(f"Core ML takes groups that fill a row, got {group} of {weight.shape[1]} columns")
    q = weight.q.reshape(rows, -1)
    blocks = (rows, p.scale.size // rows if p.scale.ndim else 1)
    scale = np.broadcast_to(p.scale.reshape(blocks) if p.scale.ndim else p.scale, blocks)
    offset = np.broadcast_to(p.zero_point.reshape(blocks) if p.zero_point.ndim else p.zero_point, blocks)
    types = library("coremltools.converters.mil.mil.types")
    narrow = p.int_type.bits <= 4
    signed, unsigned = (types.np_int4_dtype, types.np_uint4_dtype) if narrow else (np.int8, np.uint8)
    kind = signed if p.int_type.signed else unsigned
    shift = {"offset": offset.astype(kind)} if offset.any() else {}
    return mb.constexpr_blockwise_shift_scale(data=q.astype(kind), scale=scale.astype(np.float32), **shift)


def _float_convolution(mb: Any, x: Any, m: core.Conv1d | core.Conv2d) -> Any:
    windows = _windows(as_tuple(m.stride), as_tuple(m.padding))
    bias = {} if m.bias is None else {"bias": m.bias.data}
    dilation = list(as_tuple(m.dilation))
    return mb.conv(x=x, weight=m.weight.data, dilations=dilation, groups=m.groups, **windows, **bias)


FLOAT_LAYERS: Mapping[type[Module], Callable[[Any, Any, Any], Any]] = {
    core.Conv1d: _float_convolution,
    core.Conv2d: _float_convolution,
    core.Flatten: lambda mb, x, m: mb.reshape(x=x, shape=[x.shape[0], -1]),
    core.GELU: lambda mb, x, m: mb.gelu(x=x, mode="EXACT"),
    core.GlobalAvgPool2d: lambda mb, x, m: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True),
    core.LayerNorm: lambda mb, x, m: mb.layer_norm(
        x=x, axes=[-1], gamma=m.weight.data, beta=m.bias.data, epsilon=np.float32(m.eps)
    ),
    core.Linear: _linear,
    core.ReLU: lambda mb, x, m: mb.relu(x=x),
    core.Sigmoid: lambda mb, x, m: mb.sigmoid(x=x),
    core.SiLU: lambda mb, x, m: mb.silu(x=x),
    core.Tanh: lambda mb, x, m: mb.tanh(x=x),
    WeightOnlyLinear: _weight_only,
}
