"""The written file beside the float model in ONNX Runtime: does it run, what does it give, how long does it take?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.published.samples import Feed
from tinytorch.deployment.published.sessions import in_onnxruntime
from tinytorch.quantization import speedup, time_interleaved

SECONDS, ROUNDS = 10.0, 15  # that timing may take, and of how many rounds it is at most


@dataclass(frozen=True)
class Measured:
    """On the first batch: seconds on one thread, in turns, of each model the fastest round, and the outputs.

    speed: the median of what each round gives, above 1 where the quantized model is faster. same: the share of whole
    numbers in the outputs that are the float model's; None: there are none. gives_floats: whether any output is float.
    """

    seconds_before: float
    seconds: float
    speed: float
    same: float | None
    gives_floats: bool


class Engine:
    """A model's file in ONNX Runtime, on one thread."""

    def __init__(self, path: Path) -> None:
        self.session = in_onnxruntime(str(path), path.name)
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, feed: Feed) -> list[NDArray[Any]]:
        return list(self.session.run(self.outputs, feed))


def compared(before: Path, after: Path, feed: Feed | None) -> Measured | None:
    """Opens both files and runs them on a batch; without one the written file is opened, and that is all.

    ValueError for a written file that does not run, gives other shapes, or numbers that are not finite where the float
    model's are.
    """
    quantized = Engine(after)
    if feed is None:
        return None
    floats = Engine(before)
    start = perf_counter()
    wanted = floats(feed)
    try:
        got = quantized(feed)
    except Exception as error:  # its errors have no class in common
        cause = str(error).splitlines()[0][:300]
        raise ValueError(f"nothing was written: the quantized model does not run in ONNX Runtime: {cause}") from None
    seconds = perf_counter() - start
    pairs = [(np.asarray(y), np.asarray(z)) for y, z in zip(wanted, got, strict=True)]
    for name, (y, z) in zip(floats.outputs, pairs, strict=True):
        _check(name, y, z)
    taken = time_interleaved([floats, quantized], feed, int(np.clip(SECONDS / (2 * seconds), 3, ROUNDS)))
    before_s, after_s = (float(each) for each in taken.min(1))
    equal = [np.ravel(y == z) for y, z in pairs if y.dtype.kind in "iub" and y.size]
    same = float(np.concatenate(equal).mean()) if equal else None
    return Measured(before_s, after_s, speedup(taken[0], taken[1]), same, any(y.dtype.kind == "f" for y, _ in pairs))


def _check(name: str, wanted: NDArray[Any], got: NDArray[Any]) -> None:
    output = f"nothing was written: the quantized model's output {name}"
    if wanted.shape != got.shape:
        raise ValueError(f"{output} has the shape {got.shape}, the float model's {wanted.shape}")
    if wanted.dtype.kind == "f" and not np.isfinite(got[np.isfinite(wanted)]).all():
        raise ValueError(f"{output} holds NaN or infinity where the float model's does not")
