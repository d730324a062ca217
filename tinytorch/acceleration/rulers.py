"""Rulers as the kernels take them: what is needed of a QParams, and which inputs no ruler fits."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

DYNAMIC = (0, 0, 255, np.float32(0))  # uint8, its zero point and scale to be found from each input


class Ruler(Protocol):
    """What is needed of a QParams of one tensor: x ~ scale * (q - zero_point)."""

    @property
    def scale(self) -> Any: ...
    @property
    def zero_point(self) -> Any: ...
    @property
    def int_type(self) -> Any: ...


def ruler_of(qparams: Ruler, what: str) -> tuple[int, int, int, np.float32]:
    """(zero point, lowest code, highest code, scale) of a ruler for one whole tensor."""
    scale, zero_point = np.asarray(qparams.scale, np.float32), np.asarray(qparams.zero_point)
    if scale.size != 1 or zero_point.size != 1:
        raise ValueError(f"{what} must be one ruler for the whole tensor, got a scale of shape {scale.shape}")
    return int(zero_point.item()), int(qparams.int_type.qmin), int(qparams.int_type.qmax), np.float32(scale.item())


def refuse(x: NDArray[np.float32], status: int) -> None:
    """Say what is wrong with x: NaN (-1), or a range that is not finite (-2)."""
    if status == -1:
        where = np.argwhere(np.isnan(x))[0].tolist()
        raise ValueError(
            f"x must not hold NaN, got one at index {where}: no code stands for it, find out where it arose"
        )
    if status == -2:
        raise ValueError(f"a range must be finite, got [{x.min():g}, {x.max():g}]: mask or clip x before measuring it")
