"""TFLite models of quantized networks, in LiteRT and TFLite Micro, against the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.core import (
    GELU,
    Conv1d,
    Conv2d,
    Flatten,
    LayerNorm,
    Linear,
    MaxPool1d,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)
from tinytorch.deployment import Add, compare, computed, to_c, to_tflite, trace, with_output_codes
from tinytorch.deployment.tflite_engines import least_arena
from tinytorch.quantization import INT4, UINT8, IntType, QuantizedTensor, quantize_static

from .networks import case

pytestmark = pytest.mark.engines
IMAGES = np.random.default_rng(17).normal(0.5, 1, (12, 3, 11, 9)).astype(np.float32)
LITERT = ("litert", "litert reference", "litert without delegates")
ALL = [*LITERT, pytest.param("tflite micro", marks=pytest.mark.micro)]


def of_images() -> Sequential:
    """Images that are not square, of channels, strides, paddings and windows that differ, and rows behind Flatten."""
    rng = np.random.default_rng(1)
    return Sequential(
        *(Conv2d(3, 6, (3, 2), padding=(1, 0), rng=rng), ReLU(), MaxPool2d(2)),
        *(Conv2d(6, 6, 3, padding=1, stride=(2, 1), rng=rng), GELU()),
        *(Conv2d(6, 12, (1, 2), rng=rng), ReLU(), MaxPool2d(3, 1, padding=1)),
        *(Flatten(), Tanh(), Linear(12 * 3 * 3, 20, rng=rng), ReLU(), Linear(20, 10, rng=rng)),
    )


def with_codes(model: Module, x: NDArray[np.float32] = IMAGES, **how: Any) -> Module:
    """Quantized, and ending in codes."""
    return with_output_codes(
        quantize_static(model, [x], **how), [x], activation_type=how.get("activation_type", IntType(8))
    )


def different_codes(model: Module, file: bytes, x: NDArray[np.float32], engine: str) -> int:
    """How many codes differ, before the file makes floats of the last ones."""
    return sum(layer.differing for layer in compare(model, file, x, engine).layers)


@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("engine", ALL)
def test_every_code_is_the_same(engine: str, axis: int | None) -> None:
    model = with_codes(of_images(), axis=axis)
    assert different_codes(model, to_tflite(model, (3, 11, 9)), IMAGES, engine) == 0


@pytest.mark.parametrize("io", ["float32", "int8"])
def test_what_comes_out_is_the_same(io: str) -> None:
    model = with_codes(of_images())
    assert compare(model, to_tflite(model, (3, 11, 9), io), IMAGES, "litert").differing == 0


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed: int) -> None:
    random = case(seed)
    try:
        model = with_output_codes(random.model, [random.x])
    except TypeError as error:
        assert "computes in float" in str(error)
        return
    file = to_tflite(model, random.x.shape[1:])
    sums = any(isinstance(step, Add) for step in trace(model, random.x).steps)
    for engine in ("litert", "litert reference"):
        found = compare(model, file, random.x, engine)
        assert found.differing == 0 or (sums and max(each.largest for each in found.layers) <= 1), found.first


@pytest.mark.micro
@pytest.mark.parametrize("seed", range(100, 112))
def test_random_networks_in_tflite_micro(seed: int) -> None:
    random = case(seed)
    try:
        model = with_output_codes(random.model, [random.x])
    except TypeError as error:
        assert "computes in float" in str(error)
        return
    assert different_codes(model, to_tflite(model, random.x.shape[1:]), random.x, "tflite micro") == 0


def test_the_same_integers_round_otherwise_in_other_engines() -> None:
    """What is compared is not one and the same: each rounding gives other codes somewhere."""
    model = with_codes(of_images())
    steps = trace(model, IMAGES)
    ways = [computed(steps, IMAGES, rounding) for rounding in ("float", "gemmlowp", "ruy")]
    names = [step.y.name for step in steps.steps if step.y.qparams is not None]
    for one in range(3):
        other = (one + 1) % 3
        assert any((ways[one][name] != ways[other][name]).any() for name in names)
        largest = max(np.abs(ways[one][n].astype(int) - ways[other][n]).max() for n in names[:2])
        assert largest <= 1, "of one layer: a code at most"


def test_the_steps_alone_give_what_the_network_gives() -> None:
    for seed in range(12):
        random = case(seed)
        steps = trace(random.model, random.x)
        for name, array in computed(steps, random.x).items():
            np.testing.assert_array_equal(array, steps.arrays[name], f"seed {seed}, {name}")


def test_signals_are_images_one_row_high() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 3, 30)).astype(np.float32)
    layers = (Conv1d(3, 8, 5, stride=2, padding=2, rng=rng), ReLU(), MaxPool1d(2), Conv1d(8, 4, 3, dilation=2, rng=rng))
    model = with_codes(Sequential(*layers, ReLU(), Flatten(), Linear(12, 3, rng=rng)), x)
    for engine in LITERT:
        assert different_codes(model, to_tflite(model, (3, 30)), x, engine) == 0


def test_tokens_keep_their_axes() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 5, 8)).astype(np.float32)
    model = with_codes(Sequential(Linear(8, 16, rng=rng), GELU(), Linear(16, 4, rng=rng)), x)
    for engine in LITERT:
        assert different_codes(model, to_tflite(model, (5, 8)), x, engine) == 0


@pytest.mark.parametrize("activation_type", [UINT8, INT4, IntType(8, narrow=True)], ids=str)
def test_codes_of_other_types_are_written_as_int8(activation_type: IntType) -> None:
    model = with_codes(of_images(), activation_type=activation_type)
    wild = IMAGES * 20
    assert compare(model, to_tflite(model, (3, 11, 9)), wild, "litert").differing == 0


def test_an_image_that_comes_out_flat_has_the_networks_order() -> None:
    rng = np.random.default_rng(6)
    layers = (Conv2d(3, 4, 3, rng=rng), ReLU(), Conv2d(4, 4, 2, rng=rng), ReLU(), MaxPool2d(2), Flatten())
    model = with_codes(Sequential(*layers))
    assert isinstance(model(IMAGES), QuantizedTensor)
    assert compare(model, to_tflite(model, (3, 11, 9)), IMAGES, "litert").differing == 0


def test_sums_of_two_paths_differ_by_at_most_a_code() -> None:
    rng = np.random.default_rng(2)
    block = Sequential(Conv2d(3, 4, 3, padding=1, rng=rng), ReLU(), Conv2d(4, 3, 1, rng=rng))
    model = with_codes(Sequential(Residual(block), ReLU(), Conv2d(3, 2, 1, rng=rng)))
    found = compare(model, to_tflite(model, (3, 11, 9)), IMAGES, "litert")
    assert max(layer.largest for layer in found.layers) <= 1
    assert sum(layer.differing for layer in found.layers) <= 1e-3 * sum(layer.values for layer in found.layers)


def test_a_batch_of_any_size_runs() -> None:
    model = with_codes(of_images())
    for batch in (1, 5):
        file = to_tflite(model, (3, 11, 9), batch=batch)
        for n in (1, 2, 7):
            assert compare(model, file, IMAGES[:n], "litert").differing == 0


@pytest.mark.micro
def test_the_least_arena_is_hardly_more_than_the_codes() -> None:
    """It holds what the arena of the C file does, and TFLite Micro's own records of tensors and operators."""
    model = with_codes(of_images())
    least = least_arena(to_tflite(model, (3, 11, 9), "int8"))
    own = to_c(model, (3, 11, 9)).arena + 3 * 11 * 9 + 10
    assert own < least < own + 12_000


