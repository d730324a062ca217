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
from .conv_plans import MOST_REPEATED, Plan, in_rounds, kept, plain_depthwise, plan_of
from .dispatch import exact_product
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


def qparams_rows(zero_point: Any, scale: Any) -> NDArray[np.float32]:
    """QPARAMS [1 or N, 8] as compiled code reads them of images: zero point and scale."""
    rows = np.zeros((np.size(scale), ROW_FLOATS), np.float32)
    rows[:, 0], rows[:, 3] = np.ravel(zero_point), np.ravel(scale)
    return rows


def _together(groups: int, filters: int) -> int:
    """How many groups, of so many filters each, are computed as one, since a panel of weights has 16 columns."""
    return max(d for d in range(1, groups + 1) if groups % d == 0 and (d == 1 or d * filters <= 16))


def _padded(values: NDArray[Any], groups: int, fill: int) -> NDArray[Any]:
    """values [..., filters], those of each group filled up to whole panels of 16: [..., columns]. One group stays."""
    if groups == 1 or values.size == 0:
        return values
    of_groups = values.reshape(*values.shape[:-1], groups, -1)
    missing = [(0, 0)] * values.ndim + [(0, -of_groups.shape[-1] % 16)]
    return np.pad(of_groups, missing, constant_values=fill).reshape(*values.shape[:-1], -1)


