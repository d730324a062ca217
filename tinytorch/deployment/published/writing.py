"""Somebody's graph with codes in it: QuantizeLinear and DequantizeLinear around products, which engines fuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library
from tinytorch.deployment.published.products import RECURRENT, FloatGraph, Product, attributes_of
from tinytorch.deployment.published.schemes import Scheme
from tinytorch.deployment.published.weights import Weight
from tinytorch.quantization import QParams, pack_bits

FEW = 32  # scales that take no more bytes than a node that computes them


@dataclass(frozen=True)
class Plan:
    """What is written. codes: the parameters of arrays that become codes, by name; weights: by the product's name.

    on_codes: of these arrays those that every node reads from the codes, not only products: so engines fuse what gave
    them with what takes them.
    """

    schemes: Mapping[str, Scheme]
    weights: Mapping[str, Weight]
    codes: Mapping[str, QParams]
    on_codes: frozenset[str]


@dataclass
class Writer:
    """Writes the nodes of a float graph again, the products of the plan in codes."""

    graph: FloatGraph
    plan: Plan
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)

    def written(self) -> Any:
        """The whole model."""
        products: dict[str, list[Product]] = {}
        for product in self.graph.products:
            if product.name in self.plan.schemes:
                products.setdefault(product.node, []).append(product)
        for name in self.graph.inputs:
            self._pair(name)
        for node in self.graph.graph.node:
            of_node = products.get(node.name, [])
            if not of_node:
                self._copy(node)
            elif node.op_type in RECURRENT:
                self._recurrent(node, of_node)
            else:
                (product,) = of_node
                self._product(node, product, self.plan.schemes[product.name], self.plan.weights[product.name])
            for name in node.output:
                self._pair(name)
        return self._model()

    # Nodes and constants

    def _node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(library("onnx").helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def _of(self, name: str, part: str) -> str:
        """The name of what is added to an array, which the model does not have yet."""
        return self.graph.new(f"{name}.{part}")

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        if name not in self.constants:
            self.constants[name] = library("onnx").numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def _codes_of_four_bits(self, name: str, codes: NDArray[Any]) -> str:
        onnx = library("onnx")
        pairs = pack_bits(np.ascontiguousarray(codes, np.int8), 4).tobytes()
        if name not in self.constants:
            made = onnx.helper.make_tensor(name, onnx.TensorProto.INT4, codes.shape, pairs, raw=True)
            self.constants[name] = made
        return name

    def _params(self, name: str) -> list[str]:
        p = self.plan.codes[name]
        zero_point = self._constant(self._of(name, "zero"), p.zero_point.astype(p.int_type.storage))
        return [self._constant(self._of(name, "scale"), p.scale), zero_point]

    def _pair(self, name: str) -> None:
        """Where an array becomes codes: the codes, and the numbers they stand for."""
        if name in self.plan.codes:
            params = self._params(name)
            codes = self._node("QuantizeLinear", [name, *params], self._of(name, "q"))
            self._node("DequantizeLinear", [codes, *params], self._of(name, "dq"))

    def _copy(self, node: Any, inputs: list[str] | None = None) -> None:
        """A node as it is, but for what it takes."""
        copy = type(node)()
        copy.CopyFrom(node)
        copy.ClearField("doc_string")  # the exporter's own lines of code
        reads = [self._of(name, "dq") if name in self.plan.on_codes else name for name in node.input]
        copy.input[:] = reads if inputs is None else inputs
        self.nodes.append(copy)

    # Products

    def _product(self, node: Any, product: Product, scheme: Scheme, weight: Weight) -> None:
        if product.is_lookup:
            self._lookup(node, product, scheme, weight)
        elif scheme.activations == "dynamic":
            self._dynamic(node, product, scheme, weight)
        else:
            static = scheme.activations == "static" and product.x in self.plan.codes
            on_codes = static or (product.x in self.plan.on_codes and not product.weight_first)
            x = self._of(product.x, "dq") if on_codes else product.x
            names = {product.x: x, product.weight: self._dequantized_weight(product, scheme, weight)}
            if weight.bias is not None and static and product.bias:
                names[product.bias] = self._dequantized_bias(product, scheme, weight)
            self._copy(node, [names.get(name, name) for name in node.input])

    def _recurrent(self, node: Any, products: list[Product]) -> None:
        """A node with several weights, which it takes as floats."""
        floats = {}
        for product in products:
            scheme, weight = self.plan.schemes[product.name], self.plan.weights[product.name]
            floats[product.weight] = self._dequantized_weight(product, scheme, weight)
        self._copy(node, [floats.get(name, name) for name in node.input])

    def _dequantized_weight(self, product: Product, scheme: Scheme, weight: Weight) -> str:
        """The weight's codes as floats. Nodes that share a weight, and have its scales, share its codes."""
        name = self._name_of_weight(product, scheme, weight)
        p = weight.tensor.qparams
        attributes: dict[str, Any] = {}
        if weight.tensor.q.ndim == 3:
            scale, attributes = weight.group_scales, {"axis": int(weight.axis == 0), "block_size": scheme.group_size}
        else:
            scale = p.scale.reshape(-1) if p.scale.size > 1 else p.scale.reshape(())
            attributes = {"axis": weight.axis} if scale.ndim else {}
        parts = [self._weight_codes(name, weight), self._constant(self._of(name, "scale"), scale)]
        if product.operator != "Conv" and p.int_type.bits > 4:  # ONNX Runtime fuses other products only with one
            parts.append(self._constant(self._of(name, "zero"), np.zeros(scale.shape, np.int8)))
        if not any(made.output[0] == self._of(name, "dq") for made in self.nodes):
            self._node("DequantizeLinear", parts, self._of(name, "dq"), **attributes)
        return self._of(name, "dq")

    def _name_of_weight(self, product: Product, scheme: Scheme, weight: Weight) -> str:
        """The weight's own, but where products that share it need other codes."""
        how = (product.axis, scheme.weight_type, scheme.group_size, weight.rescaled)
        same = self.shared.setdefault(product.weight, how) == how and not weight.rescaled
        return product.weight if same else f"{product.name}.{product.weight}"

    def _weight_codes(self, name: str, weight: Weight) -> str:
        if weight.tensor.qparams.int_type.bits <= 4:
            return self._codes_of_four_bits(self._of(name, "q"), weight.codes)
        return self._constant(self._of(name, "q"), weight.codes)

    def _dequantized_bias(self, product: Product, scheme: Scheme, weight: Weight) -> str:
        """The bias as int32 in steps of s_x * s_w. Many steps are not stored, but a product that engines fold."""
        assert weight.bias is not None
        name, of_weight = f"{product.name}.bias", weight.tensor.qparams.scale.ravel()
        scale = self._of(name, "scale")
        if of_weight.size > FEW:
            weight_name = self._name_of_weight(product, scheme, weight)
            self._node("Mul", [self._of(product.x, "scale"), self._of(weight_name, "scale")], scale)
        else:
            unit = np.asarray(self.plan.codes[product.x].scale * of_weight, np.float32)
            self._constant(scale, unit if unit.size > 1 else unit.reshape(()))
        attributes: dict[str, Any] = {"axis": 0} if of_weight.size > 1 else {}
        codes = self._constant(self._of(name, "q"), weight.bias)
        return self._node("DequantizeLinear", [codes, scale], self._of(name, "dq"), **attributes)

    def _lookup(self, node: Any, product: Product, scheme: Scheme, weight: Weight) -> None:
        """Rows of codes are looked up, and their scales; only they become floats."""
        name, scale = self._name_of_weight(product, scheme, weight), weight.tensor.qparams.scale
        rows = self._of(product.y, "rows")
        self._copy(node, [self._weight_codes(name, weight), node.input[1]])
        self.nodes[-1].output[0] = rows
        if scale.size == 1:
            whole = self._constant(self._of(name, "scale"), scale.reshape(()))
            self._node("DequantizeLinear", [rows, whole], product.y)
            return
        scales = self._constant(self._of(name, "scales_of_rows"), scale.reshape(-1, 1))
        of_rows = self._node("Gather", [scales, node.input[1]], self._of(product.y, "scales"), axis=0)
        self._node("Mul", [self._node("Cast", [rows], self._of(product.y, "cast"), to=1), of_rows], product.y)

    def _dynamic(self, node: Any, product: Product, scheme: Scheme, weight: Weight) -> None:
        """The input's codes by its own range, integer sums, and what a unit of them is worth."""
        x, y, name = product.x, product.y, self._name_of_weight(product, scheme, weight)
        outputs = [self._of(x, f"dynamic.{part}") for part in ("q", "scale", "zero")]
        if not any(made.output[0] == outputs[0] for made in self.nodes):
            self.nodes.append(library("onnx").helper.make_node("DynamicQuantizeLinear", [x], outputs))
        codes, scale = weight.codes, weight.tensor.qparams.scale.reshape(-1)
        kind = "MatMulInteger"
        attributes: dict[str, Any] = {}
        along: tuple[int, ...] = (-1,)
        if product.operator == "Conv":
            kind, attributes, along = "ConvInteger", attributes_of(node), (-1, *(1,) * (codes.ndim - 2))
        elif product.axis == 0 and codes.ndim == 2 and product.operator == "Gemm":
            codes, name = codes.T, self._of(name, "transposed")
        q, scale_of_x, zero = outputs
        inputs = [q, self._constant(self._of(name, "q"), codes), zero]
        sums = self._node(kind, inputs, self._of(y, "sums"), **attributes)
        whole = self._node("Cast", [sums], self._of(y, "whole"), to=1)
        unit = self._constant(self._of(name, "unit"), scale.reshape(along) if scale.size > 1 else scale.reshape(()))
        worth = self._node("Mul", [scale_of_x, unit], self._of(y, "unit"))
        without_bias = self._node("Mul", [whole, worth], y if product.bias is None else self._of(y, "product"))
        if product.bias is not None:
            self._node("Add", [without_bias, self._shaped_bias(product, along)], y)

    def _shaped_bias(self, product: Product, along: tuple[int, ...]) -> str:
        assert product.bias is not None
        if len(along) == 1:
            return product.bias
        shape = self._constant(self._of(product.y, "bias_shape"), np.asarray(along, np.int64))
        return self._node("Reshape", [product.bias, shape], self._of(product.y, "bias_along"))

    # The whole

    def _model(self) -> Any:
        onnx, old = library("onnx"), self.graph.model
        model = onnx.ModelProto()
        for kind, value in old.ListFields():
            if kind.name not in ("graph", "opset_import"):
                getattr(model, kind.name).extend(value) if kind.is_repeated else setattr(model, kind.name, value)
        model.opset_import.extend(old.opset_import)
        model.ir_version = max(model.ir_version, onnx.helper.find_min_ir_version_for(list(model.opset_import), True))
        model.graph.name = self.graph.graph.name
        for part in ("input", "output"):
            getattr(model.graph, part).extend(getattr(self.graph.graph, part))
        model.graph.node.extend(self.nodes)
        taken = {name for node in self.nodes for name in node.input} | self.graph.taken_within | set(self.graph.outputs)
        model.graph.initializer.extend(t for name, t in self.graph.tensors.items() if name in taken)
        model.graph.initializer.extend(self.constants.values())
        model.graph.sparse_initializer.extend(self.graph.graph.sparse_initializer)
        return model
