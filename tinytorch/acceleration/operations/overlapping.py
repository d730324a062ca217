"""An ordinary convolution by windows that overlap in memory: when that is worth it, and how it is prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.once import load
from .depthwise import EPILOGUES, Columns, kept
from .linear import TO_CODES, Int8Linear

FIRST_CACHE = 1 << 15  # bytes of the rows of a tile
STRIP = 1 << 17  # bytes of the strip of a column of windows
FEW = 6  # windows, of which one may run on into the next strip, if lines are short; one of many where they are long
LONG_LINE = 24  # bytes of a line for each of these many


def lines_of(conv: Any, rows: int) -> int:
    """Lines of a strip (see `loops.overlapping`) with so many rows of windows."""
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
            load("loops.overlapping"),
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
        job["edge"], job["flip"] = edge.ctypes.data, mask.ctypes.data
        flat = np.ascontiguousarray(images).reshape(-1).view(np.uint8), out.reshape(-1).view(np.uint8)
        driver.overlapping(*run.pool(), driver.overlapping_task.address, words, *flat)

    def _plan(self, conv: Any, run: Any, images: NDArray[Any], out: NDArray[Any]) -> Any:
        """The record that the driver takes, without what changes from call to call; as integers, which copy faster."""
        layer, plan = self.layer, np.zeros(1, load("loops.overlapping").OVERLAPPING)
        for name, value in {
            "kernel": run.address, "images": len(images), "height": images.shape[1], "width": images.shape[2],
            "pixel_bytes": conv.channels, "window_rows": conv.kernel[0], "window_columns": conv.kernel[1],
            "down": conv.stride[0], "right": conv.stride[1], "above": conv.padding[0], "left": conv.padding[1],
            "rows": out.shape[1], "columns": out.shape[2], "filters": out.shape[3], "itemsize": out.itemsize,
            "weights": layer.weights.data.ctypes.data, "panel_bytes": layer.weights.panel_bytes,
            "epilogue": load("loops.jit").passes(run.name)[EPILOGUES[layer.epilogue]], "u_step": 4,
            "v_step": 0 if layer.epilogue == TO_CODES else 4,
        }.items():  # fmt: skip
            plan[name] = value
        return plan.view(np.int64)
