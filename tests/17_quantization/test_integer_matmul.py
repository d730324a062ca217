"""integer_matmul. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, works

FORMULA = "AB - za * colsum(B) - zb * rowsum(A) + K * za * zb"


AXES = "b's columns are summed over K, axis -2, a's rows over K, axis -1, both with keepdims=True"


def product(student, a, b, *zero_points, hint=AXES):
    with works(f"integer_matmul({a.shape}, {b.shape})", hint):
        return student.integer_matmul(a, b, *zero_points)


def codes(seed, *shape, dtype=np.int8):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


def exact(a, b, za, zb):
    return (a.astype(np.int64) - za) @ (b.astype(np.int64) - zb)


def slips_of(a, b, za, zb):
    """The formula with one term missing, doubled, or summed along the wrong axis. a and b are square."""
    right, k = exact(a, b, za, zb), a.shape[1]
    (a8, b8), (a, b) = (a, b), (a.astype(np.int64), b.astype(np.int64))
    columns, rows = za * b.sum(0, keepdims=True), zb * a.sum(1, keepdims=True)
    wrong_b = "b was summed along the wrong axis: its columns run over K, axis -2, and keepdims=True leaves [1, N]"
    wrong_a = "a was summed along the wrong axis: its rows run over K, the last axis, and keepdims=True leaves [M, 1]"
    narrow = {
        f"the sums of {name} were kept in {sums.dtype} and wrapped around: .sum(axis, np.int64, keepdims=True)": wrong
        for name, sums, wrong in (
            ("b's columns", b8.sum(0, b8.dtype), right + columns - za * b8.sum(0, b8.dtype).astype(np.int64)),
            ("a's rows", a8.sum(1, a8.dtype), right + rows - zb * a8.sum(1, a8.dtype, keepdims=True).astype(np.int64)),
        )
        if (wrong != right).any()
    }
    return narrow | {
        "the zero points were ignored": a @ b,
        "the term K * za * zb is missing": right - k * za * zb,
        "K * za * zb must be added, not subtracted": right - 2 * k * za * zb,
        "K is missing from K * za * zb": right - k * za * zb + za * zb,
        "the term za * colsum(b) is missing": right + columns,
        "the term zb * rowsum(a) is missing": right + rows,
        "the sign: za * colsum(b) must be subtracted": right + 2 * columns,
        "the sign: zb * rowsum(a) must be subtracted": right + 2 * rows,
        "the sign: both sums must be subtracted": right + 2 * columns + 2 * rows,
        "the zero points are swapped: za goes with the sums of b": exact(a, b, zb, za),
        wrong_b: right + columns - za * b.sum(1, keepdims=True),
        wrong_b + ".": right + columns - za * b.sum(1),
        wrong_a: right + rows - zb * a.sum(0, keepdims=True),
        wrong_a + ".": right + rows - zb * a.sum(0, keepdims=True).T,
    }


def test_without_zero_points_it_is_the_product_of_the_codes(student):
    got = product(student, np.array([[1, 2]], np.int8), np.array([[3], [4]], np.int8))
    check("integer_matmul([[1, 2]], [[3], [4]])", got, [[11]], "1 * 3 + 2 * 4")


def test_sums_are_wider_than_codes(student):
    a, b = np.full((1, 2), 100, np.int8), np.full((2, 1), 100, np.int8)
    wrapped = "an int8 sum wraps around; exact_product has already summed exactly: use acc"
    got = product(student, a, b)
    check("integer_matmul of 100 * 100 + 100 * 100", got, [[20000]], wrapped, slips={wrapped: [[32]]})
    check("integer_matmul(...)", got, got, "sums are int32: acc.astype(np.int32), after the check", dtype="int32")


@pytest.mark.parametrize(("za", "zb"), [(1, 0), (0, 2)], ids=["of a", "of b"])
def test_a_zero_point_is_subtracted_from_every_code(student, za, zb):
    a, b = np.array([[1, 2], [5, 7]], np.int8), np.array([[3, 1], [4, 6]], np.int8)
    got = product(student, a, b, za, zb)
    call = f"integer_matmul({a.tolist()}, {b.tolist()}, {za}, {zb})"
    check(call, got, exact(a, b, za, zb), FORMULA, slips=slips_of(a, b, za, zb))


def test_both_zero_points_together_cost_one_more_term(student):
    got = product(student, np.array([[1, 2]], np.int8), np.array([[3], [4]], np.int8), 1, 2)
    slips = {
        "the term K * za * zb is missing": [[-2]],
        "K is missing from K * za * zb": [[0]],
        "K * za * zb must be added": [[-6]],
        "the zero points were ignored": [[11]],
        "zb was subtracted twice": [[-4]],
    }
    check("integer_matmul([[1, 2]], [[3], [4]], 1, 2)", got, [[2]], FORMULA, slips=slips)


@pytest.mark.parametrize(
    ("a_type", "b_type"), [("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8"), ("int8", "uint8")]
)
def test_codes_of_either_sign_multiply(student, a_type, b_type):
    a, b = codes(1, 7, 7, dtype=a_type), codes(2, 7, 7, dtype=b_type)
    za, zb = (int(np.iinfo(t).max) for t in (a_type, b_type))
    call = f"integer_matmul of 7 x 7 {a_type} and {b_type}, zero points {za}, {zb}"
    check(call, product(student, a, b, za, zb), exact(a, b, za, zb), FORMULA, slips=slips_of(a, b, za, zb))


def test_shapes_need_not_be_square(student):
    for m, k, n in ((1, 5, 3), (4, 1, 2), (3, 300, 1), (2, 3, 5)):
        a, b = codes(m, m, k), codes(n, k, n)
        got = product(student, a, b, 3, -5)
        check(f"integer_matmul({a.shape}, {b.shape}, 3, -5)", got, exact(a, b, 3, -5), AXES)


def test_sums_of_many_codes_do_not_wrap(student):
    a, b = np.full((2, 1000), -128, np.int8), np.full((1000, 2), -128, np.int8)
    got = product(student, a, b, 127, 127)
    wrapped = "a sum of int8 codes wraps when it is kept in int8: b.sum(-2, np.int64, keepdims=True)"
    wanted = np.full((2, 2), 1000 * 255 * 255)
    if np.shape(got) == wanted.shape and np.all(np.abs(np.subtract(got, wanted, dtype=float)) < 1e-3 * wanted):
        wrapped = "nearly: float32 cannot hold such a sum; exact_product's acc is float64, and sums of codes are int64"
    check("integer_matmul of a thousand -128s, zero points 127", got, wanted, wrapped)


def test_every_row_of_a_and_every_column_of_b_may_have_its_own_zero_point(student):
    a, b = codes(3, 2, 6, dtype=np.uint8), codes(4, 6, 3)
    za, zb = np.array([[7], [250]], np.int32), np.array([-3, 0, 100], np.int32)
    got = product(student, a, b, za, zb)
    wanted = oracle.matmul(a.tolist(), b.tolist(), za.ravel().tolist(), zb.tolist())
    vectors = "zero points [M, 1] and [N] broadcast by themselves against sums kept as [1, N] and [M, 1]"
    check("integer_matmul with zero points [2, 1] and [3]", got, wanted, vectors)


def test_zero_points_of_qparams_can_be_passed_as_they_are(student):
    a, b = codes(5, 4, 4, dtype=np.uint8), codes(6, 4, 4)
    got = product(student, a, b, student.QParams(1.0, 85, student.UINT8).zero_point)
    check("integer_matmul with QParams.zero_point", got, exact(a, b, 85, 0), FORMULA, dtype="int32")


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0))])
def test_empty_operands_give_empty_or_zero_sums(student, shapes):
    a, b = (np.zeros(shape, np.int8) for shape in shapes)
    got = product(student, a, b, 1, 2, hint="an empty array has no .max(): guard the check with acc.size")
    wanted = np.full((shapes[0][0], shapes[1][1]), 0 if shapes[0][1] == 0 else (0 - 1) * (0 - 2) * shapes[0][1])
    check(f"integer_matmul of {shapes}", got, wanted, "K = 0 sums to 0", dtype="int32")


def test_a_stack_of_matrices_is_multiplied_one_by_one(student):
    a, b = codes(7, 5, 2, 4), codes(8, 4, 3)
    got = product(student, a, b, 9, -1, hint="count axes from the end: -2 and -1")
    check("integer_matmul([5, 2, 4], [4, 3])", got, exact(a, b, 9, -1), "count axes from the end: -2 and -1")


def test_both_operands_may_be_stacks(student):
    a, b = codes(7, 5, 2, 4), codes(8, 5, 4, 3)
    got = product(student, a, b, 9, -1, hint=AXES)
    check("integer_matmul([5, 2, 4], [5, 4, 3])", got, exact(a, b, 9, -1), AXES)


@pytest.mark.parametrize("turned", [False, True], ids=["of columns", "of rows"])
def test_sums_of_codes_beyond_2_to_the_24_are_exact(student, turned):
    zeros, most = np.zeros((1, 65_800), np.uint8), np.full((65_800, 1), 255, np.uint8)
    most[-1] = 254
    a, b, zero_points = (most.T, zeros.T, (0, 1)) if turned else (zeros, most, (1, 0))
    wide = "float32 does not hold this odd sum: .sum(axis, np.int64, keepdims=True)"
    check("integer_matmul of K = 65800", product(student, a, b, *zero_points), [[-(65_800 * 255 - 1)]], wide)


def test_any_layout_is_read_and_left_as_it_was(student):
    a, b = codes(9, 6, 8)[::2, ::2], np.asfortranarray(codes(10, 4, 5))
    a.flags.writeable = b.flags.writeable = False
    got = product(student, a, b, 2, 3, hint="never write into a or b")
    check("integer_matmul of strided, read-only arrays", got, exact(a, b, 2, 3), FORMULA)


def test_a_sum_beyond_int32_is_refused_not_wrapped(student):
    a, b = np.full((1, 33_100), 255, np.uint8), np.full((33_100, 1), 255, np.uint8)
    silent = "the sum 33100 * 255 * 255 = 2152327500 is beyond int32: raise OverflowError instead of returning "
    try:
        got = student.integer_matmul(a, b)
    except OverflowError:
        got = None
    assert got is None, silent + f"{got.tolist()}"
    try:
        got = student.integer_matmul(a, np.zeros_like(b), 0, 255)
    except OverflowError:
        got = None
    assert got is None, "the check must come after the zero points' corrections: their sum is -2152327500"


def test_the_lowest_int32_is_a_result(student):
    a, b = np.full((1, 2**17), -128, np.int8), np.full((2**17, 1), 128, np.uint8)
    lowest = "-2**31 fits int32, which reaches one further below 0 than above: refuse what is < -2**31, not <="
    got = product(student, a, b, hint=lowest)
    check("integer_matmul of 2**17 products of -128 and 128", got, [[-(2**31)]], lowest, dtype="int32")


def test_a_sum_that_just_fits_int32_is_returned(student):
    k = 33_025
    a, b = np.full((1, k + 1), 255, np.uint8), np.full((k + 1, 1), 255, np.uint8)
    b[k] = 129  # the sum is k * 255 * 255 + 255 * 129 = 2**31 - 128
    fits = "only sums of 2**31 and more, or below -2**31, overflow: look at the sums, not at K"
    got = product(student, a, b, hint=fits)
    check(f"integer_matmul of K = {k + 1}", got, [[2**31 - 128]], fits)
    got = product(student, a, b, 0, 255, hint="check after the zero points' corrections: they can make a sum smaller")
    check("the same with zero point 255 for b", got, [[(129 - 255) * 255]], FORMULA)


def test_each_sum_is_compared_with_int32_by_itself(student):
    most = np.full((20_000, 1), 255, np.uint8)
    two = product(student, np.full((2, 20_000), 255, np.uint8), most, hint="refuse by acc.max(), not by acc.sum()")
    check("integer_matmul of two large sums", two, np.full((2, 1), 20_000 * 255 * 255), "acc.max(), not acc.sum()")
    a = np.zeros((3, 33_100), np.uint8)
    a[0], a[1] = 255, 128  # with zero point 255 the sums of b = 0 are -255 * those of a: the first is too low
    with pytest.raises(OverflowError):
        student.integer_matmul(a, np.zeros((33_100, 1), np.uint8), 0, 255)


def test_each_product_is_one_of_its_own_matrices(student):
    """Of the same shapes, one after the other."""
    for seed in (1, 2, 3):
        a, b = codes(seed, 2, 4), codes(seed + 10, 4, 3)
        own = "something of an earlier product was used: column and row sums are those of this b and this a"
        check("integer_matmul, asked again", product(student, a, b, 3, -5), exact(a, b, 3, -5), own)
