"""Layers in float32 as ONNX nodes, those among them that dequantize their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinytorch import core
from tinytorch.core import Module
from tinytorch.deployment.onnx_graph import Graph
from tinytorch.deployment.steps import FloatLayer, as_tuple
from tinytorch.quantization import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedLinear,
    WeightOnlyEmbedding,
    WeightOnlyLinear,
)


def write_float_layer(graph: Graph, step: FloatLayer) -> None:
    kind = type(step.module)
    if kind not in FLOAT_LAYERS:
        called = f"{step.layer or 'the model'}, a {kind.__name__},"
        raise TypeError(f"{called} has no counterpart in ONNX: {advice(step.module)}")
    FLOAT_LAYERS[kind](graph, step, step.module)


def advice(module: Module) -> str:
    """What to do about a layer that no file can hold."""
    if type(module).__module__.startswith("tinytorch.acceleration"):
        return "write the model that accelerate() was given"
    if any(isinstance(part, Module) for _, part in module.named_modules() if part is not module):
        return "its forward may be any function; build it of Sequential, Residual and layers"
    return "leave it out of the model that is written, and apply it to the answers"


def _one(operator: str, opset: int = 13, **attributes: Any) -> Callable[[Graph, FloatLayer, Any], None]:
    """A layer that is one operator without constants."""

    def write(graph: Graph, step: FloatLayer, module: Any) -> None:
        graph.opset = max(graph.opset, opset)
        graph.node(operator, [step.x.name], step.y.name, **attributes)

    return write


def _parameters(graph: Graph, step: FloatLayer, **tensors: Any) -> list[str]:
    name = step.layer or "model"
    return [graph.constant(f"{name}.{key}", t.data) for key, t in tensors.items() if t is not None]


def _linear(graph: Graph, step: FloatLayer, m: core.Linear) -> None:
    name = step.layer or "model"
    weight = graph.constant(f"{name}.weight", m.weight.data.T)
    if m.bias is None:
        graph.node("MatMul", [step.x.name, weight], step.y.name)
    else:
        product = graph.node("MatMul", [step.x.name, weight], f"{name}.product")
        graph.node("Add", [product, *_parameters(graph, step, bias=m.bias)], step.y.name)


def _float_convolution(graph: Graph, step: FloatLayer, m: core.Conv1d | core.Conv2d) -> None:
    stride, padding, dilation = (as_tuple(v) for v in (m.stride, m.padding, m.dilation))
    windows: dict[str, Any] = {"strides": stride, "pads": padding * 2, "dilations": dilation, "group": m.groups}
    parameters = _parameters(graph, step, weight=m.weight, bias=m.bias)
    graph.node("Conv", [step.x.name, *parameters], step.y.name, **windows)


def _pool(operator: str) -> Callable[[Graph, FloatLayer, Any], None]:
    def write(graph: Graph, step: FloatLayer, m: Any) -> None:
        size, stride, padding = (as_tuple(v) for v in (m.size, m.stride, m.padding))
        counts = bool(getattr(m, "count_include_pad", True))
        counted = {"count_include_pad": int(counts)} if operator == "AveragePool" else {}
        windows: dict[str, Any] = {"kernel_shape": size, "strides": stride, "pads": padding * 2, **counted}
        graph.node(operator, [step.x.name], step.y.name, **windows)

    return write


def _leaky_relu(graph: Graph, step: FloatLayer, m: core.LeakyReLU) -> None:
    graph.node("LeakyRelu", [step.x.name], step.y.name, alpha=m.slope)


def _relu6(graph: Graph, step: FloatLayer, m: core.ReLU6) -> None:
    ends = [graph.constant(f"{step.y.name}.{name}", np.array(v, np.float32)) for name, v in (("least", 0), ("most", 6))]
    graph.node("Clip", [step.x.name, *ends], step.y.name)


def _silu(graph: Graph, step: FloatLayer, m: core.SiLU) -> None:
    graph.node("Mul", [step.x.name, graph.node("Sigmoid", [step.x.name], f"{step.y.name}.sigmoid")], step.y.name)


def _layer_norm(graph: Graph, step: FloatLayer, m: core.LayerNorm) -> None:
    graph.opset = max(graph.opset, 17)
    parameters = _parameters(graph, step, weight=m.weight, bias=m.bias)
    graph.node("LayerNormalization", [step.x.name, *parameters], step.y.name, axis=-1, epsilon=m.eps)


def _batch_norm(graph: Graph, step: FloatLayer, m: core.BatchNorm2d) -> None:
    parameters = _parameters(graph, step, weight=m.weight, bias=m.bias)
    running = [graph.constant(f"{step.layer}.{key}", getattr(m, key)) for key in ("running_mean", "running_var")]
    graph.node("BatchNormalization", [step.x.name, *parameters, *running], step.y.name, epsilon=m.eps)


def _weight_only(graph: Graph, step: FloatLayer, m: WeightOnlyLinear) -> None:
    """The weight is written [in, out], groups along its first axis, as ONNX Runtime's products of INT4 blocks want."""
    name = step.layer or "model"
    weight = graph.dequantized_weight(name, m.weight, transposed=True)
    product = graph.node("MatMul", [step.x.name, weight], step.y.name if m.bias is None else f"{name}.product")
    if m.bias is not None:
        graph.node("Add", [product, graph.constant(f"{name}.bias", m.bias)], step.y.name)


