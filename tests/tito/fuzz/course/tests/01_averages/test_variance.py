import numpy as np


def test_the_variance_of_two_numbers(student):
    got = student.variance(np.array([1.0, 3.0]))
    assert got == 1.0, f"expected 1.0, got {got}: the mean of the squared distances"
