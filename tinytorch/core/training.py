"""The training loop, and the one number that says how well it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from .checks import real_array, whole_number
from .data import batches
from .layers import Module
from .losses import CrossEntropyLoss
from .optimizers import Adam, Optimizer
from .tensor import Array, Tensor, no_grad

Step: TypeAlias = Callable[[Module, Optimizer, Array, Array], float]


def train_step(model: Module, optimizer: Optimizer, x: Array, y: Array) -> float:
    """One step down the cross-entropy of one batch, x [N, ...] and labels y [N]; returns its mean loss.

    The gradients stay until the next step clears them. A variant of it (another loss, scaled gradients, float16
    products) is passed to `fit` as `step`.
    """
    optimizer.zero_grad()
    loss = CrossEntropyLoss()(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def fit(
    model: Module,
    x: Array,
    y: Array,
    epochs: int,
    optimizer: Optimizer | None = None,
    batch_size: int = 64,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
    step: Step = train_step,
) -> list[float]:
    """Train a classifier with cross-entropy; returns the mean loss of each epoch.

    x          [N, ...] inputs; y integers [N] labels
    optimizer  None: Adam with its defaults, over model.parameters()
    seed       of the order of the samples: the same model, data and seed give the same weights
    on_epoch   called with (epoch from 0, mean loss) after each epoch
    step       what is done with each batch: called with (model, optimizer, x, y), returns the batch's mean loss

    The model is left in training mode, without gradients: they would take as much memory as the weights.
    """
    optimizer = optimizer or Adam(model.parameters())
    if len(x) == 0:
        raise ValueError("fit needs at least one sample, got none")
    whole_number("fit", "epochs", epochs, 0)
    losses = []
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for x_batch, y_batch in batches(x, y, batch_size, seed=(seed, epoch)):
            total += step(model, optimizer, x_batch, y_batch) * len(x_batch)
        losses.append(total / len(x))
        if on_epoch:
            on_epoch(epoch, losses[-1])
    optimizer.zero_grad()
    return losses


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Eval mode and no_grad inside the block; every module's mode is put back after it."""
    modes = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _values(out: Any) -> Array:
    """The real values of a Tensor, an array, or anything that can dequantize itself."""
    out = out.dequantize() if hasattr(out, "dequantize") else out
    return out.data if isinstance(out, Tensor) else np.asarray(out)


def _hits(outputs: Array, labels: Array) -> int:
    """How many rows of outputs [N, classes] are largest at their label."""
    if outputs.ndim != 2 or labels.min() < 0 or labels.max() >= outputs.shape[1]:
        got = f"labels {labels.min()} .. {labels.max()} for outputs of shape {outputs.shape}"
        raise ValueError(f"accuracy wants outputs [N, classes] and labels in 0 .. classes - 1, got {got}")
    return int(np.sum(outputs.argmax(axis=-1) == labels))


def accuracy(model: Module, x: Array, y: Array, batch_size: int = 1000) -> float:
    """The fraction of samples, in [0, 1], whose largest output is at their label. Evaluated in eval mode."""
    if len(x) == 0:
        raise ValueError("accuracy needs at least one sample, got none")
    y = real_array("labels", y)
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers of shape ({len(x)},), one a sample, got {y.dtype} of {y.shape}")
    with evaluating(model):
        hits = sum(_hits(_values(model(a)), b) for a, b in batches(x, y, batch_size))
    return float(hits / len(x))
