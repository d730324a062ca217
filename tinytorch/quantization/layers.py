"""Given: what layers on codes need besides their product (windows, tables, sums), and layers on stored codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import Conv1d, Conv2d, Flatten, MaxPool1d, MaxPool2d, Module, ReLU, Tensor
from tinytorch.core.attention import whole_tokens
from tinytorch.core.checks import checked_axis, kind_of, real_array, said, true_or_false
from tinytorch.core.layers import as_module
from tinytorch.core.windows import Both, Pair, as_pair, count_both, padded, patches, shown
from tinytorch.quantization.biases import as_bias, bias_steps, running_bias, tells_its_scales, told_scales
from tinytorch.quantization.qparams import IntType, QParams, as_qparams, check_same_shape
from tinytorch.quantization.quantize import dequantize, quantize
from tinytorch.quantization.reprs import (
    how_quantized,
    repr_of_convolution,
    repr_of_embedding,
    repr_of_residual,
    repr_of_table,
    repr_of_weight_only,
)
from tinytorch.quantization.tensors import QuantizedTensor, dynamic_quantize

__all__ = [
    "Lookup",
    "OnCodes",
    "QuantizedConv1d",
    "QuantizedResidual",
    "WeightOnlyEmbedding",
    "WeightOnlyLinear",
    "quantized_add",
]


def one_scale(name: str, qparams: QParams | None) -> QParams | None:
    """qparams as they are. ValueError if they have a scale for each slice: a product of codes needs one for all."""
    if qparams is not None and as_qparams(qparams).scale.shape != ():
        raise ValueError(f"{name} must have one scale for all numbers, got shape {qparams.scale.shape}")
    return qparams


def check_weight_axis(axis: Any, ndim: int | None = None) -> None:
    """ValueError unless it is None, or the first axis of a weight; counted from the end if it has `ndim` axes."""
    axis = checked_axis(axis)
    if not (axis is None or axis == 0 or (isinstance(axis, int) and axis < 0 and ndim in (None, -axis))):
        raise ValueError(f"axis must be 0, a scale for each output of a weight, or None, one for all, got {axis}")


def symmetric_codes(weight: ArrayLike | QuantizedTensor, int_type: IntType, axis: int | None) -> QuantizedTensor:
    """A weight [out, ...] as codes: as they come, or quantized.

    ValueError unless they have zero point 0 and one scale, or one for each output.
    """
    if not isinstance(weight, QuantizedTensor):
        check_weight_axis(axis, real_array("weight", weight).ndim)
        weight = QuantizedTensor.from_float(weight, int_type, symmetric=True, axis=axis)
    p, each = weight.qparams, weight.shape[:1] + (1,) * (len(weight.shape) - 1)
    if p.zero_point.any():
        got = int(p.zero_point.flat[np.abs(p.zero_point).argmax()])
        raise ValueError(f"weight codes must have zero point 0, got {got}: quantize the weight with symmetric=True")
    if p.scale.shape not in ((), each):
        raise ValueError(
            f"a weight has one scale (axis None), or one for each output (axis 0) of shape {each}, got {p.scale.shape}"
        )
    return weight


def checked_per_row(per_row: bool, input_qparams: QParams | None) -> bool:
    """per_row as it is. ValueError for a static layer, which has one scale for every input."""
    if true_or_false("per_row", per_row) and input_qparams is not None:
        raise ValueError("a scale for each row is chosen by a dynamic layer, got input_qparams: leave one of them out")
    return bool(per_row)


def codes_of(x: Any, qparams: QParams | None, row_axes: int = 0) -> tuple[NDArray[Any], QParams]:
    """The codes of x and their parameters: as they come, or quantized by those given, or (None) dynamically.

    row_axes: how many of the last axes make a row, which has a scale of its own; 0: one scale for all.
    ValueError for codes of another scale than the one given.
    """
    if not isinstance(x, QuantizedTensor):
        if not isinstance(x, Tensor):
            raise TypeError(f"a layer on codes takes a QuantizedTensor, a Tensor or an array, got {type(x).__name__}")
        if qparams is not None:
            return quantize(x.data, qparams), qparams
        return dynamic_quantize(x.data, tuple(range(x.ndim - row_axes)) if row_axes else None)
    if not row_axes or max(x.qparams.scale.shape[-row_axes:], default=1) > 1:
        one_scale("an input of codes", x.qparams)
    if qparams is not None and x.qparams.scale != qparams.scale:
        raise ValueError("the codes are of another scale than this layer was calibrated for: dequantize first")
    return x.q, x.qparams


def gives(layer: Any) -> str:
    """What a layer hands out, for its explanation."""
    return ", gives float" if layer.output_qparams is None else f", gives {layer.output_qparams.int_type} codes"


def each_row(qparams: QParams, shape: tuple[int, ...]) -> QParams:
    """The parameters of codes of this shape as the product of their rows takes them: one scale, or [rows, 1]."""
    if qparams.scale.ndim == 0:
        return qparams
    scale, zero_point = (np.broadcast_to(a, (*shape[:-1], 1)) for a in (qparams.scale, qparams.zero_point))
    return QParams(scale.reshape(-1, 1), zero_point.reshape(-1, 1), qparams.int_type)


def each_window(qparams: QParams) -> QParams:
    """The parameters of images [N, in, H, W] as those of their windows [N, windows, K]."""
    if qparams.scale.ndim == 0:
        return qparams
    scale, zero_point = (a.reshape(a.shape[:3]) for a in (qparams.scale, qparams.zero_point))
    return QParams(scale, zero_point, qparams.int_type)


def explained_products(products: Sequence[Any], row: str = "row") -> str:
    """The explanation of a QuantizedLinear, or of those that a convolution is made of. row: what is one for it."""
    first = products[0]
    how = how_quantized(first.input_qparams, row if first.per_row else None)
    return f"{first.weight.qparams.int_type} weights, {how}{gives(first)}{told_scales(products)}"


class WindowedProducts(Module):
    """A convolution as products of rows: each group of channels has a layer, such as QuantizedLinear, over its windows.

    products: one for each group, [out / groups, in / groups * kh * kw]. kernel: (kh, kw). stride, padding, dilation:
    one integer, or two, down and right. What lies beyond the edge is 0.0, whose code is the zero point.
    """

    def __init__(
        self, products: list[Any], kernel: Pair, stride: Both = 1, padding: Both = 0, dilation: Both = 1
    ) -> None:
        self.products, self.kernel = products, kernel
        self.stride, self.padding, self.dilation = as_pair(stride), as_pair(padding), as_pair(dilation)

    __repr__ = repr_of_convolution

    @property
    def state_type(self) -> str:
        """The weights are saved as matrices, which do not show the windows."""
        dilation = "" if self.dilation == (1, 1) else f", dilation {shown(self.dilation)}"
        return f"kernel {self.kernel}, stride {shown(self.stride)}, padding {shown(self.padding)}{dilation}"

    @property
    def input_qparams(self) -> QParams | None:
        return self.products[0].input_qparams

    @property
    def output_qparams(self) -> QParams | None:
        return self.products[0].output_qparams

    @output_qparams.setter
    def output_qparams(self, qparams: QParams | None) -> None:
        for product in self.products:
            product.output_qparams = qparams

    @property
    def per_row(self) -> bool:
        """Whether a dynamic convolution chooses a scale for each sample of the batch, which is one of its rows."""
        return bool(self.products[0].per_row)

    @per_row.setter
    def per_row(self, per_row: bool) -> None:
        for product in self.products:
            product.per_row = per_row

    def explanation(self) -> str:
        return explained_products(self.products, "sample")

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        """[N, in, H, W] -> [N, out, rows, columns]."""
        q, qparams = codes_of(x, self.input_qparams, 3 * self.per_row)
        channels = sum(p.weight.shape[1] for p in self.products) // (self.kernel[0] * self.kernel[1])
        if q.ndim != 4 or q.shape[1] != channels:
            raise ValueError(f"wanted images (N, {channels}, height, width), got shape {q.shape}")
        n, image = len(q), padded(q, self.padding, qparams.zero_point)
        rows, columns = count_both(image.shape, self.kernel, self.stride, self.dilation)
        if rows < 1 or columns < 1:
            raise ValueError(f"wanted images of at least {self.kernel} with the padding, got shape {q.shape}")
        windows = patches(image, self.kernel, self.stride, self.dilation)  # [N, in, kh * kw, rows, columns]
        outs, qparams = [], each_window(qparams)
        for part, product in zip(np.split(windows, len(self.products), axis=1), self.products, strict=True):
            flat = part.transpose(0, 3, 4, 1, 2).reshape(n, rows * columns, product.weight.shape[1])
            outs.append(product(QuantizedTensor(flat, qparams)))
        gives_codes = isinstance(outs[0], QuantizedTensor)
        y = np.concatenate([out.q if gives_codes else out.data for out in outs], axis=-1).transpose(0, 2, 1)
        y = y.reshape(n, y.shape[1], rows, columns)
        return QuantizedTensor(y, outs[0].qparams) if gives_codes else Tensor(y)


class QuantizedConv1d(Module):
    """`Conv1d` in integers: over_images, a QuantizedConv2d, over signals [N, in, length] as images one row high."""

    def __init__(self, over_images: WindowedProducts) -> None:
        self.over_images = over_images

    @property
    def input_qparams(self) -> QParams | None:
        return self.over_images.input_qparams

    @property
    def output_qparams(self) -> QParams | None:
        return self.over_images.output_qparams

    @output_qparams.setter
    def output_qparams(self, qparams: QParams | None) -> None:
        self.over_images.output_qparams = qparams

    @property
    def per_row(self) -> bool:
        return self.over_images.per_row

    @per_row.setter
    def per_row(self, per_row: bool) -> None:
        self.over_images.per_row = per_row

    def explanation(self) -> str:
        return self.over_images.explanation()

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        """[N, in, length] -> [N, out, windows]."""
        if len(x.shape) != 3:
            raise ValueError(f"wanted signals (N, channels, length), got shape {x.shape}")
        images = QuantizedTensor(x.q[:, :, None], x.qparams) if isinstance(x, QuantizedTensor) else x[:, :, None]
        y = self.over_images(images)
        return QuantizedTensor(y.q[:, :, 0], y.qparams) if isinstance(y, QuantizedTensor) else y[:, :, 0]


def convolution_of(layer: Conv1d | Conv2d, weight: QuantizedTensor, make: Callable[..., WindowedProducts]) -> Module:
    """The convolution that make(weight, stride=, padding=, groups=, dilation=) gives, in the form of the layer."""
    how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if isinstance(layer, Conv2d):
        return make(weight, groups=layer.groups, **how)
    p, filters = weight.qparams, weight.q[:, :, None]
    scale = p.scale.reshape(*p.scale.shape, 1) if p.scale.ndim else p.scale
    images = QuantizedTensor(filters, QParams(scale, 0, p.int_type))
    across = {name: (int(name != "padding"), value) for name, value in how.items()}
    return QuantizedConv1d(make(images, groups=layer.groups, **across))


def filters(
    weight: QuantizedTensor, bias: ArrayLike | None, groups: int
) -> list[tuple[QuantizedTensor, NDArray[np.float32]]]:
    """For each group the codes of its filters as rows, [out / groups, in / groups * kh * kw], and its part of the bias.

    ValueError for codes that are not [out, in / groups, kh, kw].
    """
    if len(weight.shape) != 4 or 0 in weight.shape or weight.shape[0] % groups:
        raise ValueError(f"weight must be [out, in / groups, kh, kw], {groups} dividing out, got {weight.shape}")
    return list(zip(_row_blocks(weight, groups), np.split(as_bias(bias, weight.shape[0]), groups), strict=True))


def bias_as_it_runs(layer: Any, weight_qparams: QParams, input_qparams: QParams) -> NDArray[np.float32]:
    """What a float Linear or Conv2d adds to its outputs, once it is static with these quantization parameters."""
    weight, bias = layer.weight.data, layer.bias.data
    scale = np.broadcast_to(weight_qparams.scale.ravel(), bias.shape)
    if tells_its_scales(weight.reshape(len(weight), -1), scale, bias, input_qparams.scale):  # as in nearly every step
        step = input_qparams.scale * scale
        return bias_steps(bias, step).astype(np.float32) * step
    q, groups = quantize(weight, weight_qparams).reshape(len(weight), -1), getattr(layer, "groups", 1)
    scales = _scale_blocks(weight_qparams, groups)
    parts = zip(np.split(q, groups), scales, np.split(bias, groups), strict=True)
    return np.concatenate([running_bias(rows, p, some, input_qparams.scale) for rows, p, some in parts])


def _scale_blocks(p: QParams, blocks: int) -> list[QParams]:
    """The quantization parameters of `blocks` runs of rows: of all one scale, or each its share, as columns."""
    scales = [p.scale.reshape(())] * blocks if p.scale.size == 1 else np.split(p.scale.reshape(-1, 1), blocks)
    return [QParams(scale, 0, p.int_type) for scale in scales]


def _row_blocks(weight: QuantizedTensor, blocks: int) -> list[QuantizedTensor]:
    """[out, ...] codes as `blocks` matrices [out / blocks, values a filter], with their share of the scales."""
    q = weight.q.reshape(weight.shape[0], -1)
    pairs = zip(np.split(q, blocks), _scale_blocks(weight.qparams, blocks), strict=True)
    return [QuantizedTensor(rows, p) for rows, p in pairs]


def stored_matrix(weight: Any, axes: str) -> QuantizedTensor:
    """weight, if it is a matrix of codes. TypeError for numbers, ValueError for another number of axes."""
    if not isinstance(weight, QuantizedTensor):
        fix = "QuantizedTensor.from_float(weight, INT4, group_size=32) makes one"
        raise TypeError(f"weight must be a QuantizedTensor, got {kind_of(weight)}: {fix}")
    if weight.ndim != 2:
        raise ValueError(f"weight must be [{axes}], got shape {weight.shape}")
    return weight


class WeightOnlyLinear(Module):
    """`Linear` with stored codes and float arithmetic: for memory, not speed. Weights are dequantized at each call."""

    of_one_tensor = True

    def __init__(self, weight: QuantizedTensor, bias: ArrayLike | None = None) -> None:
        self.weight = stored_matrix(weight, "out, in")
        self.bias = None if bias is None else as_bias(bias, weight.shape[0])

    __repr__ = repr_of_weight_only

    def explanation(self) -> str:
        return f"{self.weight.qparams.int_type} weights, float arithmetic"

    @property
    def state_type(self) -> str:
        """Its codes may have any zero point, those of a QuantizedLinear have none: neither loads the other's state."""
        return "float arithmetic"

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != self.weight.shape[1:]:
            raise ValueError(f"wanted input [..., in] for a weight [out, in] {self.weight.shape}, got shape {x.shape}")
        y = x.data @ self.weight.dequantize().T
        return Tensor(y if self.bias is None else y + self.bias)


