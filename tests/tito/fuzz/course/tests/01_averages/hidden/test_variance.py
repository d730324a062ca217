import numpy as np


def test_the_variance_of_three_numbers(student):
    got = student.variance(np.array([0.0, 0.0, 3.0]))
    assert got == 2.0, f"expected 2.0, got {got}"
