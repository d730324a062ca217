"""What a function was given is what it wants, or is refused in a sentence: NumPy would go on, or fail elsewhere."""

from __future__ import annotations

import sys
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray


def real_array(name: str, x: Any) -> NDArray[Any]:
    """x as an array of real numbers. TypeError for text, objects, complex numbers, rows of unequal length, and for
    masked values, which are no numbers."""
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise TypeError(f"{name} must be real numbers, got rows of unequal length") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got {type(x).__name__} of dtype {array.dtype}")
    if "numpy.ma" in sys.modules and np.ma.is_masked(x):  # NumPy loads it, in 50 ms, when it is first named
        raise TypeError(f"{name} must be real numbers, got a masked array with masked values: fill them first")
    return array


def float32_array(name: str, x: Any) -> NDArray[np.float32]:
    """x as float32; what is beyond it becomes infinite. TypeError for what is no array of real numbers."""
    with np.errstate(over="ignore"):
        return real_array(name, x).astype(np.float32, copy=False)


def whole_number(owner: str, name: str, value: Any, least: int = 1) -> int:
    """value as a Python integer. ValueError unless it is one of at least `least`; True and False are none."""
    if isinstance(value, (bool, np.bool)) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{owner} needs {name} as one integer >= {least}, got {value!r}")
    return int(value)


def real_number(name: str, value: Any) -> float:
    """value as a Python float. TypeError unless it is a real number."""
    if isinstance(value, (bool, np.bool)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def true_or_false(name: str, value: Any) -> bool:
    """value as a Python bool. TypeError for anything else, which Python would take for one of the two."""
    if not isinstance(value, (bool, np.bool)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def checked_axis(axis: Any) -> int | tuple[int, ...] | None:
    """An axis, several in a tuple, or None for all. TypeError for anything else, such as True."""
    try:
        if any(isinstance(a, (bool, np.bool)) for a in (axis if isinstance(axis, tuple) else (axis,))):
            raise TypeError
        if isinstance(axis, tuple):
            return tuple(map(index, axis))
        return None if axis is None else int(index(axis))
    except TypeError as error:
        raise TypeError(f"axis must be an integer, several in a tuple, or None, got {axis!r}") from error
