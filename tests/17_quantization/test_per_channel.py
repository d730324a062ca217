"""value_range and split_groups. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import pytest
from checks_17 import check, works

ROWS = np.array([[1.0, -2.0, -0.5], [-0.01, 0.002, 0.03]], np.float32)  # every row and column holds 0
KEPT = "axis names the axes that are *kept*; all others are reduced, with keepdims=True"


def value_range(student, x, *axis, hint=KEPT):
    with works(f"value_range(x {x.shape}, {', '.join(map(str, axis)) or 'None'})", hint):
        got = student.value_range(x, *axis)
    assert isinstance(got, tuple) and len(got) == 2, f"expected a pair (lo, hi), got {got!r}"
    return got


@pytest.mark.part("value_range")
def test_one_range_for_the_whole_tensor(student):
    lo, hi = value_range(student, ROWS)
    swapped = "the two are swapped: (lo, hi)"
    dims = "for axis None the results have shape (): keepdims only where axes are kept"
    sizes = {"that is the largest magnitude; the smallest and the largest *value* are wanted": 2.0}
    check("the smallest value of [2, 3]", lo, ROWS.min(), dims, slips={swapped: ROWS.max()})
    check("the largest value of [2, 3]", hi, ROWS.max(), dims, slips={swapped: ROWS.min(), **sizes})


@pytest.mark.part("value_range")
def test_axis_0_keeps_the_rows(student):
    lo, hi = value_range(student, ROWS, 0)
    for name, got, reduce in (("smallest", lo, np.min), ("largest", hi, np.max)):
        wanted = reduce(ROWS, 1, keepdims=True)
        if np.shape(got) == (1, 3):
            raise AssertionError(
                f"the {name} of each row: expected shape (2, 1), got (1, 3): axis 0 was reduced. {KEPT}"
            )
        if np.shape(got) == (2,):
            raise AssertionError(
                f"the {name} of each row: expected shape (2, 1), got (2,): it broadcasts only with keepdims=True"
            )
        check(f"the {name} of each row of [2, 3]", got, wanted, KEPT)


@pytest.mark.part("value_range")
def test_axis_1_keeps_the_columns(student):
    for axis in (1, -1):
        lo, hi = value_range(student, ROWS, axis)
        check(f"the smallest of each column (axis={axis})", lo, ROWS.min(0, keepdims=True), KEPT)
        check(f"the largest of each column (axis={axis})", hi, ROWS.max(0, keepdims=True), KEPT)


@pytest.mark.part("value_range")
def test_the_range_is_that_of_the_numbers_whether_or_not_it_holds_0(student):
    x = np.array([[10.0, 11.0], [-3.0, -5.0]], np.float32)
    x.flags.writeable = False
    zero = "widening to hold 0 is choose_qparams' work, not the range's"
    lo, hi = value_range(student, x, 0)
    check("the smallest of each row", lo, [[10.0], [-5.0]], KEPT, slips={zero: [[0.0], [-5.0]]})
    check("the largest of each row", hi, [[11.0], [-3.0]], KEPT, slips={zero: [[11.0], [0.0]]})


@pytest.mark.part("value_range")
def test_a_square_matrix_tells_rows_from_columns(student):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    lo, _ = value_range(student, x, 0)
    check("the smallest of each row of [[1, 2], [3, 4]]", lo, [[1.0], [3.0]], KEPT, slips={KEPT: [[1.0], [2.0]]})


@pytest.mark.part("value_range")
def test_several_axes_can_be_kept(student):
    x = np.arange(24.0).reshape(2, 3, 4)[:, ::-1]
    lo, hi = value_range(student, x, (0, 1))
    check("the smallest a group of [2, 3, 4]", lo, x.min(2, keepdims=True), KEPT)
    check("the largest a group of [2, 3, 4]", hi, x.max(2, keepdims=True), KEPT)
    lo, hi = value_range(student, x, 1)
    check("the smallest for each index of the middle axis", lo, x.min((0, 2), keepdims=True), KEPT)
    check("the largest for each index of the middle axis", hi, x.max((0, 2), keepdims=True), KEPT)


@pytest.mark.part("value_range")
def test_a_single_number_and_an_empty_array_have_a_range(student):
    lo, hi = value_range(student, np.array(3.0, np.float32))
    check("value_range of the number 3", (lo, hi), (3.0, 3.0), KEPT)
    lo, hi = value_range(student, np.zeros((0, 4), np.float32), 0)
    check("value_range of an empty array", (lo, hi), (0.0, 0.0), "the lines above yours return that")


def split(student, x, size):
    groups = (
        "how many zeros are missing to fill the last group? np.pad them, then reshape to (rows, groups, group_size)"
    )
    with works(f"split_groups(x {x.shape}, {size})", groups):
        return student.split_groups(x, size)


@pytest.mark.part("split_groups")
def test_a_row_is_cut_into_runs(student):
    got = split(student, np.array([[1, 2, 3, 4, 5, 6]]), 2)
    even = "6 columns are 3 groups of 2, columns rounded up to whole groups: -(-columns // group_size)"
    together = "neighbours belong together, in their order: reshape(rows, groups, group_size)"
    slips = {together: [[[1, 3], [5, 2], [4, 6]]], f"{together}, nothing transposed": [[[1, 4], [2, 5], [3, 6]]]}
    check("split_groups([[1, 2, 3, 4, 5, 6]], 2)", got, [[[1, 2], [3, 4], [5, 6]]], even, slips=slips)


@pytest.mark.part("split_groups")
def test_the_last_run_is_filled_up_with_zeros(student):
    got = split(student, np.array([[1, 2, 3]]), 2)
    slips = {"the zeros go behind the row, not before it": [[[0, 1], [2, 3]]], "fill up with zeros": [[[1, 2], [3, 3]]]}
    if np.shape(got) == (1, 1, 2):
        raise AssertionError(
            f"split_groups([[1, 2, 3]], 2): got {got.tolist()}: the incomplete group was dropped, not filled"
        )
    check("split_groups([[1, 2, 3]], 2)", got, [[[1, 2], [3, 0]]], "np.pad(x, ((0, 0), (0, missing)))", slips=slips)


@pytest.mark.part("split_groups")
def test_no_group_crosses_into_the_next_row(student):
    got = split(student, np.array([[1, 2, 3], [4, 5, 6]]), 2)
    across = "a row's last group must not take from the next row: fill every row up"
    check("split_groups([[1, 2, 3], [4, 5, 6]], 2)", got, [[[1, 2], [3, 0]], [[4, 5], [6, 0]]], across)


@pytest.mark.part("split_groups")
def test_groups_that_divide_evenly_get_no_filling(student):
    got = split(student, np.ones((2, 64), np.float32), 32)
    extra = "64 columns are two groups of 32; columns // size + 1 would add an empty third"
    check("split_groups([2, 64], 32)", got, np.ones((2, 2, 32)), extra)


@pytest.mark.part("split_groups")
def test_a_group_may_be_longer_than_the_row(student):
    check("split_groups([[7, 8]], 5)", split(student, np.array([[7, 8]]), 5), [[[7, 8, 0, 0, 0]]])


@pytest.mark.part("split_groups")
def test_a_tensor_without_rows_has_groups_without_rows(student):
    got = split(student, np.zeros((0, 5), np.float32), 2)
    check("split_groups of shape (0, 5), 2", got, np.zeros((0, 3, 2)), "no rows, each of 3 groups")


@pytest.mark.part("split_groups")
@pytest.mark.parametrize("layout", ["fortran", "read-only", "strided", "big-endian"])
def test_groups_follow_the_rows_in_any_layout(student, layout):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    wanted = np.concatenate([x, np.zeros((3, 2), np.float32)], 1).reshape(3, 2, 3)
    given = {"fortran": np.asfortranarray(x), "read-only": x.copy(), "strided": np.repeat(x, 2, 1)[:, ::2]}
    x = given.get(layout, x.astype(">f4"))
    x.flags.writeable = False
    check(f"split_groups of a {layout} array", split(student, x, 3), wanted, "order is that of rows, not of memory")


@pytest.mark.part("value_range")
def test_a_range_does_not_hide_that_a_number_is_missing(student):
    lo, hi = value_range(student, np.array([[1.0, np.nan], [2.0, 3.0]], np.float32), 0)
    hidden = "NaN was passed over (np.nanmin): the range must be NaN, so that whoever asks for a scale is told"
    check("where the ranges of [[1, nan], [2, 3]] are NaN", np.isnan((lo, hi)), [[[True], [False]]] * 2, hidden)


@pytest.mark.part("split_groups")
def test_groups_hold_the_numbers_themselves(student):
    x = np.array([[0.1, -1e5, 300.0]], np.float32)
    got = split(student, x, 2)
    kept = "the numbers are only cut and filled up: leave their dtype as it is"
    check("split_groups([[0.1, -100000, 300]], 2)", got, np.array([[[x[0, 0], -1e5], [300.0, 0.0]]]), kept)
