"""What judged code is given, and what becomes of a function that changes it. See also the sandbox's `test_child.py`."""

from __future__ import annotations

import numpy as np
import pytest

from tito.testing.arguments import arrays_of, like
from tito.testing.proxies import Student, may_change
from tito.testing.student_fixture import open_file

from ..toy_course import Course, frames_of
from .both import by_check, by_tito_test, exercise

JUDGED = """
import functools
import numpy as np

class Tensor:
    __slots__ = ("data", "parents")
    def __init__(self, data, parents=()):
        self.data, self.parents = data, parents

class Layer:
    def __init__(self, weight):
        self.weight, self.parts = Tensor(weight), [{"more": (Tensor(np.ones(2)),)}]
        self.itself = self
    def watch(self, x):
        self.weight.data += x
    def spoil(self, x):
        x *= 2

def twice(f):
    @functools.wraps(f)
    def wrapped(*args, **kwargs):
        return f(*args, **kwargs)
    return wrapped

@twice
def spoil(number, x):
    x[...] = 0
    return number

def returned(x):
    x *= 2
    return x

def keyword(*, bounds=None):
    bounds["lo"][0] = 3

def shift(x, zeros=None):
    x += 0
    x[x < 0] = 0
    return x

def grow(rows): rows.append(1)
def forget(table): table.clear()
def overwrite(x): x.data[...] = 7
def replace(x): x.data = x.data * 0
def drop(layer): layer.parts = []
def step(layer): layer.weight.data -= 1
def deep(layer): layer.parts[0]["more"][0].data[1] = 5
def new(layer): return Layer(layer.weight.data + 1)
def own(x):
    x = x.copy()
    x *= 2
    return x
def sort(*arrays): [array.sort() for array in arrays]
"""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Student:
    path = tmp_path_factory.mktemp("judged") / "judged.py"
    path.write_text(JUDGED, encoding="utf-8")
    return open_file(path)


def test_who_overwrites_an_array_has_failed_and_is_told_which_and_where(judged: Student) -> None:
    x = np.arange(3.0)
    told = "^spoil changed its argument x, which its caller still needs: work on a copy of it$"
    with pytest.raises(AssertionError, match=told) as caught:
        judged.spoil(3, x)
    ((file, line),) = frames_of(caught.value)
    assert file.endswith("judged.py") and "@twice" in JUDGED.split("\n")[line - 1]
    assert x.tolist() == [0, 1, 2], "a wanted value that is computed afterwards is the right one"


@pytest.mark.parametrize("x", [np.ones((2, 3)), np.ones((4, 4)).T[::2], np.ones(3, ">f4"), np.array(1.5), np.ones(1)])
def test_the_array_that_came_back_is_not_what_a_wanted_value_is_computed_from(judged: Student, x: np.ndarray) -> None:
    before = x.copy()
    with pytest.raises(AssertionError, match="returned changed its argument x"):
        judged.returned(x)
    assert np.array_equal(x, before)


def test_a_change_of_a_bit_is_one(judged: Student) -> None:
    with pytest.raises(AssertionError, match="shift changed its argument x"):
        judged.shift(np.array([-1e-45, np.nan], np.float32))
    assert np.isnan(judged.shift(np.array([0.0, np.nan]))[1]), "and of a NaN written over by itself none"


def test_an_array_is_found_in_keywords_lists_and_dicts(judged: Student) -> None:
    with pytest.raises(AssertionError, match="keyword changed its argument bounds"):
        judged.keyword(bounds={"lo": np.zeros(2)})
    with pytest.raises(AssertionError, match="sort changed its argument number 2"):
        judged.sort(np.arange(3), np.array([2, 1]))


def test_a_list_and_a_dict_must_stay_as_they_were(judged: Student) -> None:
    for name, argument, value in (("grow", "rows", [1, 2]), ("forget", "table", {"a": 1})):
        with pytest.raises(AssertionError, match=f"{name} changed its argument {argument}"):
            getattr(judged, name)(value)
        assert value in ([1, 2], {"a": 1})


