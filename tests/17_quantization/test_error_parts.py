"""error_parts and sqnr_db. From simplest to hardest; the first that fails is the one you are shown."""

import math
import warnings
from contextlib import contextmanager

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, check_float, works

INSIDE = "clipped are those whose code rint(x / scale) + zero_point, *not yet clipped*, lies outside [qmin, qmax]"
CLOSE = 1e-6  # relative: float32 would do; the values below are chosen so that float64 is exact


@contextmanager
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def parts(student, x, p, hint="the squared errors of x against dequantize(quantize(x, qparams), qparams), in two"):
    with works("error_parts(...)", hint):
        got = student.error_parts(x, p)
    assert isinstance(got, tuple) and len(got) == 2, f"expected a pair (rounding, clipping), got {got!r}"
    return got


@pytest.mark.part("error_parts")
def test_without_clipping_all_error_is_rounding(student):
    got = parts(student, [0.5, 1.0, -2.25, 3.25], student.QParams(1.0, 0))
    slips = {
        "the two parts are swapped: (rounding, clipping)": (0.0, 0.09375),
        "the errors must be squared": (0.125, 0.0),
        "squared errors are wanted, not absolute ones": (0.25, 0.0),
        "it is the *mean* squared error: divide by x.size": (0.375, 0.0),
        "it is the mean *squared* error, no root": (math.sqrt(0.09375), 0.0),
    }
    both = np.asarray(got, float)
    assert not np.isnan(both).any(), f"got {got}: nothing is clipped, and the mean of nothing is NaN: sums, over x.size"
    check("error_parts([0.5, 1, -2.25, 3.25], QParams(1, 0))", got, (0.09375, 0.0), INSIDE, slips=slips)


@pytest.mark.part("error_parts")
def test_beyond_the_range_all_error_is_clipping(student):
    got = parts(student, [130.0, -129.0], student.QParams(1.0, 0))
    slips = {
        "nothing was found to be clipped: look at the code before it is clipped": (5.0, 0.0),
        "it is the mean squared error: divide by x.size": (0.0, 10.0),
    }
    check("error_parts([130, -129], QParams(1, 0))", got, (0.0, 5.0), INSIDE, slips=slips)


@pytest.mark.part("error_parts")
def test_both_parts_are_divided_by_the_number_of_all_elements(student):
    got = parts(student, [0.5, 3.0], student.QParams(1.0, 0, student.IntType(2)))
    slips = {
        "each part was divided by its own number of elements; both are divided by x.size": (0.25, 4.0),
        "these are sums; divide both by x.size": (0.25, 4.0),
    }
    check("error_parts([0.5, 3], 2 bits)", got, (0.125, 2.0), INSIDE, slips=slips)


@pytest.mark.part("error_parts")
def test_a_number_that_rounds_to_the_last_code_is_not_clipped(student):
    got = parts(student, [127.25, -128.25, 127.0, -128.0], student.QParams(1.0, 0))
    slips = {
        "127.25 rounds to the code 127, which exists: compare codes, not reals, and clipped are only those *beyond* "
        "qmin and qmax": (0.0, 0.03125)
    }
    check("error_parts([127.25, -128.25, 127, -128])", got, (0.03125, 0.0), INSIDE, slips=slips)


@pytest.mark.part("error_parts")
def test_the_zero_point_belongs_to_the_code(student):
    p = student.QParams(1.0, 100)
    got = parts(student, [27.25, 28.0, -227.75, -230.0], p)
    missing = (
        "the zero point is missing from rint(x / scale) + zero_point, so the ends of the range were taken elsewhere"
    )
    slips = {missing: (0.265625, 1.015625)}
    check("error_parts([27.25, 28, -227.75, -230], zero point 100)", got, (0.03125, 1.25), missing, slips=slips)


