"""What training makes small."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import real_array
from .products import widened
from .tensor import Array, Tensor


def _checked(labels: ArrayLike, shape: tuple[int, ...]) -> Array:
    y = real_array("labels", labels)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"logits must have shape (batch, classes) and not be empty, got {shape}")
    if y.shape != shape[:1]:
        raise ValueError(f"labels must have shape {shape[:1]}, an integer a row, got {y.shape}: one-hot wants argmax")
    if y.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {y.dtype}: use labels.astype(np.int64)")
    if y.min() < 0 or y.max() >= shape[1]:
        raise ValueError(f"labels must lie in 0 .. {shape[1] - 1}, a column of the logits; got {y.min()} .. {y.max()}")
    return y


class CrossEntropyLoss:
    """Mean over the batch of -log softmax(logits)[label].

    It is computed in float32 at least, so that the loss of a float16 network can be scaled without overflow.
    """

    def __call__(self, logits: Tensor, labels: ArrayLike) -> Tensor:
        """logits [N, classes], labels integers [N] in 0 .. classes - 1 -> a tensor of shape ().

        Raises TypeError for labels that are not integers, ValueError for wrong shapes or labels out of range.
        """
        if not isinstance(logits, Tensor):
            raise TypeError(f"logits must be a Tensor, so that they have a gradient, got {type(logits).__name__}")
        y = _checked(labels, logits.shape)
        z = widened(logits.data)
        z = z - z.max(axis=1, keepdims=True)  # exp of the largest is 1: no overflow
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        rows = np.arange(len(y))

        def backward(grad: Array) -> tuple[Array]:
            slope = np.exp(log_p)
            slope[rows, y] -= 1  # softmax minus one-hot
            return (slope * (grad / len(y)),)

        return Tensor.from_op(-log_p[rows, y].mean(), (logits,), backward)
