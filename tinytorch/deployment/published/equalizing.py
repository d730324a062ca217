"""Ranges of channels evened out between one product and the next, before anything is quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.published.products import FloatGraph, Product, attributes_of, chain_of
from tinytorch.deployment.published.weights import bias_of, rows_of
from tinytorch.quantization.qat import equalization_scales

LINEAR = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool")  # of scale(x), scale(that of x)


def equalized(graph: FloatGraph) -> FloatGraph:
    """The graph with other weights and biases, which computes the same.

    A channel that one product makes large and the next one takes with small weights is divided in the first and
    multiplied in the second, by the module's `equalization_scales`. That is possible where the first is a Conv or Gemm,
    its output goes to the next alone, and only Relu, LeakyRelu and pooling lie between.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for first, after in _pairs(graph):
        if any(graph.only_consumer(name) is None for name in _names(first, after)):
            continue
        current = {name: arrays.get(name, graph.array(name)) for name in _names(first, after)}
        rows, columns = rows_of(current[first.weight], first.axis), _columns(graph, after, current[after.weight])
        scales = equalization_scales(np.abs(rows).max(1), np.abs(columns).max(1))
        arrays[first.weight] = _along(current[first.weight], first.axis or 0, 1 / scales)
        arrays[after.weight] = _along(current[after.weight], _input_axis(graph, after), scales)
        if first.bias:
            arrays[first.bias] = (current[first.bias].ravel() / scales).astype(np.float32)
    return graph.with_arrays(arrays)


def _pairs(graph: FloatGraph) -> list[tuple[Product, Product]]:
    """Products and the one that takes what they give."""
    takes = {product.node: product for product in graph.products if product.operator in ("Conv", "Gemm", "MatMul")}
    pairs = []
    for first in graph.products:
        if first.operator in ("Conv", "Gemm") and (first.bias is None or first.bias in graph.tensors):
            end = [*chain_of(graph, first.y, LINEAR)][-1]
            node = graph.only_consumer(end)
            after = None if node is None else takes.get(node.name)
            if after is not None and after.x == end and _fit(graph, first, after):
                pairs.append((first, after))
    return pairs


def _fit(graph: FloatGraph, first: Product, after: Product) -> bool:
    """Whether the channels that one gives are those that the other takes, each with weights of its own."""
    of_first, of_after = graph.tensors[first.weight].dims, graph.tensors[after.weight].dims
    groups = attributes_of(graph.node(after)).get("group", 1) if after.operator == "Conv" else 1
    channels = of_first[first.axis or 0]
    depthwise = groups == channels and of_after[0] == channels
    biased = first.bias is None or bias_of(graph, first) is not None
    of_channels = (
        after.operator == "Conv" if first.operator == "Conv" else after.operator != "Conv" and len(of_after) == 2
    )
    plain = groups == 1 and not after.weight_first and of_after[_input_axis(graph, after)] == channels
    return bool(biased and of_channels and (depthwise or plain))


def _input_axis(graph: FloatGraph, product: Product) -> int:
    """The axis of the weight along which its inputs lie; of a depthwise convolution that of its outputs, too."""
    if product.operator == "Conv":
        return 0 if attributes_of(graph.node(product)).get("group", 1) > 1 else 1
    return 1 if product.operator == "Gemm" and product.axis == 0 else 0


def _columns(graph: FloatGraph, product: Product, weight: NDArray[Any]) -> NDArray[Any]:
    return rows_of(weight, _input_axis(graph, product))


def _names(first: Product, after: Product) -> list[str]:
    return [name for name in (first.weight, first.bias, after.weight) if name]


def _along(weight: NDArray[Any], axis: int, factors: NDArray[Any]) -> NDArray[np.float32]:
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.asarray(weight * factors.reshape(shape), np.float32)
