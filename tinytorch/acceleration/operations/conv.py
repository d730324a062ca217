"""A quantized convolution in one call: its windows are rows of codes, and a row of codes is what `Int8Linear` takes.

Images come and go as (N, channels, height, width), but in memory channels lie side by side, so that a window is a few
pieces of memory. What follows (pooling, another convolution) keeps that order without knowing, for NumPy does.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.windows import Both, Pair, as_pair, count_both
from ..runtime.features import kernel
from ..runtime.layout import ROW_FLOATS
from ..runtime.once import load
from .arrays import readable
from .conv_plans import MOST_REPEATED, Depthwise, Overlapping, in_rounds, is_worth_it
from .dispatch import compiled_kernel
from .elementwise import find_dynamic, quantize, quantize_rows
from .int8 import prepack_int8
from .linear import Int8Linear
from .qparams import QParamsLike, bias_of


@dataclass(frozen=True)
class Uint8QParams:
    """The quantization parameters of a dynamic input."""

    scale: np.float32
    zero_point: int

    @property
    def int_type(self) -> Uint8QParams:
        return self

    qmin, qmax, storage = 0, 255, np.uint8


def _together(groups: int, filters: int) -> int:
    """How many groups, of so many filters each, are computed as one, since a panel of weights has 16 columns."""
    return max(d for d in range(1, groups + 1) if groups % d == 0 and (d == 1 or d * filters <= 16))


def _joined(weights: NDArray[np.int8], groups: int) -> NDArray[np.int8]:
    """Weights [out, in / groups, rows, columns] of so many groups as those of one, with zeros for the other groups."""
    out, each, *kernel = weights.shape
    full = np.zeros((groups, out // groups, groups, each, *kernel), weights.dtype)
    for g, of_group in enumerate(weights.reshape(groups, out // groups, each, *kernel)):
        full[g, :, g] = of_group
    return full.reshape(out, groups * each, *kernel)


def _layers(
    weights: NDArray[np.int8], scale: ArrayLike, bias: NDArray[Any], groups: int, bits: int, *rest: Any
) -> tuple[Int8Linear, ...]:
    """A layer for each group of channels, or for several; their rows of codes run over (kernel row, kernel column,
    channel)."""
    each = len(weights) // groups
    joined = _together(groups, each)
    scales = np.broadcast_to(np.asarray(scale, np.float32).reshape(-1), len(weights))
    made = []
    for first in range(0, len(weights), each * joined):
        part = slice(first, first + each * joined)
        matrix = _joined(weights[part], joined).transpose(2, 3, 1, 0).reshape(-1, each * joined)
        made.append(Int8Linear(prepack_int8(matrix, bits), scales[part], bias[part], *rest))
    return tuple(made)


@dataclass(frozen=True, eq=False)
class Int8Conv2d:
    """A quantized convolution, checked once and called many times: images -> float32 images, or codes.

    weights: int8 [out, in / groups, rows, columns], let go once they are packed; scale, bias, input_qparams,
    output_qparams, relu as in `Int8Linear`, bit for bit. stride >= 1, padding >= 0 and dilation >= 1: one integer, or
    two, down and right. What lies beyond the edge is 0.0, whose code is the zero point. Source: ONNX QLinearConv.

    Call: float32 or codes [N, in, height, width] -> [N, out, rows, columns], a view of memory whose channels lie
    side by side. TypeError or ValueError for what does not fit together.
    """

    weights: InitVar[NDArray[np.int8]]
    scale: InitVar[ArrayLike]
    bias: InitVar[ArrayLike | None] = None
    input_qparams: QParamsLike | None = None
    output_qparams: InitVar[QParamsLike | None] = None
    relu: InitVar[bool] = False
    stride: Both = 1  # kept as pairs
    padding: Both = 0
    groups: int = 1
    dilation: Both = 1
    per_row: bool = False  # of the batch: without input_qparams, each image by its own range
    bits: InitVar[int] = 8  # in which a code of the weights is kept, as in `prepack_int8`
    layers: tuple[Int8Linear, ...] = field(init=False, repr=False)
    kernel: tuple[int, int] = field(init=False)
    channels: int = field(init=False)  # of an input image
    depthwise: Depthwise | None = field(init=False, repr=False)  # how it is computed if each channel is alone
    overlapping: Overlapping = field(init=False, repr=False)  # or if it has one group, and `is_worth_it`

    def __post_init__(
        self,
        weights: NDArray[np.int8],
        scale: ArrayLike,
        bias: ArrayLike | None,
        out: QParamsLike | None,
        relu: bool,
        bits: int,
    ) -> None:
        weights = np.asarray(weights)
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1)):
            value = getattr(self, name)
            each = value if isinstance(value, tuple) and len(value) == 2 and name != "groups" else (value,)
            if not all(isinstance(v, (int, np.integer)) and v >= least for v in each):
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
            if name != "groups":
                object.__setattr__(self, name, as_pair(value))
        if weights.ndim != 4 or weights.size == 0 or len(weights) % self.groups:
            raise ValueError(
                f"weights must be [out, in / groups, rows, columns], {self.groups} dividing out, got {weights.shape}"
            )
        if np.size(scale) not in (1, len(weights)):
            raise ValueError(f"scale must have 1 or {len(weights)} values, one an output channel, got {np.size(scale)}")
        rest = self.input_qparams, out, relu, self.per_row
        biases, repeats = bias_of(bias, len(weights)), len(weights) // self.groups
        alone = weights.shape[1] == 1 < self.groups and repeats <= MOST_REPEATED
        if alone:
            layers: tuple[Int8Linear, ...] = (Int8Linear(prepack_int8(in_rounds(weights), bits), scale, biases, *rest),)
        else:
            layers = _layers(weights, scale, biases, self.groups, bits, *rest)
        for name, made in (
            ("layers", layers), ("kernel", weights.shape[2:]), ("channels", weights.shape[1] * self.groups),
            ("depthwise", Depthwise(layers[0], repeats) if alone else None), ("overlapping", Overlapping(layers[0])),
        ):  # fmt: skip
            object.__setattr__(self, name, made)

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        x = np.asarray(x)
        if x.dtype.char in "bB":
            qparams = self.input_qparams
            if qparams is None:
                raise ValueError(
                    f"x holds {x.dtype} codes, and their qparams are not known: make the layer with input_qparams"
                )
            return self.of_codes(x, qparams)
        if x.dtype.char != "f":  # of any byte order
            raise TypeError(f"x must be a float32 array, or int8 or uint8 codes, got {x.dtype}: x.astype(np.float32)")
        self._check(x)
        x = readable(x)
        if self.per_row:
            return self._by_images(x)
        static = self.input_qparams
        if static is None:
            scale, zero_point = find_dynamic(x)
            of_x: QParamsLike = Uint8QParams(scale, zero_point)
        else:
            of_x, (zero_point, _, _, scale) = static, self.layers[0].qparams_in
        images = x.transpose(0, 2, 3, 1)  # as a layer before has left them
        codes = quantize(images, of_x).transpose(0, 3, 1, 2) if images.flags.c_contiguous else quantize(x, of_x)
        return self._convolve(codes, zero_point, scale)

    def _by_images(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Each image by its own range."""
        images = x.transpose(0, 2, 3, 1)
        if images.flags.c_contiguous:
            codes, scale, zero_point = quantize_rows(images)
            return self._convolve(codes.transpose(0, 3, 1, 2), zero_point, scale)
        codes, scale, zero_point = quantize_rows(x)
        return self._convolve(codes, zero_point, scale)

    def _check(self, x: NDArray[Any]) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"wanted images [N, {self.channels}, height, width], got shape {x.shape}")

    def of_codes(self, q: NDArray[Any], qparams: QParamsLike) -> NDArray[Any]:
        """The same for codes of any quantization parameters, such as a dynamic layer before gave them."""
        self._check(q)
        zero_point: Any = np.asarray(qparams.zero_point, np.int64)
        scale: Any = np.asarray(qparams.scale, np.float32)
        for layer in self.layers:
            layer.check_overflow(int(np.abs(zero_point).max(initial=0)))
        if self.per_row and scale.ndim:
            zero_point, scale = (np.broadcast_to(a, (len(q), 1, 1, 1)) for a in (zero_point, scale))
        else:
            zero_point, scale = int(zero_point.item()), np.float32(scale.item())
        return self._convolve(q, zero_point, scale)

    def _convolve(self, q: NDArray[Any], zero_point: Any, scale: Any) -> NDArray[Any]:
        """For codes [N, in, height, width], whose sums fit int32. zero_point, scale: one, or [N, 1, 1, 1]."""
        images, (above, left) = q.transpose(0, 2, 3, 1), as_pair(self.padding)
        count, height, width, _ = images.shape
        size = height + 2 * above, width + 2 * left
        rows, columns = count_both(size, self.kernel, self.stride, self.dilation)
        if rows < 1 or columns < 1:
            raise ValueError(f"wanted images of at least {self.kernel} with the padding, got shape {q.shape}")
        out = np.empty((count, rows, columns, sum(layer.weights.shape[1] for layer in self.layers)), self._target)
        if kernel() == "numpy" or out.size == 0:
            self._plain(self._with_edge(images, zero_point), out, zero_point, scale)
        elif self.depthwise is not None:
            self.depthwise(self, images, out, zero_point, scale)
        elif self.kernel == (1, 1) and self.padding == (0, 0) and len(self.layers) == 1 and np.ndim(scale) == 0:
            (down, right), k = as_pair(self.stride), self.channels
            pixels = np.ascontiguousarray(images[:, ::down, ::right]).reshape(-1, k)
            self.layers[0].fill_from_codes(kernel(), pixels, zero_point, scale, out.reshape(len(pixels), -1))
        elif is_worth_it(self, run := compiled_kernel(kernel()), rows):
            self.overlapping(self, run, images, out, (zero_point, scale))
        else:
            self._compiled(self._with_edge(images, zero_point), out, zero_point, scale)
        return out.transpose(0, 3, 1, 2)

    def _with_edge(self, images: NDArray[Any], zero_point: Any) -> NDArray[Any]:
        """Images [N, height, width, channels] with the padding around them."""
        above, left = as_pair(self.padding)
        if above == left == 0:
            return images
        count, height, width, channels = images.shape
        edged = np.full((count, height + 2 * above, width + 2 * left, channels), zero_point, images.dtype)
        edged[:, above : above + height, left : left + width] = images
        return edged

    @property
    def _target(self) -> np.dtype[Any]:
        return self.layers[0].result_dtype

    def _compiled(self, images: NDArray[Any], out: NDArray[Any], zero_point: Any, scale: Any) -> None:
        run, driver = compiled_kernel(kernel()), load("calls.windows")
        flip, shift = run.conversion(images.dtype == np.int8)
        source, target = np.ascontiguousarray(images).view(np.uint8), out.reshape(-1).view(np.uint8)
        channels, by_images = self.channels // len(self.layers), np.ndim(scale) > 0
        if by_images:
            qparams = np.zeros((len(images), ROW_FLOATS), np.float32)
            qparams[:, 0], qparams[:, 3] = zero_point.reshape(-1), scale.reshape(-1)
            finish = load("loops.jit").passes_by_rows(run.name)[self.layers[0].relu]
        for g, layer in enumerate(self.layers):
            n = layer.weights.shape[1]
            steps = *as_pair(self.stride), *as_pair(self.dilation)
            shape = [*self.kernel, *steps, *out.shape[1:3], g * channels, channels, g * n, out.shape[3]]
            around = *run.pool(), run.address, driver.window_task.address, source, np.array(shape, np.int64), flip
            if by_images:
                columns, sums = layer.column_constants, layer.driver_operands[0]
                weights = columns, *layer.weights.as_int8(run), sums, layer.int_bias
                driver.convolve_by_images(*around, shift, qparams, finish, *weights, target)
            else:
                weights = *layer.weights.as_int8(run), *layer.driver_operands
                driver.convolve(*around, zero_point + shift, scale, *weights, target)

    def _plain(self, images: NDArray[Any], out: NDArray[Any], zero_point: Any, scale: Any) -> None:
        (down, right), (far, wide) = as_pair(self.stride), as_pair(self.dilation)
        reach: Pair = (far * (self.kernel[0] - 1) + 1, wide * (self.kernel[1] - 1) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(images, reach, (1, 2))
        windows = windows[:, ::down, ::right, :, ::far, ::wide]  # [N, rows, columns, channels, *kernel]
        if self.depthwise is not None:
            out[...] = self.depthwise.plain(windows, zero_point, scale)
            return
        for layer, part, target in zip(
            self.layers, np.split(windows, len(self.layers), 3), np.split(out, len(self.layers), 3), strict=True
        ):
            rows = part.transpose(0, 1, 2, 4, 5, 3).reshape(prod(part.shape[:3]), layer.weights.shape[0])
            if np.ndim(scale):  # of each image, for each of its windows
                of_rows = (np.repeat(a.reshape(-1, 1), prod(part.shape[1:3]), 0) for a in (zero_point, scale))
                target[...] = layer.from_codes(rows, *of_rows).reshape(target.shape)
                continue
            target[...] = layer.from_codes(rows, zero_point, scale).reshape(target.shape)
