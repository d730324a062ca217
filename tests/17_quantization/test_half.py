"""to_bfloat16 and lost_share. From simplest to hardest; the first that fails is the one you are shown."""

import math

import numpy as np
import pytest
from checks_17 import check, works

BITS = "add 0x7FFF, and 1 more if bit 16 is set; then clear the lower 16 bits"
SHARES = "(0 in half but not in float32, infinite in half but not in float32), each over the number of all elements"


def nearest(x):
    """x, a float32 number, with 8 significant bits (fewer below 2**-126), ties to even; beyond the largest infinite."""
    if x == 0 or math.isinf(x):
        return x
    unit = 2.0 ** (max(math.frexp(x)[1], -125) - 8)
    y = round(x / unit) * unit
    return math.copysign(math.inf, x) if abs(y) >= 2.0**128 else y


def truncated(x):
    return (np.asarray(x, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def rounded(student, x):
    with works("to_bfloat16(x)", BITS):
        return student.to_bfloat16(x)


@pytest.mark.part("to_bfloat16")
def test_numbers_of_eight_significant_bits_stay(student):
    x = np.array([-1.0, 0.0, 0.5, 2.0, 255.0, -1.0078125], np.float32)
    slips = {"the upper half was kept as an integer: view the bits as float32 again": truncated(x).view(np.uint32)}
    check(f"to_bfloat16({x.tolist()})", rounded(student, x), x, BITS, slips=slips, dtype="float32")


@pytest.mark.part("to_bfloat16")
def test_others_go_to_the_nearest(student):
    x = np.array([1.01, 3.14159, -0.1, 1000.7, 1e-3], np.float32)
    wanted = [nearest(float(v)) for v in x]
    slips = {
        "the lower half was cut off: round to nearest, add 0x7FFF (and the even bit) first": truncated(x),
        "that is float16, with 10 bits of fraction; bfloat16 is the upper half of a float32": x.astype(np.float16),
        "nothing was rounded": x,
    }
    check("to_bfloat16([1.01, 3.14159, -0.1, 1000.7, 0.001])", rounded(student, x), wanted, BITS, slips=slips)


@pytest.mark.part("to_bfloat16")
def test_ties_go_to_the_even_neighbour(student):
    x = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 257.0, 259.0], np.float32)
    slips = {
        "a tie must go to the even neighbour, not up: add 0x7FFF, and 1 only if bit 16 is set": [
            1 + 2.0**-7,
            1 + 2.0**-6,
            -1 - 2.0**-7,
            258,
            260,
        ],
        "a tie must go to the even neighbour, not down: 1 more if bit 16 is set": [1, 1 + 2.0**-7, -1, 256, 258],
        "the even bit is turned around: bit 16 is *added*": [1 + 2.0**-7, 1 + 2.0**-7, -1 - 2.0**-7, 258, 258],
    }
    wanted = [nearest(float(v)) for v in x]
    check("to_bfloat16 of five ties", rounded(student, x), wanted, BITS, slips=slips)


@pytest.mark.part("to_bfloat16")
def test_the_exponents_are_those_of_float32(student):
    x = np.array([1e38, -1e38, 1e-38, 1e5, 1e-8, 1e-40, 2.0**-133], np.float32)
    float16 = "that is float16: bfloat16 keeps float32's eight bits of exponent"
    with np.errstate(over="ignore"):
        slips = {float16: x.astype(np.float16)}
    wanted = [nearest(float(v)) for v in x]
    check("to_bfloat16 of large and small numbers", rounded(student, x), wanted, BITS, slips=slips)


@pytest.mark.part("to_bfloat16")
def test_the_largest_round_to_infinity(student):
    x = np.array([3.39e38, np.finfo(np.float32).max, -np.finfo(np.float32).max], np.float32)
    wanted = [nearest(float(v)) for v in x]
    check(
        "to_bfloat16 of the largest float32",
        rounded(student, x),
        wanted,
        "the carry runs into the exponent by itself",
    )


@pytest.mark.part("to_bfloat16")
def test_infinity_and_nan_stay(student):
    x = np.array([np.inf, -np.inf], np.float32)
    check("to_bfloat16([inf, -inf])", rounded(student, x), x, BITS)
    nans = np.array([0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF], np.uint32).view(np.float32)
    got = rounded(student, nans)
    kept = "a NaN must stay one, whatever its bits: np.where(np.isnan(x), x, ...)"
    assert np.isnan(got).all(), f"to_bfloat16 of four NaN: expected NaN, got {got}: {kept}"


