"""choose_qparams: scale and zero point. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import pytest
from checks_17 import check, named, returned, works

WIDEN = (
    "a range must be widened to hold 0 before anything is computed from it: lo = np.minimum(lo, 0), "
    "hi = np.maximum(hi, 0)"
)


def chosen(student, hint, *args, **options):
    """The student's choose_qparams(...), where an exception becomes a message that names the likely slip."""
    shown = [named(a) if hasattr(a, "qmin") else str(np.asarray(a).tolist()) for a in args]
    with works(f"choose_qparams({', '.join(shown)})", hint):
        p = student.choose_qparams(*args, **options)
    returned("choose_qparams", p, "QParams")
    return p


def test_the_scale_is_the_length_of_the_range_over_its_255_steps(student):
    p = chosen(student, "", 0.0, 2.55)
    slips = {
        "256 codes have only 255 steps between them, so divide by qmax - qmin": 2.55 / 256,
        "that is the symmetric formula; here the whole length hi - lo is divided by qmax - qmin": 2.55 / 127,
        "divide the length by the number of steps, not the other way round": 255 / 2.55,
    }
    check("choose_qparams(0, 2.55).scale", p.scale, 0.01, "scale = (hi - lo) / (qmax - qmin)", slips=slips, within=1e-9)


def test_the_lowest_code_stands_for_0_where_the_range_begins_at_0(student):
    p = chosen(student, "the code of 0.0 is rint(qmin - lo / scale)", 0.0, 2.55)
    slips = {
        "qmin is missing from rint(qmin - lo / scale)": 0,
        "that is qmax: the zero point is counted from qmin up": 127,
    }
    check("choose_qparams(0, 2.55).zero_point", p.zero_point, -128, "rint(qmin - lo / scale)", slips=slips)


def test_zero_has_a_code_between_the_ends_of_a_range_around_it(student):
    p = chosen(student, "lo is negative, so -lo / scale lies above qmin: rint(qmin - lo / scale)", -1.0, 2.0)
    slips = {
        "the sign of lo: the zero point is rint(qmin - lo / scale), 85 steps above -128": -128,
        "the sign of the zero point: dequantizing subtracts it, so it is the code of 0.0 itself": 43,
        "qmin is missing: 85 steps above -128 is -43": 85,
        "that code stands for the middle of the range; the zero point is the code of 0.0": -0,
    }
    check("choose_qparams(-1, 2).zero_point", p.zero_point, -43, "rint(qmin - lo / scale)", slips=slips)
    check("choose_qparams(-1, 2).scale", p.scale, 3 / 255, "scale = (hi - lo) / (qmax - qmin)", within=1e-9)


@pytest.mark.parametrize(("lo", "hi", "exact"), [(-0.7, 1.3, -38.75), (-1.3, 0.7, 37.75), (-229.47, 25.53, 101.47)])
def test_the_zero_point_is_rounded_to_the_nearest_code(student, lo, hi, exact):
    p = chosen(student, "round with np.rint before the QParams is made", lo, hi)
    slips = {
        "the zero point was cut off, not rounded: use np.rint": np.trunc(exact),
        f"{exact} is {np.float16(exact)} in float16, which has three digits": np.rint(np.float16(exact)),
    }
    check(f"choose_qparams({lo}, {hi}).zero_point", p.zero_point, round(exact), f"rint({exact})", slips=slips)


def test_a_range_above_0_is_widened_down_to_0(student):
    p = chosen(student, WIDEN, 10.0, 11.0)
    slips = {f"{WIDEN}; 1/255 is the step of [10, 11] alone": 1 / 255}
    check("choose_qparams(10, 11).scale", p.scale, 11 / 255, WIDEN, slips=slips, within=1e-8)
    check("choose_qparams(10, 11).zero_point", p.zero_point, -128, WIDEN)


def test_a_range_below_0_is_widened_up_to_0(student):
    p = chosen(student, WIDEN, -11.0, -10.0)
    check("choose_qparams(-11, -10).scale", p.scale, 11 / 255, WIDEN, within=1e-8)
    check("choose_qparams(-11, -10).zero_point", p.zero_point, 127, WIDEN)


@pytest.mark.parametrize("c", [2.0, -3.0])
def test_a_constant_comes_back_within_half_a_step(student, c):
    p = chosen(student, WIDEN, c, c)
    check(f"choose_qparams({c}, {c}).scale", p.scale, abs(c) / 255, WIDEN, within=1e-8)
    end = 127 if c > 0 else -128
    back = float(p.scale) * (end - int(p.zero_point))
    assert abs(back - c) <= float(p.scale) / 2, (
        f"code {end} should stand for {c}, but it stands for {back:.4g}: {WIDEN}"
    )


def test_a_range_of_zeros_gets_scale_1(student):
    zero = "a range of zeros makes a step of 0, and nothing can be divided by that: scale = as_scale(step) comes first"
    for symmetric in (False, True):
        p = chosen(student, zero, 0.0, 0.0, symmetric=symmetric)
        check(f"choose_qparams(0, 0, symmetric={symmetric}).scale", p.scale, 1.0, zero)


