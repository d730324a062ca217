"""Given: what a function was given is what it wants, or is refused in a sentence, before it fails somewhere else."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from tinytorch.core.checks import kind_of, said

__all__: list[str] = []


def as_observer(observer: Any) -> Any:
    """observer, if it is one: TypeError for a class, and for what does not watch numbers."""
    if isinstance(observer, type) or not (hasattr(observer, "observe") and hasattr(observer, "qparams")):
        fix = f": write {observer.__name__}()" if isinstance(observer, type) else ""
        raise TypeError(f"wanted an observer, such as MinMaxObserver(), got {kind_of(observer)}{fix}")
    return observer


def ends_of(observer: Any) -> tuple[Any, Any]:
    """The (lo, hi) of its range(). TypeError for what is no pair."""
    ends = observer.range()
    try:
        lo, hi = ends
    except (TypeError, ValueError):
        raise TypeError(f"{type(observer).__name__}.range() must give (lo, hi), got {said(ends)}") from None
    return lo, hi


def tell_uncalibrated(samples: int) -> None:
    """A warning, if prepare_qat has run no sample, of what then sets the ranges."""
    if not samples:
        told = "prepare_qat got no batch with a sample in it: ranges come with a state, or with the first in training"
        warnings.warn(f"{told}; make the optimizer of learned steps after that", UserWarning, stacklevel=4)


def several_models(models: Any) -> list[Any]:
    """The models of a list: TypeError for a single one, and for what cannot be called."""
    if not isinstance(models, (list, tuple)):
        raise TypeError(f"wanted a list of models, got {kind_of(models)}: write [model]")
    for model in models:
        if not callable(model) or isinstance(model, type):
            raise TypeError(f"wanted models to call with x, got {kind_of(model)} among them")
    if not models:
        raise ValueError("wanted at least one model, got an empty list")
    return list(models)


def sensitivity_rows(table: Any) -> list[Any]:
    """The rows of a table that `sensitivity` gave: TypeError for anything else, ValueError if it has none."""
    if not isinstance(table, Iterable) or isinstance(table, (str, dict)):
        raise TypeError(f"wanted the list of rows that sensitivity gives, got {kind_of(table)}")
    rows = list(table)
    for row in rows:
        if not all(hasattr(row, name) for name in ("layer", "int_type", "nbytes", "noise")):
            raise TypeError(f"wanted rows of sensitivity, got {kind_of(row)} among them")
    if not rows:
        raise ValueError("wanted at least one row of sensitivity, got none, or an iterator that was used before")
    if len({measured_in(row) for row in rows}) > 1:
        raise ValueError(
            "the table mixes rows of sensitivity and of activation_sensitivity: plan weights and inputs apart"
        )
    return rows


def measured_in(row: Any) -> str:
    """What a row of a table has quantized: "weights" or "inputs" of a layer."""
    return getattr(row, "of", "weights")