def test_an_object_s_arrays_are_arguments_too_and_are_put_back(judged: Student) -> None:
    tensor, layer = judged.Tensor(np.zeros(2)), judged.Layer(np.zeros(2))
    for name, handle in (("overwrite", tensor), ("step", layer), ("deep", layer), ("drop", layer)):
        with pytest.raises(AssertionError, match=f"{name} changed its argument"):
            getattr(judged, name)(handle)
    assert tensor.data.tolist() == [0, 0] and layer.weight.data.tolist() == [0, 0]
    assert judged.new(layer).weight.data.tolist() == [1, 1]


def test_an_array_that_another_takes_the_place_of_was_changed(judged: Student) -> None:
    with pytest.raises(AssertionError, match="replace changed its argument x"):
        judged.replace(judged.Tensor(np.ones(2)))
    judged.replace(judged.Tensor(np.zeros(2)))  # by an equal one: nobody can tell


def test_a_call_may_change_what_the_test_names_and_nothing_else(judged: Student) -> None:
    layer = judged.Layer(np.zeros(2))
    judged.step(may_change(layer))
    assert layer.weight.data.tolist() == [-1, -1]
    with pytest.raises(AssertionError, match="step changed its argument layer"):
        judged.step(layer)


def test_an_object_may_change_itself_but_not_what_it_is_given(judged: Student) -> None:
    layer = judged.Layer(np.zeros(2))
    layer.watch(np.ones(2))
    assert layer.weight.data.tolist() == [1, 1]
    with pytest.raises(AssertionError, match="spoil changed its argument x"):
        layer.spoil(np.ones(2))


def test_what_a_student_keeps_of_an_array_is_not_the_test_s_own(judged: Student) -> None:
    x = np.zeros(2)
    tensor = judged.Tensor(x)
    judged.overwrite(may_change(tensor))
    assert tensor.data.tolist() == [7, 7] and x.tolist() == [0, 0]


def test_who_works_in_place_on_a_copy_of_his_own_is_not_harmed(judged: Student) -> None:
    x = np.ones(2)
    assert judged.own(x).tolist() == [2, 2] and x.tolist() == [1, 1]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=">i4").reshape(3, 4)[::2, ::-1],
        np.broadcast_to(np.float32(1), (2, 3)),
        np.broadcast_to(np.int8(1), (2**20, 2**20)),
        np.array(2.5),
        np.zeros((0, 3), np.int8),
        np.asfortranarray(np.ones((2, 3))),
    ],
    ids=lambda array: f"{array.shape} {array.strides}",
)
def test_a_copy_lies_in_memory_as_the_array_does(array: np.ndarray) -> None:
    copy = like(array)
    assert (copy.shape, copy.strides, copy.dtype.str) == (array.shape, array.strides, array.dtype.str)
    assert copy.flags.writeable == array.flags.writeable and not np.may_share_memory(copy, array)
    assert np.array_equal(copy[:9, :9] if array.ndim == 2 else copy, array[:9, :9] if array.ndim == 2 else array)


def test_arrays_are_found_once_each_however_they_are_held() -> None:
    x = np.ones(1)
    assert list(arrays_of({"a": [x, (x,)], "b": {1, 2}, "c": np.ndarray, "d": np.array([None])})) == [x]


def test_a_change_costs_no_more_than_a_copy_of_what_lies_in_memory(judged: Student) -> None:
    """A scale that is stretched over 2**40 numbers is one number."""
    with pytest.raises(ValueError, match="read-only"):
        judged.overwrite(judged.Tensor(np.broadcast_to(np.int8(1), (2**20, 2**20))))


def test_tito_test_and_check_say_the_same_of_it(
    course: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(course.root)
    cell = exercise("x *= 2\n    return x")
    tested, checked = by_tito_test(course, cell), by_check(monkeypatch, capsys, cell)
    for said in (tested, checked):
        assert "double changed its argument x, which its caller still needs: work on a copy of it" in said
        assert "def double(x):" in said, "with the line where it is defined"
    assert "0 of 2" in tested