def test_the_symmetric_scale_reaches_the_larger_end(student):
    for lo, hi in ((-1.0, 2.0), (-2.0, 1.0), (-2.0, -1.0)):
        p = chosen(student, "symmetric: scale = max(|lo|, |hi|) / qmax, zero_point = 0", lo, hi, symmetric=True)
        slips = {
            "the scale must come from the largest of |lo| and |hi|, not from hi": max(hi, 0) / 127,
            "127 positive codes cover max(|lo|, |hi|): divide by qmax, not by half of all steps": 2 / 127.5,
            "divide by qmax, which is 127: code 128 does not exist": 2 / 128,
            "symmetric was ignored: scale = max(|lo|, |hi|) / qmax": (max(hi, 0) - lo) / 255,
        }
        call = f"choose_qparams({lo}, {hi}, symmetric=True)"
        check(f"{call}.scale", p.scale, 2 / 127, "max(|lo|, |hi|) / qmax", slips=slips, within=1e-8)
        check(f"{call}.zero_point", p.zero_point, 0, "symmetric: the zero point is 0")


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "scale", "zero_point", "symmetric"),
    [(8, False, False, 3 / 255, 85, False), (4, True, False, 3 / 15, -3, False), (2, False, False, 1, 1, False)]
    + [(8, True, True, 3 / 254, -42, False), (8, True, True, 2 / 127, 0, True), (4, True, False, 2 / 7, 0, True)],
    ids=["uint8", "int4", "uint2", "narrow int8", "narrow int8 symmetric", "int4 symmetric"],
)
def test_other_integer_types_have_their_own_ends(student, bits, signed, narrow, scale, zero_point, symmetric):
    ends = "take the ends from int_type.qmin and int_type.qmax; -128, 127 and 255 belong to 8 bits only"
    int_type = student.IntType(bits, signed, narrow)
    p = chosen(student, ends, -1.0, 2.0, int_type, symmetric=symmetric)
    call = f"choose_qparams(-1, 2, {named(int_type)}{', symmetric=True' if symmetric else ''})"
    check(f"{call}.scale", p.scale, scale, ends, within=1e-7)
    check(f"{call}.zero_point", p.zero_point, zero_point, ends)
    assert p.int_type == int_type, f"{call}: the QParams must carry the type they were made for: QParams(..., int_type)"


def test_every_row_gets_its_own_scale_and_zero_point(student):
    lo, hi = np.array([[-1.0], [0.0], [10.0], [-0.5]]), np.array([[2.0], [0.0], [11.0], [-0.25]])
    rows = "use np.minimum and np.maximum, which go element by element, and no `if` on lo or hi"
    p = chosen(student, rows, lo, hi)
    wanted = np.array([[3 / 255], [1.0], [11 / 255], [0.5 / 255]])
    slips = {"all rows share one range: np.min and np.max lose the rows": np.full((4, 1), 12 / 255)}
    check("the scale of four rows", p.scale, wanted, rows, slips=slips, within=1e-8)
    check("the zero point of rows 0, 2 and 3", p.zero_point[[0, 2, 3]], [[-43], [-128], [127]], rows)


def test_symmetric_rows_share_the_one_zero_point_0(student):
    lo, hi = np.array([[-1.0], [-0.5]]), np.array([[2.0], [0.25]])
    p = chosen(student, "symmetric: scale [rows, 1], zero_point 0", lo, hi, symmetric=True)
    check("the symmetric scale of two rows", p.scale, [[2 / 127], [0.5 / 127]], "row by row", within=1e-8)
    check(
        "the symmetric zero point of two rows", p.zero_point, 0, "one 0 serves all rows and takes 4 bytes, not 4 a row"
    )


@pytest.mark.parametrize(
    ("lo", "hi", "wanted"),
    [(-2.0, 0.5, 204), (-1.0, 0.0, 255), ([[-2.0], [-1.0], [-1.5]], [[0.5], [2.0], [1.0]], [[204], [85], [153]])],
    ids=["204", "255", "a row each"],
)
def test_zero_points_of_uint8_go_up_to_255(student, lo, hi, wanted):
    beyond = (
        "codes of UINT8 go up to 255, and int8 ends at 127: clip to int_type.qmin and int_type.qmax, cast to nothing"
    )
    p = chosen(student, beyond, np.array(lo), np.array(hi), student.UINT8)
    check(f"choose_qparams({lo}, {hi}, UINT8).zero_point", p.zero_point, wanted, beyond)


def test_a_zero_point_on_a_tie_goes_to_the_even_code(student):
    p = chosen(student, "rint(qmin - lo / scale)", -253.0, 257.0)
    slips = {"a tie went up: np.rint takes it to the even neighbour, floor(v + 0.5) does not": -1}
    check("choose_qparams(-253, 257).zero_point", p.zero_point, -2, "rint(-1.5) is -2", slips=slips)


@pytest.mark.parametrize(("lo", "hi", "scale"), [(-3e38, 3e38, 6e38 / 255), (0.0, 1e-40, 1.0), (-1e-45, 0.0, 1.0)])
def test_the_largest_and_the_smallest_numbers_have_a_scale(student, lo, hi, scale):
    care = "hi - lo overflows in float32 (keep the float64 of as_range), and as_scale keeps a tiny step from becoming 0"
    p = chosen(student, care, lo, hi)
    check(f"choose_qparams({lo:g}, {hi:g}).scale", p.scale, np.float32(scale), care, within=scale * 2.0**-23)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int8"])
def test_a_range_may_come_in_any_real_dtype_and_is_left_as_it_was(student, dtype):
    lo, hi = np.array([[1, -100]], dtype)[:, ::-1], np.array([[2, 100]], dtype)[:, ::-1]
    lo.flags.writeable = hi.flags.writeable = False
    p = chosen(student, "make new arrays (lo = np.minimum(lo, 0)); the caller's may be read-only", lo, hi)
    check(f"the scale of a {dtype} range", p.scale, [[200 / 255, 2 / 255]], "element by element", within=1e-7)


@pytest.mark.parametrize("symmetric", [False, True])
def test_no_rows_have_no_scales(student, symmetric):
    rows = "np.minimum and np.maximum take an array without rows; min() and max() do not"
    p = chosen(student, rows, np.zeros((0, 1)), np.zeros((0, 1)), symmetric=symmetric)
    check("the scale of no rows", p.scale, np.zeros((0, 1)), rows, dtype="float32")
