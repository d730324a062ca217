"""Given: what layers on codes need besides their product (biases, windows, tables, sums), layers on stored codes."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import Flatten, MaxPool2d, Module, ReLU, Tensor
from tinytorch.core.windows import count_windows, padded, patches
from tinytorch.quantization.qparams import IntType, QParams, as_qparams, as_real, check_same_shape
from tinytorch.quantization.quantize import dequantize, quantize
from tinytorch.quantization.tensors import QuantizedTensor, dynamic_quantize

__all__ = [
    "Lookup",
    "OnCodes",
    "QuantizedResidual",
    "WeightOnlyLinear",
    "WindowedProducts",
    "as_bias",
    "as_module",
    "bias_steps",
    "codes_of",
    "filters",
    "gives",
    "largest_sums",
    "one_scale",
    "quantize_bias",
    "quantized_add",
    "symmetric_codes",
    "with_room_for_bias",
]


def as_module(model: Any) -> Module:
    """model, if it is a Module. TypeError for anything else, such as another library's network."""
    if not isinstance(model, Module):
        kind = type(model)
        raise TypeError(f"wanted a Module of tinytorch.core, got a {kind.__module__}.{kind.__qualname__}")
    return model


def as_bias(bias: ArrayLike | None, outputs: int) -> NDArray[np.float32]:
    """The bias as float32 [outputs], zeros for None: a copy, for a view would keep the float layer alive."""
    real = np.zeros(outputs, np.float32) if bias is None else as_real(bias).copy()
    if real.shape != (outputs,) or not np.all(np.isfinite(real)):
        raise ValueError(f"bias must be {outputs} finite numbers, one for each output, got shape {real.shape}")
    return real


def one_scale(name: str, qparams: QParams | None) -> QParams | None:
    """qparams as they are. ValueError if they have a scale for each slice: a product of codes needs one for all."""
    if qparams is not None and as_qparams(qparams).scale.shape != ():
        raise ValueError(f"{name} must have one scale for all numbers, got shape {qparams.scale.shape}")
    return qparams


def symmetric_codes(weight: ArrayLike | QuantizedTensor, int_type: IntType, axis: int | None) -> QuantizedTensor:
    """A weight [out, ...] as codes: as they come, or quantized.

    ValueError unless they have zero point 0 and one scale, or one for each output.
    """
    if not isinstance(weight, QuantizedTensor):
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


def codes_of(x: Any, qparams: QParams | None) -> tuple[NDArray[Any], QParams]:
    """The codes of x and their parameters: as they come, or quantized by those given, or (None) dynamically.

    ValueError for codes of another scale than the one given.
    """
    if not isinstance(x, QuantizedTensor):
        if not isinstance(x, Tensor):
            raise TypeError(f"a layer on codes takes a QuantizedTensor, a Tensor or an array, got {type(x).__name__}")
        return dynamic_quantize(x.data) if qparams is None else (quantize(x.data, qparams), qparams)
    one_scale("an input of codes", x.qparams)
    if qparams is not None and x.qparams.scale != qparams.scale:
        raise ValueError("the codes are of another scale than this layer was calibrated for: dequantize first")
    return x.q, x.qparams


def gives(layer: Any) -> str:
    """What a layer hands out, for its explanation."""
    return ", gives float" if layer.output_qparams is None else f", gives {layer.output_qparams.int_type} codes"


