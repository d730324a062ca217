"""What judged code is given, and whether it left that as it was.

A function gets copies of a test's arrays: whatever it does to them, the test goes on with its own. A function that
changes an argument has failed, for its caller still needs it: an array, a list, a dict, or an array of an object of the
student's own, such as a weight of a model. Where a change is the purpose, the test says `may_change(model)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

Argument = int | str  # its place in a call, or its name
Collection = list[Any] | dict[Any, Any]
LEAVES = {str, bytes, bool, int, float, complex, type(None), type, FunctionType, MethodType, ModuleType}  # hold none


class ArgumentChanged(AssertionError):
    """student_frames: where the function is defined that changed an argument, as (file, line)."""

    def __init__(self, message: str, function: Callable[..., Any]) -> None:
        super().__init__(message)
        code = getattr(inspect.unwrap(function), "__code__", None)
        self.student_frames = [(code.co_filename, code.co_firstlineno)] if code else []


class Given:
    """The arguments of one call, and what they held before it."""

    def __init__(self) -> None:
        self._arrays: list[tuple[Argument, np.ndarray, np.ndarray]] = []  # as given, as it was
        self._collections: list[tuple[Argument, Collection, list[Any]]] = []
        self._objects: list[tuple[Argument, Any, list[tuple[np.ndarray, np.ndarray]]]] = []

    def array(self, argument: Argument, sent: np.ndarray) -> np.ndarray:
        """A copy of a test's array, with its layout in memory and its flags."""
        given = like(sent)
        if given.flags.writeable:
            self._arrays.append((argument, given, sent))
        return given

    def collection(self, argument: Argument, given: Collection) -> Collection:
        """A list or dict that was made for this call."""
        self._collections.append((argument, given, _items(given)))
        return given

    def object(self, argument: Argument, held: Any) -> None:
        """An object of the student's own, with all arrays that can be reached from it."""
        before = [(array, array.copy() if array.flags.writeable else array) for array in arrays_of(held)]
        self._objects.append((argument, held, before))

    def check(self, function: Callable[..., Any]) -> None:
        """Raise ArgumentChanged for an argument that is not what it was."""
        for argument in self._changed():
            raise ArgumentChanged(_told(function, argument), function)

    def _changed(self) -> list[Argument]:
        changed = [argument for argument, given, sent in self._arrays if not _same(given, sent)]
        changed += [argument for argument, given, before in self._collections if not _same_items(given, before)]
        for argument, held, before in self._objects:
            now = list(arrays_of(held))
            if len(now) != len(before) or not all(map(_same, now, (old for _, old in before))):
                changed.append(argument)
                _put_back(before)
        return changed


def _put_back(arrays: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Give arrays back what they held: other tests share their object with this one."""
    for array, before in arrays:
        if array is not before:
            array[...] = before


def _told(function: Callable[..., Any], argument: Argument) -> str:
    """The sentence about a changed argument, by its name where the function tells it."""
    try:
        names = list(inspect.signature(function).parameters) if isinstance(argument, int) else [argument]
    except (TypeError, ValueError):
        names = []
    at = argument if isinstance(argument, int) else 0
    name = names[at] if at < len(names) else f"number {at + 1}"
    called = getattr(function, "__name__", type(function).__name__)
    return f"{called} changed its argument {name}, which its caller still needs: work on a copy of it"


def arrays_of(root: Any) -> Iterator[np.ndarray]:
    """The arrays that can be reached from an object by its attributes and through lists, tuples, sets and dicts."""
    seen, waiting = set[int](), [root]
    while waiting:
        value = waiting.pop()
        kind = value.__class__
        if kind in LEAVES or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            if not value.dtype.hasobject:
                yield value
        elif isinstance(value, tuple | list | set | frozenset):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        elif not isinstance(value, type):
            waiting += getattr(value, "__dict__", {}).values()
            waiting += [getattr(value, name) for name in _slots(kind) if hasattr(value, name)]


@cache
def _slots(kind: Any) -> list[str]:
    """The attributes of a class that stand in no `__dict__`."""
    names = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    return [name for some in names for name in ((some,) if isinstance(some, str) else some) if name[:2] != "__"]


def like(array: np.ndarray) -> np.ndarray:
    """A copy that lies in its own memory as the array does in its: strides, byte order, flags."""
    copy = array.copy() if array.flags.c_contiguous else array[:0]
    if copy.strides != array.strides or copy.shape != array.shape:
        dense = array[(*once(array.shape, array.strides), ...)]
        copy = laid_out(dense, array.shape, array.strides)
    copy.flags.writeable = array.flags.writeable
    return copy


def once(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[Any, ...]:
    """An index that takes each number in memory once, however often a stride of 0 shows it."""
    return tuple(
        slice(None) if stride or not length else slice(1) for length, stride in zip(shape, strides, strict=True)
    )


def laid_out(dense: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """The numbers in memory of these strides, zeros between them."""
    if dense.size == 0:
        return np.empty(shape, dense.dtype)
    reach = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
    first = -sum(step for step in reach if step < 0)
    memory = np.zeros(first + sum(step for step in reach if step > 0) + dense.itemsize, np.uint8)
    array: np.ndarray = np.ndarray(shape, dense.dtype, memory.data, first, strides)
    array[once(shape, strides)] = dense
    return array


def _same(array: np.ndarray, before: np.ndarray) -> bool:
    """Bit for bit: of two NaNs, too."""
    if array is before:
        return True
    return (array.shape, array.dtype) == (before.shape, before.dtype) and array.tobytes() == before.tobytes()


def _items(given: Collection) -> list[Any]:
    return [item for pair in given.items() for item in pair] if isinstance(given, dict) else list(given)


def _same_items(given: Collection, before: list[Any]) -> bool:
    items = _items(given)
    return len(items) == len(before) and all(one is other for one, other in zip(items, before, strict=True))
