"""Cross-entropy against its definition in plain Python, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.core import CrossEntropyLoss, MSELoss, Tensor

loss_of = CrossEntropyLoss()


def spec(logits: list[list[float]], labels: list[int]) -> float:
    """-log(exp(z[label]) / sum exp(z)), averaged; fsum and a shift that cancels exactly keep it right."""
    total = []
    for z, label in zip(logits, labels, strict=True):
        top = max(z)
        total.append(math.log(math.fsum(math.exp(v - top) for v in z)) - (z[label] - top))
    return math.fsum(total) / len(total)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, classes = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    return rng.normal(0, 5, (n, classes)), rng.integers(0, classes, n)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=cases())
def test_the_loss_is_its_definition(check_gradients: Callable[..., None], case: Any) -> None:
    logits, labels = case
    loss = loss_of(Tensor(logits), labels)
    assert loss.shape == ()
    assert math.isclose(loss.item(), spec(logits.tolist(), labels.tolist()), rel_tol=1e-12, abs_tol=1e-14)
    check_gradients(lambda z: loss_of(z, labels), logits)


def test_equal_logits_cost_log_of_the_number_of_classes() -> None:
    assert loss_of(Tensor(np.zeros((3, 10))), [0, 5, 9]).item() == pytest.approx(math.log(10), rel=1e-15)


def test_huge_logits_neither_overflow_nor_lose_the_gradient() -> None:
    logits = Tensor(np.array([[1e30, 0.0], [-1e30, 0.0], [3e4, 3e4]], np.float32), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss = loss_of(logits, [0, 1, 0])
        loss.backward()
    assert loss.item() == pytest.approx(math.log(2) / 3, rel=1e-6)
    assert logits.grad is not None and np.allclose(logits.grad * 3, [[0.0, 0.0], [0.0, 0.0], [-0.5, 0.5]])


def test_the_loss_of_float16_logits_is_float32_and_survives_scaling() -> None:
    logits = Tensor(np.array([[0.0, 20.0]], np.float16), requires_grad=True)
    loss = loss_of(logits, [0])
    assert loss.dtype == np.float32
    assert (loss * 65536.0).item() == pytest.approx(20 * 65536, rel=1e-6)
    loss.backward()
    assert logits.grad is not None and logits.grad.dtype == np.float16


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_of_any_integer_dtype(dtype: type) -> None:
    logits = Tensor(np.eye(3))
    assert loss_of(logits, np.arange(3, dtype=dtype)).item() == loss_of(logits, [0, 1, 2]).item()


@pytest.mark.parametrize(
    "labels, error, message",
    [
        ([0, 3], ValueError, r"0 .. 2, a column of the logits; got 0 .. 3"),
        ([-1, 1], ValueError, r"0 .. 2, a column of the logits; got -1 .. 1"),
        ([0.0, 1.0], TypeError, r"integers, got float64: use labels.astype\(np.int64\)"),
        ([True, False], TypeError, r"integers, got bool"),
        ([0], ValueError, r"shape \(2,\), an integer a row, got \(1,\)"),
        ([[1, 0, 0], [0, 1, 0]], ValueError, r"got \(2, 3\): one-hot wants argmax"),
    ],
)
def test_wrong_labels_are_refused(labels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        loss_of(Tensor(np.zeros((2, 3))), labels)


@pytest.mark.parametrize("shape", [(3,), (), (0, 3), (2, 0), (2, 0, 3), (2, 3, 0)])
def test_wrong_logits_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits must have shape \(batch, \.\.\., classes\)"):
        loss_of(Tensor(np.zeros(shape)), np.zeros(shape[:1], int))


@pytest.mark.parametrize("shape", [(2, 5, 3), (4, 1, 2), (2, 3, 2, 4)])
def test_a_label_at_each_token_is_a_row_of_its_own(
    shape: tuple[int, ...], check_gradients: Callable[..., None]
) -> None:
    """As the mean over a plain loop, and as the same rows [N * T, classes]."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=shape), rng.integers(0, shape[-1], shape[:-1])
    each = [
        math.log(math.fsum(math.exp(v) for v in logits[at])) - logits[at][labels[at]] for at in np.ndindex(shape[:-1])
    ]
    assert loss_of(Tensor(logits), labels).item() == pytest.approx(math.fsum(each) / len(each), rel=1e-12)
    rows = loss_of(Tensor(logits.reshape(-1, shape[-1])), labels.ravel())
    assert loss_of(Tensor(logits), labels).item() == rows.item()
    check_gradients(lambda x: loss_of(x, labels), logits)


def test_labels_of_tokens_have_the_shape_that_accuracy_takes() -> None:
    logits = Tensor(np.zeros((2, 5, 3)))
    for labels in (np.zeros(2, int), np.zeros((2, 3), int), np.zeros((2, 5, 3), int), np.zeros(10, int)):
        with pytest.raises(ValueError, match=r"labels must have shape \(2, 5\), an integer a row, got"):
            loss_of(logits, labels)


# Squared errors


def test_squared_errors_are_their_definition(check_gradients: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1,), (5,), (4, 3), (2, 3, 2)):
        predictions, targets = rng.normal(size=shape), rng.normal(size=shape)
        errors = [p - t for p, t in zip(predictions.ravel().tolist(), targets.ravel().tolist(), strict=True)]
        loss = MSELoss()(Tensor(predictions), targets)
        assert loss.shape == () and loss.item() == pytest.approx(math.fsum(e * e for e in errors) / len(errors))
        check_gradients(lambda p, t=targets: MSELoss()(p, t), predictions)


def test_squared_errors_of_half_precision_do_not_overflow() -> None:
    predictions = Tensor(np.full((2, 1), 600, np.float16), requires_grad=True)
    loss = MSELoss()(predictions, np.zeros((2, 1)))
    loss.backward()
    assert loss.item() == 360_000 and predictions.grad is not None and predictions.grad.tolist() == [[600], [600]]


@pytest.mark.parametrize(
    ("targets", "kind", "said"),
    [
        (np.zeros(3), ValueError, r"targets must have the predictions' shape \(3, 1\) and not be empty, got \(3,\)"),
        (np.zeros((1, 1)), ValueError, r"got \(1, 1\)"),
        (np.full((3, 1), np.nan), ValueError, "must be finite"),
        (np.full((3, 1), np.inf), ValueError, "must be finite"),
        (["a", "b", "c"], TypeError, "targets must be real numbers"),
    ],
)
def test_targets_that_would_broadcast_or_are_no_numbers_are_refused(targets: Any, kind: Any, said: str) -> None:
    with pytest.raises(kind, match=said):
        MSELoss()(Tensor(np.zeros((3, 1), np.float32)), targets)
    with pytest.raises(TypeError, match="predictions must be a Tensor, .* got ndarray"):
        MSELoss()(np.zeros((3, 1)), np.zeros((3, 1)))  # type: ignore[arg-type]
