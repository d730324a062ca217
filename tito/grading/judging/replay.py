"""Hypothesis draws a test's examples once; submission after submission is tried on the same ones, not drawn again.

The seed is the same for all, and so are the examples; to draw them takes longer than to try them. A test for which no
example can be drawn, or none fits, tests nothing: that is the judge's own failure, and no one's pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis.errors import HypothesisDeprecationWarning, UnsatisfiedAssumption

from tito.testing.pytest_reporter import JudgesOwn

Test = Callable[..., None]


def replaying(item: pytest.Function) -> Test:
    """The item's test; where hypothesis draws for it, all that it drew at the first call is kept for the next."""
    test: Any = item.obj
    if not hasattr(test, "hypothesis"):
        return item.obj  # type: ignore[no-any-return]
    kept: list[dict[str, Any]] | None = None

    def replay(**fixtures: Any) -> None:
        __tracebackhide__ = True
        nonlocal kept
        if kept is None:
            kept = _drawn(test, fixtures)
        if kept and any(_is_interactive(value) for value in kept[0].values()):
            return test(**fixtures)  # type: ignore[no-any-return]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisDeprecationWarning)  # of `assume` where hypothesis is not
            if not any([_tried(test.hypothesis.inner_test, fixtures | example) for example in kept]):
                raise AssertionError("no input of this test fits what it assumes")

    return replay


def _tried(test: Test, values: dict[str, Any]) -> bool:
    """Run a test on one example. False where the example does not fit what the test assumes."""
    __tracebackhide__ = True
    try:
        test(**values)
    except UnsatisfiedAssumption:
        return False
    return True


def _drawn(test: Any, fixtures: dict[str, Any]) -> list[dict[str, Any]]:
    """Every example of a test, in order: hypothesis runs it with nothing inside."""
    inner, found = test.hypothesis.inner_test, list[dict[str, Any]]()

    def keep(**values: Any) -> None:
        found.append({name: value for name, value in values.items() if name not in fixtures})

    test.hypothesis.inner_test = keep
    try:
        test(**fixtures)
    except Exception as error:
        if hasattr(error, "student_frames"):  # hypothesis looks at the student too, and was answered with an exception
            raise
        raise JudgesOwn(f"its inputs cannot be drawn ({type(error).__name__}: {error})") from error
    finally:
        test.hypothesis.inner_test = inner
    if not found:
        raise JudgesOwn("its inputs cannot be drawn: hypothesis found none")
    return found


def _is_interactive(value: object) -> bool:
    """A DataObject, of `st.data()`, draws while the test runs."""
    return type(value).__name__ == "DataObject"