def _matrix(weights: NDArray[np.int8], groups: int, joined: int) -> NDArray[np.int8]:
    """Weights [out, in / groups, rows, columns] as a matrix [K, filters], of which K runs over (kernel row, kernel
    column, channel). Of each `joined` groups one is made, with zeros for the channels of the others."""
    (out, each, *kernel), one = weights.shape, np.eye(joined, dtype=weights.dtype)[:, None, :, None, None, None]
    full = weights.reshape(groups // joined, joined, out // groups, 1, each, *kernel) * one
    return full.reshape(out, joined * each, *kernel).transpose(2, 3, 1, 0).reshape(-1, out)


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
    layer: Int8Linear = field(init=False, repr=False)  # whose rows are windows, its columns the filters of all groups
    kernel: tuple[int, int] = field(init=False)
    channels: int = field(init=False)  # of an input image
    filters: int = field(init=False)
    groups_together: int = field(init=False, repr=False)  # the number of groups, once small ones are joined
    is_depthwise: bool = field(init=False, repr=False)  # whether it is computed for each channel alone
    qparams: NDArray[np.float32] = field(init=False, repr=False)  # QPARAMS [1, 8] of input_qparams
    plans: dict[tuple[Any, ...], Plan] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(
        self, weights: NDArray[np.int8], scale: ArrayLike, bias: ArrayLike | None, out: QParamsLike | None, relu: bool,
        bits: int,
    ) -> None:  # fmt: skip
        weights = np.asarray(weights)
        self._check_options()
        if weights.ndim != 4 or weights.size == 0 or len(weights) % self.groups:
            raise ValueError(
                f"weights must be [out, in / groups, rows, columns], {self.groups} dividing out, got {weights.shape}"
            )
        if np.size(scale) not in (1, len(weights)):
            raise ValueError(f"scale must have 1 or {len(weights)} values, one an output channel, got {np.size(scale)}")
        filters, each = len(weights), len(weights) // self.groups
        is_depthwise = weights.shape[1] == 1 < self.groups and each <= MOST_REPEATED
        joined = 1 if is_depthwise else _together(self.groups, each)
        alone = 1 if is_depthwise else self.groups // joined  # groups whose columns begin with a panel
        matrix = in_rounds(weights) if is_depthwise else _padded(_matrix(weights, self.groups, joined), alone, 0)
        scales = np.broadcast_to(np.asarray(scale, np.float32).reshape(-1), filters)
        given = _padded(scales, alone, 1), _padded(bias_of(bias, filters), alone, 0)
        layer = Int8Linear(prepack_int8(matrix, bits), *given, self.input_qparams, out, relu, self.per_row)
        qparams = qparams_rows(layer.qparams_in.zero_point, layer.qparams_in.scale)
        for name, made in (
            ("layer", layer), ("kernel", weights.shape[2:]), ("channels", weights.shape[1] * self.groups),
            ("filters", filters), ("groups_together", self.groups // joined), ("is_depthwise", is_depthwise),
            ("qparams", qparams),
        ):  # fmt: skip
            object.__setattr__(self, name, made)

    def _check_options(self) -> None:
        """Refuse a stride, padding, dilation or number of groups that is none; keep them as pairs."""
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1)):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) and len(value) == 2 and name != "groups" else (value,)
            if not all(isinstance(v, (int, np.integer)) and v >= least for v in numbers):
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
            if name != "groups":
                object.__setattr__(self, name, as_pair(value))

    def __getstate__(self) -> dict[str, Any]:
        """Plans hold addresses of this process: a copy or a pickle goes without."""
        return {**self.__dict__, "plans": {}}

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
        images = x.transpose(0, 2, 3, 1)  # as a layer before has left them
        last = images.flags.c_contiguous
        given, x, of_images = x, images if last else x, self.qparams
        if self.per_row:
            codes, scales, zero_points = quantize_rows(x)
            of_images = qparams_rows(zero_points, scales)
        elif self.input_qparams is not None:
            codes = quantize(x, self.input_qparams)
        else:
            of_all = Uint8QParams(*find_dynamic(given))  # who says of a NaN where it stands
            codes, of_images = quantize(x, of_all), qparams_rows(of_all.zero_point, of_all.scale)
        return self._convolve(codes if last else codes.transpose(0, 2, 3, 1), of_images)

    def _check(self, x: NDArray[Any]) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"wanted images [N, {self.channels}, height, width], got shape {x.shape}")

    def of_codes(self, q: NDArray[Any], qparams: QParamsLike) -> NDArray[Any]:
        """The same for codes of any quantization parameters, such as a dynamic layer before gave them."""
        self._check(q)
        if qparams is self.input_qparams:
            return self._convolve(q.transpose(0, 2, 3, 1), self.qparams)
        zero_point: Any = np.asarray(qparams.zero_point, np.int64)
        scale: Any = np.asarray(qparams.scale, np.float32)
        self.layer.check_overflow(int(np.abs(zero_point).max(initial=0)))
        if self.per_row:
            zero_point, scale = (np.broadcast_to(a, (len(q), 1, 1, 1)) for a in (zero_point, scale))
        else:
            zero_point, scale = zero_point.item(), scale.item()
        return self._convolve(q.transpose(0, 2, 3, 1), qparams_rows(zero_point, scale))

    def windows_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of the result for images of this shape, channels last. ValueError where there are none."""
        (above, left), (_, height, width, _) = as_pair(self.padding), shape
        rows, columns = count_both((height + 2 * above, width + 2 * left), self.kernel, self.stride, self.dilation)
        if rows < 1 or columns < 1:
            got = (shape[0], self.channels, height, width)
            raise ValueError(f"wanted images of at least {self.kernel} with the padding, got shape {got}")
        return rows, columns

    def plan(self, name: str, kind: str, shape: tuple[int, ...]) -> Plan:
        """What kernel `name` needs for images of this shape, channels last, whose codes have type `kind`: made once."""
        key = name, kind, shape
        return self.plans.get(key) or kept(self.plans, key, plan_of(self, *key))

    def _convolve(self, images: NDArray[Any], qparams: NDArray[np.float32]) -> NDArray[Any]:
        """For codes [N, height, width, channels], whose sums fit int32. qparams: QPARAMS [1 or N, 8]."""
        name = kernel()
        if name == "numpy" or images.size == 0:
            return self._plain(images, qparams).transpose(0, 3, 1, 2)
        plan, pool = self.plan(name, images.dtype.char, images.shape), load("runtime.threads").pool()
        images, out = np.ascontiguousarray(images), np.empty(plan.shape, self.layer.result_dtype)
        codes, result = images.reshape(-1).view(np.uint8), out.reshape(-1).view(np.uint8)
        load("calls.convolution").convolve(pool.address, pool.threads, plan.record, qparams, codes, result)
        return out.transpose(0, 3, 1, 2)

    def _with_edge(self, images: NDArray[Any], zero_point: Any) -> NDArray[Any]:
        """Images [N, height, width, channels] with the padding around them."""
        above, left = as_pair(self.padding)
        count, height, width, channels = images.shape
        edged = np.full((count, height + 2 * above, width + 2 * left, channels), zero_point, images.dtype)
        edged[:, above : above + height, left : left + width] = images
        return edged

    def _plain(self, images: NDArray[Any], qparams: NDArray[np.float32]) -> NDArray[Any]:
        """The definition in NumPy."""
        self.windows_of(images.shape)
        zero_point, scale = (qparams[:, i, None, None, None] for i in (0, 3))
        zero_point = zero_point.astype(np.int64)
        (down, right), (far, wide) = as_pair(self.stride), as_pair(self.dilation)
        reach: Pair = (far * (self.kernel[0] - 1) + 1, wide * (self.kernel[1] - 1) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(self._with_edge(images, zero_point), reach, (1, 2))
        windows = windows[:, ::down, ::right, :, ::far, ::wide]  # [N, rows, columns, channels, *kernel]
        if self.is_depthwise:
            return self.layer.from_sums(plain_depthwise(self.layer, windows), zero_point, scale)
        (*place, channels), groups, (k, columns) = windows.shape[:4], self.groups_together, self.layer.weights.shape
        by_group = windows.reshape(*place, groups, channels // groups, *self.kernel).transpose(3, 0, 1, 2, 5, 6, 4)
        weights = self.layer.weights.unpack().reshape(k, groups, columns // groups).transpose(1, 0, 2)
        sums = exact_product(by_group.reshape(groups, prod(place), k), weights).transpose(1, 0, 2)
        y = self.layer.from_sums(sums.reshape(*place, columns), zero_point, scale)
        filters = y.reshape(*place, groups, columns // groups)[..., : self.filters // groups]
        return filters.reshape(*place, self.filters)
