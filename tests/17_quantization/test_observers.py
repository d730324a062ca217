"""The three observers. From simplest to hardest; the first that fails is the one you are shown."""

import numpy as np
import oracle_17 as oracle
import pytest
from checks_17 import check, works

BATCHES = ([-1.0, 2.0], [-1.0, 4.0], [-3.0, 2.0])
FORGETS = "it forgot the earlier batches: later ones may only widen self.lo and self.hi"


def each(*names):
    """Each of these classes, as a test of that part of the exercise."""
    return [pytest.param(name, marks=pytest.mark.part(name)) for name in names]


def ends(student, observer, *batches):
    """The (lo, hi) of an observer that has seen these batches."""
    with works("observe(x), then range()", "the first batch finds self.lo None: store lo and hi; later ones combine"):
        for batch in batches:
            observer.observe(np.asarray(batch, np.float32))
        got = observer.range()
    assert isinstance(got, tuple) and len(got) == 2, f"range(): expected a pair (lo, hi), got {got!r}"
    return got


@pytest.mark.part("MinMaxObserver")
def test_min_max_knows_the_first_batch(student):
    got = ends(student, student.MinMaxObserver(), [3.0, 5.0, 4.0])
    slips = {"the range began at 0, which nobody has observed: the first batch sets lo and hi": (0.0, 5.0)}
    check("MinMaxObserver after [3, 5, 4]", got, (3.0, 5.0), "the first batch sets lo and hi", slips=slips)
    got = ends(student, student.MinMaxObserver(), [-3.0, -5.0])
    check("MinMaxObserver after [-3, -5]", got, (-5.0, -3.0), "the first batch sets lo and hi")


@pytest.mark.part("MinMaxObserver")
def test_min_max_remembers_every_batch(student):
    batches = ([-3.0, 2.0], [-1.0, 2.0], [-1.0, 4.0])
    got = ends(student, student.MinMaxObserver(), *batches)
    slips = {
        FORGETS: (-1.0, 4.0),
        "only the first batch counted": (-3.0, 2.0),
        "the range shrank: np.minimum for lo, np.maximum for hi": (-1.0, 2.0),
        "that is an average; min-max keeps the extremes": (-5 / 3, 8 / 3),
    }
    check(f"MinMaxObserver after {batches}", got, (-3.0, 4.0), FORGETS, slips=slips)


@pytest.mark.part("MinMaxObserver")
def test_min_max_does_not_depend_on_the_order_of_batches(student):
    for order in ((2, 1, 0), (1, 0, 2), (1, 2, 0)):
        got = ends(student, student.MinMaxObserver(), *(BATCHES[i] for i in order))
        check(f"MinMaxObserver after batches {order}", got, (-3.0, 4.0), FORGETS)


@pytest.mark.part("MinMaxObserver")
def test_min_max_remembers_a_range_that_ends_at_0(student):
    """Behind a ReLU lo is 0, which Python takes for False."""
    zero = "a range that ends at 0 was seen, too: ask `self.lo is not None`, not whether it is 0"
    for batches, wanted in (([[0.0, 5.0], [1.0, 2.0]], (0.0, 5.0)), ([[-5.0, 0.0], [-2.0, -1.0]], (-5.0, 0.0))):
        got = ends(student, student.MinMaxObserver(), *batches)
        check(f"MinMaxObserver after {batches}", got, wanted, zero)


@pytest.mark.part("MinMaxObserver")
def test_min_max_can_watch_every_row(student):
    first, later = [[1.0, -2.0], [0.1, 0.2]], [[0.5, 3.0], [-0.3, 0.1]]
    got = ends(student, student.MinMaxObserver(0), first, later)
    rows = "element by element: np.minimum and np.maximum, not min and max of everything"
    check("MinMaxObserver(axis=0).range()", got, ([[-2.0], [-0.3]], [[3.0], [0.2]]), rows, within=1e-7)


@pytest.mark.part("MovingAverageObserver")
def test_the_moving_average_begins_with_the_first_batch(student):
    got = ends(student, student.MovingAverageObserver(0.9), [3.0, 5.0])
    slips = {"it began at 0 and was only pulled: the first batch *sets* the range": (0.3, 0.5)}
    slips |= {"it began at 0: the first batch *sets* the range": (2.7, 4.5)}
    check(
        "MovingAverageObserver(0.9) after [3, 5]", got, (3.0, 5.0), "the first batch sets it", slips=slips, within=1e-6
    )


