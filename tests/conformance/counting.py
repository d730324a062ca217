"""Counting: how many values were compared with a peer's, and how many differed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Answer = tuple[str, Array, Array]  # what was asked, our answer, the peer's


@dataclass(frozen=True)
class Count:
    """`mismatches` of `compared` values of an operator differed from the peer's. first: the first of them, in words."""

    operator: str
    types: str
    compared: int
    mismatches: int
    peer: str
    first: str = ""


def count(operator: str, types: str, peer: str, answers: Iterable[Answer]) -> Count:
    """Compare bit for bit: 0.0 is not -0.0, and an answer of another dtype or shape differs in every value."""
    compared, mismatches, first = 0, 0, ""
    for asked, ours, theirs in answers:
        different = differs(ours, theirs)
        compared += different.size
        mismatches += int(different.sum())
        if not first and different.any():
            first = f"{asked}: {_first(different, ours, theirs)}"
    return Count(operator, types, compared, mismatches, peer, first)


def differs(ours: Array, theirs: Array) -> NDArray[np.bool_]:
    """Where the bits are not the same: bool, of the shape of theirs."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return np.ones(theirs.shape, bool)
    return np.asarray(_bits(ours) != _bits(theirs))


def _bits(values: Array) -> Array:
    return np.ascontiguousarray(values).view(f"u{values.itemsize}").reshape(values.shape)


def _first(different: NDArray[np.bool_], ours: Array, theirs: Array) -> str:
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return f"ours is {ours.dtype} {ours.shape}, theirs {theirs.dtype} {theirs.shape}"
    index = tuple(np.argwhere(different)[0].tolist())
    return f"at {list(index)} ours is {ours[index]}, theirs {theirs[index]}"
