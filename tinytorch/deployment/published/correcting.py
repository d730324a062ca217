"""Biases corrected by what rounding a weight adds to each output channel on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.published.products import FloatGraph, Product, attributes_of
from tinytorch.deployment.published.schemes import Scheme
from tinytorch.deployment.published.weights import bias_of, quantized_weight, rows_of


class ChannelMeans:
    """The mean of each channel of the arrays that it observes."""

    def __init__(self, axis: int) -> None:
        self.axis, self.sums, self.count = axis, np.zeros(()), 0

    def observe(self, x: Any) -> None:
        others = tuple(axis for axis in range(x.ndim) if axis != self.axis % x.ndim)
        self.sums = self.sums + x.sum(others, dtype=np.float64)
        self.count += x.size // x.shape[self.axis]

    @property
    def means(self) -> NDArray[np.float64]:
        return np.asarray(self.sums / max(self.count, 1))


def watched_for_means(graph: FloatGraph) -> dict[str, ChannelMeans]:
    """Who watches the inputs of products with biases."""
    with_bias = [p for p in graph.products if p.operator in ("Conv", "Gemm") and p.bias in graph.tensors]
    return {product.x: ChannelMeans(1 if product.operator == "Conv" else -1) for product in with_bias}


def corrected(
    graph: FloatGraph, schemes: Mapping[str, Scheme], axis: int | None, means: Mapping[str, ChannelMeans]
) -> FloatGraph:
    """The graph with biases from which the mean of what rounding the weights adds is taken: E[(w_hat - w) x]."""
    arrays = {}
    for product in graph.products:
        if product.x in means and product.name in schemes and product.bias is not None:
            weight, bias = graph.array(product.weight), bias_of(graph, product)
            if bias is None or graph.only_consumer(product.bias) is None:
                continue
            rounded = quantized_weight(graph, product, schemes[product.name], axis, None).dequantized
            error = rows_of(rounded - weight, product.axis)
            added = (error * _columns_of(graph, product, means[product.x].means)).sum(1)
            arrays[product.bias] = (bias - added).astype(np.float32)
    return graph.with_arrays(arrays)


def _columns_of(graph: FloatGraph, product: Product, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean input of each of a weight's columns, [columns], or [rows, columns] where channels are in groups."""
    if product.operator != "Conv":
        return means
    shape, groups = graph.tensors[product.weight].dims, attributes_of(graph.node(product)).get("group", 1)
    of_group = means.reshape(groups, -1).repeat(shape[0] // groups, 0)
    return of_group.repeat(int(np.prod(shape[2:])), 1)
