"""What the catalogue's entries are made of: a change, who makes it, and what it may cost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .page import Page

Where = Literal["cells", "bytes", "handed", "lms"]
Files = dict[str, "File"]


@dataclass(frozen=True)
class File:
    """A file that is handed in, and how many hours ago it was saved."""

    data: bytes
    hours: int = 1


@dataclass
class Context:
    """What a change may ask about the student it happens to."""

    rng: random.Random
    touched: set[str] = field(default_factory=set)  # exercises that may lose their points
    stubs: dict[str, Page] = field(default_factory=dict)  # stem -> the notebook as it was given
    paired: bool = False  # both forms lie in the student's course, as JupyterLab with jupytext saves them

    def costs(self, *exercises: str | None) -> None:
        self.touched |= {exercise for exercise in exercises if exercise}


@dataclass(frozen=True)
class Kind:
    """A kind of change. A harmless one may cost no point by any way, whatever is said.

    in_nbgrader: the sentence of nbgrader's README by which its edition alone may differ.
    """

    name: str
    where: Where
    apply: Callable[..., Any]
    harmless: bool
    weight: float
    in_nbgrader: str


KINDS: dict[str, Kind] = {}


def _kind(where: Where, harmless: bool, weight: float, in_nbgrader: str) -> Callable[..., Any]:
    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        assert function.__doc__, f"{function.__name__} does not say who does this"
        KINDS[function.__name__] = Kind(function.__name__, where, function, harmless, weight, in_nbgrader)
        return function

    return enter


def harmless(where: Where, weight: float = 1.0, in_nbgrader: str = "") -> Callable[..., Any]:
    """Put a function into the catalogue. Its docstring says who does this."""
    return _kind(where, True, weight, in_nbgrader)


def costly(where: Where, weight: float = 1.0, in_nbgrader: str = "") -> Callable[..., Any]:
    return _kind(where, False, weight, in_nbgrader)
