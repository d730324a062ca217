"""What a network answers on data it is shown, and how well it does: a number for a classifier, one for a regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .checks import integer_labels, kind_of, real_array, whole_number
from .data import batches
from .layers import Module, as_module, evaluating
from .tensor import Array, Tensor


def _values(out: Any) -> Array:
    """The real values of a Tensor, an array, or anything that can dequantize itself."""
    if isinstance(out, (tuple, list, dict)):
        several = f"the model gives {len(out)} results in {kind_of(out)}, and one array is wanted"
        raise TypeError(f"{several}: call the model itself, or a module that picks one")
    out = out.dequantize() if hasattr(out, "dequantize") else out
    return real_array("the model's output", out.data if isinstance(out, Tensor) else out)


def outputs(
    model: Module, x: Any, batch_size: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Array:
    """The network's outputs for x, in evaluation mode, as real numbers.

    batch_size: how many rows of x at once, so that memory does not grow with x; None: all. Layers that quantize their
    input dynamically take the range of what they are given, so their answers depend on it. progress: called after each
    batch with (rows done, rows in all).
    """
    as_module(model)
    if batch_size is None:
        with evaluating(model):
            y = _values(model(x))
        if progress is not None:
            progress(len(x), len(x))
        return y
    batch_size = whole_number("outputs", "batch_size", batch_size)
    rows = x.data if isinstance(x, Tensor) else x
    if not isinstance(rows, np.ndarray) or rows.ndim == 0:
        raise TypeError(f"outputs takes rows of an array in batches, got {type(x).__name__}: leave batch_size out")
    parts = []
    for start in range(0, max(len(rows), 1), batch_size):
        parts.append(outputs(model, rows[start : start + batch_size]))
        if progress is not None:
            progress(min(start + batch_size, len(rows)), len(rows))
    return np.concatenate(parts)


def _hits(outputs: Array, labels: Array) -> int:
    """How many rows of outputs [N, ..., classes] are largest at their label. A row with NaN has no largest."""
    if outputs.shape[:-1] != labels.shape or outputs.shape[-1] < 2:
        wanted = "accuracy wants outputs [N, ..., classes] of at least 2 classes and labels [N, ...]"
        raise ValueError(f"{wanted}, got outputs {outputs.shape} and labels {labels.shape} in a batch")
    if labels.min() < 0 or labels.max() >= outputs.shape[-1]:
        got = f"labels {labels.min()} .. {labels.max()} for outputs of shape {outputs.shape}"
        raise ValueError(f"accuracy wants labels in 0 .. classes - 1, got {got}")
    return int(np.sum((outputs.argmax(axis=-1) == labels) & ~np.isnan(outputs).any(axis=-1)))


def accuracy(model: Module, x: Array, y: ArrayLike, batch_size: int = 1000) -> float:
    """The share, in [0, 1], of labels at which the outputs are largest. Evaluated in eval mode.

    y: integers of the outputs' shape without its last axis: [N] for outputs [N, classes], and [N, T] for a label at
    each of T tokens, outputs [N, T, classes]. TypeError for labels that are no integers: r2_score measures a
    regression.
    """
    y = integer_labels(y)
    if y.shape[:1] != (len(x),) or y.size == 0:
        raise ValueError(f"accuracy needs at least one sample and a label for each, got {len(x)} and labels {y.shape}")
    with evaluating(model):
        hits = sum(_hits(_values(model(a)), b) for a, b in batches(x, y, batch_size))
    return float(hits / y.size)


def r2_score(model: Module, x: Array, y: ArrayLike, batch_size: int = 1000) -> float:
    """The coefficient of determination of a regression: 1 is exact, 0 no better than the mean of y. In eval mode.

    `1 - sum (y - output)**2 / sum (y - mean of y)**2` for each output, and of several outputs the mean.
    y: real numbers [N, ...] of the outputs' shape. ValueError for targets that are all equal.
    """
    y = real_array("targets", y).astype(np.float64)
    if y.shape[:1] != (len(x),) or y.size == 0:
        raise ValueError(f"r2_score needs at least two samples and a target for each, got {len(x)} and {y.shape}")
    if not np.all(np.isfinite(y)) or not np.all(y.max(axis=0) > y.min(axis=0)):
        raise ValueError("r2_score needs finite targets that differ from sample to sample, for each output")
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    squares = np.zeros_like(spread)
    with evaluating(model):
        for a, b in batches(x, y, batch_size):
            outputs = _values(model(a))
            if outputs.shape != b.shape:
                wanted = f"r2_score wants targets of the outputs' shape, {outputs.shape} in a batch"
                raise ValueError(f"{wanted}, got {b.shape}: reshape y")
            squares += ((outputs - b) ** 2).sum(axis=0)
    return float(np.mean(1 - squares / spread))
