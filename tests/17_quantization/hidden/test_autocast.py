"""Casts for any numbers, and masters for any run of gradients, against one float32 optimizer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

REALS = st.floats(-1e5, 1e5, width=32)


@pytest.mark.part("cast_to")
@given(
    values=st.lists(REALS, min_size=1, max_size=20),
    dtype=st.sampled_from(["float16", "bfloat16"]),
    seed=st.integers(0, 99),
)
def test_a_cast_rounds_and_lets_the_gradient_pass(student, values, dtype, seed):
    x = student.Tensor(np.array(values, np.float32), True)
    out = student.cast_to(x, dtype)
    with np.errstate(over="ignore"):
        wanted = x.data.astype(np.float16) if dtype == "float16" else student.to_bfloat16(x.data)
    assert out.data.dtype == wanted.dtype and out.data.tolist() == wanted.tolist()
    grad = np.random.default_rng(seed).integers(-8, 9, len(values)).astype(np.float32) / 4
    out.backward(grad)
    assert x.grad.dtype == np.float32 and x.grad.tolist() == grad.tolist()


@pytest.mark.part("MasterWeights")
@given(
    grads=st.lists(
        st.lists(st.one_of(st.none(), st.floats(-10, 10, width=16)), min_size=2, max_size=2), min_size=1, max_size=8
    )
)
def test_masters_are_what_float32_training_would_have_been(student, grads):
    """The same optimizer on float32 tensors, given the same gradients: not a bit of difference."""
    start = [[1.0, -2.0], [100.0]]
    halves = [student.Tensor(np.array(v, np.float16), True) for v in start]
    wholes = [student.Tensor(np.array(v, np.float32), True) for v in start]
    weights, alone = student.MasterWeights(halves, student.Adam), student.Adam(wholes)
    for row in grads:
        weights.zero_grad()
        alone.zero_grad()
        for half, whole, g in zip(halves, wholes, row, strict=True):
            if g is not None:
                half.backward(np.full(half.shape, g, np.float16))
                whole.backward(np.full(half.shape, g, np.float32))
        weights.step()
        alone.step()
        for half, master, whole in zip(halves, weights.masters, wholes, strict=True):
            assert master.data.tolist() == whole.data.tolist()
            assert half.data.dtype == np.float16 and half.data.tolist() == whole.data.astype(np.float16).tolist()
