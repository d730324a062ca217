def test_the_best_is_named(student):
    got = student.Report({"a": 1.0, "b": 2.0}).best()
    assert got == "b", f"expected b, got {got}"


def test_two_reports_agree_where_their_values_do(student):
    first, second = student.Report({"a": 1.0}), student.Report({"a": 1.0 + 1e-12})
    assert student.same(first, second), "expected them to agree"
    assert not student.same(first, student.Report({"b": 1.0})), "expected other names to differ"