@pytest.mark.part("to_bfloat16")
@pytest.mark.parametrize("shape", [(), (0,), (3, 1), (2, 2, 2)])
def test_shape_and_type_are_kept(student, shape):
    check(
        f"to_bfloat16 of shape {shape}",
        rounded(student, np.full(shape, 0.5)),
        np.full(shape, 0.5),
        BITS,
        dtype="float32",
    )


@pytest.mark.part("to_bfloat16")
def test_a_thousand_numbers_of_every_size_are_right(student):
    bits = np.random.default_rng(2).integers(0, 2**32, 2000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x)][::-1]  # not contiguous
    check("to_bfloat16 of random bits", rounded(student, x), [nearest(float(v)) for v in x], BITS)
    y = -x  # of the same shape
    again = "this is another x of the same shape: nothing may be kept from one call to the next"
    check("to_bfloat16 of their negatives", rounded(student, y), [nearest(float(v)) for v in y], again)


def lost(student, x, dtype):
    with works(f"lost_share(x, {dtype!r})", SHARES):
        got = student.lost_share(np.array(x), dtype)
    assert isinstance(got, tuple) and len(got) == 2, f"expected a pair (vanished, overflowed), got {got!r}"
    return got


@pytest.mark.part("lost_share")
def test_small_numbers_vanish_and_large_ones_overflow_in_float16(student):
    x = [1e-8, -1e-9, 1.0, 1e5, 0.0, 2.0, 3.0, np.inf]
    slips = {
        "the two are swapped: (vanished, overflowed)": (0.125, 0.25),
        "0.0 was counted: it was 0 before and is not lost": (0.375, 0.125),
        "infinity was counted: it was infinite before and is not lost": (0.25, 0.25),
        "0.0 and infinity were counted: they were so before and are not lost": (0.375, 0.25),
        "these are counts; shares are of all elements": (2.0, 1.0),
        "these are percent; shares are in [0, 1]": (25.0, 12.5),
        "divide by the number of all elements, not of those other than 0": (2 / 7, 1 / 7),
    }
    check(
        "lost_share([1e-8, -1e-9, 1, 1e5, 0, 2, 3, inf], 'float16')",
        lost(student, x, "float16"),
        (0.25, 0.125),
        SHARES,
        slips=slips,
    )


@pytest.mark.part("lost_share")
def test_nothing_of_these_is_lost_in_bfloat16(student):
    got = lost(student, [1e-8, 1.0, 1e5, 0.0], "bfloat16")
    slips = {"dtype was not looked at: round_half(x, dtype)": (0.25, 0.25)}
    check("lost_share([1e-8, 1, 1e5, 0], 'bfloat16')", got, (0.0, 0.0), "bfloat16 has float32's exponents", slips=slips)


@pytest.mark.part("lost_share")
def test_the_borders_of_float16_are_where_rounding_puts_them(student):
    x = [6e-8, 3e-8, 2.0**-25, 65504.0, 65519.0, 65520.0, -65520.0, 1.0]
    got = lost(student, x, "float16")
    round_ = "a number is lost when the *rounded* one is 0 or infinite: compare round_half(x, dtype)"
    check("lost_share at float16's borders", got, (1 / 8, 2 / 8), round_)


@pytest.mark.part("lost_share")
def test_of_nothing_nothing_is_lost(student):
    check("lost_share([], 'float16')", lost(student, [], "float16"), (0.0, 0.0), "divide by max(x.size, 1)")


@pytest.mark.part("lost_share")
def test_another_dtype_is_refused_by_name(student):
    with pytest.raises(ValueError, match="float8"):
        student.lost_share([1.0], "float8")


@pytest.mark.part("lost_share")
@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_number_may_be_lost_whole(student, shape):
    got = lost(student, np.full(shape, 1e-8), "float16")
    check("lost_share(1e-8, 'float16')", got, (1.0, 0.0), "divide by max(x.size, 1)")
    check("lost_share(1e5, 'float16')", lost(student, np.full(shape, 1e5), "float16"), (0.0, 1.0), SHARES)


@pytest.mark.part("to_bfloat16")
def test_the_sign_of_zero_stays(student):
    got = rounded(student, np.array([-0.0, 0.0, -1e-45], np.float32))
    sign = "the sign is bit 31, which rounding does not touch: add to the bits, not to the number"
    check("the sign bits of to_bfloat16([-0.0, 0.0, -1e-45])", np.signbit(got), [True, False, True], sign)


@pytest.mark.part("lost_share")
def test_what_was_no_number_before_is_not_lost(student):
    for dtype in ("float16", "bfloat16"):
        nan = "NaN stays NaN: it became neither 0 nor infinite (np.isinf, not ~np.isfinite)"
        check(f"lost_share([nan, 1], {dtype!r})", lost(student, [np.nan, 1.0], dtype), (0.0, 0.0), nan)
