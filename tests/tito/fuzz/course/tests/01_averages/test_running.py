def test_the_mean_goes_along(student):
    running = student.Running()
    got = running.add_all([1.0, 2.0, 6.0])
    assert abs(got - 3.0) < 1e-12, f"expected 3.0, got {got}"


def test_one_number_is_its_own_mean(student):
    running = student.Running()
    running.add(5.0)
    assert running.value == 5.0, f"expected 5.0, got {running.value}"
