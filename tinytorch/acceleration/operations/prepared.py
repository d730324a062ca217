"""What functions remember between calls: a layer made from the same values need not be made again.

    int8_linear(x, pack, scale, bias)   looks among `pack.prepared` for a layer that was made from these values
                                        compares the values themselves, for an array may have been changed in place
                                        makes the layer if there is none, and remembers it with the pack

What is remembered goes when the pack goes: nothing in it refers to the pack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from .qparams import QParamsLike, is_fixed

MAX_PREPARED = 8  # of a pack
NUMBERS = (float, np.float32, np.float64)
NONE = ("none",)  # the values of None; apart from None, which stands for values that cannot be compared


@dataclass(frozen=True, slots=True)
class Prepared:
    """Something made from a pack, these values and quantization parameters."""

    values: tuple[tuple[Any, ...] | None, ...]
    input_qparams: QParamsLike | None
    output_qparams: QParamsLike | None
    made: Any


def values_of(a: Any) -> tuple[Any, ...] | None:
    """The values of a number or an array, to compare them later by ==; None for anything else. (Those of an array of
    objects are their addresses, and cannot be compared; but that is found out in `remember`, once.)"""
    if type(a) is ndarray:
        return a.dtype, a.ndim, a.tobytes()
    if a is None:
        return NONE
    return (float(a),) if type(a) in NUMBERS else None


def remember(kept: list[Prepared], prepared: Prepared) -> None:
    """Put it first in the list, if it can be recognized again. Threads may do so at once."""
    comparable = all(v is not None and getattr(v[0], "kind", "f") in "fiub" for v in prepared.values)
    fixed = all(q is None or is_fixed(q) for q in (prepared.input_qparams, prepared.output_qparams))
    if comparable and fixed:
        kept.insert(0, prepared)
        del kept[MAX_PREPARED:]