# What is refused


def linear(n_in: int = 4, n_out: int = 4) -> Linear:
    return Linear(n_in, n_out, rng=np.random.default_rng(0))


ROWS = IMAGES[:, 0, 0, :4]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: quantize_static(linear(), [ROWS]), r"gives floats: use with_output_codes\(model, batches\) first"),
        (
            lambda: linear(),
            "the model, a Linear, computes in float: a TFLite model of codes begins with a layer on codes",
        ),
        (
            lambda: with_codes(Sequential(linear(), LayerNorm(4), linear()), ROWS),
            r"layers\.1, a LayerNorm, computes in float, which a TFLite model of codes cannot",
        ),
    ],
    ids=["floats out", "floats in", "floats between"],
)
def test_what_is_no_network_of_codes_is_refused(make: Callable[[], Module], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        to_tflite(make(), (4,))


def test_old_runtimes_know_no_scale_for_each_row() -> None:
    with pytest.raises(ValueError, match=r"layers\.0 has a scale for each row: quantize_static\(..., axis=None\)"):
        to_tflite(with_codes(Sequential(linear()), ROWS), (4,), per_channel=False)
    to_tflite(with_codes(Sequential(linear()), ROWS, axis=None), (4,), per_channel=False)


def test_other_ways_in_and_out_are_refused() -> None:
    with pytest.raises(ValueError, match="io must be one of float32, int8, got 'uint8'"):
        to_tflite(with_codes(Sequential(linear()), ROWS), (4,), "uint8")


def test_a_last_layer_in_float_cannot_give_codes() -> None:
    with pytest.raises(TypeError, match="the last layer, a LayerNorm, computes in float"):
        with_output_codes(Sequential(linear(), LayerNorm(4)), [ROWS])
