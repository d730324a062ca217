"""accuracy and r2_score, against sums in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinytorch.core import CrossEntropyLoss, Linear, Module, ReLU, Sequential, Tensor, accuracy, r2_score

ROWS = np.array([[0, 1], [1, 0], [3, 2], [-2, -1]], np.float32)


class Fixed(Module):
    """Answers with whatever it was given as its outputs."""

    def __init__(self, wrap: Any = Tensor) -> None:
        self.child, self.wrap, self.modes = ReLU(), wrap, list[bool]()

    def forward(self, x: Tensor) -> Any:
        self.modes.append(self.child.training or x.requires_grad)
        return self.wrap(x.data)


class Codes:
    def __init__(self, values: Any) -> None:
        self.values = values

    def dequantize(self) -> Any:
        return self.values


@pytest.mark.parametrize("wrap", [Tensor, lambda v: v, Codes, lambda v: Codes(Tensor(v))])
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_accuracy_is_the_share_of_labels_with_the_largest_output(wrap: Any, batch_size: int) -> None:
    assert accuracy(Fixed(wrap), ROWS, np.array([1, 0, 1, 1]), batch_size) == 0.75


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
@pytest.mark.parametrize("tokens", [(3,), (2, 5)])
def test_accuracy_of_tokens_counts_every_token_once(tokens: tuple[int, ...], batch_size: int) -> None:
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(7, *tokens, 4)).astype(np.float32), rng.integers(0, 4, (7, *tokens))
    pairs = list(zip(outputs.reshape(-1, 4).tolist(), labels.ravel().tolist(), strict=True))
    share = sum(row.index(max(row)) == label for row, label in pairs) / len(pairs)
    assert accuracy(Fixed(), outputs, labels, batch_size) == pytest.approx(share, abs=1e-15)


def test_accuracy_evaluates_and_puts_every_mode_back() -> None:
    model = Fixed()
    model.training = False  # a model half in training: both flags must come back
    accuracy(model, np.ones((2, 2), np.float32), np.zeros(2, int))
    assert model.modes == [False] and model.child.training and not model.training


def test_an_output_of_nan_is_no_hit() -> None:
    outputs = np.array([[np.nan, np.nan], [np.nan, 1], [1, np.nan], [1, 0]], np.float32)
    assert accuracy(Fixed(), outputs, np.array([0, 0, 1, 0])) == 0.25


@pytest.mark.parametrize(
    ("outputs", "labels", "error", "said"),
    [
        (ROWS, [[1], [0], [1], [1]], ValueError, r"outputs \(4, 2\) and labels \(4, 1\)"),
        (ROWS, [[1, 0]] * 4, ValueError, r"outputs \(4, 2\) and labels \(4, 2\)"),
        (np.zeros((4, 3, 2)), [1, 0, 1, 1], ValueError, r"outputs \(4, 3, 2\) and labels \(4,\)"),
        (np.zeros((4, 3, 2)), np.zeros((4, 1), int), ValueError, r"outputs \(4, 3, 2\) and labels \(4, 1\)"),
        (np.zeros((4, 1)), [0, 0, 0, 0], ValueError, "of at least 2 classes"),
        (np.zeros(4), [0, 0, 0, 0], ValueError, "of at least 2 classes"),
        (ROWS, [1, 0, 1], ValueError, r"a label for each, got 4 and labels \(3,\)"),
        (ROWS, np.zeros((4, 0), int), ValueError, "at least one sample and a label for each"),
        (ROWS[:0], np.zeros(0, int), ValueError, "at least one sample"),
        (ROWS, [0, 1, 2, 0], ValueError, r"labels in 0 .. classes - 1, got labels 0 .. 2"),
        (ROWS, [0.5, 0.25, 1.0, 2.0], TypeError, "got float64: real numbers are the targets of a regression"),
        (ROWS, [0.0, 1.0, 1.0, 0.0], TypeError, r"use labels.astype\(np.int64\)"),
        (ROWS, ["a", "b", "a", "b"], TypeError, "labels must be real numbers"),
    ],
)
def test_labels_that_are_not_one_for_each_row_of_outputs_are_refused(
    outputs: Any, labels: Any, error: type[Exception], said: str
) -> None:
    """Labels [N, 1] gave 2.4, labels [N, T] 1.6, and real numbers 0.0."""
    with pytest.raises(error, match=said):
        accuracy(Fixed(), np.asarray(outputs, np.float32), labels)


def test_cross_entropy_gives_no_advice_that_would_round_the_targets_of_a_regression() -> None:
    for targets in ([0.5, 0.25], [np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(TypeError, match="real numbers are the targets of a regression"):
            CrossEntropyLoss()(Tensor(np.zeros((2, 3))), targets)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 2, 3)])
def test_r2_is_one_less_the_share_of_the_spread_that_is_left(shape: tuple[int, ...], batch_size: int) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=shape)
    x = (y + 0.1 * rng.normal(size=shape)).astype(np.float32)
    scores = []
    for out, wanted in zip(x.reshape(9, -1).T.tolist(), y.reshape(9, -1).T.tolist(), strict=True):
        mean = sum(wanted) / 9
        left = sum((a - b) ** 2 for a, b in zip(out, wanted, strict=True))
        scores.append(1 - left / sum((b - mean) ** 2 for b in wanted))
    assert r2_score(Fixed(), x, y, batch_size) == pytest.approx(sum(scores) / len(scores), rel=1e-12)
    assert r2_score(Fixed(), y.astype(np.float32), y.astype(np.float32)) == 1.0


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (ROWS[:, :1], [1.0, 2.0, 3.0, 4.0], r"targets of the outputs' shape, \(4, 1\) in a batch, got \(4,\)"),
        (ROWS, [[1.0], [2.0], [3.0], [4.0]], r"\(4, 2\) in a batch, got \(4, 1\)"),
        (ROWS, ROWS[:3], r"a target for each, got 4 and \(3, 2\)"),
        (ROWS, [[0.1, 1], [0.1, 2], [0.1, 3], [0.1, 4]], "differ from sample to sample, for each output"),
        (ROWS, [[np.nan, 1], [2, 2], [3, 3], [4, 4]], "finite targets"),
        (ROWS[:0], ROWS[:0], "at least two samples"),
    ],
)
def test_r2_refuses_what_would_broadcast_or_has_no_spread(x: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        r2_score(Fixed(), x, y)


def test_a_line_is_fitted_exactly_by_a_linear_layer() -> None:
    model, x = Sequential(Linear(1, 1)), np.arange(5, dtype=np.float32)[:, None]
    model.layers[0].weight.data[:], model.layers[0].bias.data[:] = 2, 1  # type: ignore[attr-defined]
    assert r2_score(model, x, 2 * x + 1) == 1.0
