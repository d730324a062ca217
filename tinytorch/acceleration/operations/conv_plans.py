"""How a convolution is computed: what its driver needs before the first image, found once for each size of images.

Depthwise     every channel has kernels of its own
Overlapping   windows overlap in memory, where that is worth it
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.features import kernel
from ..runtime.layout import ROW_FLOATS
from ..runtime.once import load
from .dispatch import compiled_kernel
from .linear import TO_CODES, TO_FLOAT, TO_FLOAT_RELU, Int8Linear

MOST_REPEATED = 4  # kernels of one channel: for so many its pixels are repeated
MOST_KEPT = 8  # sizes of images, or quantization parameters, for which a layer keeps ready what it needs
FIRST_CACHE = 1 << 15  # bytes of the rows of a tile
STRIP = 1 << 17  # bytes of the strip of a column of windows
FEW = 6  # windows, of which one may run on into the next strip, if lines are short; one of many where they are long
LONG_LINE = 24  # bytes of a line for each of these many
EPILOGUES = {TO_FLOAT: "to_float", TO_FLOAT_RELU: "to_float_relu", TO_CODES: "to_codes"}


def in_rounds(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weights [channels, 1, rows, columns] as a matrix [(rows / 4, columns, 4), channels], rows filled up with 0."""
    n, _, rows, columns = weights.shape
    full = np.zeros((-(-rows // 4) * 4, columns, n), weights.dtype)
    full[:rows] = weights[:, 0].transpose(1, 2, 0)
    return full.reshape(-1, 4, columns, n).transpose(0, 2, 1, 3).reshape(-1, n)


def padded(values: Any, n: int, dtype: Any) -> NDArray[Any]:
    """n values, or one for all, and zeros up to a multiple of 16."""
    full = np.zeros(-(-n // 16) * 16, dtype)
    full[:n] = values
    return full


def kept(memory: dict[Any, Any], key: Any, value: Any) -> Any:
    """The value, remembered as one of the last MOST_KEPT or so."""
    if len(memory) >= MOST_KEPT:
        memory.clear()
    memory[key] = value
    return value


class Columns:
    """What each channel of a result needs: where its sums start, u and v of the epilogue. addresses: of the three."""

    def __init__(self, layer: Int8Linear, zero_point: int, scale: Any) -> None:
        n = layer.weights.shape[1]
        start = -zero_point * layer.weights.column_sums
        if layer.int_bias.size:
            start = start + layer.int_bias
        multiplier, v = np.multiply(scale, layer.scale), layer.qparams_out_floats
        if layer.per_row:
            u = v = layer.column_constants
        elif layer.output_qparams is not None:
            u = padded(multiplier / layer.qparams_out_floats[3], n, np.float32)
        else:
            u = padded(multiplier, n, np.float32)
            v = padded(layer.float_bias if layer.float_bias.size else np.float32(0), n, np.float32)
        self.arrays = padded(start, n, np.int32), u, v
        self.addresses = tuple(array.ctypes.data for array in self.arrays)


@dataclass(frozen=True, eq=False)
class Depthwise:
    """layer: the weights as `in_rounds`, and all that is done with their sums. each: kernels of a channel."""

    layer: Int8Linear
    each: int
    columns: dict[tuple[Any, ...], Columns] = field(init=False, repr=False, default_factory=dict)
    plans: dict[tuple[Any, ...], Any] = field(init=False, repr=False, default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """What is kept ready holds addresses of this process: a copy or a pickle goes without."""
        return {**self.__dict__, "columns": {}, "plans": {}}

    def __call__(self, conv: Any, images: NDArray[Any], out: NDArray[Any], zero_point: Any, scale: Any) -> None:
        """Fill `out` [N, rows, columns, channels]. conv: the Int8Conv2d; images: codes [N, height, width, channels].
        zero_point, scale: one, or [N, 1, 1, 1]."""
        run, layer, driver = compiled_kernel(kernel()), self.layer, load("calls.depthwise")
        key = run.name, images.dtype.char, images.shape
        plan = self.plans.get(key)
        if plan is None:
            plan = kept(self.plans, key, self._plan(conv, run, images, out))
        words, (_, shift) = plan.copy(), run.conversion(images.dtype.char == "b")
        job, (weights, panel_bytes) = words.view(driver.DEPTHWISE), layer.weights.as_int8(run)
        job["weights"], job["panel"] = weights.ctypes.data, panel_bytes
        qparams = np.zeros((len(images) if layer.per_row else 0, ROW_FLOATS), np.float32)
        if layer.per_row:
            qparams[:, 0], qparams[:, 3] = np.ravel(zero_point), np.ravel(scale)
            job["qparams"], zero_point, scale = qparams.ctypes.data, 0, np.float32(1)
        columns = self.columns.get((zero_point + shift, scale))
        if columns is None:
            columns = kept(self.columns, (zero_point + shift, scale), Columns(layer, zero_point + shift, scale))
        job["start"], job["u"], job["v"] = columns.addresses
        job["edge"] = zero_point
        codes = np.ascontiguousarray(images if self.each == 1 else np.repeat(images, self.each, 3))
        flat = codes.reshape(-1).view(np.uint8), out.reshape(-1).view(np.uint8)
        driver.depthwise(*run.pool(), driver.depthwise_task.address, words, *flat)

    def _plan(self, conv: Any, run: Any, images: NDArray[Any], out: NDArray[Any]) -> Any:
        """The record that the driver takes, without what changes from call to call; as integers, which copy faster."""
        layer, jit = self.layer, load("loops.jit")
        interleave, taps = jit.depthwise_functions(run.name)
        if layer.per_row:
            finish = jit.passes_by_rows(run.name)[layer.relu]
        else:
            finish = jit.passes(run.name)[EPILOGUES[layer.epilogue]]
        (high, wide), (down, right), (far, apart) = conv.kernel, conv.stride, conv.dilation
        plan = np.zeros(1, load("calls.depthwise").DEPTHWISE)
        for name, value in {
            "images": len(images), "height": images.shape[1], "width": images.shape[2], "channels": out.shape[3],
            "window_rows": high, "window_columns": wide, "down": down, "right": right, "far": far, "wide": apart,
            "above": conv.padding[0], "left": conv.padding[1], "rows": out.shape[1], "columns": out.shape[2],
            "pixel_bytes": out.shape[3] * out.itemsize, "flip": run.conversion(images.dtype.char == "b")[0],
            "interleave": interleave, "taps": taps.ctypes.data, "finish": finish,
        }.items():  # fmt: skip
            plan[name] = value
        return plan.view(np.int64)

    def plain(self, windows: NDArray[Any], zero_point: Any, scale: Any) -> NDArray[Any]:
        """The definition in NumPy. windows: codes [N, rows, columns, channels, *kernel]."""
        n, (count, rows, columns, _, high, wide) = self.layer.weights.shape[1], windows.shape
        weights = self.layer.weights.unpack().reshape(-1, wide, 4, n).transpose(0, 2, 1, 3).reshape(-1, wide, n)
        sums = np.zeros((count, rows, columns, n), np.int64)
        for i in range(high):
            for j in range(wide):
                sums += np.repeat(windows[..., i, j], self.each, 3).astype(np.int32) * weights[i, j]
        return self.layer.from_sums(sums, zero_point, scale)


def lines_of(conv: Any, rows: int) -> int:
    """Lines of a strip (see `calls.overlapping`) with so many rows of windows."""
    (high, _), (down, _) = conv.kernel, conv.stride
    return int(-(-((rows - 1) * down + high) // down) * down)


def is_worth_it(conv: Any, run: Any, rows: int) -> bool:
    """Whether a convolution is faster so than by copying whole windows, for so many rows of windows: it has one group,
    its kernel has more than one row and no dilation, few windows run on, and a tile's rows fit the first cache. Images
    with quantization parameters of their own go the other way."""
    (high, wide), (down, _) = conv.kernel, conv.stride
    if len(conv.layers) != 1 or high == 1 or tuple(conv.dilation) != (1, 1) or conv.per_row:
        return False
    lines, line = lines_of(conv, rows), wide * conv.channels
    tile = (int(run.record["tile_rows"].item()) * down + high) * line
    few_run_on = (lines // down - rows) * max(FEW, line // LONG_LINE) <= rows
    return bool(few_run_on and tile <= FIRST_CACHE and lines * line <= STRIP)


@dataclass(frozen=True, eq=False)
class Overlapping:
    """layer: of the only group."""

    layer: Int8Linear
    columns: dict[tuple[Any, ...], Columns] = field(init=False, repr=False, default_factory=dict)
    plans: dict[tuple[Any, ...], Any] = field(init=False, repr=False, default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """What is kept ready holds addresses of this process: a copy or a pickle goes without."""
        return {**self.__dict__, "columns": {}, "plans": {}}

    def __call__(self, conv: Any, run: Any, images: NDArray[Any], out: NDArray[Any], qparams: tuple[Any, Any]) -> None:
        """Fill `out` [N, rows, columns, filters]. images: codes [N, height, width, channels] of these qparams, a zero
        point and a scale."""
        (zero_point, scale), driver, key = (
            qparams,
            load("calls.overlapping"),
            (run.name, images.dtype.char, images.shape),
        )
        plan = self.plans.get(key)
        if plan is None:
            plan = kept(self.plans, key, self._plan(conv, run, images, out))
        words, (flip, shift) = plan.copy(), run.conversion(images.dtype.char == "b")
        columns = self.columns.get((zero_point + shift, scale))
        if columns is None:
            columns = kept(self.columns, (zero_point + shift, scale), Columns(self.layer, zero_point + shift, scale))
        job, mask = words.view(driver.OVERLAPPING), np.full(1, flip, np.uint8)
        edge = np.full(conv.kernel[1] * conv.channels, zero_point, images.dtype)
        job["start"], job["u"], job["v"] = columns.addresses
        weights, job["panel_bytes"] = self.layer.weights.as_int8(run)
        job["weights"] = weights.ctypes.data
        job["edge"], job["flip"] = edge.ctypes.data, mask.ctypes.data
        flat = np.ascontiguousarray(images).reshape(-1).view(np.uint8), out.reshape(-1).view(np.uint8)
        driver.overlapping(*run.pool(), driver.overlapping_task.address, words, *flat)

    def _plan(self, conv: Any, run: Any, images: NDArray[Any], out: NDArray[Any]) -> Any:
        """The record that the driver takes, without what changes from call to call; as integers, which copy faster."""
        layer, plan = self.layer, np.zeros(1, load("calls.overlapping").OVERLAPPING)
        for name, value in {
            "kernel": run.address, "images": len(images), "height": images.shape[1], "width": images.shape[2],
            "pixel_bytes": conv.channels, "window_rows": conv.kernel[0], "window_columns": conv.kernel[1],
            "down": conv.stride[0], "right": conv.stride[1], "above": conv.padding[0], "left": conv.padding[1],
            "rows": out.shape[1], "columns": out.shape[2], "filters": out.shape[3], "itemsize": out.itemsize,
            "epilogue": load("loops.jit").passes(run.name)[EPILOGUES[layer.epilogue]], "u_step": 4,
            "v_step": 0 if layer.epilogue == TO_CODES else 4,
        }.items():  # fmt: skip
            plan[name] = value
        return plan.view(np.int64)
