"""ONNX Runtime runs the float model and shows its activations, which the module's observers watch, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinytorch.deployment.extras import library
from tinytorch.deployment.published.correcting import ChannelMeans
from tinytorch.deployment.published.reading import stored
from tinytorch.deployment.published.schemes import Told
from tinytorch.deployment.published.sessions import in_onnxruntime
from tinytorch.quantization import Observer, sqnr_db

Feed: TypeAlias = dict[str, NDArray[Any]]
KEPT = 64  # samples of the calibration batches that are kept, to measure errors on,
WORK = 2**25  # or fewer, until so many numbers of them were watched: a measure of how long that will take


@dataclass
class Calibration:
    """What was seen of each watched array, and the first batches with the float model's outputs for them."""

    observers: dict[str, Observer] = field(default_factory=dict)
    feeds: list[Feed] = field(default_factory=list)
    outputs: list[list[NDArray[Any]]] = field(default_factory=list)
    batches: int = 0


class Runner:
    """Runs a model for the arrays of some names, of its inputs, its outputs, or between."""

    def __init__(self, model: Any, names: list[str]) -> None:
        self.inputs = {value.name: value.type.tensor_type for value in model.graph.input}
        self.computed = [name for name in names if name not in self.inputs]
        with showing(model, self.computed), stored(model) as content:
            self.session = in_onnxruntime(content, "the model")

    def __call__(self, feed: Feed) -> dict[str, NDArray[Any]]:
        try:
            arrays = self.session.run(self.computed, feed) if self.computed else []
        except Exception as error:  # its errors have no class in common
            cause = str(error).partition(" : ")[2].splitlines() or [str(error)]
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feed.items())
            raise ValueError(f"the model does not run on {shapes}: {cause[-1][:300]}") from None
        return {**feed, **dict(zip(self.computed, arrays, strict=True))}

    def feed_of(self, batch: Any) -> Feed:
        """A batch by the names of the model's inputs: a dict, an array for a single input, or arrays in their order."""
        names = list(self.inputs)
        if not isinstance(batch, Mapping):
            arrays = list(batch) if isinstance(batch, (tuple, list)) else [batch]
            if len(arrays) != len(names):
                raise ValueError(f"the model has the inputs {', '.join(names)}: a batch held {len(arrays)} arrays")
            batch = dict(zip(names, arrays, strict=True))
        if set(batch) != set(names):
            raise ValueError(f"the model has the inputs {', '.join(names)}: a batch held {', '.join(map(str, batch))}")
        return {name: _as_input(name, array, self.inputs[name]) for name, array in batch.items()}


def _as_input(name: str, array: Any, wanted: Any) -> NDArray[Any]:
    """The array in the input's dtype, which may be shorter, but not of another kind."""
    dtype = library("onnx").helper.tensor_dtype_to_np_dtype(wanted.elem_type)
    given = np.asarray(array)
    if not np.can_cast(given.dtype, dtype, "same_kind"):
        raise ValueError(f"input {name} wants {dtype}, got {given.dtype}: convert it before")
    dims = [dim.dim_value for dim in wanted.shape.dim] if wanted.HasField("shape") else [0] * given.ndim
    fits = len(dims) == given.ndim and all(size in (0, n) for size, n in zip(dims, given.shape, strict=True))
    if not fits:
        raise ValueError(f"input {name} wants shape {[size or 'any' for size in dims]}, got {list(given.shape)}")
    return np.ascontiguousarray(given, dtype)


@contextmanager
def showing(model: Any, names: list[str]) -> Iterator[None]:
    """Meanwhile the model gives these arrays, and no others."""
    onnx = library("onnx")
    outputs = list(model.graph.output)
    known = {value.name: value for value in outputs}
    del model.graph.output[:]
    model.graph.output.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in names)
    try:
        yield
    finally:
        del model.graph.output[:]
        model.graph.output.extend(outputs)


def calibrated(
    model: Any,
    watched: Mapping[str, Callable[[], Observer]],
    batches: Iterable[Any],
    told: Told,
    means: Mapping[str, ChannelMeans],
) -> Calibration:
    """Runs every batch once, past the observers of these arrays, and past those of means.

    told: is called with "calibrating" and the number of batches that have been run. ValueError without batches, and for
    one that the model does not take or that holds NaN.
    """
    outputs = [value.name for value in model.graph.output]
    seen = Calibration({name: observer() for name, observer in watched.items()})
    run, samples, work = Runner(model, [*dict.fromkeys([*watched, *means, *outputs])]), 0, 0
    for batch in batches:
        feed = run.feed_of(batch)
        arrays = run(feed)
        for name, observer in seen.observers.items():
            try:
                observer.observe(arrays[name])
            except ValueError as error:
                raise ValueError(f"calibration batch {seen.batches}, {name}: {error}") from None
        for name, channels in means.items():
            channels.observe(arrays[name])
        if samples < KEPT and work < WORK:
            seen.feeds.append(feed)
            seen.outputs.append([arrays[name] for name in outputs])
            samples += min((len(array) for array in feed.values() if array.ndim), default=1)
            work += sum(array.size for array in arrays.values())
        seen.batches += 1
        told("calibrating", seen.batches, None)
    if not seen.batches:
        raise ValueError("there was no calibration batch: static quantization needs inputs as the model will get them")
    return seen


def output_sqnr_db(model: Any, seen: Calibration) -> float:
    """Signal to noise of the model's outputs beside the float model's, all float numbers together; NaN without any."""
    names = [value.name for value in model.graph.output]
    run = Runner(model, names)
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for feed, wanted in zip(seen.feeds, seen.outputs, strict=True):
        got = run(feed)
        pairs += [(y, got[name]) for name, y in zip(names, wanted, strict=True) if y.dtype.kind == "f"]
    return _of_finite(pairs) if pairs else float("nan")


def _of_finite(pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """Signal to noise of pairs of arrays. Minus infinity if shapes or infinite numbers differ."""
    if any(y.shape != got.shape for y, got in pairs):
        return float("-inf")
    y, got = (np.concatenate([np.ravel(pair[i]) for pair in pairs]) for i in (0, 1))
    finite = np.isfinite(y) & np.isfinite(got)
    if not np.array_equal(y[~finite], got[~finite], equal_nan=True):
        return float("-inf")
    return float(sqnr_db(y[finite], got[finite]))