@pytest.mark.part("error_parts")
def test_a_code_fits_no_narrow_integer_before_it_is_clipped(student):
    got = parts(student, [0.0, 52.0], student.QParams(1.0, 204, student.UINT8))
    beyond = "204 is a code of UINT8, but int8 ends at 127: leave the zero point's dtype as it is"
    check("error_parts([0, 52], QParams(1, 204, UINT8))", got, (0.0, 0.5), beyond)
    got = parts(student, [65_540.0, 0.0], student.QParams(1.0, 0))
    wraps = "the code 65540 wraps around in int16: leave codes that are not yet clipped in float"
    wanted = (0.0, 65_413.0**2 / 2)
    check("error_parts([65540, 0], QParams(1, 0))", got, wanted, wraps, within=np.multiply(wanted, CLOSE))


@pytest.mark.part("error_parts")
def test_the_parts_sum_to_the_whole_error(student):
    x = np.random.default_rng(3).normal(0, 2, 2000).astype(np.float32)
    for args in ((0.125, 0, 4, True), (0.0625, 7, 5, True), (0.25, 3, 4, False)):
        scale, zero_point, bits, signed = args
        int_type = student.IntType(bits, signed)
        got = parts(student, x, student.QParams(scale, zero_point, int_type))
        wanted = oracle.error_parts(x.tolist(), scale, zero_point, int_type.qmin, int_type.qmax)
        check(f"error_parts of 2000 numbers in {bits} bits", got, wanted, INSIDE, within=np.multiply(wanted, CLOSE))


@pytest.mark.part("error_parts")
def test_the_zero_point_is_added_after_rounding(student):
    """126.5 is a tie and rounds to 126; with zero point 1 that is the last code, where 127.5 would round beyond it."""
    after = "rint(x / scale) + zero_point: the zero point is added after rounding"
    got = parts(student, [126.5], student.QParams(1.0, 1))
    check("error_parts([126.5], zero point 1)", got, (0.25, 0.0), after, slips={after: (0.0, 0.25)})


@pytest.mark.part("error_parts")
def test_a_number_on_the_edge_is_divided_by_the_scale(student):
    """In float32 -3.855 / 0.03 is -128.5, which rounds to a code; -3.855 * (1 / 0.03) lies beyond it."""
    x, scale = float(np.float32(-128.5) * np.float32(0.03)), float(np.float32(0.03))
    got = parts(student, [x], student.QParams(scale, 0))
    wanted = oracle.error_parts([x], scale, 0, -128, 127)
    twice = "its code, rint(x / scale) = -128, fits: ask the code, not the distance; x * (1 / scale) would round twice"
    check("error_parts([-3.855], scale 0.03)", got, wanted, twice, slips={twice: wanted[::-1]}, within=1e-9)


@pytest.mark.part("error_parts")
def test_every_shape_and_every_row_counts(student):
    x = np.array([[0.25, 2.0], [10.0, 12.5]], np.float32)
    p = student.QParams(np.array([[1.0], [10.0]]), 0, student.IntType(2))
    got = parts(student, x, p)
    one = "rows have their own scale; x / scale broadcasts by itself"
    slips = {"divide by the number of all elements, x.size; len(x) is that of the rows": (6.3125 / 2, 1 / 2)}
    check("error_parts of two rows", got, ((0.0625 + 6.25) / 4, 1 / 4), one, slips=slips)
    check("error_parts of a single number", parts(student, 0.25, student.QParams(1.0, 0)), (0.0625, 0.0))


@pytest.mark.part("error_parts")
def test_an_empty_array_has_no_error(student):
    zero = "0 / 0 is not a number: divide by max(x.size, 1)"
    got = parts(student, np.zeros((0, 3), np.float32), student.QParams(1.0, 0), zero)
    check("error_parts of an empty array", got, (0.0, 0.0), zero)


@pytest.mark.part("error_parts")
def test_errors_of_large_numbers_are_squared_in_float64(student):
    got = parts(student, np.array([3e30, 0], np.float32), student.QParams(1e28, 0))
    wanted = (float(np.float32(3e30)) - 127 * float(np.float32(1e28))) ** 2 / 2
    large = "a squared float32 overflows beyond 1.8e19: x.astype(np.float64) before the square"
    check("error_parts([3e30, 0], scale 1e28)", got, (0.0, wanted), large, within=wanted * 1e-5)


