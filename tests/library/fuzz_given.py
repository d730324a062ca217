"""What the fuzz gives to functions: numbers of every size, in every form an array can have, and what is no array."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import oracle_17
else:  # no name in Python begins with a digit
    oracle_17 = importlib.import_module("tests.17_quantization.oracle_17")

oracle = oracle_17  # plain Python, nothing of the code under test
Rng = np.random.Generator
Array = np.ndarray[Any, Any]


class Refused:
    """The answer of a call that must be refused."""

    def __repr__(self) -> str:
        return "a refusal"


REFUSED = Refused()


@dataclass(frozen=True)
class Call:
    """One call, and what it must give. given: what it may not change. may_refuse: its form need not be taken.

    within: how far each number may be from the wanted one.
    """

    run: Callable[[], Any]
    wanted: Any
    given: tuple[Any, ...] = ()
    may_refuse: bool = False
    within: Any = 0.0


class Subclass(np.ndarray):
    """An ndarray that is not quite one."""


def chance(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def a_shape(rng: Rng, least: int = 0, most: int = 3) -> tuple[int, ...]:
    """Of `least` to `most` axes, each mostly short, sometimes 1, seldom 0."""
    return tuple(int(n) for n in rng.choice([0, 1, 1, 2, 3, 4, 5], int(rng.integers(least, most + 1))))


def numbers(rng: Rng, shape: tuple[int, ...], wild: bool = True) -> Array:
    """float32 of one kind: usual, ties, all the same, not negative; where wild, huge, tiny, infinite or NaN, too."""
    x = rng.normal(size=shape)
    kind = rng.integers(10 if wild else 6)
    if kind == 1:
        x = np.rint(4 * x) / 2
    elif kind == 2:
        x = np.full(shape, rng.choice([0.0, -0.0, 1.0, -3.5]))
    elif kind == 3:
        x = np.abs(x)
    elif kind == 4:
        x = x * 10.0 ** rng.integers(-6, 7)
    elif kind == 6:
        x = np.clip(x, -3, 3) * 1e38
    elif kind == 7:
        x = x * 10.0 ** rng.integers(-46, -36)
    elif kind >= 8 and x.size:
        x.flat[rng.integers(x.size)] = rng.choice([np.nan, np.inf, -np.inf])
    return np.asarray(x, np.float32)


def disguised(rng: Rng, x: Array) -> tuple[Any, bool]:
    """The same numbers in another form, and whether a function may refuse that form."""
    kind, x = rng.integers(12), np.asarray(x)
    if kind == 1 and x.size:
        return x.tolist(), False
    if kind == 2 and x.ndim:
        return np.asfortranarray(x), False
    if kind == 3 and x.ndim:
        return np.ascontiguousarray(x[::-1])[::-1], False
    if kind == 4 and x.ndim:
        return np.repeat(x, 2, -1)[..., ::2], False
    if kind == 5:
        x = x.copy()
        x.flags.writeable = False
        return x, False
    if kind == 6:
        return x.astype(x.dtype.newbyteorder()), False
    if kind == 7 and x.dtype == np.float32:
        return x.astype(np.float64), False
    if kind == 8:
        return x.view(Subclass), True
    if kind == 9:
        return np.ma.array(x), True
    if kind == 10 and x.ndim and len(x):
        return tuple(x), True
    return x, False


def no_array(rng: Rng, shape: tuple[int, ...] = (2, 3)) -> Any:
    """What is no array of real numbers."""
    shape = tuple(max(n, 1) for n in shape)
    x = np.ones(shape, np.float32)
    return [
        None, "3.5", "x", np.full(shape, "x"), x + 1j, b"3", [[1.0, 2.0], [3.0]], {"a": 1.0}, [None],
        np.full(shape, np.datetime64("2020-01-01")), np.ma.array(x, mask=True), object(), np.zeros(shape, "V4"),
    ][int(rng.integers(13))]  # fmt: skip


def an_integer(rng: Rng, n: int) -> Any:
    """n as a Python integer, or of any integer type of NumPy that holds it."""
    types: list[type[np.integer]] = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
    fitting = [t for t in types if np.iinfo(t).min <= n <= np.iinfo(t).max]
    return n if chance(rng, 0.4) else fitting[int(rng.integers(len(fitting)))](n)


def no_integer(rng: Rng) -> Any:
    return [2.5, np.float32(2.5), "2", None, np.nan, [2], (), np.array([1, 2]), 1j][int(rng.integers(9))]
