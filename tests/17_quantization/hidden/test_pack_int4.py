"""Packing for any codes."""

import numpy as np
import oracle_17 as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@pytest.mark.part("pack_int4")
@given(codes=st.lists(st.integers(-8, 7), max_size=40))
def test_signed_codes_are_packed_as_the_specification_says(student, codes):
    assert student.pack_int4(np.array(codes, np.int8)).tolist() == oracle.pack(codes)


@pytest.mark.part("pack_int4")
@given(codes=st.lists(st.integers(0, 15), max_size=40))
def test_unsigned_codes_are_packed_as_the_specification_says(student, codes):
    assert student.pack_int4(np.array(codes, np.uint8)).tolist() == oracle.pack(codes)


@pytest.mark.part("unpack_int4")
@given(packed=st.lists(st.integers(0, 255), max_size=20), odd=st.booleans(), signed=st.booleans())
def test_bytes_are_unpacked_as_the_specification_says(student, packed, odd, signed):
    size = max(2 * len(packed) - odd, 0)
    got = student.unpack_int4(np.array(packed, np.uint8), (size,), signed)
    assert got.tolist() == oracle.unpack(packed, size, signed)


def codes_of(shape, signed, seed):
    low, dtype = (-8, np.int8) if signed else (0, np.uint8)
    return np.random.default_rng(seed).integers(low, low + 16, shape).astype(dtype)


@pytest.mark.part("pack_int4")
@given(shape=SHAPES, signed=st.booleans(), seed=st.integers(0, 999))
def test_codes_of_any_shape_are_packed_into_half_as_many_bytes(student, shape, signed, seed):
    q = codes_of(shape, signed, seed)
    packed = student.pack_int4(q)
    assert packed.dtype == np.uint8 and packed.nbytes == (q.size + 1) // 2
    assert packed.tolist() == oracle.pack(q.ravel().tolist())


@pytest.mark.part("unpack_int4")
@given(shape=SHAPES, signed=st.booleans(), seed=st.integers(0, 999))
def test_packed_codes_of_any_shape_come_back(student, shape, signed, seed):
    q = codes_of(shape, signed, seed)
    got = student.unpack_int4(np.array(oracle.pack(q.ravel().tolist()), np.uint8), shape, signed)
    assert got.dtype == q.dtype and got.shape == shape and (got == q).all()


@pytest.mark.part("pack_int4")
@given(seed=st.integers(0, 999))
def test_any_layout_is_packed_in_the_order_of_its_indices(student, seed):
    q = np.random.default_rng(seed).integers(-8, 8, (4, 6)).astype(np.int8)
    for view in (q.T, q[::-1], q[:, ::2], np.asfortranarray(q)):
        assert student.pack_int4(view).tolist() == student.pack_int4(view.copy(order="C")).tolist()


@pytest.mark.part("pack_int4")
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_codes_beyond_four_bits_are_refused(student, dtype):
    for wrong in {np.int8: (8, -9, 127, -128), np.uint8: (16, 255)}[dtype]:
        with pytest.raises(ValueError, match=r"codes of u?int4 lie in"):
            student.pack_int4(np.array([0, wrong], dtype))


@pytest.mark.part("pack_int4")
def test_what_is_not_codes_is_refused(student):
    with pytest.raises(TypeError, match="quantize first"):
        student.pack_int4(np.array([1.0]))


@pytest.mark.part("unpack_int4")
@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (2, 3)])
def test_bytes_of_another_shape_are_refused(student, shape):
    with pytest.raises(ValueError, match="bytes"):
        student.unpack_int4(np.zeros(2, np.uint8), shape)
