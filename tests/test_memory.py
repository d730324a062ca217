"""After quantizing, the float32 weights are not alive any more: counted by the garbage collector, not by a formula."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from tinytorch.core import Linear, ReLU, Sequential, Tensor
from tinytorch.quantization import (
    INT4,
    INT8,
    model_arrays,
    model_nbytes,
    quantize_dynamic,
    quantize_static,
    quantize_weight_only,
)

N = 512  # a weight of 512 x 512 takes 1 MiB in float32
X = np.random.default_rng(0).normal(size=(32, N)).astype(np.float32)

WAYS = {
    "dynamic": quantize_dynamic,
    "static": lambda model: quantize_static(model, [X]),
    "weight-only int8": lambda model: quantize_weight_only(model, INT8, None),
    "weight-only int4": lambda model: quantize_weight_only(model, INT4, 32),
}


def network() -> Sequential:
    rng = np.random.default_rng(1)
    return Sequential(Linear(N, N, rng=rng), ReLU(), Linear(N, N, rng=rng))


@pytest.mark.parametrize("way", WAYS)
def test_the_float_arrays_die_with_the_float_model(way: str) -> None:
    model = network()
    watched = [weakref.ref(tensor.data) for tensor in model.parameters()]
    quantized = WAYS[way](model)
    quantized(X)
    del model
    gc.collect()
    alive = [array for ref in watched if (array := ref()) is not None]
    assert not alive, (
        f"{way}: {len(alive)} float32 arrays of the old model are still alive, of shapes {[a.shape for a in alive]}"
    )


@pytest.mark.parametrize("way", WAYS)
def test_no_array_of_the_quantized_model_is_a_float_weight_or_a_view_of_one(way: str) -> None:
    for name, array in model_arrays(WAYS[way](network())).items():
        assert array.base is None or not isinstance(array.base, np.ndarray), (
            f"{way}: {name} is a view, and keeps its base"
        )
        assert array.dtype.kind != "f" or array.size <= N * N // 32, f"{way}: {name} is {array.dtype}, {array.shape}"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_counted_is_what_is_allocated(way: str) -> None:
    quantized = WAYS[way](network())
    quantized(X)  # whatever a first call sets up, it has set up
    gc.collect()
    counted = model_nbytes(quantized)
    del quantized
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        quantized = WAYS[way](network())
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    objects = 64 * 1024  # Python's own objects: modules, dictionaries, array headers
    assert counted <= after - before <= counted + objects, f"{way}: {counted} bytes counted, {after - before} allocated"
    assert isinstance(quantized(X), Tensor)


def test_the_weights_are_four_times_smaller_with_everything_counted() -> None:
    model = network()
    for way, factor in {"dynamic": 3.9, "static": 3.9, "weight-only int8": 3.9, "weight-only int4": 6.3}.items():
        ratio = model_nbytes(model) / model_nbytes(WAYS[way](model))
        assert ratio >= factor, f"{way}: {ratio:.2f} times smaller, wanted {factor}"


def test_an_observed_network_keeps_nothing_of_its_calibration() -> None:
    model = network()
    few, many = (model_nbytes(quantize_static(model, [X] * n)) for n in (1, 20))
    assert few == many, f"calibrated on 20 batches the model is {many} bytes, on one {few}"
