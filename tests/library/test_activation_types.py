"""`activation_type`: static quantization with other codes between layers than int8, in NumPy and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinytorch.acceleration import accelerate
from tinytorch.core import (
    GELU,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
)
from tinytorch.quantization import (
    INT4,
    INT8,
    UINT8,
    IntType,
    PercentileObserver,
    quantize_static,
    sqnr_db,
)


def images(rng: np.random.Generator) -> Sequential:
    return Sequential(
        Conv2d(2, 4, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Conv2d(4, 4, 3, rng=rng, groups=2), GELU(),
        Flatten(), Linear(16, 8, rng=rng), ReLU(), Residual(Sequential(Linear(8, 8, rng=rng), ReLU())),
        Linear(8, 3, rng=rng),
    )  # fmt: skip


def rows(rng: np.random.Generator) -> Sequential:
    return Sequential(Linear(12, 16, rng=rng), ReLU(), Linear(16, 16, rng=rng), Linear(16, 3, rng=rng))


MODELS: dict[str, tuple[Callable[[np.random.Generator], Module], tuple[int, ...]]] = {
    "images": (images, (6, 2, 8, 8)),
    "rows": (rows, (6, 12)),
}


@pytest.fixture(params=list(MODELS))
def case(request: pytest.FixtureRequest) -> tuple[Module, NDArray[Any]]:
    make, shape = MODELS[request.param]
    rng = np.random.default_rng(3)
    return make(rng), rng.normal(size=shape).astype(np.float32)


def test_uint8_codes_give_the_bits_of_int8_codes(case: tuple[Module, NDArray[Any]]) -> None:
    """Both ranges have 255 steps: the scales are equal, and every code and zero point is 128 more."""
    model, x = case
    signed, unsigned = (quantize_static(model, [x], activation_type=t) for t in (INT8, UINT8))
    assert np.array_equal(unsigned(x).data, signed(x).data)
    assert unsigned.get("layers.0").input_qparams.int_type == UINT8  # type: ignore[attr-defined]


@pytest.mark.parametrize("activation_type", [INT4, IntType(6, signed=False), IntType(8, narrow=True)], ids=str)
def test_every_code_between_layers_is_of_the_type(case: tuple[Module, NDArray[Any]], activation_type: IntType) -> None:
    model, x = case
    got = quantize_static(model, [x], PercentileObserver, activation_type=activation_type)
    between = [p for _, m in got.named_modules() if (p := getattr(m, "input_qparams", None)) is not None]
    assert between and all(p.int_type == activation_type for p in between)
    assert sqnr_db(model(x).data, got(x).data) > activation_type.bits, "some signal is left"


@pytest.mark.parametrize("activation_type", [UINT8, INT4, IntType(5, signed=False)], ids=str)
def test_compiled_layers_give_the_same_bits(case: tuple[Module, NDArray[Any]], activation_type: IntType) -> None:
    model, x = case
    slow = quantize_static(model, [x], activation_type=activation_type)
    assert np.array_equal(accelerate(slow)(x).data, slow(x).data)


def test_what_is_no_type_is_refused() -> None:
    model, x = rows(np.random.default_rng(0)), np.ones((2, 12), np.float32)
    with pytest.raises(TypeError, match="integer type such as INT8"):
        quantize_static(model, [x], activation_type=8)  # type: ignore[arg-type]