@pytest.mark.part("MovingAverageObserver")
def test_a_later_batch_pulls_the_moving_average(student):
    got = ends(student, student.MovingAverageObserver(0.5), *BATCHES)
    slips = {
        "that is min-max; a later batch pulls the range, inwards too": (-3.0, 4.0),
        "that is the plain mean of all batches; momentum is the weight of what was before": (-5 / 3, 8 / 3),
        FORGETS: (-3.0, 2.0),
    }
    check(f"MovingAverageObserver(0.5) after {BATCHES}", got, (-2.0, 2.5), "the line above", slips=slips, within=1e-6)


@pytest.mark.part("MovingAverageObserver")
def test_the_moving_average_remembers_a_range_that_ends_at_0(student):
    got = ends(student, student.MovingAverageObserver(0.5), [0.0, 4.0], [1.0, 2.0])
    zero = "a range that ends at 0 was seen, too: ask `self.lo is not None`, not whether it is 0"
    check("MovingAverageObserver(0.5) after [0, 4], [1, 2]", got, (0.5, 3.0), zero, within=1e-6)


@pytest.mark.part("MovingAverageObserver")
def test_momentum_is_the_weight_of_the_past(student):
    formula = "lo = momentum * lo + (1 - momentum) * batch_lo, the same for hi"
    for momentum in (0.75, 0.9, 0.0):
        got = ends(student, student.MovingAverageObserver(momentum), *BATCHES)
        lows, highs = zip(*BATCHES, strict=True)
        wanted = [oracle.moving_average(ends_, momentum) for ends_ in (lows, highs)]
        swapped = [oracle.moving_average(ends_, 1 - momentum) for ends_ in (lows, highs)]
        slips = {f"the two weights are swapped: {formula}": swapped, "hi was made from lo's batches": [wanted[0]] * 2}
        check(f"MovingAverageObserver({momentum}) after {BATCHES}", got, wanted, formula, slips=slips, within=1e-6)


@pytest.mark.part("PercentileObserver")
def test_a_hundred_percent_is_everything(student):
    got = ends(student, student.PercentileObserver(100.0), [-1.0, 2.0], [0.5, -3.0])
    slips = {
        "3, the largest of all h.total magnitudes, was left out: count |x| from 0 up, not signed values": (
            -2.0,
            2.0,
        ),
        "that is the lower edge of the cell; its numbers would be clipped: (cell + 1) * h.cell": (-3 + 8 / 4096, 2.0),
    }
    hint = "t is the upper edge of the cell that reaches the share; the range is max(h.lo, -t), min(h.hi, t)"
    check("PercentileObserver(100) after [-1, 2], [0.5, -3]", got, (-3.0, 2.0), hint, slips=slips)


@pytest.mark.part("PercentileObserver")
def test_the_percentile_gives_up_the_outlier(student):
    x = np.append(np.linspace(0, 1, 199), 100)
    lo, hi = ends(student, student.PercentileObserver(99.3), x)
    cell = 4 / 4096 * 100  # a cell is at most 4 / bins of the largest |x|
    slips = {
        "the outlier was kept: percentile is in %, so percentile / 100 of all h.total magnitudes are held": 100.0,
        "t is a magnitude, not the number of a cell: (cell + 1) * h.cell": 17.0,
        "t is a magnitude, not the number of a cell: multiply (cell + 1) by h.cell": 16.0,
    }
    check("99.3 % of 199 numbers in [0, 1] and one of 100: hi", hi, 1.0, "count to 99.3 %", slips=slips, within=cell)
    check("99.3 % of numbers in [0, 1] and one of 100: lo", lo, 0.0, "never wider than what was seen: max(h.lo, -t)")


@pytest.mark.part("PercentileObserver")
def test_the_percentile_counts_magnitudes_not_signed_values(student):
    x = np.concatenate([np.linspace(-10, -9, 30), np.linspace(0, 1, 70)])
    lo, hi = ends(student, student.PercentileObserver(60.5), x)
    assert -lo <= 1.1, (
        f"60.5 % of these magnitudes are below 0.9, but lo is {lo:.3g}: the share was counted over signed values, from "
        "the negative end; count |x| from 0 up (self.magnitudes() does)"
    )
    x = np.concatenate([np.linspace(-1, 0, 70), np.linspace(9, 10, 30)])
    lo, hi = ends(student, student.PercentileObserver(60.5), x)
    assert 0.8 < hi < 1.1, f"60.5 % of these magnitudes are below 0.87, but hi is {hi:.3g}: count |x| from 0 up"


