"""quantize and dequantize. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, works
from numpy.typing import ArrayLike

FOUR = np.array([-1, 0, 0.5, 2], np.float32)
STEP = 3 / 255
ORDER = "the order is round, add the zero point, clip, cast"


@pytest.mark.part("quantize")
def test_numbers_on_the_marks_get_the_marks_number(student):
    with works("quantize([-1, 0, 1, 3], QParams(0.5, 0))", ORDER):
        q = student.quantize(np.array([-1, 0, 1, 3], np.float32), student.QParams(0.5, 0))
    slips = {
        "divide by the scale: it is the length of a step": [0, 0, 0, 2],
        "that is x itself: divide it by the scale": [-1, 0, 1, 3],
    }
    check("quantize([-1, 0, 1, 3], QParams(0.5, 0))", q, [-2, 0, 2, 6], "x / scale", slips=slips)


@pytest.mark.part("quantize")
def test_the_zero_point_is_added(student):
    q = student.quantize(np.array([-1, 0, 1], np.float32), student.QParams(0.5, 10))
    slips = {
        "the zero point is missing": [-2, 0, 2],
        "the zero point was subtracted: x ~ scale * (q - zero_point), so q = x / scale + zero_point": [-12, -10, -8],
        "the zero point is a code, not a length: divide x first, then add it": [18, 20, 22],
        "(x - z) / s is not the formula: x ~ scale * (q - zero_point), so q = x / scale + zero_point": [-22, -20, -18],
    }
    check("quantize([-1, 0, 1], QParams(0.5, 10))", q, [8, 10, 12], ORDER, slips=slips)


@pytest.mark.part("quantize")
def test_codes_are_stored_in_bytes(student):
    q = student.quantize(FOUR, student.QParams(STEP, -43))
    check("quantize(...)", q, q, "codes left in float take four bytes each: .astype(int_type.storage)", dtype="int8")
    q = student.quantize(FOUR, student.QParams(STEP, 85, student.UINT8))
    check("quantize(...) to UINT8", q, q, "take the dtype from int_type.storage, not np.int8", dtype="uint8")
    q = student.quantize(FOUR, student.QParams(0.5, 0, student.INT4))
    check("quantize(...) to INT4", q, q, "take the dtype from int_type.storage", dtype="int8")


@pytest.mark.part("quantize")
def test_the_zero_point_is_added_after_rounding(student):
    q = student.quantize(np.array([0.5, 1.5, 2.5, -0.5], np.float32), student.QParams(1.0, 1))
    slips = {
        "the zero point was added before rounding; 0.5 rounds to 0, then 0 + 1 = 1": [2, 2, 4, 0],
        "ties must go to the even integer: np.rint does that, floor(x + 0.5) goes up": [2, 3, 4, 1],
        "ties must go to the even integer: np.rint does that, halves away from zero is another rule": [2, 3, 4, 0],
        "the quotient was cut off, not rounded: use np.rint": [1, 2, 3, 1],
    }
    check("quantize([0.5, 1.5, 2.5, -0.5], QParams(1, 1))", q, [1, 3, 3, 1], "rint, then add", slips=slips)


@pytest.mark.part("quantize")
def test_our_four_numbers_get_their_codes(student):
    q = student.quantize(FOUR, student.QParams(STEP, -43))
    slips = {
        "the zero point was added before rounding": [-128, -43, 0, 127],
        "clipped before the zero point was added": [-128, -43, -1, 84],
    }
    check("quantize([-1, 0, 0.5, 2])", q, [-128, -43, -1, 127], ORDER, slips=slips)


@pytest.mark.part("quantize")
def test_what_lies_beyond_the_codes_saturates(student):
    x = np.array([-1000, -65, -64, 63.5, 64, 200, 1000], np.float32)
    slips = {
        "clip is missing, or comes after the cast: int8 wrapped around": np.rint(x / 0.5)
        .astype(np.int64)
        .astype(np.int8)
    }
    q = student.quantize(x, student.QParams(0.5, 0))
    check(f"quantize({x.tolist()}, QParams(0.5, 0))", q, [-128, -128, -128, 127, 127, 127, 127], ORDER, slips=slips)


@pytest.mark.part("quantize")
def test_the_zero_point_is_added_before_clipping(student):
    q = student.quantize(np.array([150, 250], np.float32), student.QParams(1.0, -50))
    slips = {"clipped before the zero point was added: 150 - 50 is the code 100, not 127 - 50": [77, 77]}
    check("quantize([150, 250], QParams(1, -50))", q, [100, 127], ORDER, slips=slips)


@pytest.mark.part("quantize")
@pytest.mark.parametrize(
    ("bits", "signed", "ends"),
    [(4, True, (-8, 7)), (8, False, (0, 255)), (3, False, (0, 7))],
    ids=["int4", "uint8", "uint3"],
)
def test_each_integer_type_saturates_at_its_own_ends(student, bits, signed, ends):
    p = student.QParams(1.0, 0, student.IntType(bits, signed))
    q = student.quantize(np.array([-1e4, 1e4], np.float32), p)
    check(f"quantize([-10000, 10000]) to {bits} bits", q, ends, "clip to int_type.qmin and int_type.qmax")


@pytest.mark.part("quantize")
def test_a_zero_point_above_127_is_a_code_of_uint8(student):
    q = student.quantize(np.array([-100, 0, 25], np.float32), student.QParams(0.5, 204, student.UINT8))
    beyond = "204 is a code of UINT8, but int8 ends at 127: cast neither zero point nor codes to int8"
    check("quantize([-100, 0, 25], QParams(0.5, 204, UINT8))", q, [4, 204, 254], beyond, dtype="uint8")


@pytest.mark.part("quantize")
def test_infinity_and_the_largest_numbers_saturate(student):
    x = np.array([np.inf, -np.inf, 3e38, -3e38], np.float32)
    for scale in (1.0, 1e-30):  # 3e38 / 1e-30 is itself infinite in float32
        q = student.quantize(x, student.QParams(scale, -5))
        wanted = [127, -128, 127, -128]
        check(f"quantize([inf, -inf, 3e38, -3e38], scale {scale})", q, wanted, "clip while the numbers are still float")


@pytest.mark.part("dequantize")
def test_dequantize_is_scale_times_code_minus_zero_point(student):
    with works("dequantize([-43, 42])", "scale * (q - zero_point)"):
        x = student.dequantize(np.array([-43, 42], np.int8), student.QParams(0.5, -43))
    slips = {
        "the zero point must be subtracted: scale * (q - zero_point)": [-43.0, -0.5],
        "the zero point is missing": [-21.5, 21.0],
        "subtract the zero point first, then multiply": [21.5, 64.0],
        "divide when quantizing, multiply when dequantizing": [0.0, 170.0],
    }
    check("dequantize([-43, 42], QParams(0.5, -43))", x, [0.0, 42.5], "scale * (q - zero_point)", slips=slips)
    check("dequantize(...)", x, x, "reals are float32 here: .astype(np.float32)", dtype="float32")


@pytest.mark.part("dequantize")
def test_dequantize_widens_before_it_subtracts(student):
    wrapped = "q - zero_point left int8 and wrapped around; widen first: q.astype(np.int32)"
    for q, p, wanted in (
        (np.array([127, -128], np.int8), student.QParams(1.0, -43), [170.0, -85.0]),
        (np.array([0, 255], np.uint8), student.QParams(1.0, 85, student.UINT8), [-85.0, 170.0]),
        (np.array([0, 255], np.uint8), student.QParams(1.0, 204, student.UINT8), [-204.0, 51.0]),
    ):
        call = f"dequantize({q.tolist()}, zero_point {int(p.zero_point)}), {q.dtype}"
        with works(call, wrapped):
            x = student.dequantize(q, p)
        check(call, x, wanted, wrapped)


@pytest.mark.part("dequantize")
def test_dequantize_subtracts_before_it_multiplies(student):
    """One step is float32's 0.1; 0.1 * -99 - 0.1 * -100 is not."""
    x = student.dequantize(np.array([-101, -100, -99], np.int8), student.QParams(0.1, -100))
    step = np.float32(0.1)
    q, coarse = np.array([-101, -100, -99], np.float32), float(np.float16(0.1))
    twice = "scale * q - scale * zero_point rounds twice: subtract the integers first, which is exact"
    slips: dict[str, ArrayLike] = {
        twice: np.asarray(q * step + 100 * step),
        "the scale was rounded to float16, which has three digits: it is float32": [-coarse, 0, coarse],
    }
    wanted = np.array([-step, 0, step])
    exact = "scale * (q - zero_point), in float32"
    check("dequantize([-101, -100, -99], scale 0.1, zero_point -100)", x, wanted, exact, slips=slips)


