"""Evaluation in many threads at once changes nothing: no answer, no mode, no statistic."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest

from tinytorch.core import BatchNorm2d, Flatten, Linear, Module, Sequential, Tensor, accuracy, evaluating, fit, r2_score
from tinytorch.quantization import outputs, prepare_qat, quantize_static

IMAGES = np.random.default_rng(0).normal(3, 2, (8, 2, 2, 2)).astype(np.float32)
LABELS = np.arange(8) % 3
TARGETS = np.random.default_rng(1).normal(size=(8, 3))


class Gate(Module):
    """The first call through it waits for the second, the second for the end of the first."""

    def __init__(self) -> None:
        self.calls = 0
        self.second_came, self.first_ended = Event(), Event()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 1:
            assert self.second_came.wait(60), "no second call"
        elif self.calls == 2:
            self.second_came.set()
            assert self.first_ended.wait(60), "the first call did not end"
        return x


def network(*first: Module) -> Sequential:
    return Sequential(*first, BatchNorm2d(2), Flatten(), Linear(8, 3, rng=np.random.default_rng(0)))


def overlapping(gate: Gate, first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """second()'s result: it begins before first() ends, and computes after that."""
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(first)
        while not gate.calls and not running.done():
            sleep(0.001)
        other = pool.submit(second)
        running.result(60)
        gate.first_ended.set()
        return other.result(60)


MEASURES: dict[str, Callable[[Module], Any]] = {
    "outputs": lambda model: outputs(model, IMAGES).tolist(),
    "accuracy": lambda model: accuracy(model, IMAGES, LABELS),
    "r2_score": lambda model: r2_score(model, IMAGES, TARGETS),
    "quantize_static": lambda model: outputs(quantize_static(model, [IMAGES]), IMAGES).tolist(),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_an_evaluation_during_which_another_ends_is_not_disturbed(measure: str) -> None:
    """The first one put the mode back that it had found, so that the second one trained the batch norm."""
    gate = Gate()
    model, alone = network(gate), MEASURES[measure](network())
    state = model.state_dict()
    assert overlapping(gate, lambda: outputs(model, IMAGES), lambda: MEASURES[measure](model)) == alone
    assert all(m.training for _, m in model.named_modules()), "the model is in training mode, as before"
    assert all(np.array_equal(array, state[name]) for name, array in model.state_dict().items())


def test_a_prepared_model_that_threads_evaluate_keeps_its_ranges() -> None:
    gate = Gate()
    model = prepare_qat(network(), [IMAGES])
    model.layers.insert(0, gate)  # type: ignore[attr-defined]
    state = model.state_dict()
    got = overlapping(gate, lambda: outputs(model, IMAGES), lambda: outputs(model, 100 * IMAGES))
    assert np.array_equal(got, outputs(model, 100 * IMAGES))
    assert all(np.array_equal(array, state[name]) for name, array in model.state_dict().items())


def test_one_thread_trains_while_another_evaluates() -> None:
    gate = Gate()
    model = network()
    watched = Sequential(gate, model)
    before = model.state_dict()
    overlapping(gate, lambda: outputs(watched, IMAGES), lambda: fit(watched, IMAGES, LABELS, epochs=1))
    moved = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
    assert moved == set(before), "weights and statistics follow the training, although another thread evaluated"


def test_400_answers_of_four_threads_are_those_of_one() -> None:
    model = network()
    wanted = outputs(model, IMAGES)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: outputs(model, IMAGES), range(400)))
    assert all(np.array_equal(each, wanted) for each in got) and model.training


def test_blocks_within_blocks_end_one_by_one() -> None:
    model, other = network(), network()
    with evaluating(model):
        with evaluating(other):
            assert not model.training
        assert not model.training and not other.training and not model(IMAGES).requires_grad
    assert model.training and other.training


def test_the_mode_that_is_set_within_a_block_holds_after_it() -> None:
    model = network()
    with evaluating(model):
        model.eval()
    assert not model.training


@pytest.mark.parametrize("wrong", [None, 1.5, Linear, lambda x: x], ids=["None", "float", "class", "function"])
def test_what_is_no_module_is_not_evaluated(wrong: Any) -> None:
    for call in (lambda: outputs(wrong, IMAGES), lambda: accuracy(wrong, IMAGES, LABELS)):
        with pytest.raises(TypeError, match=r"wanted a Module of tinytorch\.core, got"):
            call()
