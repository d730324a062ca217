"""Several tensors as one, as NumPy's functions of the same names do with arrays."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .checks import kind_of
from .tensor import Array, Tensor


def _parts(name: str, tensors: Sequence[Tensor | Array], axis: int) -> tuple[tuple[Tensor, ...], int]:
    """The tensors, and the axis as an integer. TypeError for a single tensor, whose rows NumPy would take."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{name} takes its tensors in a list, got {kind_of(tensors)}: write {name}([a, b])")
    if not tensors:
        raise ValueError(f"{name} needs at least one tensor, got none")
    try:
        along = index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    return tuple(x if isinstance(x, Tensor) else Tensor(x) for x in tensors), along


def concatenate(tensors: Sequence[Tensor | Array], axis: int = 0) -> Tensor:
    """One after the other along an axis that they have, such as old and new keys of a cache along the tokens.

    >>> concatenate([Tensor([1.0, 2.0]), Tensor([3.0])]).data
    array([1., 2., 3.], dtype=float32)

    ValueError where they differ in another length.
    """
    parts, axis = _parts("concatenate", tensors, axis)
    out = np.concatenate([part.data for part in parts], axis)
    ends = np.cumsum([part.shape[axis] for part in parts])[:-1]
    return Tensor.from_op(out, parts, lambda grad: tuple(np.split(grad, ends, axis)))


def stack(tensors: Sequence[Tensor | Array], axis: int = 0) -> Tensor:
    """Beside each other along a new axis, such as the states after each step of a recurrent network.

    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1).data
    array([[1., 3.],
           [2., 4.]], dtype=float32)

    ValueError where they differ in shape.
    """
    parts, axis = _parts("stack", tensors, axis)
    out = np.stack([part.data for part in parts], axis)
    along = normalize_axis_index(axis, out.ndim)
    return Tensor.from_op(out, parts, lambda grad: tuple(np.moveaxis(grad, along, 0)))
