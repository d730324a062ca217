"""bfloat16 by exact fractions, for any bits; shares that add up."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

BITS = st.integers(0, 2**32 - 1)
REALS = st.floats(width=32, allow_nan=False)


def real(bits):
    """The number of these float32 bits; of infinity, what rounding treats it as: the next power of two."""
    if bits & 0x7FFFFFFF == 0x7F800000:
        return Fraction(-(2**128) if bits >> 31 else 2**128)
    return Fraction(float(np.uint32(bits).view(np.float32)))


@pytest.mark.part("to_bfloat16")
@given(bits=st.lists(BITS, min_size=1, max_size=30))
def test_no_bfloat16_number_is_nearer(student, bits):
    x = np.array(bits, np.uint32).view(np.float32)
    got = student.to_bfloat16(x)
    assert ((got.view(np.uint32) & 0xFFFF) == 0)[~np.isnan(got)].all(), "the lower half must be clear"
    assert (np.isnan(got) == np.isnan(x)).all()
    for v, y in zip(x[np.isfinite(x)], got[np.isfinite(x)], strict=True):
        below = np.uint32(v.view(np.uint32) & np.uint32(0xFFFF0000))
        ends = [real(int(below) + step) for step in (0, 0x10000)]
        value = real(int(y.view(np.uint32)))
        errors = [abs(end - Fraction(float(v))) for end in ends]
        assert abs(value - Fraction(float(v))) == min(errors), f"{v!r} became {y!r}"
        if errors[0] == errors[1]:
            assert (int(y.view(np.uint32)) >> 16) % 2 == 0, f"{v!r} is a tie and became the odd {y!r}"


@pytest.mark.part("to_bfloat16")
@given(x=st.lists(REALS, min_size=1, max_size=20))
def test_rounding_twice_is_rounding_once_and_keeps_sign_and_order(student, x):
    x = np.sort(np.array(x, np.float32))
    once = student.to_bfloat16(x)
    assert student.to_bfloat16(once).tolist() == once.tolist()
    assert student.to_bfloat16(-x).tolist() == (-once).tolist()
    assert (once[1:] >= once[:-1]).all()


@pytest.mark.part("lost_share")
@given(x=st.lists(REALS, max_size=30), dtype=st.sampled_from(["float16", "bfloat16"]))
def test_shares_are_those_of_the_rounded_numbers(student, x, dtype):
    x = np.array(x, np.float32)
    with np.errstate(over="ignore"):
        half = x.astype(np.float16).astype(np.float32) if dtype == "float16" else student.to_bfloat16(x)
    gone = sum(1 for v, h in zip(x, half, strict=True) if v != 0 and h == 0)
    over = sum(1 for v, h in zip(x, half, strict=True) if np.isinf(h) and not np.isinf(v))
    wanted = (gone / len(x), over / len(x)) if len(x) else (0.0, 0.0)
    assert np.allclose(student.lost_share(x, dtype), wanted, rtol=1e-12, atol=0)
