import pytest


@pytest.mark.part("adds up")
def test_a_counter_adds_up(student):
    counter = student.Counter()
    counter.add(1)
    got = counter.add(2)
    assert got == 6, f"expected 6, got {got}: does it keep what it saw?"
    assert counter.total == 6, f"expected total 6, got {counter.total}"


@pytest.mark.part("own total")
def test_what_is_not_added_is_not_counted(student):
    counter = student.Counter()
    before, got = counter.total, counter.add(0)
    assert got == before, f"expected {before}, got {got}: does it count what it was not given?"
