"""A QuantizedTensor holds its codes, packed, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.quantization import INT4, IntType, QParams, QuantizedTensor

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@given(bits=st.integers(2, 8), signed=st.booleans(), shape=SHAPES, seed=st.integers(0, 99))
def test_a_quantized_tensor_stores_what_its_type_takes(
    bits: int, signed: bool, shape: tuple[int, ...], seed: int
) -> None:
    t = IntType(bits, signed)
    q = np.random.default_rng(seed).integers(t.qmin, t.qmax + 1, shape).astype(t.storage)
    stored = QuantizedTensor(q, QParams(0.5, 0, t))
    assert stored.stored.nbytes == t.nbytes(shape) and stored.nbytes == t.nbytes(shape) + 8
    assert (stored.q == q).all() and stored.q.dtype == q.dtype and stored.q.shape == shape
    assert (stored.dequantize() == q * 0.5).all()


def test_a_quantized_tensor_keeps_a_copy() -> None:
    q = np.zeros((2, 2), np.int8)
    stored = QuantizedTensor(q, QParams(1.0, 0))
    q[:] = 5
    assert not stored.q.any()


def test_a_quantized_tensor_refuses_codes_of_another_type() -> None:
    p = QParams(1.0, 0, INT4)
    with pytest.raises(TypeError, match="stored as int8"):
        QuantizedTensor(np.zeros(3, np.float32), p)
    with pytest.raises(ValueError, match=r"\[-8, 7\]"):
        QuantizedTensor(np.array([8], np.int8), p)
