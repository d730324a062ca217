"""A short part of `fuzz.py`, and that it sees what it is there to see."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import numpy as np

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
