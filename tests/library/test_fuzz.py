"""A short part of `fuzz.py`, and that it sees what it is there to see."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from tinytorch.core import Module, Tensor
from tinytorch.quantization import INT4, INT8, quantize_dynamic

from . import fuzz_networks
from .fuzz import problem
from .fuzz_given import REFUSED, Call

ROOT = Path(__file__).parents[2]


def test_every_public_function_is_right_or_refuses_in_a_sentence() -> None:
    command = [sys.executable, "-m", "tests.library.fuzz", "--cases", "12", "--seed", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "seed 1, 12 calls of each function" in run.stdout


def raising(error: Exception) -> NoReturn:
    raise error


def warning() -> float:
    warnings.warn("overflow encountered in divide", RuntimeWarning, stacklevel=1)
    return 1.0


def test_what_is_wrong_is_called_wrong() -> None:
    x = np.zeros(2)
    wrong = [
        Call(lambda: 2.0, 1.0),
        Call(lambda: np.ones((1, 2)), np.ones(2)),
        Call(lambda: np.nan, 1.0, within=5),
        Call(lambda: 1.0, REFUSED),
        Call(lambda: raising(AttributeError("'list' object has no attribute 'shape'")), REFUSED),
        Call(lambda: raising(ValueError("operands could not be broadcast together")), REFUSED),
        Call(lambda: raising(ValueError("two lines,\nnot a sentence")), REFUSED),
        Call(lambda: raising(ValueError("wanted an array, got a list")), 1.0),
        Call(warning, 1.0),
        Call(lambda: x.__iadd__(1), np.ones(2), (x,)),
    ]
    assert [problem(call)[0] for call in wrong] == ["WRONG"] * len(wrong)


def test_what_is_right_is_called_right() -> None:
    sentence = ValueError("wanted an array, got a list")
    assert problem(Call(lambda: (1.0, np.nan), (1.0, np.nan)))[0] == "right"
    assert problem(Call(lambda: raising(sentence), REFUSED))[0] == "right"
    assert problem(Call(lambda: raising(sentence), 1.0, may_refuse=True))[0] == "refused"


def test_networks_that_differ_where_they_must_not_are_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form that gives other numbers, a state that is not loaded, a quantizer that takes another type than asked."""
    call = fuzz_networks.CALLS["a random network, dynamic"]
    monkeypatch.setattr(fuzz_networks, "accelerate", off_by_a_bit)
    monkeypatch.setattr(fuzz_networks, "kernels", lambda: ("avx2", "numpy"))
    verdict, what = problem(call(np.random.default_rng(0)))
    assert verdict == "WRONG" and "accelerated differs" in what
    monkeypatch.undo()
    monkeypatch.setattr("tinytorch.core.load_state", lambda model, path: None)
    verdict, what = problem(call(np.random.default_rng(0)))
    assert verdict == "WRONG" and "loaded differs" in what
    monkeypatch.undo()
    asked = fuzz_networks.Weights(INT8, axis=0)
    coarse = fuzz_networks.Way(lambda m, x, how: quantize_dynamic(m, INT4), lambda rng: asked)
    unruled = fuzz_networks.Way(lambda m, x, how: quantize_dynamic(m), lambda rng: asked)
    for way, said in ((coarse, "weight 0"), (unruled, ": float, got Quantized")):
        whats = [problem(way(np.random.default_rng(seed)))[1] for seed in range(6)]
        assert any(said in what for what in whats), "some draw a rule, and some draw none"
    asked_alone = fuzz_networks.Way(fuzz_networks.dynamic, fuzz_networks.signed, alone=True)
    whats = [problem(asked_alone(np.random.default_rng(seed)))[1] for seed in range(3)]
    assert any("in a batch 100 times as large differs" in what for what in whats)


def off_by_a_bit(model: Module) -> Module:
    """The model, whose every output is one float32 number further up."""

    class Nudged(Module):
        def forward(self, x: Any) -> Any:
            return Tensor(np.nextafter(model(x).data, np.float32(np.inf)))

    return Nudged()
