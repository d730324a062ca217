"""Codes as int8, which is how every file but ONNX's stores them: unsigned ones are 128 higher in the network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.deployment.steps import Value
from tinytorch.quantization import QParams


def qparams_of(value: Value) -> QParams:
    """The parameters of a value that must be codes."""
    assert value.qparams is not None, f"{value.name} are floats"
    return value.qparams


def stored(codes: ArrayLike, p: QParams) -> NDArray[np.int8]:
    """Codes, or numbers between them such as zero points, as int8."""
    return (np.asarray(codes, np.int16) - (0 if p.int_type.signed else 128)).astype(np.int8)


def int8_zero_point(p: QParams) -> int:
    return int(stored(p.zero_point, p))


def int8_limits(p: QParams) -> tuple[int, int]:
    """The lowest and the highest code of the type."""
    lowest, highest = stored([p.int_type.qmin, p.int_type.qmax], p)
    return int(lowest), int(highest)


def unstored(codes: NDArray[Any], p: QParams) -> NDArray[Any]:
    """int8 as the network has its codes."""
    return (codes.astype(np.int16) + (0 if p.int_type.signed else 128)).astype(p.int_type.storage)
