"""A short part of `fuzz.py`, and that it sees what it is there to see."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


def test_every_public_function_is_right_or_refuses_in_a_sentence() -> None:
    run = subprocess.run(
        [sys.executable, str(FUZZ), "--cases", "12", "--seed", "1"], capture_output=True, text=True, encoding="utf-8"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "seed 1, 12 calls of each function" in run.stdout


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FUZZ.parent))
    spec = importlib.util.spec_from_file_location("fuzz_of_quantization", FUZZ)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def raising(error: Exception) -> Any:
    raise error


def warning() -> float:
    warnings.warn("overflow encountered in divide", RuntimeWarning, stacklevel=1)
    return 1.0


def test_what_is_wrong_is_called_wrong(fuzz: Any) -> None:
    x = np.zeros(2)
    wrong = [
        fuzz.Call(lambda: 2.0, 1.0),
        fuzz.Call(lambda: np.ones((1, 2)), np.ones(2)),
        fuzz.Call(lambda: np.nan, 1.0, within=5),
        fuzz.Call(lambda: 1.0, fuzz.REFUSED),
        fuzz.Call(lambda: raising(AttributeError("'list' object has no attribute 'shape'")), fuzz.REFUSED),
        fuzz.Call(lambda: raising(ValueError("operands could not be broadcast together")), fuzz.REFUSED),
        fuzz.Call(lambda: raising(ValueError("two lines,\nnot a sentence")), fuzz.REFUSED),
        fuzz.Call(lambda: raising(ValueError("wanted an array, got a list")), 1.0),
        fuzz.Call(warning, 1.0),
        fuzz.Call(lambda: x.__iadd__(1), np.ones(2), (x,)),
    ]
    assert [fuzz.problem(call)[0] for call in wrong] == ["WRONG"] * len(wrong)


def test_what_is_right_is_called_right(fuzz: Any) -> None:
    sentence = ValueError("wanted an array, got a list")
    assert fuzz.problem(fuzz.Call(lambda: (1.0, np.nan), (1.0, np.nan)))[0] == "right"
    assert fuzz.problem(fuzz.Call(lambda: raising(sentence), fuzz.REFUSED))[0] == "right"
    assert fuzz.problem(fuzz.Call(lambda: raising(sentence), 1.0, may_refuse=True))[0] == "refused"
