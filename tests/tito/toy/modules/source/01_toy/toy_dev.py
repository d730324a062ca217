# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A toy module
# x = 1 is not code here.

# %%
#| default_exp sums

# %%
#| export
from __future__ import annotations

import numpy as np

# %% [markdown]
# ## Exercise 1


# %%
#| export
#| exercise: double
def double(x: np.ndarray) -> np.ndarray:
    """Twice x.

    >>> double(2)
    4
    """
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


# %%
assert double(2) == 4

# %%
#| export
START = 0


# %%
#| export
#| exercise: counter
class Counter:
    """Counts twice what it is given."""

    def __init__(self) -> None:
        self.total = START

    def add(self, x: int) -> int:
        ### BEGIN SOLUTION
        self.total += double(x)
        return self.total
        ### END SOLUTION