def _weight_only_embedding(graph: Graph, step: FloatLayer, m: WeightOnlyEmbedding) -> None:
    tokens = graph.node("Cast", [step.x.name], f"{step.y.name}.tokens", to=7)
    graph.node("Gather", [graph.dequantized_weight(step.layer or "model", m.weight), tokens], step.y.name)


def _embedding(graph: Graph, step: FloatLayer, m: core.Embedding) -> None:
    tokens = graph.node("Cast", [step.x.name], f"{step.y.name}.tokens", to=7)
    graph.node("Gather", [*_parameters(graph, step, weight=m.weight), tokens], step.y.name)


def _dynamic(graph: Graph, step: FloatLayer, m: QuantizedLinear | QuantizedConv1d | QuantizedConv2d) -> None:
    """The input's codes, scale and zero point as ONNX chooses them, by which the sums become floats."""
    images = m.over_images if isinstance(m, QuantizedConv1d) else m
    products = [images] if isinstance(images, QuantizedLinear) else images.products
    if products[0].per_row:
        raise TypeError(f"{step.layer or 'the model'} quantizes row by row, ONNX's DynamicQuantizeLinear all at once")
    name, axes = step.layer or "model", len(step.y.shape)
    codes, scale, zero_point = f"{name}.input", f"{name}.input.scale", f"{name}.input.zero_point"
    graph.nodes.append(graph.made("DynamicQuantizeLinear", [step.x.name], [codes, scale, zero_point]))
    q = np.concatenate([p.weight.q for p in products]).astype(np.int8)
    if isinstance(images, QuantizedLinear):
        weight, along = graph.constant(f"{name}.weight", q.T), [-1]
        sums = graph.node("MatMulInteger", [codes, weight, zero_point], f"{name}.sums")
    else:
        first = 3 - axes  # signals are images one row high
        kernel, stride, padding, dilation = (
            v[first:] for v in (images.kernel, images.stride, images.padding, images.dilation)
        )
        weight, along = graph.constant(f"{name}.weight", q.reshape(len(q), -1, *kernel)), [-1] + [1] * (axes - 1)
        windows: dict[str, Any] = {"strides": stride, "pads": padding * 2, "dilations": dilation}
        inputs = [codes, weight, zero_point]
        sums = graph.node("ConvInteger", inputs, f"{name}.sums", group=len(products), **windows)
    scales = np.concatenate([np.broadcast_to(p.weight.qparams.scale.ravel(), len(p.weight.q)) for p in products])
    bias = np.concatenate([p.bias for p in products]).astype(np.float32)
    whole = graph.node("Cast", [sums], f"{name}.whole", to=1)
    unit = graph.node("Mul", [scale, graph.constant(f"{name}.weight.scale", scales.reshape(along))], f"{name}.unit")
    scaled = graph.node("Mul", [whole, unit], f"{name}.scaled")
    graph.node("Add", [scaled, graph.constant(f"{name}.bias", bias.reshape(along))], step.y.name)


FLOAT_LAYERS: Mapping[type[Module], Callable[[Graph, FloatLayer, Any], None]] = {
    core.AvgPool1d: _pool("AveragePool"),
    core.AvgPool2d: _pool("AveragePool"),
    core.BatchNorm1d: _batch_norm,
    core.BatchNorm2d: _batch_norm,
    core.Conv1d: _float_convolution,
    core.Conv2d: _float_convolution,
    core.Embedding: _embedding,
    core.Flatten: _one("Flatten"),
    core.GELU: _one("Gelu", opset=20),
    core.GlobalAvgPool2d: _one("GlobalAveragePool"),
    core.LayerNorm: _layer_norm,
    core.LeakyReLU: _leaky_relu,
    core.Linear: _linear,
    core.MaxPool1d: _pool("MaxPool"),
    core.MaxPool2d: _pool("MaxPool"),
    core.ReLU: _one("Relu"),
    core.ReLU6: _relu6,
    core.SiLU: _silu,
    core.Sigmoid: _one("Sigmoid"),
    core.Tanh: _one("Tanh"),
    QuantizedConv1d: _dynamic,
    QuantizedConv2d: _dynamic,
    QuantizedLinear: _dynamic,
    WeightOnlyEmbedding: _weight_only_embedding,
    WeightOnlyLinear: _weight_only,
}
