"""The training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .checks import kind_of, whole_number
from .data import batches
from .layers import Module, as_module
from .losses import CrossEntropyLoss
from .optimizers import Adam, Optimizer
from .tensor import Array, Tensor

Step: TypeAlias = Callable[[Module, Optimizer, Array, Array], float]
Loss: TypeAlias = Callable[[Any, Any], Tensor]
CROSS_ENTROPY = CrossEntropyLoss()


_MAKE_IT_OF_THIS_MODEL = "make the optimizer of this model's parameters()"


def _as_optimizer(optimizer: Any) -> Optimizer:
    """optimizer, if it has what an Optimizer has. TypeError for anything else, such as the class itself."""
    if isinstance(optimizer, type) or not all(hasattr(optimizer, name) for name in ("params", "zero_grad", "step")):
        raise TypeError(f"wanted an optimizer, such as Adam(model.parameters()), got {kind_of(optimizer)}")
    made: Optimizer = optimizer
    return made


def _check_parameters(model: Module) -> None:
    """FloatingPointError, naming it, for a parameter that is not finite."""
    for name, parameter in model.named_parameters():
        if not np.isfinite(parameter.data).all():
            raise FloatingPointError(
                f"{name} is not finite any more: go on from an earlier state, with a smaller lr or smaller gradients"
            )


def train_step(model: Module, optimizer: Optimizer, x: Array, y: Array, loss: Loss = CROSS_ENTROPY) -> float:
    """One step down the loss of one batch, x [N, ...] and y, such as labels [N]; returns its mean loss.

    loss: called with (the model's output, y), returns a Tensor of shape (): CrossEntropyLoss(), MSELoss(), or any
    function. The gradients stay until the next step clears them. A variant of it (scaled gradients, float16 products)
    is passed to `fit` as `step`.

    Before a parameter is changed: FloatingPointError for a loss that is not finite, ValueError where none of the
    optimizer's parameters has got a gradient.
    """
    _as_optimizer(optimizer).zero_grad()
    value = loss(model(x), y)
    if not isinstance(value, Tensor):
        raise TypeError(f"a loss returns a Tensor of shape (), got {kind_of(value)}: NumPy's functions lose gradients")
    value.backward()
    if not np.isfinite(value.data).all():
        if isinstance(model, Module):  # any function may be trained here
            _check_parameters(model)
        raise FloatingPointError(
            f"the loss became {value.item():g}, so no step was made: look for NaN in x and y, or take a smaller lr"
        )
    if all(p.grad is None for p in optimizer.params):
        raise ValueError(f"no parameter of the {type(optimizer).__name__} has got a gradient: {_MAKE_IT_OF_THIS_MODEL}")
    optimizer.step()
    return value.item()


def _check_trains(optimizer: Optimizer, model: Module) -> None:
    """ValueError unless the optimizer holds some of the model's parameters.

    Some are enough: the others stay as they are, as where only the last layer is tuned. A warning if it holds Tensors
    of another model instead of the others, as where a layer was replaced after the optimizer was made.
    """
    held, parameters = set(_as_optimizer(optimizer).params), set(model.parameters())
    kind, missing = type(optimizer).__name__, parameters - held
    if missing == parameters:
        raise ValueError(
            f"the {kind} holds none of the model's parameters, so fit would train nothing: {_MAKE_IT_OF_THIS_MODEL}"
        )
    foreign = held - {tensor for _, tensor in model.named_tensors()}
    if missing and foreign:
        warnings.warn(
            f"fit leaves {len(missing)} of the model's {len(parameters)} parameters as they are: the {kind} holds "
            f"{len(foreign)} Tensors of another model instead; {_MAKE_IT_OF_THIS_MODEL}",
            UserWarning,
            stacklevel=3,
        )


def _check_inputs(x: Any) -> None:
    """ValueError for NaN or infinity in x, which would reach every weight, a batch norm's statistics first."""
    if isinstance(x, (np.ndarray, Tensor)):
        x = np.asarray(x)
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            row, *rest = np.argwhere(~np.isfinite(x))[0]
            raise ValueError(f"x must be finite, got {x[(row, *rest)]} in row {row}: leave such rows out, or fill them")


def _epoch(
    step: Step, model: Module, optimizer: Optimizer, x: Array, y: Array, size: int, seed: tuple[int, int]
) -> float:
    """The mean loss of one epoch, the second number of the seed. FloatingPointError as in fit."""
    total, where = 0.0, ""
    try:
        for batch, (x_batch, y_batch) in enumerate(batches(x, y, size, seed)):
            where = f"epoch {seed[1]}, batch {batch}"
            loss = step(model, optimizer, x_batch, y_batch)
            if not np.isfinite(loss):  # a GradScaler may have left the step out, and all is well
                _check_parameters(model)
            total += loss * len(x_batch)
        _check_parameters(model)
    except FloatingPointError as error:
        raise FloatingPointError(f"{where}: {error}") from error
    return total / len(x)


def fit(
    model: Module,
    x: Array,
    y: Array,
    epochs: int | range,
    optimizer: Optimizer | None = None,
    batch_size: int = 64,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
    step: Step = train_step,
) -> list[float]:
    """Train a model, a classifier with cross-entropy; returns the mean loss of each epoch.

    x          [N, ...] inputs; y [N, ...], for cross-entropy integers [N], the labels
    epochs     how many; or which, to go on: fit(..., range(10, 20)) after fit(..., 10) is fit(..., 20), where model and
               optimizer are the same, or were loaded from a checkpoint
    optimizer  None: Adam with its defaults, over model.parameters(). What it does not hold stays as it is; ValueError
               where it holds none of the model's parameters, such as those that a model had before prepare_qat
    seed       of the order of the samples: the same model, data and seed give the same weights
    on_epoch   called with (epoch from 0, mean loss) after each epoch
    step       what is done with each batch: called with (model, optimizer, x, y), returns the batch's mean loss;
               partial(train_step, loss=MSELoss()) trains with another loss

    The model is left in training mode, without gradients: they would take as much memory as the weights. ValueError for
    x that is not finite, before anything is changed; FloatingPointError, naming epoch and batch, once the loss or a
    parameter is not.
    """
    if not as_module(model).parameters():
        raise ValueError("the model has no parameters to train: prepare_qat trains what will be quantized, before that")
    optimizer = Adam(model.parameters()) if optimizer is None else optimizer
    _check_trains(optimizer, model)
    if len(x) == 0:
        raise ValueError("fit needs at least one sample, got none")
    _check_inputs(x)
    losses = []
    model.train()
    for epoch in epochs if isinstance(epochs, range) else range(whole_number("fit", "epochs", epochs, 0)):
        losses.append(_epoch(step, model, optimizer, x, y, batch_size, (seed, epoch)))
        if on_epoch:
            on_epoch(epoch, losses[-1])
    optimizer.zero_grad()
    return losses