class WeightOnlyEmbedding(Module):
    """`Embedding` with stored codes: the rows that are looked up, and no others, are dequantized."""

    of_one_tensor = True

    __repr__ = repr_of_embedding

    def __init__(self, weight: QuantizedTensor) -> None:
        self.weight = stored_matrix(weight, "tokens, width")

    def explanation(self) -> str:
        return f"{self.weight.qparams.int_type} rows, dequantized as they are looked up"

    def forward(self, x: Tensor) -> Tensor:
        """Whole numbers 0 .. tokens - 1 [...] -> [..., width]. ValueError for anything else."""
        return Tensor(self.weight[whole_tokens(self, x, len(self.weight))].dequantize())


class Lookup(Module):
    """An elementwise function on codes: a table with an entry for each code of `input_qparams`.

    function: a module such as GELU(); it is asked once for each code. output_qparams: it gives codes; None: float32.
    """

    def __init__(self, function: Module, input_qparams: QParams, output_qparams: QParams | None = None) -> None:
        one_scale("input_qparams", as_qparams(input_qparams))
        int_type = input_qparams.int_type
        codes = np.arange(int_type.qmin, int_type.qmax + 1).astype(int_type.storage)
        self.input_qparams = input_qparams
        self.values = as_module(function)(dequantize(codes, input_qparams)).data
        check_same_shape(codes=codes, answers=self.values)
        self.output_qparams = one_scale("output_qparams", output_qparams)

    __repr__ = repr_of_table

    def explanation(self) -> str:
        return f"a table of {len(self.values)} answers{gives(self)}"

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        q, p = codes_of(x, self.input_qparams)
        if p.zero_point != self.input_qparams.zero_point or p.int_type != self.input_qparams.int_type:
            raise ValueError("the codes are not those that this table was made for: dequantize first")
        index, wanted = q.astype(np.int32) - p.int_type.qmin, self.output_qparams
        if wanted is None:
            return Tensor(self.values[index])
        return QuantizedTensor(quantize(self.values, wanted)[index], wanted)


