"""outputs: what a network answers, in one piece or in batches that fit into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.core import BatchNorm2d, Conv2d, Flatten, Linear, Module, ReLU, Sequential, Tensor, outputs
from tinytorch.quantization import QParams, QuantizedLinear, quantize_dynamic, quantize_static

X = np.random.default_rng(0).normal(size=(25, 1, 6, 6)).astype(np.float32)


def network() -> Sequential:
    rng = np.random.default_rng(1)
    return Sequential(Conv2d(1, 3, 3, rng=rng), BatchNorm2d(3), ReLU(), Flatten(), Linear(48, 4, rng=rng))


class Largest(Module):
    """It remembers how many rows came at once."""

    rows: list[int]

    def __init__(self) -> None:
        self.rows = []

    def forward(self, x: Any) -> Any:
        self.rows.append(len(x.data))
        return x


@pytest.mark.parametrize("batch_size", [1, 7, 25, 26, np.int64(5)])
def test_batches_give_the_answers_of_all_at_once(batch_size: int) -> None:
    """Of a static network to the bit, for its sums are integers; of a float one to its rounding."""
    model = network()
    static = quantize_static(model, [X])
    assert np.array_equal(outputs(static, X, batch_size), outputs(static, X))
    assert np.allclose(outputs(model, X, batch_size), outputs(model, X), atol=1e-6)
    assert np.array_equal(outputs(static, Tensor(X), batch_size), outputs(static, X))
    assert model.training and np.all(model.layers[1].running_mean == 0)  # type: ignore[attr-defined]


def test_no_batch_is_larger_than_asked_for_and_progress_is_told_after_each() -> None:
    model, told = Largest(), list[tuple[int, int]]()
    outputs(model, X, 10, lambda done, total: told.append((done, total)))
    assert model.rows == [10, 10, 5] and told == [(10, 25), (20, 25), (25, 25)]
    outputs(model, X, progress=lambda done, total: told.append((done, total)))
    assert model.rows[3:] == [25] and told[3:] == [(25, 25)]


def test_codes_come_back_as_numbers_from_each_batch() -> None:
    layer = QuantizedLinear(np.eye(36, dtype=np.float32), None, QParams(0.02, 0), QParams(0.02, 0))
    x = X.reshape(25, 36)
    assert np.array_equal(outputs(layer, x, 8), outputs(layer, x)) and outputs(layer, x, 8).dtype == np.float32


def test_no_rows_give_no_answers_of_the_right_shape() -> None:
    assert outputs(network(), X[:0], 8).shape == outputs(network(), X[:0]).shape == (0, 4)


def test_a_dynamic_layer_takes_the_range_of_its_batch() -> None:
    """As the docstring warns: rows that share a batch with a large one are coarser."""
    x = np.ones((2, 36), np.float32) * np.array([[1e-3], [1.0]], np.float32)
    model = quantize_dynamic(Sequential(Linear(36, 4, rng=np.random.default_rng(0))))
    alone, together = outputs(model, x, 1), outputs(model, x)
    assert np.array_equal(alone[1], together[1]) and not np.array_equal(alone[0], together[0])


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_batch_size_is_a_whole_number_of_rows(size: Any) -> None:
    with pytest.raises(ValueError, match="outputs needs batch_size as one integer >= 1"):
        outputs(network(), X, size)


def test_what_has_no_rows_is_not_cut() -> None:
    with pytest.raises(TypeError, match="outputs takes rows of an array in batches, got dict"):
        outputs(network(), {"x": X}, 4)
    with pytest.raises(TypeError, match="wanted a Module"):
        outputs(lambda x: x, X)  # type: ignore[arg-type]
