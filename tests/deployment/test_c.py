"""C files of quantized networks, compiled strictly and run, here and on an emulated Cortex-M, against the networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

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
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    load_digits,
)
from tinytorch.deployment import Trace, computed, to_c, trace, with_output_codes
from tinytorch.deployment.arena import Lifetime, placed
from tinytorch.deployment.c_file import CRounding
from tinytorch.deployment.stored import stored
from tinytorch.quantization import INT4, UINT8, IntType, quantize_dynamic, quantize_static

from .c_programs import answers, compiled, on_cortex_m
from .networks import case

ROUNDINGS = get_args(CRounding)
DIGITS = load_digits()
X = DIGITS.images().x_train[:1000]


def of_images() -> Sequential:
    """Convolutions, a sum of two paths, a table, pooling, and two products, for images of 8 x 8."""
    rng = np.random.default_rng(1)
    block = Sequential(Conv2d(6, 6, 3, padding=1, groups=6, rng=rng), ReLU(), Conv2d(6, 6, 1, rng=rng))
    return Sequential(
        *(Conv2d(1, 6, 3, padding=1, rng=rng), ReLU(), Residual(block), MaxPool2d(2)),
        *(Conv2d(6, 8, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng), GELU()),
        *(Flatten(), Linear(8 * 2 * 3, 20, rng=rng), ReLU(), Linear(20, 10, rng=rng)),
    )


def wanted(steps: Trace, x: NDArray[np.float32], rounding: CRounding) -> NDArray[np.generic]:
    """The network's own answers: its last codes as int8, or floats."""
    arrays = computed(steps, x, rounding)
    last = steps.steps[-1].x if steps.y.name == "output" else steps.y
    return arrays[last.name] if last.qparams is None else stored(arrays[last.name], last.qparams)


def equal(model: Module, x: NDArray[np.float32], folder: Path, rounding: CRounding = "float") -> bool:
    steps, files = trace(model, x), to_c(model, x.shape[1:], rounding=rounding)
    return np.array_equal(answers(compiled(files, folder), files, steps, x), wanted(steps, x, rounding))


@pytest.mark.cc
@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_thousand_images_give_the_same_codes(tmp_path: Path, rounding: CRounding, axis: int | None) -> None:
    model = with_output_codes(quantize_static(of_images(), [X], axis=axis), [X])
    assert equal(model, X, tmp_path, rounding)


@pytest.mark.cc
def test_floats_at_the_end_are_the_same_to_the_bit(tmp_path: Path) -> None:
    assert equal(quantize_static(of_images(), [X]), X[:100], tmp_path)


@pytest.mark.cc
@pytest.mark.parametrize("flags", ["-O0", "-O3 -march=native", "-Os -fsanitize=undefined -fno-sanitize-recover"])
def test_no_optimization_changes_an_answer(tmp_path: Path, flags: str) -> None:
    """Products and sums of floats must not become one operation, and nothing may be undefined."""
    model = quantize_static(of_images(), [X])
    for rounding in ROUNDINGS:
        steps, files = trace(model, X[:50]), to_c(model, (1, 8, 8), rounding=rounding)
        (folder := tmp_path / rounding).mkdir()  # a library of the same path would be the one before
        library = compiled(files, folder, *flags.split())
        np.testing.assert_array_equal(answers(library, files, steps, X[:50]), wanted(steps, X[:50], rounding))


@pytest.mark.cc
@pytest.mark.parametrize("seed", range(16))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    random = case(seed)
    rounding: CRounding = ROUNDINGS[seed % 3]
    try:
        assert equal(random.model, random.x, tmp_path, rounding)
    except TypeError as error:
        assert "gives floats to another layer" in str(error)


@pytest.mark.cc
@pytest.mark.parametrize("activation_type", [UINT8, INT4, IntType(8, narrow=True)], ids=str)
def test_codes_of_other_types(tmp_path: Path, activation_type: IntType) -> None:
    model = quantize_static(of_images(), [X], activation_type=activation_type)
    assert equal(model, X[:50] * 30, tmp_path)


@pytest.mark.cc
def test_signals_and_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 3, 30)).astype(np.float32)
    signals = Sequential(Conv1d(3, 8, 5, stride=2, padding=2, rng=rng), ReLU(), Conv1d(8, 4, 3, dilation=2, rng=rng))
    assert equal(quantize_static(signals, [x]), x, tmp_path)
    tokens = Sequential(Linear(30, 8, rng=rng), GELU(), Linear(8, 5, rng=rng))
    (tmp_path / "tokens").mkdir()
    assert equal(quantize_static(tokens, [x]), x, tmp_path / "tokens")


@pytest.mark.cortex_m
@pytest.mark.parametrize(
    ("rounding", "cpu", "images"),
    [("float", "cortex-m4", 1000), ("gemmlowp", "cortex-m0", 200), ("single", "cortex-m7", 200)],
)
def test_an_emulated_cortex_m_gives_the_same_codes(tmp_path: Path, rounding: CRounding, cpu: str, images: int) -> None:
    x, model = X[:images], with_output_codes(quantize_static(of_images(), [X]), [X])
    steps, files = trace(model, x), to_c(model, (1, 8, 8), rounding=rounding)
    written, size = on_cortex_m(files, tmp_path, x, cpu)
    found = np.frombuffer(written, np.int8).reshape(len(x), -1)
    np.testing.assert_array_equal(found, wanted(steps, x, rounding))
    text, data, bss = (int(n) for n in size.splitlines()[1].split()[:3])
    assert (data, bss) == (0, files.arena), "all RAM is the arena"
    assert files.constants <= text < files.constants + 4000, "the code itself takes less than 4 kB"


def test_no_array_overlaps_another_that_lives_with_it() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        firsts = rng.integers(0, 20, 12)
        arrays = [
            Lifetime(str(i), int(rng.integers(1, 99)), int(first), int(first + rng.integers(0, 6)))
            for i, first in enumerate(firsts)
        ]
        offsets, size = placed(arrays)
        for a in arrays:
            assert 0 <= offsets[a.name] <= size - a.size
            for b in arrays:
                if a is not b and a.meets(b):
                    assert offsets[a.name] + a.size <= offsets[b.name] or offsets[b.name] + b.size <= offsets[a.name]


def test_a_chain_takes_no_more_than_its_two_largest_neighbours() -> None:
    sizes = [100, 400, 300, 50, 20]
    chain = [Lifetime(str(i), size, i, i + 1) for i, size in enumerate(sizes)]
    assert placed(chain)[1] == 700


# What is refused


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: quantize_dynamic(Sequential(Linear(4, 4), ReLU())),
            "layers.0, a QuantizedLinear, is quantized dynamically: the C file begins with a layer on codes",
        ),
        (lambda: Linear(4, 4), "the model, a Linear, computes in float: the C file begins with a layer on codes"),
        (
            lambda: quantize_static(Sequential(Linear(4, 4), LayerNorm(4)), [X[:9, 0, 0, :4]]),
            "layers.1, a LayerNorm, computes in float, which the C file cannot",
        ),
    ],
    ids=["dynamic", "floats in", "floats out"],
)
def test_what_is_no_network_of_codes_is_refused(make: Callable[[], Module], sentence: str) -> None:
    with pytest.raises(TypeError) as told:
        to_c(make(), (4,))
    assert str(told.value) == sentence


@pytest.mark.parametrize("name", ["2nd", "my network", "größe", ""])
def test_a_name_must_be_one_in_c(name: str) -> None:
    with pytest.raises(ValueError, match="name must be a name in C"):
        to_c(quantize_static(Linear(4, 4), [X[:9, 0, 0, :4]]), (4,), name)
