"""How matrix products are computed: as they come, or, inside `computing_in`, in another precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .tensor import Array, Tensor


def wide_dtype(*arrays: Array) -> np.dtype[Any]:
    """The dtype in which these are computed together: float32 at least, for sums and squares of float16 overflow."""
    return np.result_type(np.float32, *arrays)


def widened(array: Array) -> Array:
    """The array in float32 at least."""
    return array.astype(wide_dtype(array), copy=False)


@np.errstate(over="ignore")  # a float16 result beyond 65504 is infinity
def wide_matmul(a: Array, b: Array) -> Array:
    """a @ b, in their dtype, with sums in float32 at least: NumPy sums float16 so, too, but in a slow loop."""
    wide = wide_dtype(a, b)
    product: Array = a.astype(wide, copy=False) @ b.astype(wide, copy=False)
    return product.astype(np.result_type(a, b), copy=False)


class Products(NamedTuple):
    """How matrix products are computed: each operand passes through `cast`, then `matmul(a, b)` multiplies arrays."""

    cast: Callable[[Tensor], Tensor]
    matmul: Callable[[Array, Array], Array]


_products: ContextVar[Products | None] = ContextVar("products", default=None)


@contextmanager
def computing_in(cast: Callable[[Tensor], Tensor], matmul: Callable[[Array, Array], Array]) -> Iterator[None]:
    """Inside the block, products first pass their operands (and a layer its bias) through `cast`, a differentiable
    function, and multiply arrays by `matmul`, also in their backward pass. Convolutions multiply by BLAS."""
    token = _products.set(Products(cast, matmul))
    try:
        yield
    finally:
        _products.reset(token)


def operand(x: Tensor) -> Tensor:
    """x as an operand of a product: cast, inside `computing_in`; else x itself."""
    products = _products.get()
    return x if products is None else products.cast(x)


def current_matmul() -> Callable[[Array, Array], Array]:
    """What multiplies two arrays here."""
    products = _products.get()
    return wide_matmul if products is None else products.matmul
