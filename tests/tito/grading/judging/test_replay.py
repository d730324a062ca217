"""Examples are drawn once, and are the ones that hypothesis would have tried."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase, assume, example, given, seed, settings
from hypothesis import strategies as st

from tito.grading.judging.replay import replaying

ALWAYS = settings(database=None, max_examples=30, phases=[Phase.explicit, Phase.generate])


def replayed(test: Callable[..., None]) -> Callable[..., None]:
    return replaying(SimpleNamespace(obj=test))  # type: ignore[arg-type]


def test_every_call_tries_what_hypothesis_would_have_tried() -> None:
    tried = list[int]()

    @seed(0)
    @ALWAYS
    @given(n=st.integers())
    @example(n=12345)
    def test(student: Callable[[int], None], n: int) -> None:
        student(n)

    test(tried.append)
    wanted, replay = list(tried), replayed(test)
    for _ in range(3):
        tried.clear()
        replay(student=tried.append)
        assert tried == wanted and wanted[0] == 12345 and len(wanted) > 20


def test_an_example_that_fails_fails_the_test_and_one_that_cannot_be_assumed_does_not() -> None:
    @seed(0)
    @ALWAYS
    @given(n=st.integers(0, 100))
    def test(limit: int, n: int) -> None:
        assume(n > 3)
        assert n <= limit, "too large"

    replay = replayed(test)
    replay(limit=100)
    with pytest.raises(AssertionError, match="too large"):
        replay(limit=3)
    replay(limit=100)


def test_what_draws_while_it_runs_is_left_to_hypothesis() -> None:
    seen = list[Any]()

    @seed(0)
    @ALWAYS
    @given(data=st.data())
    def test(data: st.DataObject) -> None:
        seen.append(data.draw(st.integers()))

    replay = replayed(test)
    replay()
    first = list(seen)
    seen.clear()
    replay()
    assert seen == first and len(seen) > 20


def test_a_test_without_hypothesis_stays_as_it_is() -> None:
    def test() -> None: ...

    assert replayed(test) is test


def test_what_the_student_answers_while_examples_are_drawn_is_no_failure_of_the_judges() -> None:
    """Hypothesis may look at the student, behind whose attributes stands a stranger."""

    class FromOutside(ValueError):
        student_frames = ()

    def drawn(number: int) -> int:
        raise FromOutside("told instead of an answer")

    @seed(0)
    @ALWAYS
    @given(n=st.integers().map(drawn))
    def test(n: int) -> None: ...

    with pytest.raises(FromOutside):
        replayed(test)()
