def test_the_mean_of_two_numbers(student):
    got = student.mean([1.0, 3.0])
    assert got == 2.0, f"expected 2.0, got {got}: the sum over the count"


def test_the_mean_of_nothing_is_zero(student):
    got = student.mean([])
    assert got == 0.0, f"expected 0.0, got {got}: nothing was given"