@pytest.mark.part("dequantize")
def test_dequantize_takes_int32_sums_too(student):
    sums = np.array([2052, 100_003, -70_001], np.int32)
    with works("dequantize of int32 sums", "an int32 holds them: widen to np.int32"):
        x = student.dequantize(sums, student.QParams(0.5, 3))
    narrow = (
        "int32 sums go beyond int16, and float16 holds three digits: .astype(np.int32), and .astype(np.float32) last"
    )
    check(f"dequantize({sums.tolist()}, QParams(0.5, 3)), int32", x, [1024.5, 50_000.0, -35_002.0], narrow)


@pytest.mark.part("quantize")
def test_every_code_comes_back_from_the_number_it_stands_for(student):
    for int_type, every_code in (
        (student.INT8, range(-128, 128)),
        (student.UINT8, range(256)),
        (student.INT4, range(-8, 8)),
    ):
        p = student.QParams(STEP, 3, int_type)
        codes = np.array(every_code, p.int_type.storage)
        reals = np.array([oracle.real(q, float(np.float32(STEP)), 3) for q in every_code], np.float32)
        check("quantize(scale * (q - zero_point))", student.quantize(reals, p), codes, "every code has its own number")


@pytest.mark.part("quantize")
def test_no_number_in_range_moves_by_more_than_half_a_step(student):
    p = student.QParams(STEP, -43)
    x = np.linspace(-1, 2, 10_001).astype(np.float32)
    error = np.abs((student.quantize(x, p).astype(np.int32) + 43) * np.float32(STEP) - x)
    bound = STEP / 2 + 4 * np.spacing(np.float32(2))  # half a step; float32 rounds the scale, quotient, product
    worst = int(error.argmax())
    assert error[worst] <= bound, (
        f"{x[worst]} moved by {error[worst]:.5f}, more than half a step of {STEP:.5f}: {ORDER}"
    )


