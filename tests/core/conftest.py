"""One oracle for every derivative: the slope measured by moving each input a little both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.core import Tensor, no_grad

Array = NDArray[Any]
STEP = 1e-5


def _slopes(f: Callable[..., Tensor], arrays: list[Array], weights: Array) -> list[Array]:
    """d sum(weights * f(*arrays)) / d each element, by central differences in float64."""

    def value() -> float:
        with no_grad():
            return float((f(*map(Tensor, arrays)).data * weights).sum())

    out = [np.zeros_like(array) for array in arrays]
    for array, slope in zip(arrays, out, strict=True):
        for at in np.ndindex(array.shape):
            middle = array[at]
            array[at] = middle + STEP
            above = value()
            array[at] = middle - STEP
            below = value()
            array[at] = middle
            slope[at] = (above - below) / (2 * STEP)
    return out


@pytest.fixture(scope="session")
def check_gradients() -> Callable[..., None]:
    def check(f: Callable[..., Tensor], *arrays: Array) -> None:
        """The gradients of `f` are its slopes at `arrays`, for an uneven gradient coming in."""
        copies = [np.array(array, dtype=np.float64) for array in arrays]
        leaves = [Tensor(array.copy(), requires_grad=True) for array in copies]
        out = f(*leaves)
        weights = np.random.default_rng(1).uniform(0.5, 1.5, out.shape)
        out.backward(weights)
        for i, (leaf, slope) in enumerate(zip(leaves, _slopes(f, copies, weights), strict=True)):
            got = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad
            assert got.shape == leaf.shape, f"input {i}: gradient {got.shape} for data {leaf.shape}"
            # Central differences miss by STEP**2 / 6 = 2e-11 third derivatives (here below 200 each) and by the
            # rounding of the sum, 1e-16 of it, over STEP.
            bound = 1e-8 + 1e-10 * np.abs(out.data * weights).sum() + 1e-8 * np.abs(slope)
            worst = np.max(np.abs(got - slope) / bound, initial=0.0)
            assert worst <= 1, f"input {i}: backward() says {got}, moving the input says {slope}"

    return check
