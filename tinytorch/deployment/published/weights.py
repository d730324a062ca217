"""Weights of somebody's model as codes: rows of output channels, as the module's functions take them, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.published.products import FloatGraph, Product
from tinytorch.deployment.published.schemes import Scheme
from tinytorch.quantization import QParams, QuantizedTensor
from tinytorch.quantization.biases import integer_bias


@dataclass(frozen=True)
class Weight:
    """codes: [rows, columns] or, in groups, [rows, columns] of whole groups; shape, axis: of the weight in the graph.

    bias: int32 codes of scale s_x * s_w, [rows]; None: the product has none, or keeps it in float. rescaled: rows
    whose scale their bias chose.
    """

    tensor: QuantizedTensor
    shape: tuple[int, ...]
    axis: int | None
    bias: NDArray[np.int32] | None = None
    rescaled: tuple[int, ...] = ()

    def like_the_weight(self, rows: NDArray[np.generic]) -> NDArray[np.generic]:
        """An array [rows, columns] in the weight's own shape."""
        if self.axis is None:
            return rows.reshape(self.shape)
        moved = (self.shape[self.axis], *np.delete(self.shape, self.axis))
        return np.moveaxis(rows.reshape(moved), 0, self.axis)

    @property
    def codes(self) -> NDArray[np.int8]:
        """In the weight's own shape."""
        q = self.tensor.q
        if q.ndim == 3:  # groups
            q = q.reshape(len(q), -1)[:, : self.tensor.shape[1]]
        return np.ascontiguousarray(self.like_the_weight(q), np.int8)

    @property
    def dequantized(self) -> NDArray[np.float32]:
        return np.asarray(self.like_the_weight(self.tensor.dequantize()), np.float32)

    @property
    def group_scales(self) -> NDArray[np.float32]:
        """[rows, groups], or transposed where the channels are the weight's columns."""
        scale = self.tensor.qparams.scale.reshape(len(self.tensor.q), -1)
        return np.ascontiguousarray(scale if self.axis == 0 else scale.T)


def rows_of(weight: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    """The weight as [output channels, all else]; a single row where one scale serves all."""
    if axis is None:
        return weight.reshape(1, -1)
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def quantized_weight(
    graph: FloatGraph, product: Product, scheme: Scheme, axis: int | None, input_qparams: QParams | None
) -> Weight:
    """The weight of a product in codes, and its bias where the input's parameters are known.

    axis None: one scale for the whole weight. Where a bias needs more steps than int32 holds, its channel's scale is
    raised, as in `quantize_static`; OverflowError where none makes room for it.
    """
    real = graph.array(product.weight)
    rows = rows_of(real, product.axis)
    of_rows = 0 if axis is not None and product.axis is not None else None
    tensor = QuantizedTensor.from_float(
        rows, scheme.weight_type, symmetric=True, axis=of_rows, group_size=scheme.group_size
    )
    bias = bias_of(graph, product)
    if input_qparams is None or bias is None or len(bias) != len(rows):
        return Weight(tensor, real.shape, product.axis)
    roomy, codes = integer_bias(tensor, bias, input_qparams.scale)
    before = np.broadcast_to(tensor.qparams.scale.ravel(), bias.shape)
    after = np.broadcast_to(roomy.qparams.scale.ravel(), bias.shape)
    return Weight(roomy, real.shape, product.axis, codes, tuple(np.flatnonzero(before != after).tolist()))


def bias_of(graph: FloatGraph, product: Product) -> NDArray[np.float32] | None:
    """A constant bias, one finite number for each output channel."""
    if product.bias is None or product.bias not in graph.tensors:
        return None
    bias = graph.array(product.bias)
    channels = graph.tensors[product.weight].dims[product.axis or 0]
    of_channels = bias.ndim > 0 and bias.shape[-1] == bias.size == channels
    return bias.ravel() if of_channels and np.isfinite(bias).all() else None
