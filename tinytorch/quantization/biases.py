"""Given: biases as int32, and the scales of rows that say less than their bias.

A static layer adds its bias to int32 sums, so it is counted in steps of s_x * s_w. Where a row holds nothing but zeros,
or weights so small that its bias would be more steps than int32 holds, the weights do not tell a usable s_w: there the
bias chooses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.quantization.qparams import QParams, as_real
from tinytorch.quantization.quantize import quantize
from tinytorch.quantization.reprs import said_channels
from tinytorch.quantization.tensors import QuantizedTensor

__all__: list[str] = []

ROOM = 2.0**30  # steps that a bias which chooses its scale takes, together with the largest sum: half of int32
SMALLEST = float(np.finfo(np.float32).tiny) * (1 + 2.0**-20)  # for s_x * s_w: above the numbers that have lost bits


def as_bias(bias: ArrayLike | None, outputs: int) -> NDArray[np.float32]:
    """The bias as float32 [outputs], zeros for None: a copy, for a view would keep the float layer alive."""
    real = np.zeros(outputs, np.float32) if bias is None else as_real(bias).copy()
    if real.shape != (outputs,) or not np.all(np.isfinite(real)):
        raise ValueError(f"bias must be {outputs} finite numbers, one for each output, got shape {real.shape}")
    return real


def integer_bias(
    weight: QuantizedTensor, bias: NDArray[np.float32], input_scale: NDArray[np.float32]
) -> tuple[QuantizedTensor, NDArray[np.int32]]:
    """The weight [N, K] and the bias [N] of a static layer as they run: the bias int32, in steps of s_x * s_w.

    Rows that do not tell a usable scale have another one than before; see `with_room_for_bias`.
    """
    weight = with_room_for_bias(weight, bias, input_scale)
    scale = np.broadcast_to(input_scale * weight.qparams.scale.ravel(), bias.shape)
    return weight, quantize_bias(bias, scale, weight.q)


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
    """The weight [N, K], with scales of their own for rows that say less than their bias; all others keep every bit."""
    q, scale = weight.q, np.broadcast_to(weight.qparams.scale.ravel(), bias.shape)
    wanted = scales_with_room(q, weight.qparams, bias, input_scale)
    chosen = wanted != scale
    if not np.any(chosen):
        return weight
    qparams = QParams(wanted[:, None], 0, weight.qparams.int_type)
    return QuantizedTensor(np.where(chosen[:, None], quantize(weight.dequantize(), qparams), q), qparams)


def scales_with_room(
    weight_q: NDArray[Any], qparams: QParams, bias: NDArray[Any], input_scale: NDArray[Any]
) -> NDArray[np.float32]:
    """The scale of each row of weight_q [N, K] in a static layer: its own, or where that will not do, another.

    That is so for rows of zeros, where nothing else chooses the scale, and rows so small that the bias does not fit
    int32: bias and largest sum become 2**30 steps. Rows whose s_x * s_w float32 does not hold get the smallest that it
    does.
    """
    s_x, scale = np.float64(input_scale), np.broadcast_to(qparams.scale.ravel(), bias.shape)
    step, sums = np.asarray(input_scale * scale, np.float32), largest_sums(weight_q)
    zeros = ~weight_q.any(1) & (bias != 0) & (qparams.scale.shape != () or not weight_q.any())
    small = (np.abs(bias_steps(bias, step)) + sums >= 2**31) & (sums < 2**31)
    lost = step < np.finfo(np.float32).tiny
    for_bias = (np.abs(bias, dtype=np.float64) / s_x + scale.astype(np.float64) * sums) / ROOM
    wanted = np.clip(np.where(zeros | small, for_bias, 0), SMALLEST / s_x, np.finfo(np.float32).max)
    return np.where(zeros | small | lost, wanted, scale).astype(np.float32)


def tells_its_scales(weight: NDArray[Any], scale: NDArray[Any], bias: NDArray[Any], input_scale: NDArray[Any]) -> bool:
    """Whether every row of the float weight [N, K] surely keeps its scale [N] in a static layer, seen without codes."""
    step, largest = input_scale * scale, np.maximum(weight.max(1), -weight.min(1))
    room = np.abs(bias, dtype=np.float64) < (2.0**31 - 255 * 128 * weight.shape[1]) * step
    return bool(np.all(room & (largest > 0.51 * scale) & (step >= np.finfo(np.float32).tiny)))


def running_bias(
    weight_q: NDArray[Any], qparams: QParams, bias: NDArray[np.float32], input_scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The bias [N] that a static layer adds: in whole steps of s_x * s_w. As it is where no scale makes room for it."""
    scale = input_scale * scales_with_room(weight_q, qparams, bias, input_scale)
    try:
        return quantize_bias(bias, scale, weight_q).astype(np.float32) * scale
    except OverflowError:  # convert refuses such a layer
        return bias


def holds_multipliers(layer: Any, output_qparams: QParams) -> bool:
    """Whether `requantize` takes s_x * s_w / s_y of a layer, or of the products of a convolution, at every channel."""
    products = [p for p in getattr(layer, "products", [layer]) if hasattr(p, "weight")]
    with np.errstate(over="ignore"):
        m = [p.input_qparams.scale * p.weight.qparams.scale / output_qparams.scale for p in products]
    return all(np.all((each > 0) & (each < 2**30)) for each in m)


def told_scales(products: Sequence[Any]) -> str:
    """For an explanation: the channels of static products whose scale their weights did not choose; else "".

    It asks what the layers hold, which may have been loaded: a bias of about 2**30 steps beside codes far below the
    largest, and a product of scales that is the smallest.
    """
    by_bias: list[NDArray[np.bool]] = []
    smallest: list[NDArray[np.bool]] = []
    for p in products:
        if p.input_qparams is None:
            return ""
        qparams, rows = p.weight.qparams, p.bias.shape
        largest = np.abs(p.weight.q.astype(np.int32)).max(1, initial=0)
        by_bias.append((np.abs(p.bias) >= ROOM / 2) & (2 * largest <= qparams.int_type.qmax + 1))
        step = np.float64(p.input_qparams.scale) * np.broadcast_to(qparams.scale.ravel(), rows)
        smallest.append((step <= SMALLEST * (1 + 2.0**-20)) & ~by_bias[-1])
    return _told("chosen by the bias", by_bias) + _told("the smallest that float32 holds", smallest)


def _told(how: str, parts: list[NDArray[np.bool]]) -> str:
    channels = np.flatnonzero(np.concatenate(parts))
    return f", scale of {said_channels(channels.tolist())} {how}" if len(channels) else ""
