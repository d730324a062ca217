"""Every row is what quantizing that layer alone does, for any small network."""

import math

import numpy as np
import oracle_17 as oracle
from hypothesis import given
from hypothesis import strategies as st


def network(student, widths, seed):
    kinds = {kind.__name__: kind for kind in student.Module.__subclasses__()}
    rng, layers = np.random.default_rng(seed), []
    for n_in, n_out in zip(widths, widths[1:], strict=False):
        layer = kinds["Linear"](n_in, n_out)
        weights = {"weight": rng.normal(size=(n_out, n_in)), "bias": rng.normal(size=n_out)}
        layer.load_state_dict({name: a.astype(np.float32) for name, a in weights.items()})
        layers += [layer, kinds["ReLU"]()]
    return kinds["Sequential"](*layers[:-1])


@given(
    widths=st.lists(st.integers(2, 6), min_size=2, max_size=4), seed=st.integers(0, 10_000),
    bits=st.lists(st.integers(2, 8), min_size=1, max_size=3, unique=True), axis=st.sampled_from([None, 0]),
)  # fmt: skip
def test_rows_are_measured_one_layer_at_a_time(student, widths, seed, bits, axis):
    model, rng = network(student, widths, seed), np.random.default_rng(seed)
    x, y = rng.normal(size=(30, widths[0])).astype(np.float32), rng.integers(0, widths[-1], 30)
    reference = model(x).data
    rows = student.sensitivity(model, x, y, [student.IntType(b) for b in bits], axis)
    names = [f"layers.{2 * i}" for i in range(len(widths) - 1)]
    assert [(row.layer, row.int_type.bits) for row in rows] == [(name, b) for name in names for b in bits]
    for row in rows:
        got = student.quantize_weights(model, {row.layer: row.int_type}, axis)(x).data
        assert math.isclose(
            row.sqnr_db, oracle.sqnr_db(reference.ravel().tolist(), got.ravel().tolist()), rel_tol=1e-6, abs_tol=1e-6
        )
        assert math.isclose(row.accuracy, float((got.argmax(1) == y).mean()), abs_tol=1e-9)
        assert math.isclose(row.noise, 10 ** (-row.sqnr_db / 10), rel_tol=1e-9)
    assert np.array_equal(model(x).data, reference), "the model must stay as it was"
