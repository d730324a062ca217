"""Given: a histogram that grows with what it counts, for observers that choose a range by cost."""

from __future__ import annotations

from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core.checks import real_array, real_number, whole_number
from tinytorch.quantization.qparams import as_range, as_real
from tinytorch.quantization.reprs import repr_of_histogram

__all__ = [
    "Histogram",
]


class Histogram:
    """Counts in `bins` equal cells over [-limit, limit], limit a power of two, for any number of batches.

    A value beyond the limit doubles it: neighbouring cells are added, so every count stays exact.
    A cell is at most 4 / bins of the largest |x| wide.
    """

    def __init__(self, bins: int = 4096) -> None:
        bins = whole_number("Histogram", "bins", bins)
        if bins % 4:
            raise ValueError(f"bins must be a multiple of 4, got {bins}: cells are added in pairs, on both sides of 0")
        self.counts = np.zeros(bins, np.int64)
        self.limit = float(np.finfo(np.float32).tiny)
        self.lo, self.hi = np.inf, -np.inf

    __repr__ = repr_of_histogram

    def add(self, x: ArrayLike) -> None:
        x = as_real(x)
        if x.size == 0:
            return
        lo, hi = as_range(x.min(), x.max())
        while self.limit < max(-lo, hi):
            quarter = self.counts.size // 4
            self.counts = np.pad(self.counts.reshape(-1, 2).sum(1), quarter)
            self.limit *= 2
        self.counts += np.histogram(x.astype(np.float64), self.counts.size, (-self.limit, self.limit))[0]
        self.lo, self.hi = min(self.lo, float(lo)), max(self.hi, float(hi))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def cell(self) -> float:
        """The width of a cell, in units of x."""
        return 2 * self.limit / self.counts.size

    @property
    def centers(self) -> NDArray[np.float64]:
        return np.asarray((np.arange(self.counts.size) + 0.5) * self.cell - self.limit, np.float64)


def as_counts(name: str, counts: NDArray[Any]) -> NDArray[Any]:
    """counts as an array. ValueError unless something was counted, and nothing less than never."""
    counts = real_array(name, counts)
    if not (np.all((counts >= 0) & np.isfinite(counts)) and np.any(counts)):
        raise ValueError(f"{name} must be >= 0 and finite, and not all 0: of nothing there is no mean")
    return counts


def as_percentile(percentile: float) -> float:
    """percentile as a float in (0, 100]. A warning below 50, where it would clip most numbers: is it a fraction?"""
    if not 0 < real_number("percentile", percentile) <= 100:
        raise ValueError(f"percentile must be in (0, 100], got {percentile}: 99.9 keeps all but one in a thousand")
    if percentile < 50:
        told = f"percentile {percentile:g} keeps only {percentile:g} % of the numbers and clips the others"
        warn(f"{told}: it is a percent, 99.9 keeps all but one in a thousand", UserWarning, stacklevel=3)
    return float(percentile)