@pytest.mark.part("PercentileObserver")
def test_the_percentile_ends_at_the_upper_edge_of_the_cell_that_reaches_it(student):
    x = np.arange(1024) + 0.5  # limit 1024, 4096 cells of 1/2: the k-th number ends its cell at k + 1
    for percentile, wanted in ((50.0, 512.0), (50.01, 513.0), (99.95, 1023.5), (0.01, 1.0)):
        _, hi = ends(student, student.PercentileObserver(percentile), x)
        slips = {
            "that is the lower edge of the cell; its numbers would be clipped: (cell + 1) * h.cell": wanted - 0.5,
            "that is the cell's center: (cell + 1) * h.cell": wanted - 0.25,
            "one cell too far: np.searchsorted with side='left' finds the cell that *reaches* the share": wanted + 1.0,
        }
        call = f"hi of PercentileObserver({percentile}) after 0.5, 1.5, ... 1023.5"
        check(call, hi, wanted, "the first cell whose cumulative count reaches the share", slips=slips, within=1e-9)


@pytest.mark.part("PercentileObserver")
def test_the_percentile_range_is_never_wider_than_what_was_seen(student):
    got = ends(student, student.PercentileObserver(99.9), np.linspace(5.0, 7.0, 50))
    slips = {"t reaches both ways only as far as numbers were seen: max(h.lo, -t), min(h.hi, t)": (-7.0, 7.0)}
    check(
        "PercentileObserver(99.9) after numbers in [5, 7]",
        got,
        (5.0, 7.0),
        "max(h.lo, -t)",
        slips=slips,
        within=4 / 512,
    )
    got = ends(student, student.PercentileObserver(99.9), [0.0, 0.0])
    check("PercentileObserver(99.9) after zeros", got, (0.0, 0.0), "max(h.lo, -t), min(h.hi, t)")


@pytest.mark.parametrize("name", each("MinMaxObserver", "PercentileObserver"))
def test_batches_add_up_to_the_whole(student, name):
    x = np.random.default_rng(5).laplace(size=600).astype(np.float32)
    whole = ends(student, getattr(student, name)(), x)
    streamed = ends(student, getattr(student, name)(), *np.split(x, [1, 1, 100, 350]))  # one batch is empty
    check(f"{name} after five batches, one of them empty", streamed, whole, "the same as after one batch of all")


@pytest.mark.parametrize("name", each("MinMaxObserver", "MovingAverageObserver", "PercentileObserver"))
def test_what_an_observer_saw_makes_the_scale(student, name):
    narrow, wide = getattr(student, name)(), getattr(student, name)()
    ends(student, narrow, [-1.0, 1.0])
    ends(student, wide, [-4.0, 4.0])
    with works(f"{name}.qparams()", "range() returns (lo, hi), two arrays, as often as it is asked"):
        ratio = wide.qparams().scale / narrow.qparams().scale
    check(
        f"{name}: the scale after [-4, 4] over that after [-1, 1]", ratio, 4.0, "what was seen must count", within=1e-2
    )


@pytest.mark.parametrize("name", each("MinMaxObserver", "MovingAverageObserver", "PercentileObserver"))
def test_an_observer_that_saw_nothing_says_so(student, name):
    observer = getattr(student, name)()
    observer.observe(np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match="has seen no numbers"):
        observer.range()


def sizes(state):
    """How many numbers the attributes of an observer hold."""
    if isinstance(state, dict | list | tuple):
        return sum(sizes(part) for part in (state.values() if isinstance(state, dict) else state))
    return np.size(state)


@pytest.mark.parametrize("name", each("MinMaxObserver", "MovingAverageObserver"))
def test_an_observer_remembers_a_few_numbers_however_many_batches_there_are(student, name):
    observer, held = getattr(student, name)(), []
    for i in range(20):
        ends(student, observer, np.linspace(-i, i, 50))
        held.append(sizes(observer.__dict__))
    few = "the batches are not to be kept: self.lo and self.hi are enough"
    assert held[-1] <= held[1] + 4, f"{name} holds {held[1]} numbers after 2 batches and {held[-1]} after 20: {few}"


@pytest.mark.part("PercentileObserver")
def test_the_percentile_counts_more_numbers_than_an_int16_holds(student):
    x = np.arange(70_000) / 70_000
    _, hi = ends(student, student.PercentileObserver(50.0), x)
    wide = "70000 numbers are more than an int16 holds, or float16 tells apart: np.cumsum(self.magnitudes()) as it is"
    check("hi of half of 70000 numbers in [0, 1)", hi, 0.5, wide, within=2 / 1024)
