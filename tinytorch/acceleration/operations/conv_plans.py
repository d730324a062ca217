"""How a convolution is computed: the way is chosen, and its record made, once for each size of images.

pixels        1 x 1, each pixel: a product of pixels as they lie
depthwise     each channel has filters of its own
overlapping   windows overlap in memory, where that is worth it
windows       all else: windows are copied whole
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.once import load
from .dispatch import compiled_kernel

MOST_REPEATED = 4  # filters of one channel: for so many its pixels are repeated
MOST_KEPT = 8  # sizes of images for which a layer keeps ready what it needs
FIRST_CACHE = 1 << 15  # bytes of the rows of a tile
STRIP = 1 << 17  # bytes of the strip of a column of windows, if it is not cut
MAX_WASTE = 16  # products of a window that runs on, for each window of its strip that is not copied whole
MAX_WASTE_AMX = 40  # the same where products take less time
MIN_TAPS = 2  # of a kernel of one row, for each step: windows of fewer are as soon copied whole


@dataclass(frozen=True, slots=True)
class Plan:
    """record: a CONVOLUTION (see `calls.convolution`). shape: of the result, channels last. owners: of addresses."""

    record: NDArray[np.int64]
    shape: tuple[int, ...]
    owners: tuple[Any, ...]


def kept(memory: dict[Any, Any], key: Any, value: Any) -> Any:
    """The value, remembered as one of the last MOST_KEPT or so."""
    if len(memory) >= MOST_KEPT:
        memory.clear()
    memory[key] = value
    return value


def is_worth_it(conv: Any, windows: tuple[int, int], run: Any) -> bool:
    """Whether a convolution is faster on kernel `run` by overlapping windows than by copying whole ones: few windows
    run on, and a tile's rows fit the first cache. windows: rows and columns of the result."""
    axis = 1 if conv.kernel[0] == 1 else 0  # along which strips lie: see `calls.overlapping`
    taps, step, apart = conv.kernel[axis], conv.stride[axis], conv.dilation[axis]
    if axis == 1 and taps < MIN_TAPS * step:
        return False
    classes, step = apart // gcd(step, apart), step // gcd(step, apart)
    line = conv.kernel[1 - axis] * (conv.channels // conv.groups_together)
    part = min(-(-windows[axis] // classes), max(1, (STRIP // line - taps) // step + 1))
    run_on = -(-((part - 1) * step + taps) // step) - part
    wasted, max_waste = (
        run_on * (conv.filters // conv.groups_together),
        MAX_WASTE_AMX if run.name == "amx" else MAX_WASTE,
    )
    tile_bytes = (int(run.record["tile_rows"].item()) * step + taps) * line
    return bool(wasted <= part * max_waste and tile_bytes <= FIRST_CACHE)


def plan_of(conv: Any, name: str, kind: str, shape: tuple[int, ...]) -> Plan:
    """What kernel `name` needs for images of this shape, channels last, whose codes have type `kind`. conv: an
    Int8Conv2d."""
    (count, height, width, channels), layer, windows = shape, conv.layer, conv.windows_of(shape)
    few_rows = _is_plain(conv) and count * height * width <= layer.weights.few_rows
    run, plans, calls = compiled_kernel(name, few_rows), load("calls.plans"), load("calls.convolution")
    of_layer = plans.of_rows(layer, run, kind == "b") if conv.per_row else plans.of_layer(layer, run, kind)
    way, task, functions = _way(conv, run, windows)
    out, itemsize, record = conv.filters, layer.result_dtype.itemsize, np.zeros(1, calls.CONVOLUTION)
    interleave, taps = functions
    for field, value in {
        "way": way.address, "task": 0 if task is None else task.address, "plan": of_layer.words.ctypes.data,
        "images": count, "groups": conv.groups_together, "channels": channels // conv.groups_together,
        "filters": out // conv.groups_together, "by_image": conv.per_row, "interleave": interleave,
        "taps": taps.ctypes.data,
    }.items():  # fmt: skip
        record[field] = value
    for axis, sizes in enumerate(((width * channels, windows[1] * out * itemsize), (channels, out * itemsize))):
        numbers = (windows, conv.kernel, shape[1:3], conv.stride, conv.dilation, conv.padding)
        record[("down", "right")[axis]] = (*(pair[axis] for pair in numbers), *sizes)
    return Plan(record.view(np.int64), (count, *windows, out), (of_layer, taps))


def _is_plain(conv: Any) -> bool:
    """Whether pixels are the windows."""
    pixels = conv.kernel == conv.stride == (1, 1) and conv.padding == (0, 0)
    return pixels and conv.groups_together == 1 and not conv.per_row


def _way(conv: Any, run: Any, windows: tuple[int, int]) -> tuple[Any, Any, tuple[int, NDArray[np.int64]]]:
    """(the way, its task, functions of `codegen.depthwise`)."""
    calls, none = load("calls.convolution"), (0, np.zeros(0, np.int64))
    if conv.is_depthwise:
        depthwise = load("calls.depthwise")
        return depthwise.convolve_depthwise, depthwise.depthwise_task, load("loops.jit").depthwise_functions(run.name)
    if _is_plain(conv):
        return calls.convolve_pixels, None, none
    if is_worth_it(conv, windows, run):
        overlapping = load("calls.overlapping")
        return overlapping.convolve_overlapping, overlapping.overlapping_task, none
    return calls.convolve_windows, calls.windows_task, none


def in_rounds(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weights [channels, 1, rows, columns] as a matrix [(rows / 4, columns, 4), channels], rows filled up with 0."""
    n, _, rows, columns = weights.shape
    full = np.zeros((-(-rows // 4) * 4, columns, n), weights.dtype)
    full[:rows] = weights[:, 0].transpose(1, 2, 0)
    return full.reshape(-1, 4, columns, n).transpose(0, 2, 1, 3).reshape(-1, n)


def plain_depthwise(layer: Any, windows: NDArray[Any]) -> NDArray[np.int64]:
    """The sums [N, rows, columns, filters] in NumPy, of a layer whose weights are `in_rounds`. windows: codes
    [N, rows, columns, channels, *kernel]."""
    n, (count, rows, columns, channels, high, wide) = layer.weights.shape[1], windows.shape
    weights = layer.weights.unpack().reshape(-1, wide, 4, n).transpose(0, 2, 1, 3).reshape(-1, wide, n)
    sums = np.zeros((count, rows, columns, n), np.int64)
    for i in range(high):
        for j in range(wide):
            sums += np.repeat(windows[..., i, j], n // channels, 3).astype(np.int32) * weights[i, j]
    return sums
