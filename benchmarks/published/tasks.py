"""What a published model is judged by: its file, its calibration data, its evaluation data, and a score.

A task keeps calibration and evaluation data apart, and has a fixed seed, so two runs see the same numbers. A score is a
share of right answers; where labels cannot be had, right is what the float model says, or what is near its number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tinytorch.quantization import accuracy_interval

Array = NDArray[Any]
Feed = dict[str, Array]
Run = Callable[[Feed], list[Array]]  # one call of a model: its inputs by name -> all its outputs, in order


@dataclass(frozen=True)
class Score:
    """The share of a model's answers that are right, and Wilson's interval of 95 % for it."""

    value: float
    interval: tuple[float, float]
    text: str


@dataclass(frozen=True)
class Task:
    """A published model and what it is asked.

    calibration: the feeds that every quantizer sees, none of which is asked. answers: what the model says to the
    evaluation data. score: of such answers, beside the float model's own. timed: the feed whose run is timed.
    """

    name: str
    package: str
    model: onnx.ModelProto
    asked: str
    calibration: list[Feed]
    answers: Callable[[Run], Array]
    score: Callable[[Array, Array], Score]
    timed: Feed


def model_file(package: str, file: str) -> Path:
    """Where an installed package keeps its model.

    >>> model_file("numpy", "numpy/version.py").name
    'version.py'
    """
    return Path(str(distribution(package).locate_file(file)))


def share(correct: int, total: int) -> Score:
    """A share of right answers, with Wilson's interval.

    >>> share(90, 100).text
    '90.0% (82.6%-94.5%)'
    """
    lo, hi = accuracy_interval(correct, total)
    return Score(correct / total, (lo, hi), f"{correct / total:.1%} ({lo:.1%}-{hi:.1%})")


def share_of_labels(labels: Sequence[Any] | Array) -> Callable[[Array, Array], Score]:
    """The score of answers that should equal `labels`."""
    right = np.asarray(labels)
    return lambda answers, _: share(int(np.sum(answers == right)), len(right))


def share_of_float(answers: Array, of_float: Array) -> Score:
    """The share of answers that are the float model's own."""
    return share(int(np.sum(answers == of_float)), answers.size)


def share_near_float(within: float) -> Callable[[Array, Array], Score]:
    """The score of answers that should be no further than `within` from the float model's, and their mean error."""

    def score(answers: Array, of_float: Array) -> Score:
        apart = np.abs(answers - of_float)
        near = share(int(np.sum(apart <= within)), apart.size)
        return replace(near, text=f"{near.text}, error {apart.mean():.3f}")

    return score