@pytest.mark.part("sqnr_db")
def test_a_noise_of_a_hundredth_is_20_decibels(student):
    with works("sqnr_db([3, 4], [3, 4.5])", "10 * log10(sum(x**2) / sum((x - x_hat)**2))"):
        got = student.sqnr_db([3.0, 4.0], [3.0, 4.5])
    slips = {
        "squares are powers already: 10 log10, not 20": 40.0,
        "signal over noise, not noise over signal": -20.0,
        "the logarithm must be of base 10": 10 * math.log(100),
        "the ratio is there, but not in decibels: 10 * np.log10(ratio)": 100.0,
        "a decibel is a *tenth* of log10: times 10": 2.0,
        "the signal is sum of x**2, and squares come before the sum": 10 * math.log10(49 / 0.25),
    }
    check("sqnr_db([3, 4], [3, 4.5])", got, 20.0, "25 / 0.25 is 100", slips=slips, within=1e-9)


@pytest.mark.part("sqnr_db")
def test_an_exact_copy_has_no_noise_at_all(student):
    with works("sqnr_db(x, x)", "no noise: return float('inf') before anything is divided by it"):
        got = student.sqnr_db([1.0, 2.0], [1.0, 2.0])
    check("sqnr_db(x, x)", got, math.inf, "no noise: return float('inf')")


@pytest.mark.part("sqnr_db")
def test_zeros_that_come_back_as_zeros_have_no_noise(student):
    exact = "exact is infinite, for zeros, too: ask for noise before you ask for a signal"
    with works("sqnr_db([0], [0])", exact):
        got = student.sqnr_db([0.0], [0.0])
    check("sqnr_db([0], [0])", got, math.inf, exact)


@pytest.mark.part("sqnr_db")
def test_noise_without_a_signal_is_minus_infinity(student):
    with works("sqnr_db([0, 0], [0, 1])", "no signal: return float('-inf'), for log10(0) would warn"), no_warnings():
        got = student.sqnr_db([0.0, 0.0], [0.0, 1.0])
    check("sqnr_db([0, 0], [0, 1])", got, -math.inf, "no signal: return float('-inf')")


@pytest.mark.part("sqnr_db")
@pytest.mark.parametrize("factor", [1e-25, 1e25])
def test_decibels_do_not_depend_on_the_unit(student, factor):
    x = np.array([[3.0, 4.0]], np.float32) * np.float32(factor)
    x_hat = np.array([[3.0, 4.5]], np.float32) * np.float32(factor)
    lost = "squares of float32 overflow or vanish: np.asarray(x, np.float64) is there for that, use it"
    check(f"sqnr_db, everything times {factor:g}", student.sqnr_db(x, x_hat), 20.0, lost, within=1e-4)


@pytest.mark.part("sqnr_db")
def test_a_signal_may_have_zeros_and_may_be_one_number(student):
    got = student.sqnr_db([3.0, 4.0, 0.0], [3.0, 4.5, 0.0])
    check("sqnr_db([3, 4, 0], [3, 4.5, 0])", got, 20.0, "a zero among others is a signal: x.any()", within=1e-9)
    with works("sqnr_db(2, 1.8)", "one number is an array of shape ()"):
        got = student.sqnr_db(2.0, 1.8)
    check("sqnr_db(2, 1.8)", got, 20.0, "4 / 0.04 is 100, in float64, which x and x_hat have here", within=1e-9)


@pytest.mark.part("sqnr_db")
def test_decibels_are_a_float(student):
    for x_hat in ([3.0, 4.5], [3.0, 4.0], [0.0, 0.0]):
        check_float(f"sqnr_db([3, 4], {x_hat})", student.sqnr_db([3.0, 4.0], x_hat))
