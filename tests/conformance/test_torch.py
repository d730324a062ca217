"""PyTorch's answers, frozen by make_torch_answers.py: where they are ours, and where they part and why."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch.quantization import (
    INT8,
    UINT8,
    MinMaxObserver,
    MovingAverageObserver,
    QParams,
    quantize,
)

from .frozen import FORMULAS, formula, in_int64, quantized, rows, torch_answers

EPSILON = np.finfo(np.float32).eps
OPERATOR = pytest.mark.parametrize("operator", FORMULAS)


@OPERATOR
def test_torch_computes_the_formula_that_we_say_it_does(operator: str) -> None:
    """fake_quantize: rint(x * (1 / scale)) + z. The others: rint(x * (1 / scale) + z), per tensor by one FMA."""
    counted = formula(operator)
    assert counted.mismatches == 0, f"{counted.mismatches} of {counted.compared} codes differ; {counted.first}"
    assert counted.compared >= 4000


@OPERATOR
def test_away_from_ties_torch_has_our_codes(operator: str) -> None:
    counted = quantized(operator, at_ties=False)
    assert counted.mismatches == 0, f"{counted.mismatches} of {counted.compared} codes differ; {counted.first}"
    assert counted.compared >= 1000


@OPERATOR
def test_at_ties_torch_has_other_codes_than_ours(operator: str) -> None:
    assert quantized(operator, at_ties=True).mismatches > 0


def test_with_a_scale_that_is_a_power_of_two_fake_quantize_has_our_codes_on_ties_too() -> None:
    """1 / scale and the product are exact then. The zero point is added after rounding, as here."""
    compared = 0
    for operator in ("fake_quantize_per_tensor", "fake_quantize_per_channel"):
        for p, x, theirs in rows(operator):
            if np.frexp(p.scale)[0] == 0.5:
                fits = in_int64(p, x)
                assert np.array_equal(quantize(x, p)[fits], theirs[fits])
                compared += int(fits.sum())
    assert compared > 4000


def test_the_zero_point_is_added_before_rounding_so_an_odd_one_turns_ties() -> None:
    """0.5 at scale 1 and zero point 1: torch rounds 1.5 to 2; ONNX rounds 0.5 to 0 and adds 1. Here at scale 0.5."""
    p, x, theirs = next(row for row in rows("quantize_per_tensor") if row[0].scale == 0.5 and row[0].zero_point == 1)
    inside = np.abs(x) < 50  # 100 steps: nothing saturates
    x, theirs, ours = x[inside], theirs[inside].astype(int), quantize(x[inside], p).astype(int)
    ties = (2 * x / p.scale) % 2 == 1
    assert ties.sum() > 10
    assert np.all(np.abs(theirs - ours)[ties] == 1)
    assert not np.any(theirs[ties] % 2), "torch's code is even; ours is an even number and 1"


def test_beyond_int64_fake_quantize_per_channel_sends_plus_infinity_to_the_lowest_code() -> None:
    wrapped = 0
    for p, x, theirs in rows("fake_quantize_per_channel"):
        beyond = ~in_int64(p, x) & (x > 0)
        assert np.all(theirs[beyond] == -128)
        assert np.all(quantize(x, p)[beyond] == 127)
        wrapped += int(beyond.sum())
    assert wrapped > 0


def test_not_a_number_has_two_codes_in_torch_and_none_here() -> None:
    assert torch_answers()["nan_codes"].tolist() == [127, -128], "quantize_per_tensor, fake_quantize"
    with pytest.raises(ValueError, match="NaN"):
        quantize([float("nan")], QParams(1.0, 0))


# Observers


@pytest.mark.parametrize("kind", ["quint8", "qint8", "symmetric"])
def test_min_max_observers_choose_the_same_qparams_but_for_float32_and_a_least_scale(kind: str) -> None:
    """torch subtracts and divides in float32 (two roundings, ours is one), and keeps its scale at 2**-23 or above.

    Its symmetric scale is absmax / 127.5, for codes from -128 on; ours is absmax / 127.
    """
    a, int_type = torch_answers(), UINT8 if kind == "quint8" else INT8
    named = (a["range_batches"], a[f"range_{kind}_scale"], a[f"range_{kind}_zero_point"])
    floored = 0
    for batches, scale, zero_point in zip(*named, strict=True):
        observer = MinMaxObserver()
        for batch in batches:
            observer.observe(batch)
        ours = observer.qparams(int_type, symmetric=kind == "symmetric")
        theirs = float(scale) * (127.5 / 127 if kind == "symmetric" else 1)
        lo, hi = (float(v) for v in observer.range())
        if scale == EPSILON:
            floored += 1
            assert max(hi, 0) - min(lo, 0) <= EPSILON * 255
            continue
        assert abs(theirs - ours.scale) <= 3.0 * 2.0**-24 * theirs * (1 + 2.0**-20), f"[{lo}, {hi}]"
        tie = abs(abs(lo / theirs) % 1 - 0.5) <= 4 * 2.0**-24 * abs(lo / theirs)
        assert int(ours.zero_point) == zero_point or tie, f"[{lo}, {hi}]"
    assert floored == 3, "the all-zero and the two tiny streams"


def test_moving_averages_end_in_one_range_but_for_float32() -> None:
    """torch's averaging_constant is 1 - momentum, and it averages in float32: lo + constant * (batch_lo - lo).

    Of the largest number, the difference is twice at most, and three errors of 2**-24 (difference, constant, product)
    enter times the constant, one (the sum) whole. Each fades by 1 - constant a batch: all make 1 / constant of one.
    """
    a = torch_answers()
    named = (a[f"average_{name}"] for name in ("batches", "constant", "lo", "hi"))
    for batches, constant, lo, hi in zip(*named, strict=True):
        observer = MovingAverageObserver(momentum=1 - float(constant))
        for batch in batches:
            observer.observe(batch)
        bound = np.abs(batches).max() * 2.0**-24 * (1 + 2 * 3 * constant) / constant
        for ours, theirs in zip(observer.range(), (lo, hi), strict=True):
            assert abs(float(ours) - float(theirs)) <= bound, f"constant {constant}: {float(ours)}, torch {theirs}"
