"""A file in its engine beside the network it was written from: which codes differ, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinytorch.core import Module
from tinytorch.deployment.engines import ENGINES, Engine
from tinytorch.deployment.running import computed
from tinytorch.deployment.steps import Trace, trace

__all__ = ["Comparison", "Difference", "compare", "compare_steps"]


@dataclass(frozen=True)
class Difference:
    """One layer's answers. values: how many. differing: of these. largest: in codes, or in floats.

    first: the place of the first that differs, [sample, ...]; None if none does. kind: of the step, such as "Product".
    """

    layer: str
    kind: str
    values: int
    differing: int
    largest: float
    first: tuple[int, ...] | None

    def __str__(self) -> str:
        if self.first is None:
            return f"{self.layer} ({self.kind}): {self.values:,} values, none differs"
        how = f"{self.differing:,} of {self.values:,} differ, by at most {self.largest:g}, first at {self.first}"
        return f"{self.layer} ({self.kind}): {how}"


@dataclass(frozen=True)
class Comparison:
    """Every layer in its order, and the output as the engine gives it where nobody looks inside.

    output: None for a file that gives the codes of its last layer.
    """

    engine: str
    layers: tuple[Difference, ...]
    output: Difference | None

    @property
    def rows(self) -> tuple[Difference, ...]:
        """The layers, and the output if there is one."""
        return self.layers if self.output is None else (*self.layers, self.output)

    @property
    def differing(self) -> int:
        """How many values differ, of all layers and of the output."""
        return sum(row.differing for row in self.rows)

    @property
    def first(self) -> Difference | None:
        """The first layer of which a value differs: what it was given was right."""
        return next((row for row in self.rows if row.differing), None)

    def __str__(self) -> str:
        return "\n".join([f"in {self.engine}:", *map(str, self.rows)])


def compare(model: Module, file: Any, x: ArrayLike, engine: str | None = None) -> Comparison:
    """Run a batch x through the model and through the file that was written from it.

    file: a path, the bytes, or what `to_onnx` gave. engine: one of ENGINES; None: ONNX Runtime or LiteRT, by the file.
    "reference" is ONNX's own evaluator, which knows the operators of the standard alone. Where an engine rounds
    otherwise than the model, what it gives is compared with the model's integers rounded as it rounds; see `computed`.
    ValueError for an engine that there is not, and if the file has other layers than the model.
    """
    return compare_steps(trace(model, x), file, engine)


def compare_steps(steps: Trace, file: Any, engine: str | None = None) -> Comparison:
    """`compare` of a network that was traced already, with the batch that it was traced with."""
    if engine is not None and engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    name = engine or ("litert" if is_tflite(file) else "onnxruntime")
    chosen, x = ENGINES[name], steps.arrays[steps.x.name]
    content = chosen.opened(file)
    ours = steps.arrays if chosen.rounding == "float" else computed(steps, x, chosen.rounding)
    kinds = {step.y.name: type(step).__name__ for step in steps.steps if step.y.name != "output"}
    known = chosen.values_in(content)
    if missing := [each for each in kinds if each not in known]:
        raise ValueError(f"the file holds nothing named {missing[0]!r}: it was written from another model")
    theirs = _answers(chosen, content, steps, x, list(kinds))
    layers = tuple(_difference(each, kind, ours[each], theirs[each]) for each, kind in kinds.items())
    if "output" not in known:  # a file of codes in and out
        return Comparison(name, layers, None)
    (output,) = _answers(chosen, content, steps, x, ["output"]).values()
    return Comparison(name, layers, _difference("output", "alone", ours[steps.y.name], output))


def is_tflite(file: Any) -> bool:
    """Whether a path or bytes hold a TFLite model, whose identifier stands at byte 4."""
    if isinstance(file, (str, Path)):
        with Path(file).open("rb") as stream:
            file = stream.read(8)
    return isinstance(file, bytes) and file[4:8] == b"TFL3"


def _answers(
    engine: Engine, content: Any, steps: Trace, x: NDArray[np.float32], names: list[str]
) -> dict[str, NDArray[Any] | str]:
    """What the engine gives, by name; where it gives nothing, what it says of that."""
    try:
        return dict(zip(names, engine.prepare(content, steps, names)(x), strict=True))
    except ImportError:
        raise
    except Exception as error:  # of a kind that each engine has its own of
        if len(names) == 1:
            return {names[0]: str(error)}
    return {name: found for one in names for name, found in _answers(engine, content, steps, x, [one]).items()}


def _difference(name: str, kind: str, ours: NDArray[Any], theirs: NDArray[Any] | str) -> Difference:
    """How two answers differ: everywhere, where the engine gives none, or one of another shape."""
    if isinstance(theirs, str):
        return Difference(name, f"{kind}: {theirs}", ours.size, ours.size, inf, (0,) * ours.ndim)
    if ours.shape != theirs.shape:
        kind = f"{kind} of shape {theirs.shape}, here {ours.shape}"
        return Difference(name, kind, ours.size, ours.size, inf, (0,) * ours.ndim)
    apart = np.abs(_numbers(ours, theirs) - _numbers(theirs, ours))
    differs = ~(apart == 0)  # NaN differs, too
    first = tuple(map(int, np.argwhere(differs)[0])) if differs.any() else None
    return Difference(name, kind, ours.size, int(differs.sum()), float(apart.max(initial=0)), first)


def _numbers(own: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """An array as float64, int8 codes 128 higher if the other array's codes are unsigned: all of them exactly."""
    shift = 128 if own.dtype == np.int8 and other.dtype != own.dtype else 0
    return own.astype(np.float64) + shift
