"""What stands between the products of a quantized network, compiled: pools, sums of two paths, tables of answers."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import AvgPool2d, Flatten, GlobalAvgPool2d, MaxPool1d, MaxPool2d, Module, Tensor
from ..operations.arrays import readable
from ..operations.elementwise import quantize
from ..operations.pooling import Answers, Sum, Windows, in_memory_order, max_pool, mean_pool
from . import planning
from .codes import Accelerated, Codes, check_scale, has_codes, outside, same_qparams
from .jobs import Jobs, Value
from .network import planning_of


class AcceleratedOnCodes(Accelerated):
    """Max pooling, Flatten or ReLU on codes as they are; memory keeps its order."""

    def __init__(self, layer: Module) -> None:
        self.layer = copy(layer)
        if isinstance(layer, MaxPool2d):
            self._windows = Windows(layer.size, layer.stride, layer.padding)
        elif isinstance(layer, MaxPool1d):
            self._windows = Windows(*layer.across)

    def explanation(self) -> str:
        return f"{type(self.layer).__name__} on codes"

    def run(self, x: Any) -> Any:
        if not has_codes(x):
            return self.layer(x)
        check_scale(x.qparams, None)
        q, layer = x.q, self.layer
        if isinstance(layer, MaxPool2d):
            layer.check(q.shape)
            q = max_pool(q, self._windows)
        elif isinstance(layer, MaxPool1d):
            layer.check(q.shape)
            q = max_pool(q[:, :, None], self._windows)[:, :, 0]
        elif isinstance(layer, Flatten):
            q = q.reshape(len(q), prod(q.shape[1:]))
        else:
            q = np.maximum(q, np.asarray(x.qparams.zero_point).astype(q.dtype))
        return Codes(q, x.qparams, x.kind if isinstance(x, Codes) else type(x))

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        layer = self.layer
        if x.qparams is None or len(x.shape) < 2:
            return None
        if isinstance(layer, Flatten):
            return planning.flattened(jobs, x)
        if isinstance(layer, MaxPool2d):
            return planning.pooled(jobs, self._windows, x) if len(x.shape) == 4 and _fits(layer, x) else None
        if isinstance(layer, MaxPool1d):
            y = planning.pooled(jobs, self._windows, x.as_images()) if len(x.shape) == 3 and _fits(layer, x) else None
            return None if y is None else y.as_signals()
        zero = np.asarray(x.qparams.zero_point).astype(x.dtype)
        every = np.arange(np.iinfo(x.dtype).min, np.iinfo(x.dtype).max + 1).astype(x.dtype)
        return planning.looked_up(jobs, Answers.of(np.maximum(every, zero), int(np.iinfo(x.dtype).min)), x)


def _fits(layer: Any, x: Value) -> bool:
    """Whether a pool takes images of this shape; the layer itself says why not."""
    try:
        layer.check(x.shape)
    except ValueError:
        return False
    return True


class AcceleratedMean(Accelerated):
    """AvgPool2d or GlobalAvgPool2d in float32, of images whose channels lie innermost; of others, the layer itself."""

    is_quantized = False

    def __init__(self, layer: AvgPool2d | GlobalAvgPool2d) -> None:
        self.layer, self._whole = copy(layer), dict[tuple[int, int], Windows]()
        if isinstance(layer, AvgPool2d):
            self._windows, self._counted = Windows(layer.size, layer.stride, layer.padding), layer.count_include_pad

    def explanation(self) -> str:
        return f"{type(self.layer).__name__} in float, compiled"

    def _whole_images(self, size: tuple[int, int]) -> Windows:
        """A window as large as an image."""
        if size not in self._whole:
            self._whole[size] = Windows(size, (1, 1))
        return self._whole[size]

    def run(self, x: Any) -> Any:
        x, layer = outside(x), self.layer
        if not is_plain(x) or not x.data.size or x.ndim != 4:
            return layer(x)
        images = x.data.transpose(0, 2, 3, 1)
        if images.shape[3] == 1 or not images.flags.c_contiguous:  # NumPy adds these up in another order
            return layer(x)
        if isinstance(layer, GlobalAvgPool2d):
            return Tensor(mean_pool(x.data, self._whole_images((x.shape[2], x.shape[3]))))
        layer.check(x.shape)
        means = mean_pool(x.data, self._windows, self._counted)
        return Tensor(np.ascontiguousarray(means))  # as the layer's lie: what adds them up goes in memory's order

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        if x.qparams is not None or len(x.shape) != 4:
            return None
        if isinstance(self.layer, GlobalAvgPool2d):
            return planning.pooled(jobs, self._whole_images((x.shape[2], x.shape[3])), x)
        y = planning.pooled(jobs, self._windows, x, self._counted) if _fits(self.layer, x) else None
        return None if y is None else planning.channels_first(jobs, y)


class AcceleratedLookup(Accelerated):
    """A table of answers: codes, or float32."""

    def __init__(self, layer: Any, kind: Any) -> None:
        """kind: the class of quantized tensors that it gives outside."""
        given, self.output_qparams, self.kind = layer.input_qparams, layer.output_qparams, kind
        values = layer.values if self.output_qparams is None else quantize(layer.values, self.output_qparams)
        self.input_qparams, self._answers = given, Answers.of(np.asarray(values), given.int_type.qmin)
        self._explanation, self._repr = f"{layer.explanation()}, compiled", f"Accelerated{layer!r}"

    def __repr__(self) -> str:
        return self._repr

    def explanation(self) -> str:
        return self._explanation

    def run(self, x: Any) -> Any:
        q, p, own = *codes_of(x, self.input_qparams), self.input_qparams
        if p.zero_point != own.zero_point or p.int_type != own.int_type:
            raise ValueError("the codes are not those that this table was made for: dequantize first")
        y = self._answers(q)
        return Tensor(y) if self.output_qparams is None else Codes(y, self.output_qparams, self.kind)

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        codes = planned_codes(jobs, x, self.input_qparams, self.kind)
        if codes is None:
            return None
        return replace(planning.looked_up(jobs, self._answers, codes), qparams=self.output_qparams, kind=self.kind)


class AcceleratedResidual(Accelerated):
    """A QuantizedResidual: x + block(x) on codes, and a ReLU of the sum if that is float32."""

    def __init__(self, layer: Any, block: Module, kind: Any, relu: bool = False) -> None:
        """block: the layer's, accelerated. kind: the class of quantized tensors that it gives outside."""
        self.block, self.relu, self.kind = block, relu, kind
        self.input_qparams, self.output_qparams = layer.input_qparams, layer.output_qparams
        self._sum = Sum(layer.output_qparams, relu)
        self._explanation = f"{layer.explanation()}{', its ReLU in the same pass' if relu else ''}, compiled"

    def explanation(self) -> str:
        return self._explanation

    def run(self, x: Any) -> Any:
        q, given = codes_of(x, self.input_qparams)
        codes = Codes(q, given, self.kind)
        y = ran(self.block, codes)
        if not has_codes(y):
            raise TypeError(f"the block must return codes, got {type(y).__name__}: give its last layer output_qparams")
        check_same_shape(y, codes)
        total = self._sum(q, given, y.q, y.qparams)
        return Tensor(total) if self.output_qparams is None else Codes(total, self.output_qparams, self.kind)

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        codes = planned_codes(jobs, x, self.input_qparams, self.kind)
        y = None if codes is None else planning_of(self.block, jobs, codes)
        if codes is None or y is None or y.qparams is None:
            return None
        total = planning.summed(jobs, self._sum, codes, y)
        return None if total is None else replace(total, kind=self.kind)


