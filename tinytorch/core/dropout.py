"""Values left out at random, in training only."""

from __future__ import annotations

import numpy as np

from .checks import real_number
from .layers import Module
from .tensor import Tensor


class Dropout(Module):
    """In training each value is 0 with probability p, else divided by 1 - p: the mean stays. Srivastava et al. 2014.

    In evaluation x passes as it is. rng: what draws; None: other values at every run.
    """

    of_one_tensor = True

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None) -> None:
        self.p, self.rng = real_number("p", p), np.random.default_rng(rng)
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}: it is the share of values that are left out")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = self.rng.random(x.shape) >= self.p  # of p = 1 none
        factor = (kept / (1 - self.p * kept)).astype(x.dtype)
        return Tensor.from_op(x.data * factor, (x,), lambda grad: (grad * factor,))

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"
