"""Steps computed from what stands in them, with the rounding that an engine requantizes by.

Engines round the product of an int32 sum and a multiplier in four ways, all of them within a code of each other:

"float"     in float32, ties to even: ONNX Runtime, LiteRT with XNNPACK
"gemmlowp"  by a 31-bit integer multiplier taken from float64, rounded twice: TFLite Micro, LiteRT's reference
            convolutions
"ruy"       the same multiplier, the second rounding with ties upwards: LiteRT without delegates
"single"    one rounding of the 62-bit product, ties upwards: LiteRT's reference fully-connected layers, and TFLite
            Micro where it is built for it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import Tensor, evaluating
from tinytorch.core.windows import padded, patches
from tinytorch.deployment.steps import (
    Add,
    Convolution,
    Dequantize,
    FlattenCodes,
    FloatLayer,
    MaxPool,
    Product,
    Quantize,
    ReluOnCodes,
    Step,
    Table,
    Trace,
    pair,
)
from tinytorch.deployment.stored import qparams_of
from tinytorch.quantization import (
    QParams,
    QuantizedTensor,
    dequantize,
    integer_matmul,
    quantize,
    quantize_multiplier,
    quantized_add,
    requantize,
)

__all__ = ["Rounding", "computed"]

Rounding: TypeAlias = Literal["float", "gemmlowp", "ruy", "single"]
RoundingOf: TypeAlias = Callable[[Step], Rounding]
Arrays: TypeAlias = Mapping[str, NDArray[Any]]


def computed(steps: Trace, x: ArrayLike, rounding: Rounding | RoundingOf = "float") -> dict[str, NDArray[Any]]:
    """What every step gives for the batch x [N, ...], by the value's name, as `trace` has it for "float".

    rounding: of all products and convolutions, or a function of the step.
    """
    arrays: dict[str, NDArray[Any]] = {steps.x.name: np.asarray(x, np.float32)}
    for step in steps.steps:
        of_step = rounding if isinstance(rounding, str) else rounding(step)
        arrays[step.y.name] = COMPUTED[type(step)](step, arrays, of_step)
    return arrays


def rounded(acc: NDArray[np.int32], m: NDArray[np.float64], qparams: QParams, rounding: Rounding) -> NDArray[Any]:
    """int32 sums [..., N] times multipliers, () or [N], as codes of qparams."""
    if rounding != "ruy":
        return requantize(acc, m, qparams, rounding)
    q31, exponent = quantize_multiplier(m)
    wide = np.clip(acc.astype(np.int64) << np.maximum(exponent, 0), -(2**31), 2**31 - 1) * q31
    nudged = wide + np.where(wide >= 0, 2**30, 1 - 2**30)
    high, right = np.sign(nudged) * (np.abs(nudged) >> 31), np.maximum(-exponent, 0)
    steps = np.where(right > 0, (high + (np.int64(1) << np.maximum(right - 1, 0))) >> right, high)
    t = qparams.int_type
    return np.asarray(np.clip(steps + qparams.zero_point, t.qmin, t.qmax).astype(t.storage))


def _product(step: Product, arrays: Arrays, rounding: Rounding) -> NDArray[Any]:
    q = arrays[step.x.name]
    sums = integer_matmul(q.reshape(-1, q.shape[-1]), step.weight.q.T, qparams_of(step.x).zero_point) + step.bias
    return _out_of_sums(step, sums, rounding).reshape(*q.shape[:-1], len(step.bias))


def _out_of_sums(step: Product | Convolution, sums: NDArray[np.int32], rounding: Rounding) -> NDArray[Any]:
    """Codes or floats of int32 sums [..., out]."""
    weight_scale = step.weight.qparams.scale
    weight_scale = weight_scale.reshape(-1) if weight_scale.ndim else weight_scale
    unit = qparams_of(step.x).scale * weight_scale
    if step.y.qparams is None:
        return sums.astype(np.float32) * unit
    if rounding == "float":
        return requantize(sums, unit / step.y.qparams.scale, step.y.qparams)
    exact = np.float64(qparams_of(step.x).scale) * weight_scale.astype(np.float64) / np.float64(step.y.qparams.scale)
    return rounded(sums, exact, step.y.qparams, rounding)


def _convolution(step: Convolution, arrays: Arrays, rounding: Rounding) -> NDArray[Any]:
    images, signals = _as_images(arrays[step.x.name])
    edged = padded(images, pair(step.padding, 0), int(qparams_of(step.x).zero_point))
    windows = patches(edged, pair(step.weight.shape[2:], 1), pair(step.stride, 1), pair(step.dilation, 1))
    n, rows, columns = len(images), *windows.shape[-2:]
    weights = np.split(step.weight.q.reshape(len(step.bias), -1), step.groups)
    parts = []
    for part, weight in zip(np.split(windows, step.groups, axis=1), weights, strict=True):
        flat = part.transpose(0, 3, 4, 1, 2).reshape(n * rows * columns, -1)
        parts.append(integer_matmul(flat, weight.T, qparams_of(step.x).zero_point))
    y = _out_of_sums(step, np.concatenate(parts, axis=-1) + step.bias, rounding)
    y = y.reshape(n, rows, columns, -1).transpose(0, 3, 1, 2)
    return y[:, :, 0] if signals else y


def _as_images(q: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """[N, C, H, W], and whether it was signals [N, C, length]."""
    return (q[:, :, None], True) if q.ndim == 3 else (q, False)


def _max_pool(step: MaxPool, arrays: Arrays, rounding: Rounding) -> NDArray[Any]:
    images, signals = _as_images(arrays[step.x.name])
    edged = padded(images, pair(step.padding, 0), qparams_of(step.x).int_type.qmin)
    y = patches(edged, pair(step.size, 1), pair(step.stride, 1)).max(2)
    return np.asarray(y[:, :, 0] if signals else y)


def _add(step: Add, arrays: Arrays, rounding: Rounding) -> NDArray[Any]:
    a, b = arrays[step.x.name], arrays[step.other.name]
    if step.y.qparams is None:
        return b + a
    one, other = QuantizedTensor(a, qparams_of(step.x)), QuantizedTensor(b, qparams_of(step.other))
    return quantized_add(one, other, step.y.qparams).q


def _float_layer(step: FloatLayer, arrays: Arrays, rounding: Rounding) -> NDArray[Any]:
    with evaluating(step.module):
        y = step.module(Tensor(arrays[step.x.name]))
    return np.asarray(y.data)


def _table(step: Table, arrays: Arrays, rounding: Rounding) -> NDArray[Any]:
    return step.answers[arrays[step.x.name].astype(np.int32) - qparams_of(step.x).int_type.qmin]


COMPUTED: Mapping[type[Step], Callable[[Any, Arrays, Rounding], NDArray[Any]]] = {
    Add: _add,
    Convolution: _convolution,
    Dequantize: lambda step, arrays, _: dequantize(arrays[step.x.name], qparams_of(step.x)),
    FlattenCodes: lambda step, arrays, _: arrays[step.x.name].reshape(len(arrays[step.x.name]), -1),
    FloatLayer: _float_layer,
    MaxPool: _max_pool,
    Product: _product,
    Quantize: lambda step, arrays, _: quantize(arrays[step.x.name], qparams_of(step.y)),
    ReluOnCodes: lambda step, arrays, _: np.maximum(arrays[step.x.name], qparams_of(step.x).zero_point.astype(np.int8)),
    Table: _table,
}
