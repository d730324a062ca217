def test_a_counter_adds_up(student):
    counter = student.Counter()
    counter.add(1)
    got = counter.add(2)
    assert got == 6, f"expected 6, got {got}: does it keep what it saw?"
    assert counter.total == 6, f"expected total 6, got {counter.total}"