class AcceleratedSum(Accelerated):
    """A Residual whose two paths give float32, and a ReLU of their sum."""

    is_quantized = False

    def __init__(self, block: Module, shortcut: Module | None, relu: bool = False) -> None:
        self.block, self.shortcut, self.relu, self._sum = block, shortcut, relu, Sum(None, relu)

    def explanation(self) -> str:
        return f"adds in float{', its ReLU in the same pass' if self.relu else ''}, compiled"

    def run(self, x: Any) -> Any:
        x = outside(x)
        y, around = (outside(x if path is None else ran(path, x)) for path in (self.block, self.shortcut))
        if not is_plain(y) or not is_plain(around):
            total = y + around
            return total.relu() if self.relu else total
        check_same_shape(y, around)
        return Tensor(self._sum(readable(y.data), None, readable(around.data), None))

    def plan(self, jobs: Jobs, x: Value) -> Value | None:
        if x.qparams is not None:
            return None
        y = planning_of(self.block, jobs, x)
        around = x if self.shortcut is None else planning_of(self.shortcut, jobs, x)
        if y is None or around is None or y.qparams is not None or around.qparams is not None:
            return None
        return planning.summed(jobs, self._sum, y, around)


def planned_codes(jobs: Jobs, x: Value, qparams: Any, kind: Any) -> Value | None:
    """`codes_of`, planned."""
    if x.qparams is None:
        return planning.quantized(jobs, x, qparams, kind)
    return x if same_qparams(x.qparams, qparams) else None


def is_plain(x: Any) -> bool:
    """Whether x is a Tensor of float32 through which no gradient flows."""
    return isinstance(x, Tensor) and x.data.dtype == np.float32 and not x.requires_grad


def ran(module: Module, x: Any) -> Any:
    """What a module gives, Codes if it can."""
    return module.run(x) if hasattr(module, "run") else module(outside(x))


def codes_of(x: Any, qparams: Any) -> tuple[NDArray[Any], Any]:
    """Codes and their quantization parameters: as they come, or quantized by those given."""
    if has_codes(x):
        check_scale(x.qparams, qparams)
        return x.q, x.qparams
    if not isinstance(x, Tensor):
        raise TypeError(f"a layer on codes takes a QuantizedTensor, a Tensor or an array, got {type(x).__name__}")
    return in_memory_order(lambda reals: quantize(reals, qparams), x.data), qparams


def check_same_shape(y: Any, x: Any) -> None:
    if y.shape != x.shape:
        raise ValueError(
            f"a residual block adds equal shapes, got {y.shape} and {x.shape}: give it a shortcut that fits"
        )
