"""Smooth functions of one element, softmax, and their modules."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.polynomial.chebyshev import chebval

from .checks import checked_axis, real_number, said
from .layers import Module
from .products import widened
from .tensor import Array, Tensor


@cache
def _erf_series(beyond: float, degree: int) -> Array:
    """Chebyshev coefficients of erf(x) / x as a function of x**2 on [0, beyond**2], through values of math.erf."""
    nodes = np.vectorize(lambda u: math.erf(math.sqrt(u)) / math.sqrt(u))  # the nodes lie inside: u > 0
    return np.asarray(Chebyshev.interpolate(nodes, degree, domain=[0, beyond**2]).coef)


def erf(x: Array) -> Array:
    """The error function, in x's dtype: off by at most 2.5e-7 in float32 and 1e-13 in float64.

    x times a polynomial in x**2, up to where erf rounds to 1. NumPy has no erf, and math.erf takes one number a call.
    """
    beyond, degree = (6.0, 40) if x.dtype == np.float64 else (4.0, 16)
    small = np.clip(x, -beyond, beyond)
    series = chebval(small * small * (2 / beyond**2) - 1, _erf_series(beyond, degree).astype(x.dtype))
    return np.where(np.abs(x) < beyond, small * series, np.sign(x))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), by tanh, which cannot overflow."""
    return (x * 0.5).tanh() * 0.5 + 0.5


def gelu(x: Tensor) -> Tensor:
    """x * P(a standard normal value <= x) = x * (1 + erf(x / sqrt(2))) / 2. Hendrycks and Gimpel 2016."""
    z = widened(x.data)
    p = (1 + erf(z * math.sqrt(0.5))) / 2

    def backward(grad: Array) -> tuple[Array]:
        density = np.exp(z * z * -0.5) / math.sqrt(2 * math.pi)
        return (grad * (p + z * density),)

    return Tensor.from_op((z * p).astype(x.dtype, copy=False), (x,), backward)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) / sum of exp(x) along `axis`, computed in float32 at least; x's dtype."""
    z, along = widened(x.data), checked_axis(axis)
    if not isinstance(along, int):
        raise TypeError(f"softmax runs along one axis, got {said(axis)}")
    out = np.exp(z - z.max(along, keepdims=True, initial=np.finfo(z.dtype).min))  # exp of the largest is 1: no overflow
    out /= out.sum(along, keepdims=True)

    def backward(grad: Array) -> tuple[Array]:
        return (out * (grad - (grad * out).sum(along, keepdims=True)),)

    return Tensor.from_op(out.astype(x.dtype, copy=False), (x,), backward)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), element by element."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)


class Tanh(Module):
    """tanh(x), element by element."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


class ReLU6(Module):
    """min(max(x, 0), 6), element by element."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        inside = (x.data > 0) & (x.data < 6)
        return Tensor.from_op(np.clip(x.data, 0, 6), (x,), lambda grad: (grad * inside,))


class LeakyReLU(Module):
    """x where it is positive, else x * slope, element by element."""

    of_one_tensor = True

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = real_number("slope", slope)

    def forward(self, x: Tensor) -> Tensor:
        factor = np.where(x.data > 0, 1, self.slope).astype(x.dtype)
        return Tensor.from_op(x.data * factor, (x,), lambda grad: (grad * factor,))

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope:g})"


class SiLU(Module):
    """x * sigmoid(x), element by element. Elfwing et al. 2018."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        return x * sigmoid(x)


class GELU(Module):
    """x * P(a standard normal value <= x), element by element: the exact form, as PyTorch's default."""

    of_one_tensor = True

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x)
