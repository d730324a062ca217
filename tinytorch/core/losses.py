"""What training makes small."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import integer_labels, real_array
from .products import widened
from .tensor import Array, Tensor


def _checked(labels: ArrayLike, shape: tuple[int, ...]) -> Array:
    y = integer_labels(labels)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"logits must have shape (batch, ..., classes) and not be empty, got {shape}")
    if y.shape != shape[:-1]:
        raise ValueError(f"labels must have shape {shape[:-1]}, an integer a row, got {y.shape}: one-hot wants argmax")
    if y.min() < 0 or y.max() >= shape[-1]:
        raise ValueError(f"labels must lie in 0 .. {shape[-1] - 1}, a column of the logits; got {y.min()} .. {y.max()}")
    return y


class CrossEntropyLoss:
    """Mean over the batch, and over all places of a sample, of -log softmax(logits)[label].

    It is computed in float32 at least, so that the loss of a float16 network can be scaled without overflow.
    """

    def __call__(self, logits: Tensor, labels: ArrayLike) -> Tensor:
        """logits [N, classes], labels integers [N] in 0 .. classes - 1 -> a tensor of shape ().

        Or a label at each of T tokens: logits [N, T, classes], labels [N, T], as accuracy takes them. The classes are
        the last axis; PyTorch has them in the second: x.transpose(0, 2, 1) makes its logits ours.

        Raises TypeError for labels that are not integers, ValueError for wrong shapes or labels out of range.
        """
        if not isinstance(logits, Tensor):
            raise TypeError(f"logits must be a Tensor, so that they have a gradient, got {type(logits).__name__}")
        y = _checked(labels, logits.shape).ravel()
        z = widened(logits.data).reshape(len(y), -1)
        z = z - z.max(axis=1, keepdims=True)  # exp of the largest is 1: no overflow
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        rows = np.arange(len(y))

        def backward(grad: Array) -> tuple[Array]:
            slope = np.exp(log_p)
            slope[rows, y] -= 1  # softmax minus one-hot
            return ((slope * (grad / len(y))).reshape(logits.shape),)

        return Tensor.from_op(-log_p[rows, y].mean(), (logits,), backward)


class MSELoss:
    """Mean of the squared errors (prediction - target)**2, over all numbers of the batch: for a regression.

    It is computed in float32 at least, as CrossEntropyLoss.
    """

    def __call__(self, predictions: Tensor, targets: ArrayLike) -> Tensor:
        """predictions and targets of one shape -> a tensor of shape ().

        ValueError for targets of another shape, which would broadcast, or that are not finite.
        """
        if not isinstance(predictions, Tensor):
            kind = type(predictions).__name__
            raise TypeError(f"predictions must be a Tensor, so that they have a gradient, got {kind}")
        wide, y = widened(predictions.data), real_array("targets", targets)
        if y.shape != wide.shape or y.size == 0:
            raise ValueError(f"targets must have the predictions' shape {wide.shape} and not be empty, got {y.shape}")
        if not np.all(np.isfinite(y)):
            raise ValueError("targets must be finite: nothing comes near infinity or NaN")
        error = wide - y.astype(wide.dtype)
        return Tensor.from_op((error * error).mean(), (predictions,), lambda grad: (error * (2 * grad / error.size),))
