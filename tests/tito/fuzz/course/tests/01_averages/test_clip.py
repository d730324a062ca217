import numpy as np


def test_both_ends(student):
    got = student.clip(np.array([-5.0, 0.5, 5.0]), -1.0, 1.0)
    assert got.tolist() == [-1.0, 0.5, 1.0], f"expected [-1.0, 0.5, 1.0], got {got.tolist()}"


def test_the_lower_end_alone(student):
    got = student.at_least(np.array([-5.0, 0.5]), -1.0)
    assert got.tolist() == [-1.0, 0.5], f"expected [-1.0, 0.5], got {got.tolist()}"
