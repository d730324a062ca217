import pytest


@pytest.mark.part("own total")
def test_two_counters_do_not_share(student):
    first, second = student.Counter(), student.Counter()
    first.add(5)
    assert second.total == 0, f"expected 0 in a new counter, got {second.total}: is total kept in the class?"
