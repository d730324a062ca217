"""model_nbytes, accuracy_interval, speedup. From simplest to hardest; the first that fails is the one you are shown."""

import math

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, check_float, works

OWNERS = "of each of model_arrays(model).values() its owner, every owner once: a dict keyed by id(owner(a))"
Z = 1.96


def nbytes(student, model):
    with works("model_nbytes(model)", OWNERS):
        return student.model_nbytes(model)


def interval(student, correct, total, *z):
    with works(f"accuracy_interval({correct}, {total})", "p = correct / total, then Wilson's formula"):
        got = student.accuracy_interval(correct, total, *z)
    assert isinstance(got, tuple) and len(got) == 2, f"accuracy_interval must return a pair (lo, hi), got {got!r}"
    return got


@pytest.mark.part("model_nbytes")
def test_weights_and_biases_take_four_bytes_each(student):
    got = nbytes(student, student.Sequential(student.Linear(2, 3)))
    slips = {
        "that is the number of elements; an element of float32 has 4 bytes: .nbytes": 9,
        "the bias was not counted": 24,
        "bytes, not bits": 288,
    }
    check("model_nbytes of a Linear(2, 3)", got, 36, "6 weights and 3 biases of 4 bytes", slips=slips)


@pytest.mark.part("model_nbytes")
def test_a_model_without_arrays_takes_no_bytes(student):
    check("model_nbytes of a ReLU", nbytes(student, student.ReLU()), 0, "no arrays, no bytes")


@pytest.mark.part("model_nbytes")
def test_every_dtype_counts_with_its_own_size(student):
    weight = np.ones((10, 20), np.float32)
    p = student.QParams(np.ones((10, 1)), 0)
    codes = student.QuantizedTensor(weight.astype(np.int8), p)
    got = nbytes(student, student.WeightOnlyLinear(codes, np.zeros(10, np.float32)))
    slips = {"every element was counted with 4 bytes; int8 has one: .nbytes": 4 * (200 + 10 + 1 + 10)}
    slips |= {"the scales and zero points belong to the model, too": 240}
    call = "model_nbytes of 200 int8 codes, 10 scales, 1 zero point, 10 biases"
    check(call, got, 200 + 40 + 4 + 40, OWNERS, slips=slips)


@pytest.mark.part("model_nbytes")
def test_an_array_with_two_names_is_counted_once(student):
    layer = student.Linear(5, 4)
    got = nbytes(student, student.Sequential(layer, student.ReLU(), layer))
    slips = {"the shared layer was counted twice; it is in memory once: count each owner once, by id": 192}
    check("model_nbytes of a model that uses one Linear(5, 4) twice", got, 96, OWNERS, slips=slips)


@pytest.mark.part("model_nbytes")
def test_equal_arrays_are_not_the_same_array(student):
    first, second = student.Linear(5, 4), student.Linear(5, 4)
    for layer in (first, second):
        layer.load_state_dict({"weight": np.zeros((4, 5), np.float32), "bias": np.zeros(4, np.float32)})
    got = nbytes(student, student.Sequential(first, second))
    equal = "two arrays with the same values are two arrays: tell them apart by id, not by value or size"
    check("model_nbytes of two layers of zeros", got, 192, equal, slips={equal: 96})


def holding(student, tensor):
    """A module that has the tensor and nothing else: a Sequential uses its layers when it is called."""
    return student.Sequential(tensor)


@pytest.mark.part("model_nbytes")
def test_a_slice_keeps_its_whole_base_alive(student):
    base = student.Tensor(np.zeros((1000, 4), np.float32))
    whole = "a slice keeps its whole base in memory: count the bytes of owner(array), not of the array"
    got = nbytes(student, holding(student, base[0]))
    check("model_nbytes of a slice of 16 bytes out of 16000", got, 16000, whole, slips={whole: 16})
    two = student.Sequential(holding(student, base[0]), holding(student, base.T))
    slips = {"two views of one array share its memory: the owner counts once": 32000, whole: 16016}
    check("model_nbytes of two views of one array", nbytes(student, two), 16000, OWNERS, slips=slips)
    two = student.Sequential(holding(student, base[0]), holding(student, base[1]))
    check("model_nbytes of two rows of one array", nbytes(student, two), 16000, OWNERS, slips=slips)


@pytest.mark.part("accuracy_interval")
def test_490_of_500_lie_between_96_and_99_percent(student):
    got = interval(student, 490, 500)
    p, n, half = 0.98, 500, Z * math.sqrt(0.98 * 0.02 / 500)
    middle, root = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    wanted = ((middle - root) / (1 + Z**2 / n), (middle + root) / (1 + Z**2 / n))
    slips = {
        "p +- z sqrt(p (1 - p) / n) fails near 100 %; Wilson's interval is asked for": (p - half, p + half),
        "the factor 1 / (1 + z**2 / n) is missing": (middle - root, middle + root),
        "the two are swapped: (lo, hi)": wanted[::-1],
        "that is in percent; a share lies in [0, 1]": np.multiply(wanted, 100),
    }
    formula = "(p + z**2 / (2 n) -+ z sqrt(p (1 - p) / n + z**2 / (4 n**2))) / (1 + z**2 / n)"
    check("accuracy_interval(490, 500)", got, wanted, formula, slips=slips, within=1e-9)