def bias_steps(bias: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """rint(bias / scale), float64 [N]; infinite where the scale is too small for a number to say."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.rint(np.divide(bias, scale, out=np.zeros(bias.shape), where=bias != 0, dtype=np.float64))


def largest_sums(weight_q: NDArray[Any]) -> NDArray[np.float64]:
    """The largest |sum of products| that codes of 8 bits can make with each row of weight_q [N, K]: float64 [N]."""
    return 255.0 * np.abs(weight_q.astype(np.int64)).sum(1)


def quantize_bias(bias: NDArray[np.float32], scale: NDArray[np.float32], weight_q: NDArray[Any]) -> NDArray[np.int32]:
    """The bias as int32 codes of zero point 0: `rint(bias / scale)`, scale = s_x * s_w, [N] each.

    OverflowError, naming the channel, if bias plus the largest possible sum of products might not fit int32.
    weight_q: the layer's codes [N, K].
    """
    q, reach = bias_steps(bias, scale), largest_sums(weight_q)
    if np.any(np.abs(q) + reach >= 2**31):
        n = int((np.abs(q) + reach).argmax())
        raise OverflowError(
            f"channel {n}: its sum of K = {weight_q.shape[1]} products may reach {reach[n]:.3g}, its bias is "
            f"{q[n]:.3g} steps, together beyond int32: split K, or leave this layer in float"
        )
    return q.astype(np.int32)


def with_room_for_bias(weight: QuantizedTensor, bias: NDArray[Any], input_scale: NDArray[Any]) -> QuantizedTensor:
    """The weight [N, K], its scale larger in rows that say less than their bias, which there becomes 2**30 steps.

    These are rows of zeros, where nothing else chooses the scale, and rows so small that the bias does not fit int32.
    All others stay as they are.
    """
    q, scale = weight.q, np.broadcast_to(weight.qparams.scale.ravel(), bias.shape)
    needed = np.maximum(np.abs(bias) / (2.0**30 * input_scale.astype(np.float64)), np.finfo(np.float32).tiny)
    zeros = ~q.any(1) & (bias != 0) & (weight.qparams.scale.shape != () or not q.any())
    small = (np.abs(bias_steps(bias, input_scale * scale)) + largest_sums(q) >= 2**31) & (needed > scale)
    if not np.any(zeros | small):
        return weight
    larger = QParams(np.where(zeros | small, needed, scale)[:, None], 0, weight.qparams.int_type)
    return QuantizedTensor(np.where(small[:, None], quantize(weight.dequantize(), larger), q), larger)


class WindowedProducts(Module):
    """A convolution as products of rows: each group of channels has a layer, such as QuantizedLinear, over its windows.

    products: one for each group, [out / groups, in / groups * kh * kw]. kernel: (kh, kw). What lies beyond the edge is
    0.0, whose code is the zero point.
    """

    def __init__(self, products: list[Any], kernel: tuple[int, int], stride: int, padding: int) -> None:
        self.products, self.kernel, self.stride, self.padding = products, kernel, stride, padding

    @property
    def state_type(self) -> str:
        """The weights are saved as matrices, which do not show the windows."""
        return f"kernel {self.kernel}, stride {self.stride}, padding {self.padding}"

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

    def explanation(self) -> str:
        return self.products[0].explanation()

    def forward(self, x: Tensor | QuantizedTensor) -> Tensor | QuantizedTensor:
        """[N, in, H, W] -> [N, out, rows, columns]."""
        q, qparams = codes_of(x, self.input_qparams)
        channels = sum(p.weight.shape[1] for p in self.products) // (self.kernel[0] * self.kernel[1])
        if q.ndim != 4 or q.shape[1] != channels:
            raise ValueError(f"wanted images (N, {channels}, height, width), got shape {q.shape}")
        n, image = len(q), padded(q, self.padding, int(qparams.zero_point))
        rows, columns = (count_windows(s, k, self.stride) for s, k in zip(image.shape[2:], self.kernel, strict=True))
        if rows < 1 or columns < 1:
            raise ValueError(f"wanted images of at least {self.kernel} with the padding, got shape {q.shape}")
        windows = patches(image, self.kernel, self.stride)  # [N, in, kh * kw, rows, columns]
        outs = []
        for part, product in zip(np.split(windows, len(self.products), axis=1), self.products, strict=True):
            flat = part.transpose(0, 3, 4, 1, 2).reshape(n, rows * columns, product.weight.shape[1])
            outs.append(product(QuantizedTensor(flat, qparams)))
        gives_codes = isinstance(outs[0], QuantizedTensor)
        y = np.concatenate([out.q if gives_codes else out.data for out in outs], axis=-1).transpose(0, 2, 1)
        y = y.reshape(n, y.shape[1], rows, columns)
        return QuantizedTensor(y, outs[0].qparams) if gives_codes else Tensor(y)


def filters(
    weight: QuantizedTensor, bias: ArrayLike | None, groups: int
) -> list[tuple[QuantizedTensor, NDArray[np.float32]]]:
    """For each group the codes of its filters as rows, [out / groups, in / groups * kh * kw], and its part of the bias.

    ValueError for codes that are not [out, in / groups, kh, kw].
    """
    if len(weight.shape) != 4 or 0 in weight.shape or weight.shape[0] % groups:
        raise ValueError(f"weight must be [out, in / groups, kh, kw], {groups} dividing out, got {weight.shape}")
    return list(zip(_row_blocks(weight, groups), np.split(as_bias(bias, weight.shape[0]), groups), strict=True))


def _row_blocks(weight: QuantizedTensor, blocks: int) -> list[QuantizedTensor]:
    """[out, ...] codes as `blocks` matrices [out / blocks, values a filter], with their share of the scales."""
    q, p = weight.q.reshape(weight.shape[0], -1), weight.qparams
    scales = [p.scale.reshape(())] * blocks if p.scale.size == 1 else np.split(p.scale.reshape(-1, 1), blocks)
    pairs = zip(np.split(q, blocks), scales, strict=True)
    return [QuantizedTensor(rows, QParams(scale, 0, p.int_type)) for rows, scale in pairs]


class WeightOnlyLinear(Module):
    """`Linear` with stored codes and float arithmetic: for memory, not speed. Weights are dequantized at each call."""

    of_one_tensor = True

    def __init__(self, weight: QuantizedTensor, bias: ArrayLike | None = None) -> None:
        self.weight, self.bias = weight, None if bias is None else as_bias(bias, weight.shape[0])

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


class Lookup(Module):
    """An elementwise function on codes: a table with an entry for each code of `input_qparams`.

    function: a module such as GELU(); it is asked once for each code. output_qparams: it gives codes; None: float32.
    """

    def __init__(self, function: Module, input_qparams: QParams, output_qparams: QParams | None = None) -> None:
        one_scale("input_qparams", as_qparams(input_qparams))
        int_type = input_qparams.int_type
        codes = np.arange(int_type.qmin, int_type.qmax + 1).astype(int_type.storage)
        self.input_qparams, self.values = input_qparams, function(dequantize(codes, input_qparams)).data
        check_same_shape(codes=codes, answers=self.values)
        self.output_qparams = one_scale("output_qparams", output_qparams)

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
    """MaxPool2d, Flatten or ReLU on codes as they are: a larger number has a larger code, and 0.0 is the zero point."""

    kinds: ClassVar[tuple[type[Module], ...]] = (MaxPool2d, Flatten, ReLU)

    def __init__(self, layer: Module) -> None:
        if type(layer) not in self.kinds:
            raise TypeError(f"only MaxPool2d, Flatten and ReLU work on codes as they are, got {layer!r}")
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
