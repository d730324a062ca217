"""What passes between tests and judged code, and what does not."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

from tito.testing import proxies
from tito.testing.proxies import Student
from tito.testing.student_fixture import Opaque, open_file, type_name

from ..toy_course import frames_of

JUDGED = """
import dataclasses, enum
import numpy as np

class Odd(ValueError):
    pass

class Mine(np.ndarray):
    pass

class Bits(enum.IntEnum):
    EIGHT = 8

@dataclasses.dataclass(frozen=True)
class IntType:
    bits: int
    storage: object = np.int8

    def wider(self):
        return IntType(self.bits * 2)

    @property
    def broken(self):
        raise Odd("no such width")

    def __len__(self):
        return self.bits

    def __getitem__(self, key):
        return key * 2

INT8 = IntType(8)
LIMITS = {"low": -128, "both": [-128, 127], "of": INT8}

def same(*args, **kwargs): return (*args, *kwargs.values())
def kind(x): return type(x).__name__
def facts(x): return x.dtype.str, x.flags.writeable, x.strides, type(x) is np.ndarray
def spoil(x): x[:] = 7
def mine(x): return x.view(Mine)
def objects(): return np.array([None])
def words(): return np.array(["a"])
def dtype(x): return x.dtype
def scalar_type(): return np.uint8, int, IntType
def generator(n): yield from range(n)
def odd(): raise Odd("it is odd")
def axis(): return np.zeros(2).sum(axis=3)
def divide(): return inner()
def inner(): return 1 // 0
def stub(): raise NotImplementedError("exercise quantize: not yet")
def eight(): return Bits.EIGHT
def apply(function, x): return function(x)
def view(): return np.arange(6).reshape(2, 3)[:, ::2]
"""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Student:
    path = tmp_path_factory.mktemp("judged") / "judged.py"
    path.write_text(JUDGED, encoding="utf-8")
    return open_file(path)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -1.5, "text", b"bytes", (), [], {}, (1, [2.0, {"three": None}]), 2**80, float("inf"), {1: (2,)}],
)
def test_plain_values_come_back_as_they_went(judged: Student, value: object) -> None:
    (got,) = judged.same(value)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("dtype", [bool, "i1", "u1", "<i2", ">i4", "i8", "f2", "<f4", ">f8", "c8"])
def test_arrays_and_scalars_keep_dtype_and_byte_order(judged: Student, dtype: str) -> None:
    array = np.array([[1, 0], [1, 1]], dtype)
    (got,) = judged.same(array)
    assert type(got) is np.ndarray and got.dtype == array.dtype and got.dtype.str == array.dtype.str
    assert np.array_equal(got, array) and not np.shares_memory(got, array), "a result is a copy"
    (scalar,) = judged.same(array[0, 0])
    assert type(scalar) is type(array[0, 0]) and scalar == array[0, 0]


def test_an_argument_keeps_its_strides_its_byte_order_and_its_flags(judged: Student) -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4)[::2, ::-1]
    array.flags.writeable = False
    assert judged.facts(array) == (">i4", False, array.strides, True)
    with pytest.raises(ValueError, match="read-only"):
        judged.spoil(array)


def test_zero_dimensional_and_empty_arrays_stay_arrays(judged: Student) -> None:
    for array in (np.array(2.5, np.float32), np.zeros((0, 3), np.int8)):
        (got,) = judged.same(array)
        assert type(got) is np.ndarray and got.shape == array.shape and got.dtype == array.dtype


def test_a_subclass_of_array_comes_back_as_a_base_array(judged: Student) -> None:
    got = judged.mine(np.arange(3))
    assert type(got) is np.ndarray and got.tolist() == [0, 1, 2]


def test_a_strided_result_is_whole(judged: Student) -> None:
    assert judged.view().tolist() == [[0, 2], [3, 5]]


def test_a_member_of_an_enumeration_of_numbers_is_its_number(judged: Student) -> None:
    got = judged.eight()
    assert got == 8 and type(got) is int


@pytest.mark.parametrize(("function", "dtype"), [("objects", "object"), ("words", "<U1")])
def test_an_array_that_holds_no_numbers_is_refused(judged: Student, function: str, dtype: str) -> None:
    with pytest.raises(TypeError, match=f"expected an array of numbers, got one of dtype {dtype}"):
        getattr(judged, function)()


def test_dtypes_and_number_types_come_back_as_names_and_classes_as_handles(judged: Student) -> None:
    assert judged.dtype(np.zeros(1, ">f4")) == "float32"
    uint8, integer, int_type = judged.scalar_type()
    assert (uint8, integer) == ("uint8", "int") and judged.INT8.storage == "int8"
    assert isinstance(int_type, Opaque) and int_type(4).bits == 4


def test_an_object_stays_on_its_side_and_is_reached_through_its_handle(judged: Student) -> None:
    handle = judged.INT8
    assert isinstance(handle, Opaque) and type_name(handle) == "IntType" and handle.bits == 8
    assert handle.wider().bits == 16
    assert judged.same(handle) == (handle,), "the same object has the same handle"
    assert handle != judged.IntType(8), "handles are equal for one object, not for equal ones"
    assert len({handle, judged.INT8}) == 1
    assert repr(handle) == "<IntType of the student's>"
    limits = judged.LIMITS
    assert limits == {"low": -128, "both": [-128, 127], "of": handle}


def test_a_handle_has_a_length_items_and_steps_where_its_object_has(judged: Student) -> None:
    assert len(judged.INT8) == 8 and judged.INT8[3] == 6
    assert list(judged.generator(3)) == [0, 1, 2]
    with pytest.raises(TypeError, match="__len__"):
        len(judged.same)


def test_functions_can_be_passed_back_as_arguments(judged: Student) -> None:
    assert judged.apply(judged.kind, 3) == "int"


@pytest.mark.parametrize(
    "value", [lambda x: x, object(), {1, 2}, np.float32, np.array(["a"]), iter([1]), np.dtype("f4")]
)
def test_what_could_not_pass_a_wall_is_refused_to_the_author_of_the_test(judged: Student, value: object) -> None:
    with pytest.raises(TypeError, match="a test may send"):
        judged.same([value])


def test_a_handle_of_one_student_is_refused_by_another(judged: Student, tmp_path: Path) -> None:
    path = tmp_path / "other.py"
    path.write_text(JUDGED, encoding="utf-8")
    with pytest.raises(TypeError, match="another student"):
        judged.same(open_file(path).INT8)


def test_a_handle_is_neither_copied_nor_pickled(judged: Student) -> None:
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            duplicate(judged.INT8)


def test_a_test_cannot_patch_judged_code(judged: Student) -> None:
    with pytest.raises(TypeError, match=r"cannot set \.same"):
        judged.same = 3


def test_an_exception_arrives_as_the_nearest_builtin_one_with_its_message_and_place(judged: Student) -> None:
    line = JUDGED.split("\n").index('def odd(): raise Odd("it is odd")') + 1
    with pytest.raises(ValueError, match=r"^it is odd$") as raised:
        judged.odd()
    assert raised.type is ValueError
    (frame,) = frames_of(raised.value)
    assert frame[0].endswith("judged.py") and frame[1] == line
    with pytest.raises(ValueError, match="axis 3 is out of bounds") as raised:
        judged.axis()
    assert raised.type is ValueError, "NumPy's AxisError descends from ValueError first"
    with pytest.raises(ValueError, match="no such width"):
        _ = judged.INT8.broken


def test_the_place_of_an_exception_is_every_step_outermost_first(judged: Student) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        judged.divide()
    lines = JUDGED.split("\n")
    assert [lines[line - 1][:10] for _, line in frames_of(raised.value)] == ["def divide", "def inner("]


def test_a_name_that_is_not_there_is_told_with_what_may_have_happened(judged: Student) -> None:
    with pytest.raises(
        AttributeError, match=r"'quantise' is not defined in judged.py: was its cell deleted, or renamed\?"
    ):
        judged.quantise(1)


def test_a_stub_that_a_test_swallows_is_remembered(judged: Student) -> None:
    with pytest.raises(NotImplementedError):
        judged.stub()
    assert [str(error) for error in proxies.take_unwritten(judged)] == ["exercise quantize: not yet"]
    assert proxies.take_unwritten(judged) == [], "told once"


def test_objects_are_let_go_with_their_last_handle(judged: Student) -> None:
    kept = judged._backend._kept
    gc.collect()
    before = len(kept)
    handles = [judged.IntType(bits) for bits in range(50)]
    assert len(kept) >= before + 50
    again = judged.same(handles[0])
    del handles
    gc.collect()
    assert len(kept) <= before + 2, "one object is still held, by `again`"
    assert again[0].bits == 0