@pytest.mark.part("accuracy_interval")
@pytest.mark.parametrize(("correct", "total"), [(0, 1), (1, 1), (1, 2), (7, 10), (9_800, 10_000), (1, 1000)])
def test_the_interval_is_that_of_wilson(student, correct, total):
    for z in (1.96, 1.0, 2.5758):
        got = interval(student, correct, total, z)
        call = f"accuracy_interval({correct}, {total}, {z})"
        check(
            call, got, oracle.wilson(correct, total, z), "see the formula above the cell; z is an argument", within=1e-9
        )


@pytest.mark.part("accuracy_interval")
@pytest.mark.parametrize("total", [1, 5, 500, 12_345])  # with 5 of 5 the formula gives a little more than 1
def test_all_or_none_right_stays_within_0_and_1(student, total):
    lo, hi = interval(student, total, total)
    assert 0 < lo < hi <= 1, (
        f"{total} of {total}: expected an interval within [0, 1], not empty, got ({lo!r}, {hi!r}): clip it"
    )
    lo, hi = interval(student, 0, total)
    assert 0 <= lo < hi < 1, (
        f"0 of {total}: expected an interval within [0, 1], not empty, got ({lo!r}, {hi!r}): clip it"
    )


@pytest.mark.part("accuracy_interval")
def test_more_images_make_a_shorter_interval(student):
    widths = [hi - lo for lo, hi in (interval(student, 49 * n, 50 * n) for n in (1, 10, 100))]
    assert widths[0] > widths[1] > widths[2], f"98 % of 50, 500, 5000 images: widths {widths} should shrink"


@pytest.mark.part("speedup")
def test_a_model_that_takes_half_the_time_is_twice_as_fast(student):
    with works("speedup([2, 4, 6], [1, 2, 3])", "np.median(np.asarray(baseline) / np.asarray(candidate))"):
        got = student.speedup([2, 4, 6], [1, 2, 3])
    slips = {"above 1 means faster: baseline / candidate, not candidate / baseline": 0.5}
    check("speedup([2, 4, 6], [1, 2, 3])", got, 2.0, "baseline / candidate", slips=slips)


@pytest.mark.part("speedup")
def test_one_disturbed_round_does_not_count(student):
    with works("speedup(...)", "np.median(np.asarray(baseline) / np.asarray(candidate))"):
        got = student.speedup([2.0, 2.0, 90.0], [1.0, 1.0, 30.0])
    slips = {"the mean is pulled by one bad round: take the median": 7 / 3, "sums are ruled by one bad round": 94 / 32}
    check("speedup([2, 2, 90], [1, 1, 30])", got, 2.0, "the median of the ratios", slips=slips)


@pytest.mark.part("speedup")
def test_ratios_are_taken_round_by_round(student):
    slow, fast = np.array([2.0, 6.0, 20.0, 3.0, 4.0]), np.array([1.0, 3.0, 10.0, 6.0, 0.8])
    with works("speedup(...)", "np.median(np.asarray(baseline) / np.asarray(candidate))"):
        got = student.speedup(slow, fast)
    slips = {
        "divide first, then take the median: noise of one round then cancels": np.median(slow) / np.median(fast),
        "the fastest rounds need not be the same round: divide round by round": slow.min() / fast.min(),
        "the mean is pulled by one bad round: take the median": np.mean(slow / fast),
    }
    check("speedup([2, 6, 20, 3, 4], [1, 3, 10, 6, 0.8])", got, 2.0, "the median of the ratios", slips=slips)
    slips = {"rounds were put in another order: each ratio is of one round": 1.0}
    check("speedup([1, 10, 4], [4, 5, 1])", student.speedup([1, 10, 4], [4, 5, 1]), 2.0, "by rounds", slips=slips)
    check("speedup of an even number of rounds", student.speedup([1.0, 3.0], [1.0, 1.0]), 2.0, "np.median")


@pytest.mark.part("speedup")
def test_one_round_is_enough(student):
    with works("speedup([2], [1])", "a median of one ratio is that ratio"):
        got = student.speedup([2.0], [1.0])
    check("speedup([2], [1])", got, 2.0, "baseline / candidate")


@pytest.mark.part("model_nbytes")
def test_bytes_are_an_int(student):
    got = nbytes(student, student.Sequential(student.Linear(2, 3)))
    assert isinstance(got, int), f"model_nbytes: expected an int, got {type(got).__name__}: sum(...) of .nbytes is one"


@pytest.mark.part("speedup")
def test_a_speedup_is_a_float(student):
    check_float("speedup([2, 4], [1, 2])", student.speedup([2, 4], [1, 2]))
