"""PyTorch's answers, as make_torch_answers.py kept them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from tinytorch.quantization import (
    INT8,
    UINT8,
    HistogramObserver,
    MinMaxObserver,
    QParams,
    error_parts,
    quantize,
)

from .conventions import Formula, inverse_after, inverse_before, inverse_fused, near_tie
from .counting import Answer, Array, Count, count
from .sweeps import told

# torch's operators, and the formula that each of them computes
FORMULAS: dict[str, Formula] = {
    "quantize_per_tensor": inverse_fused,
    "quantize_per_channel": inverse_before,
    "fake_quantize_per_tensor": inverse_after,
    "fake_quantize_per_channel": inverse_after,
}


@cache
def torch_answers() -> dict[str, Array]:
    with np.load(Path(__file__).with_name("torch_answers.npz")) as answers:
        return dict(answers)


def torch_version() -> str:
    return f"torch {torch_answers()['versions'][0]}, frozen"


def rows(operator: str) -> Iterator[tuple[QParams, Array, Array]]:
    """(quantization parameters, x, torch's codes) of each row: float32 [N], int8 or uint8 [N]."""
    a, prefix = torch_answers(), "channel_" * operator.endswith("channel")
    faked = operator.startswith("fake")
    signed = np.ones(a["channel_scale"].size, bool) if prefix else a["signed"]
    named = (a[prefix + name] for name in ("scale", "zero_point", "x", "faked" if faked else "quantized"))
    for is_signed, scale, zero_point, x, answer in zip(signed, *named, strict=True):
        p = QParams(scale, zero_point, INT8 if is_signed else UINT8)
        codes = np.rint(answer / scale) + zero_point if faked else answer  # fake_quantize answers in reals
        yield p, x, codes.astype(p.int_type.storage)


def in_int64(p: QParams, x: Array) -> Array:
    """bool: where x / scale fits int64. Beyond, fake_quantize_per_channel wraps: +infinity gets the lowest code."""
    return np.asarray(np.abs(x.astype(np.float64) / p.scale) < 2.0**63)


@np.errstate(over="ignore", invalid="ignore")
def formula(operator: str) -> Count:
    """torch against the formula, everywhere."""
    answers = (
        (told(p), FORMULAS[operator](x, p)[asked], theirs[asked])
        for p, x, theirs in rows(operator)
        for asked in [in_int64(p, x)]
    )
    return count(operator, "INT8, UINT8", torch_version(), answers)


def quantized(operator: str, at_ties: bool) -> Count:
    """torch against `quantize`: on ties and next to them, or everywhere else."""

    def answers() -> Iterator[Answer]:
        for p, x, theirs in rows(operator):
            asked = in_int64(p, x) & (near_tie(x, p) == at_ties)
            yield told(p), quantize(x, p)[asked], theirs[asked]

    where = "at ties" if at_ties else "away from ties"
    return count(f"{operator}, {where}", "INT8, UINT8", torch_version(), answers())


def histogram_errors() -> Iterator[tuple[str, float, float, float]]:
    """(data, then the mean squared error of int8 codes: our HistogramObserver's, torch's, min-max's), to look at only.

    Both search a histogram for the range of least error, each in its own way: no reason to demand either's result.
    """
    a = torch_answers()
    names = ("normal", "normal, one outlier", "normal, after ReLU")
    for name, x, *p in zip(names, a["histogram_x"], a["histogram_scale"], a["histogram_zero_point"], strict=True):
        ours, widest = HistogramObserver(), MinMaxObserver()
        ours.observe(x)
        widest.observe(x)
        each = (ours.qparams(INT8), QParams(*p), widest.qparams(INT8))
        first, second, third = (sum(error_parts(x, qparams)) for qparams in each)
        yield name, first, second, third
