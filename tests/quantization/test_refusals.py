"""What calibration and measuring refuse, in a sentence with the number that was given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tinytorch.core import Linear, Residual, Sequential
from tinytorch.quantization import (
    Histogram,
    HistogramObserver,
    MinMaxObserver,
    accuracy_interval,
    quantize_static,
)


def calibrated(model: Callable[[], Sequential | Residual]) -> Callable[[], object]:
    """A network whose activations are to have a ruler for each column."""
    return lambda: quantize_static(model(), [np.ones((4, 8), np.float32)], partial(MinMaxObserver, 1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Histogram(10), "bins must be a multiple of 4, got 10"),
        (lambda: Histogram(0), "Histogram needs bins as one integer >= 1, got 0"),
        (lambda: HistogramObserver("mse", 0), "HistogramObserver needs candidates as one integer >= 1, got 0"),
        (lambda: accuracy_interval(490, 500, -1.0), "z must be > 0, got -1"),
        (lambda: accuracy_interval(490, 500, float("nan")), "z must be > 0, got nan"),
        (calibrated(lambda: Sequential(Linear(8, 8))), "layer 'layers.0' needs one scale for all .* gives 8"),
        (
            calibrated(lambda: Residual(Sequential(Linear(8, 8)))),
            "MinMaxObserver gives 8: leave the axis out",
        ),
    ],
)
def test_it_is_refused_with_what_was_wanted_and_given(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