@pytest.mark.part("quantize")
def test_every_row_is_quantized_by_its_own_scale(student):
    x = np.array([[1.0, -2.0], [0.01, 0.002]], np.float32)
    p = student.QParams(np.array([[2 / 127], [0.01 / 127]]), 0)
    hint = "scale [rows, 1] broadcasts against x [rows, columns] by itself: no loop, no reshape, no float(...)"
    with works("quantize(x [2, 2], scale [2, 1])", hint):
        q = student.quantize(x, p)
    check("quantize(x [2, 2], scale [2, 1])", q, [[64, -127], [127, 25]], hint)
    z = student.QParams(np.array([[1.0], [2.0]]), np.array([[3], [-4]]))
    check(
        "quantize with a zero point a row", student.quantize(x, z), [[4, 1], [-4, -4]], "ditto for zero_point [rows, 1]"
    )


@pytest.mark.part("dequantize")
def test_every_row_of_codes_is_read_by_its_own_scale(student):
    p = student.QParams(np.array([[0.5], [2.0]]), np.array([[3], [-4]]))
    hint = "scale and zero_point [rows, 1] broadcast against codes [rows, columns] by themselves"
    with works("dequantize(q [2, 2], scale [2, 1])", hint):
        x = student.dequantize(np.array([[4, 1], [-3, 127]], np.int8), p)
    check("dequantize(q [2, 2], scale [2, 1])", x, [[0.5, -1.0], [2.0, 262.0]], hint)


@pytest.mark.part("quantize")
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1), (2, 3, 4)])
def test_the_shape_stays_as_it_was(student, shape):
    x, p = np.full(shape, 0.5, np.float32), student.QParams(0.25, 1)
    with works(f"quantize of shape {shape}", "work on whole arrays, whatever their shape"):
        q = student.quantize(x, p)
    check(f"quantize of shape {shape}", q, np.full(shape, 3), dtype="int8")


@pytest.mark.part("dequantize")
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1), (2, 3, 4)])
def test_the_shape_of_codes_stays_as_it_was(student, shape):
    with works(f"dequantize of shape {shape}", "work on whole arrays, whatever their shape"):
        back = student.dequantize(np.full(shape, 3, np.int8), student.QParams(0.25, 1))
    check(f"dequantize of shape {shape}", back, np.full(shape, 0.5), dtype="float32")


@pytest.mark.part("quantize")
@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", ">f8", "int16", "bool"])
def test_reals_of_any_dtype_and_layout_are_quantized_and_left_as_they_were(student, dtype):
    base = np.array([[1, 0, 1, 0], [0, 1, 1, 1]], dtype)
    x = base.T[::2]  # not contiguous
    x.flags.writeable = False
    with works(f"quantize of a read-only, non-contiguous {dtype} array", "make new arrays, never write into x"):
        q = student.quantize(x, student.QParams(0.5, -3))
    check(f"quantize of {dtype}", q, [[-1, -3], [-1, -1]], dtype="int8")


@pytest.mark.part("quantize")
def test_subnormal_numbers_are_near_0(student):
    q = student.quantize(np.array([1e-45, -1e-40, 0.0, -0.0], np.float32), student.QParams(1.0, 7))
    check(
        "quantize([1e-45, -1e-40, 0, -0], QParams(1, 7))", q, [7, 7, 7, 7], "0.0 and its neighbours get the zero point"
    )


@pytest.mark.part("quantize")
def test_the_division_is_done_in_float32(student):
    scale = np.float32(0.1)
    x = (np.arange(-127, 127) * 0.1 + 0.05).astype(np.float32)
    wanted = [oracle.code(v, float(scale), 0, -128, 127) for v in x.tolist()]
    q = student.quantize(x, student.QParams(scale, 0))
    slips = {
        "x * (1 / scale) rounds twice; divide": np.rint(x * (np.float32(1) / scale)),
        "the division was done in float64; x and scale are float32, keep them so": np.rint(
            x.astype(float) / float(scale)
        ),
    }
    check("quantize of the ties of scale 0.1", q, wanted, "x / scale, both float32, then rint", slips=slips)
