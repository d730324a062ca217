"""The products of a graph: its nodes that multiply by a constant weight, and what they are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library
from tinytorch.deployment.published.reading import graphs_of

RECURRENT = ("LSTM", "GRU", "RNN")
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", *RECURRENT)
LEAST = 64  # numbers of a weight below which codes, scales and zero points save nothing


@dataclass(frozen=True)
class Product:
    """A node that can be quantized, or of a recurrent one the part with one of its weights.

    node: its name; name: the same, of a recurrent one with .W or .R behind it. x, weight, bias: names of its inputs.
    axis: of the weight's output channels; None: one scale for all of the weight. weight_first: it is the left factor of
    a MatMul.
    """

    node: str
    name: str
    operator: str
    x: str
    weight: str
    bias: str | None
    axis: int | None
    y: str
    weight_first: bool = False

    @property
    def is_lookup(self) -> bool:
        return self.operator == "Gather"


class FloatGraph:
    """A float model, with who gives and who takes each array. Nothing in it is changed."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, model.graph
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self.inputs = [value.name for value in self.graph.input]
        self.outputs = [value.name for value in self.graph.output]
        self.producer = {name: node for node in self.graph.node for name in node.output if name}
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                self.consumers[name].append(node)

    def array(self, name: str) -> NDArray[Any]:
        return np.asarray(library("onnx").numpy_helper.to_array(self.tensors[name]))

    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> FloatGraph:
        """A graph with other numbers in its constants of these names."""
        model = type(self.model)()
        model.CopyFrom(self.model)
        for tensor in model.graph.initializer:
            if tensor.name in arrays:
                new = np.asarray(arrays[tensor.name], np.float32).reshape(tuple(tensor.dims))
                tensor.CopyFrom(library("onnx").numpy_helper.from_array(new, tensor.name))
        return FloatGraph(model)

    def node(self, product: Product) -> Any:
        return self.producer[product.y]

    @cached_property
    def names(self) -> set[str]:
        """Of all arrays, in inner graphs, too."""
        of_nodes = {n for g in graphs_of(self.graph) for node in g.node for n in (*node.input, *node.output)}
        return of_nodes | {t.name for g in graphs_of(self.graph) for t in g.initializer} | {*self.inputs, *self.outputs}

    def new(self, name: str) -> str:
        """A name like this that the model does not have."""
        while name in self.names:
            name += "_"
        return name

    @cached_property
    def taken_within(self) -> set[str]:
        """Names that nodes of inner graphs take, which nobody rewires."""
        return {name for inner in [*graphs_of(self.graph)][1:] for node in inner.node for name in node.input}

    @cached_property
    def products(self) -> list[Product]:
        return [product for node in self.graph.node for product in self._products_of(node)]

    @cached_property
    def passed_over(self) -> list[str]:
        """Names of nodes with graphs of their own, in which nothing is quantized."""
        return [n.name for n in self.graph.node if any(a.HasField("g") or a.graphs for a in n.attribute)]

    def only_consumer(self, name: str) -> Any:
        """The one node that takes an array; None where there are more, or where it is an output."""
        nodes = self.consumers[name]
        return nodes[0] if len(nodes) == 1 and name not in {*self.outputs, *self.taken_within} else None

    def _products_of(self, node: Any) -> list[Product]:
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            return []
        if node.op_type in RECURRENT:
            weights = {"W": node.input[1], "R": node.input[2]}
            return [
                Product(node.name, f"{node.name}.{part}", node.op_type, node.input[0], weight, None, 1, node.output[0])
                for part, weight in weights.items()
                if self._is_weight(weight)
            ]
        product = self._product(node)
        return [] if product is None else [product]

    def _product(self, node: Any) -> Product | None:
        at = 0 if node.op_type == "Gather" or (node.op_type == "MatMul" and node.input[0] in self.tensors) else 1
        weight, x = node.input[at], node.input[1 - at]
        if x in self.tensors or not self._is_weight(weight):
            return None
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        if node.op_type == "Gemm" and not self._is_plain_gemm(node, bias):
            return None
        axis = self._channel_axis(node, at, len(self.tensors[weight].dims))
        return Product(
            node.name,
            node.name,
            node.op_type,
            x,
            weight,
            bias,
            axis,
            node.output[0],
            node.op_type == "MatMul" and at == 0,
        )

    def _is_weight(self, name: str) -> bool:
        """A constant matrix or filter of finite float32 numbers, large enough."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.data_type != library("onnx").TensorProto.FLOAT or len(tensor.dims) < 2:
            return False
        return bool(np.prod(tensor.dims) >= LEAST and np.isfinite(self.array(name)).all())

    def _is_plain_gemm(self, node: Any, bias: str | None) -> bool:
        """x @ weight + bias, without other factors."""
        attributes = attributes_of(node)
        factors = [attributes.get("alpha", 1.0), attributes.get("beta", 1.0) if bias else 1.0]
        return not attributes.get("transA", 0) and factors == [1.0, 1.0]

    def _channel_axis(self, node: Any, at: int, ndim: int) -> int | None:
        attributes = attributes_of(node)
        if node.op_type == "Gather":
            return 0 if attributes.get("axis", 0) == 0 and ndim == 2 else None
        if node.op_type == "Conv":
            return 0
        if node.op_type == "ConvTranspose":
            return 1
        if node.op_type == "Gemm":
            return 0 if attributes.get("transB", 0) else 1
        return 1 if at == 1 and ndim == 2 else None


def attributes_of(node: Any) -> dict[str, Any]:
    helper = library("onnx").helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def chain_of(graph: FloatGraph, y: str, operators: tuple[str, ...]) -> Iterator[str]:
    """y, and what nodes of these operators make of it one after the other, each for the next alone."""
    yield y
    while (node := graph.only_consumer(y)) is not None and node.op_type in operators:
        y = node.output[0]
        yield y
