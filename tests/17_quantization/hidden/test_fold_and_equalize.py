"""Balanced channels and folded batch norms, for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))


@pytest.mark.part("equalization_scales")
@given(pairs=st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=12))
def test_scales_balance_both_sides(student, pairs):
    r, r_next = np.array(pairs).T
    s = student.equalization_scales(r, r_next)
    assert s.shape == r.shape and (s > 0).all() and np.isfinite(s).all()
    for a, b, got in zip(r, r_next, s, strict=True):
        wanted = math.sqrt(a / b) if a and b else 1.0
        assert math.isclose(got, wanted, rel_tol=1e-6), f"r {a}, r_next {b}: {got}, wanted {wanted}"


@pytest.mark.part("equalization_scales")
@given(pairs=st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=1))
def test_exchanging_the_sides_inverts_the_scales(student, pairs):
    r, r_next = np.array(pairs).T
    product = student.equalization_scales(r, r_next) * student.equalization_scales(r_next, r)
    assert np.allclose(product, 1, rtol=1e-6)


@pytest.mark.part("fold_batch_norm")
@given(
    seed=st.integers(0, 10_000), bias=st.booleans(), groups=st.sampled_from([1, 2]), eps=st.sampled_from([1e-5, 0.1])
)
def test_folding_is_the_formula_in_float64(student, seed, bias, groups, eps):
    rng = np.random.default_rng(seed)
    conv = student.Conv2d(2, 4, 2, groups=groups, bias=bias)
    state = {"weight": rng.normal(size=(4, 2 // groups, 2, 2)).astype(np.float32)}
    state |= {"bias": rng.normal(size=4).astype(np.float32)} if bias else {}
    conv.load_state_dict(state)
    bn = student.BatchNorm2d(4, eps=eps)
    moments = {"weight": rng.normal(size=4), "bias": rng.normal(size=4), "running_mean": rng.normal(size=4)}
    moments["running_var"] = rng.uniform(0, 3, 4)
    bn.load_state_dict({name: a.astype(np.float32) for name, a in moments.items()})
    m = {name: a.astype(np.float32).astype(float) for name, a in moments.items()}
    g = m["weight"] / np.sqrt(m["running_var"] + eps)
    own = state["bias"].astype(float) if bias else 0.0
    folded = student.fold_batch_norm(conv, bn)
    within = 16 * 2.0**-24 * np.abs(g)
    assert (np.abs(folded.weight.data - state["weight"] * g[:, None, None, None]).max((1, 2, 3)) <= within * 8).all()
    wanted = (own - m["running_mean"]) * g + m["bias"]
    assert (
        np.abs(folded.bias.data - wanted)
        <= within * (np.abs(own) + np.abs(m["running_mean"])) + 1e-6 * np.abs(m["bias"])
    ).all()