def quantized_add(a: QuantizedTensor, b: QuantizedTensor, output_qparams: QParams) -> QuantizedTensor:
    """a + b as codes of `output_qparams`: both differences from zero times their scale / s_y, added, rounded once."""
    for t in (a, b):
        if not isinstance(t, QuantizedTensor):
            raise TypeError(f"quantized_add takes two QuantizedTensors, got {type(t).__name__}: quantize it first")
    check_same_shape(a=a.q, b=b.q)
    one_scale("output_qparams", as_qparams(output_qparams))

    def units(t: QuantizedTensor) -> NDArray[np.float32]:
        steps = (t.q.astype(np.int32) - t.qparams.zero_point).astype(np.float32)
        return steps * (t.qparams.scale / output_qparams.scale)

    int_type = output_qparams.int_type
    q = np.rint(units(a) + units(b)) + output_qparams.zero_point.astype(np.float32)
    return QuantizedTensor(np.clip(q, int_type.qmin, int_type.qmax).astype(int_type.storage), output_qparams)


class QuantizedResidual(Module):
    """x + block(x) on codes. The block must take and hand out codes; the sum is float32 if output_qparams is None."""

    def __init__(self, block: Module, input_qparams: QParams, output_qparams: QParams | None = None) -> None:
        self.block, self.input_qparams = as_module(block), one_scale("input_qparams", as_qparams(input_qparams))
        self.output_qparams = one_scale("output_qparams", output_qparams)

    __repr__ = repr_of_residual

    def explanation(self) -> str:
        return f"adds codes{gives(self)}"

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        codes = QuantizedTensor(*codes_of(x, self.input_qparams))
        y = self.block(codes)
        if not isinstance(y, QuantizedTensor):
            raise TypeError(f"the block must return codes, got {type(y).__name__}: give its last layer output_qparams")
        check_same_shape(block=y.q, x=codes.q)
        wanted = self.output_qparams
        return Tensor(codes.dequantize() + y.dequantize()) if wanted is None else quantized_add(codes, y, wanted)


class OnCodes(Module):
    """Max pooling, Flatten or ReLU on codes as they are: a larger number has a larger code, 0.0 is the zero point."""

    kinds: ClassVar[tuple[type[Module], ...]] = (MaxPool1d, MaxPool2d, Flatten, ReLU)

    def __init__(self, layer: Module) -> None:
        if type(layer) not in self.kinds:
            raise TypeError(f"only max pooling, Flatten and ReLU work on codes as they are, got {said(layer)}")
        self.layer = layer

    def explanation(self) -> str:
        return f"{type(self.layer).__name__} on codes"

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        """On codes the layer is given their steps from zero, whole numbers that float32 holds exactly."""
        if not isinstance(x, QuantizedTensor):
            return self.layer(x)
        q, p = codes_of(x, None)
        steps = self.layer(Tensor((q.astype(np.int32) - p.zero_point).astype(np.float32))).data
        return QuantizedTensor((steps + p.zero_point).astype(q.dtype), p)
