"""What a function was given is what it wants, or is refused in a sentence: NumPy would go on, or fail elsewhere."""

from __future__ import annotations

import sys
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray


def kind_of(value: Any) -> str:
    """What a value is, in words: "a list", "a torch.Tensor", "the class Linear", "None"."""
    if value is None or isinstance(value, type):
        return "None" if value is None else f"the class {value.__qualname__}"
    kind = type(value)
    return f"a {kind.__qualname__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__qualname__}"


def said(value: Any) -> str:
    """What a value is, for an error: its repr where that is short, else its kind.

    >>> said("int4"), said(list(range(1000)))
    ("'int4'", 'a list')
    """
    is_long = isinstance(value, (list, tuple, dict)) and len(value) > 30
    text = "" if is_long or isinstance(value, type) else repr(value)
    return text if 0 < len(text) <= 100 and "\n" not in text else kind_of(value)


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


def rounded_to_odd(name: str, x: Any) -> NDArray[np.float32]:
    """x as float32, rounded to odd: of the two neighbours of a number that float32 does not hold, the one whose last
    bit is 1. So a second rounding, to fewer bits, gives what one rounding of x would. TypeError as in real_array."""
    exact, nearest = real_array(name, x), float32_array(name, x)
    if nearest.dtype == exact.dtype:
        return nearest
    exact = exact.astype(np.float64) if exact.dtype.kind in "iub" else exact
    is_even = (nearest.view(np.uint32) & 1) == 0
    moved = is_even & (exact != nearest) & ~np.isnan(nearest)
    towards = np.where(exact > nearest, np.float32(np.inf), np.float32(-np.inf))
    return np.nextafter(nearest, np.where(moved, towards, nearest))


def whole_number(owner: str, name: str, value: Any, least: int = 1) -> int:
    """value as a Python integer. ValueError unless it is one of at least `least`; True and False are none."""
    if isinstance(value, (bool, np.bool)) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{owner} needs {name} as one integer >= {least}, got {said(value)}")
    return int(value)


def real_number(name: str, value: Any) -> float:
    """value as a Python float. TypeError unless it is a real number."""
    if isinstance(value, (bool, np.bool)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {said(value)}")
    return float(value)


def integer_labels(labels: Any) -> NDArray[Any]:
    """Labels of classes as an array of integers. TypeError for anything else, such as the targets of a regression."""
    y = real_array("labels", labels)
    if y.dtype.kind not in "iu":
        whole = np.all(y == np.trunc(y)) and np.all(np.isfinite(y))
        fix = "use labels.astype(np.int64)" if whole else "real numbers are the targets of a regression, not classes"
        raise TypeError(f"labels must be integers, got {y.dtype}: {fix}")
    return y


def true_or_false(name: str, value: Any) -> bool:
    """value as a Python bool. TypeError for anything else, which Python would take for one of the two."""
    if not isinstance(value, (bool, np.bool)):
        raise TypeError(f"{name} must be True or False, got {said(value)}")
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
        raise TypeError(f"axis must be an integer, several in a tuple, or None, got {said(axis)}") from error


def check_fits(name: str, shape: tuple[int, ...], into: tuple[int, ...]) -> None:
    """ValueError unless an array of `shape` broadcasts against one of shape `into` without making it larger."""
    if len(shape) > len(into) or any(n not in (1, m) for n, m in zip(shape[::-1], into[::-1], strict=False)):
        raise ValueError(f"{name} of shape {shape} does not fit an array of shape {into}: it would enlarge the result")
