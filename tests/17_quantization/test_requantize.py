"""quantize_multiplier and requantize. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, works

SPLIT = "m = fraction * 2**exponent from np.frexp; q31 = floor(fraction * 2**31 + 0.5)"
END = "round(acc * m), plus the zero point, clipped, cast"
TIES = np.array([-6, -2, 2, 6], np.int32)  # times 1/4: -1.5, -0.5, 0.5, 1.5


def multiplier(student, m):
    with works(f"quantize_multiplier({m})", SPLIT):
        got = student.quantize_multiplier(m)
    assert isinstance(got, tuple) and len(got) == 2, f"expected a pair (q31, exponent), got {got!r}"
    return got


def requantize(student, acc, m, p, *rounding):
    with works(f"requantize(acc, m, qparams, {rounding or 'float'})", END):
        return student.requantize(np.asarray(acc, np.int32), m, p, *rounding)


@pytest.mark.part("quantize_multiplier")
@pytest.mark.parametrize(
    ("m", "q31", "exponent"),
    [(0.75, 1610612736, 0), (0.25, 2**30, -1), (1.0, 2**30, 1), (100.0, 1677721600, 7)],
    ids=["0.75", "0.25", "1", "100"],
)
def test_a_multiplier_becomes_an_integer_of_31_bits_and_an_exponent(student, m, q31, exponent):
    got = multiplier(student, m)
    slips = {
        "the two are swapped: (q31, exponent)": (exponent, q31),
        "q31 has 31 bits: fraction * 2**31": (q31 // 2, exponent),
        "q31 must fit a signed 32-bit integer: fraction * 2**31, not 2**32": (q31 * 2, exponent),
        "m ~ q31 * 2**(exponent - 31): the exponent is that of np.frexp, 31 is taken off later": (q31, exponent - 31),
        "the sign of the exponent: m ~ q31 * 2**(exponent - 31)": (q31, -exponent),
    }
    check(f"quantize_multiplier({m})", got, (q31, exponent), SPLIT, slips=slips)


@pytest.mark.part("quantize_multiplier")
def test_half_of_a_unit_is_rounded_up(student):
    m = (2**30 + 0.5) / 2**31
    slips = {
        "np.rint takes this tie to the even 2**30; the rule is half up: np.floor(v + 0.5)": (2**30, 0),
    }
    check("quantize_multiplier((2**30 + 0.5) / 2**31)", multiplier(student, m), (2**30 + 1, 0), SPLIT, slips=slips)
    m = (2**30 + 0.75) / 2**31
    cut = {"the fraction was cut off, not rounded: np.floor(v + 0.5)": (2**30, 0)}
    check("quantize_multiplier((2**30 + 0.75) / 2**31)", multiplier(student, m), (2**30 + 1, 0), slips=cut)


@pytest.mark.part("quantize_multiplier")
def test_less_than_half_of_a_unit_is_rounded_down(student):
    got = multiplier(student, (2**30 + 0.25) / 2**31)
    slips = {"it was rounded up; below a half it goes down: np.floor(v + 0.5)": (2**30 + 1, 0)}
    check("quantize_multiplier((2**30 + 0.25) / 2**31)", got, (2**30, 0), SPLIT, slips=slips)


@pytest.mark.part("quantize_multiplier")
def test_a_fraction_that_rounds_up_to_1_is_halved(student):
    got = multiplier(student, 1 - 2.0**-33)
    slips = {
        "q31 became 2**31, which no int32 holds: halve it and add one to the exponent": (2**31, 0),
        "q31 was halved, but the exponent not raised": (2**30, 0),
        "q31 was capped at 2**31 - 1; halve 2**31 and add one to the exponent": (2**31 - 1, 0),
        "the exponent was raised, but q31 not halved": (2**31, 1),
    }
    check("quantize_multiplier(1 - 2**-33)", got, (2**30, 1), SPLIT, slips=slips)


@pytest.mark.part("quantize_multiplier")
def test_a_multiplier_too_small_for_any_sum_is_0(student):
    slips = {"below 2**-32 every int32 sum rounds to 0: where exponent < -31, q31 and exponent are 0": (2**30, -32)}
    slips |= {"with q31 = 0 the exponent is 0, too": (0, -32)}
    check("quantize_multiplier(2**-33)", multiplier(student, 2.0**-33), (0, 0), SPLIT, slips=slips)
    check("quantize_multiplier(2**-32)", multiplier(student, 2.0**-32), (2**30, -31), "-31 is still in use")


@pytest.mark.part("quantize_multiplier")
def test_every_channel_has_its_own_multiplier(student):
    q31, exponent = multiplier(student, np.array([0.75, 2.0**-40, 1 - 2.0**-33, 3.0]))
    each = "element by element: np.where, not `if`"
    check("q31 of [0.75, 2**-40, 1 - 2**-33, 3]", q31, [1610612736, 0, 2**30, 1610612736], each)
    check("exponent of [0.75, 2**-40, 1 - 2**-33, 3]", exponent, [0, 0, 1, 2], each)


@pytest.mark.part("quantize_multiplier")
def test_both_parts_of_a_multiplier_are_int64(student):
    q31, exponent = multiplier(student, 0.25)
    wide = "a sum times q31 takes 62 bits, and 1 << (30 - exponent) is negative in int32: .astype(np.int64)"
    check("q31 of quantize_multiplier(0.25)", q31, 2**30, wide, dtype="int64")
    check("the exponent of quantize_multiplier(0.25), of np.frexp in int32", exponent, -1, wide, dtype="int64")


@pytest.mark.part("requantize")
def test_a_sum_is_scaled_and_rounded(student):
    got = requantize(student, [100, -100, 7], 0.125, student.QParams(1.0, 0))
    slips = {
        "rounded down: // and >> floor; np.rint rounds": [12, -13, 0],
        "cut off: a cast to int drops the fraction; np.rint rounds": [12, -12, 0],
        "multiply by m": [127, -128, 56],
    }
    check("requantize([100, -100, 7], 1/8)", got, [12, -12, 1], END, slips=slips)


@pytest.mark.part("requantize")
def test_the_zero_point_is_added_before_clipping(student):
    acc = [1000, -1000, 600, 0]
    wrapped = "clip is missing, or comes after the cast: int8 wrapped around"
    got = requantize(student, acc, 0.25, student.QParams(1.0, -100))
    slips = {
        "the zero point is missing": [127, -128, 127, 0],
        "clipped before the zero point was added": [27, 28, 27, -100],
        wrapped: [-106, -94, 50, -100],
        "the zero point was subtracted": [127, -128, 127, 100],
    }
    check(f"requantize({acc}, 1/4, zero point -100)", got, [127, -128, 50, -100], END, slips=slips)


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
def test_what_needs_no_rounding_is_not_moved(student, rounding):
    got = requantize(student, [-8, -4, 0, 4, 8], 0.25, student.QParams(1.0, 0), rounding)
    slips = {"the half is twice too large: half of 1 << (31 - e) is 1 << (30 - e)": [-1, 0, 1, 2, 3]}
    slips |= {"1 << 31 is negative in int32, which np.frexp's exponent has: .astype(np.int64)": [-3, -2, -1, 0, 1]}
    check(f"requantize([-8, -4, 0, 4, 8], 1/4, '{rounding}')", got, [-2, -1, 0, 1, 2], END, slips=slips)


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
def test_codes_saturate_and_are_stored_in_bytes(student, rounding):
    p8, p4 = student.QParams(1.0, 100, student.UINT8), student.QParams(1.0, 0, student.INT4)
    acc = [-(2**30), -400, 0, 400, 2**30]
    wrapped = "clip before the cast: once wrapped around, a code cannot be told from a good one"
    got = requantize(student, acc, 0.5, p8, rounding)
    check(f"requantize({acc}, 1/2) to UINT8, '{rounding}'", got, [0, 0, 100, 255, 255], wrapped, dtype="uint8")
    got = requantize(student, acc, 0.5, p4, rounding)
    check(f"requantize({acc}, 1/2) to INT4, '{rounding}'", got, [-8, -8, 0, 7, 7], wrapped, dtype="int8")


@pytest.mark.part("requantize")
@pytest.mark.parametrize(
    ("rounding", "wanted", "rule"),
    [
        ("float", [-2, 0, 0, 2], "ties to even: np.rint"),
        ("single", [-1, 0, 1, 2], "half up: add 1 << (30 - e) before >> (31 - e)"),
        ("gemmlowp", [-2, -1, 1, 2], "halves away from zero: _round_shift(_high_mul(...), -e)"),
    ],
    ids=["float", "single", "gemmlowp"],
)
def test_ties_go_as_the_rounding_says(student, rounding, wanted, rule):
    got = requantize(student, TIES, 0.25, student.QParams(1.0, 0), rounding)
    slips = {
        f"rounded down, the half is missing: {rule}": [-2, -1, 0, 1],
        f"all three roundings gave the same; this one has its own rule: {rule}": [-2, 0, 0, 2],
        f"this is half up, the rule of 'single': {rule}": [-1, 0, 1, 2],
        f"this is halves away from zero, the rule of 'gemmlowp': {rule}": [-2, -1, 1, 2],
        f"cut off, not rounded: {rule}": [-1, 0, 0, 1],
    }
    check(f"requantize({TIES.tolist()}, 1/4, '{rounding}')", got, wanted, rule, slips=slips)


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
def test_every_sum_agrees_with_the_rule_in_exact_arithmetic(student, rounding):
    rng = np.random.default_rng(12)
    for m in (0.0004321, 0.03, 0.9999, 2.0**-9, 1.7, 5.0):
        acc = np.clip(rng.normal(0, 100 / m, 300), -(2**31), 2**31 - 1).astype(np.int32)
        wanted = [oracle.requantized(a, m, 5, -128, 127, rounding) for a in acc.tolist()]
        got = requantize(student, acc, m, student.QParams(1.0, 5), rounding)
        rule = "first round(acc * m) by the rule in the docstring, then plus the zero point"
        check(f"requantize(300 sums, {m:.6g}, '{rounding}')", got, wanted, rule)


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
def test_the_largest_sums_do_not_overflow(student, rounding):
    acc = [2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 12345]
    for m in (2.0**-25, 2.0**-40, 3.0, 2.0**20):
        wanted = [oracle.requantized(a, m, 0, -128, 127, rounding) for a in acc]
        got = requantize(student, acc, m, student.QParams(1.0, 0), rounding)
        wide = {
            "float": "clip while the rounded numbers are still float32, then cast",
            "single": "a sum times q31 needs int64",
            "gemmlowp": "a sum times q31 needs int64, and a shifted sum is first clipped to int32",
        }[rounding]
        check(f"requantize({acc}, {m:g}, '{rounding}')", got, wanted, wide)


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
def test_every_channel_is_scaled_by_its_own_multiplier(student, rounding):
    acc, m = np.array([[1000, 1000, 1000], [-77, -77, -77]]), np.array([0.1, 1.5, 0.01], np.float32)
    got = requantize(student, acc, m, student.QParams(1.0, 0), rounding)
    wanted = [
        [oracle.requantized(a, float(f), 0, -128, 127, rounding) for a, f in zip(r, m, strict=True)]
        for r in acc.tolist()
    ]
    check(f"requantize([2, 3], three multipliers, '{rounding}')", got, wanted, "m [N] broadcasts against acc [..., N]")


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (2, 1, 3)])
def test_the_shape_stays_as_it_was(student, rounding, shape):
    got = requantize(student, np.full(shape, 40), 0.25, student.QParams(1.0, 1), rounding)
    check(f"requantize of shape {shape}, '{rounding}'", got, np.full(shape, 11), END, dtype="int8")


@pytest.mark.part("requantize")
def test_the_multiplier_is_rounded_to_float32_first(student):
    """As in ONNX Runtime: 0.7 is a little smaller in float32, where 85 * 0.7 is the tie 59.5."""
    acc, m = [-165, -85, -45, 45, 85, 165], np.full(6, 0.7)
    wanted = [oracle.requantized(a, 0.7, 0, -128, 127) for a in acc]
    got = requantize(student, acc, m, student.QParams(1.0, 0))
    check(
        f"requantize({acc}, 0.7 in float64)",
        got,
        wanted,
        "not rounded in float64: float32(acc) * np.asarray(m, np.float32)",
    )


@pytest.mark.part("requantize")
def test_the_float_rule_multiplies_in_float32(student):
    acc, m = [2**24 + 2**17 + 1, 3 * 2**17 + 1, 25 * 2**17 + 1, 2**24 + 3 * 2**17 - 1], 2.0**-18
    wanted = [oracle.requantized(a, m, 0, -128, 127) for a in acc]
    got = requantize(student, acc, m, student.QParams(1.0, 0))
    slips = {
        "the product was rounded in float64; ONNX Runtime and we use float32(acc) * float32(m)": np.rint(
            np.array(acc) * m
        )
    }
    check(f"requantize({acc}, 2**-18, 'float')", got, wanted, "float32(acc) * float32(m)", slips=slips)


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
def test_the_scale_of_the_output_plays_no_part(student, rounding):
    """m holds it already. By scale 0.3, some of these ties would be rounded twice."""
    acc = list(range(-251, 252, 2))
    wanted = requantize(student, acc, 0.5, student.QParams(1.0, 0), rounding)
    got = requantize(student, acc, 0.5, student.QParams(0.3, 0), rounding)
    once = "m = s_a * s_b / s_y holds the output's scale: no dequantizing and quantizing in between"
    check(f"requantize(odd sums, 1/2, scale 0.3, '{rounding}')", got, wanted, once)


@pytest.mark.part("requantize")
def test_both_factors_of_the_float_rule_are_float32(student):
    """0.3 is a little larger in float32, where 95 * 0.3 is above the tie 28.5, and 415 * 0.3 above 124.5."""
    acc = [-415, -395, -375, -195, -175, -95, 95, 175]
    wanted = [oracle.requantized(a, 0.3, 0, -128, 127) for a in acc]
    got = requantize(student, acc, 0.3, student.QParams(1.0, 0))
    late = "m was rounded to float32 too late: float32(acc) * np.asarray(m, np.float32), no product in float64"
    check(f"requantize({acc}, 0.3, 'float')", got, wanted, late)


@pytest.mark.part("requantize")
@pytest.mark.parametrize("rounding", ["float", "single", "gemmlowp"])
def test_a_zero_point_above_127_is_a_code_of_uint8(student, rounding):
    got = requantize(student, [-500, 0, 100, 400], 0.5, student.QParams(1.0, 204, student.UINT8), rounding)
    beyond = "204 is a code of UINT8, but int8 ends at 127: cast neither zero point nor codes to int8"
    check(f"requantize to UINT8, zero point 204, '{rounding}'", got, [0, 204, 254, 255], beyond, dtype="uint8")
