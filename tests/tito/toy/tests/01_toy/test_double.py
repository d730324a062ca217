import numpy as np


def test_a_number_comes_back_twice(student):
    got = student.double(3)
    assert got == 6, f"expected 6, got {got}: is it x + x?"


def test_every_element_comes_back_twice(student):
    got = student.double(np.array([1.0, -2.0]))
    assert got.tolist() == [2.0, -4.0], f"expected [2.0, -4.0], got {got.tolist()}"
