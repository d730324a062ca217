# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Means
# A mean is what everybody would have, if all had the same.

# %%
#| default_exp means

# %%
#| export
from __future__ import annotations

from collections.abc import Iterable

import numpy as np

TINY = 1e-9

# %% [markdown]
# ## Exercise 1: the mean
# $\bar x = \frac 1 n \sum_i x_i$


# %%
#| export
#| exercise: mean
def mean(x: Iterable[float]) -> float:
    """The mean of x; 0 of nothing.

    >>> mean([1.0, 3.0])
    2.0
    """
    ### BEGIN SOLUTION
    values = np.asarray(list(x), dtype=np.float64)
    if values.size == 0:
        return 0.0
    return float(values.sum() / values.size)
    ### END SOLUTION


# %%
assert mean([1.0, 3.0]) == 2.0, "look again"

# %% [markdown]
# ## Exercise 2: two ends


# %%
#| export
#| exercise: clip
def at_least(x: np.ndarray, lo: float) -> np.ndarray:
    """x, and lo where x is smaller."""
    ### BEGIN SOLUTION
    return np.maximum(x, lo)
    ### END SOLUTION


# %%
at_least(np.arange(4), 2)


# %%
#| export
#| exercise: clip
def clip(x: np.ndarray, lo: float, hi: float) -> np.ndarray:
    """x between lo and hi."""
    ### BEGIN SOLUTION
    return np.minimum(at_least(x, lo), hi)
    ### END SOLUTION


# %% [markdown]
# ## Exercise 3: as it goes by


# %%
#| export
def weight(count: int) -> float:
    """What one of so many weighs."""
    return 1.0 / max(count, 1)


# %%
#| export
#| exercise: running
class Running:
    """The mean of all numbers that went by."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, x: float) -> None:
        """Take one more number in."""
        ### BEGIN SOLUTION
        self.count += 1
        self.value += (x - self.value) * weight(self.count)
        ### END SOLUTION

    def add_all(self, values: Iterable[float]) -> float:
        """Take many in, and return the mean."""
        ### BEGIN SOLUTION
        for value in values:
            self.add(value)
        return self.value
        ### END SOLUTION


# %%
seen = Running()
seen.add_all([1.0, 2.0, 6.0])
