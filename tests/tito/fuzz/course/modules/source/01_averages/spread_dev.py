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
# # Spread

# %%
#| default_exp spread

# %%
#| export
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from averages.means import TINY, mean

# %% [markdown]
# ## Exercise 4: the variance


# %%
#| export
#| exercise: variance
def variance(x: np.ndarray) -> float:
    """The mean squared distance from the mean."""
    ### BEGIN SOLUTION
    middle = mean(x)
    return mean((x - middle) ** 2)
    ### END SOLUTION


# %% [markdown]
# ## Exercise 5: a record


# %%
#| export
#| exercise: report
@dataclass(frozen=True)
class Report:
    """Some results, by name."""

    values: dict[str, float]

    def best(self) -> str:
        """The name of the largest value."""
        ### BEGIN SOLUTION
        return max(self.values, key=lambda name: self.values[name])
        ### END SOLUTION


# %%
#| export
def is_near(a: float, b: float) -> bool:
    """Do a and b agree?"""
    return abs(a - b) <= TINY


# %%
#| export
#| exercise: report
def same(first: Report, second: Report) -> bool:
    """Have both the same names, with values that agree?"""
    ### BEGIN SOLUTION
    if first.values.keys() != second.values.keys():
        return False
    return all(is_near(value, second.values[name]) for name, value in first.values.items())
    ### END SOLUTION


# %%
Report({"a": 1.0, "b": 2.0}).best()
