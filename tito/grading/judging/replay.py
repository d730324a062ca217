"""Hypothesis draws a test's examples once; submission after submission is tried on the same ones, not drawn again.

The seed is the same for all, and so are the examples; to draw them takes longer than to try them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis.errors import HypothesisDeprecationWarning, UnsatisfiedAssumption

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
            for example in kept:
                try:
                    test.hypothesis.inner_test(**fixtures, **example)
                except UnsatisfiedAssumption:
                    continue

    return replay


def _drawn(test: Any, fixtures: dict[str, Any]) -> list[dict[str, Any]]:
    """Every example of a test, in order: hypothesis runs it with nothing inside."""
    inner, found = test.hypothesis.inner_test, list[dict[str, Any]]()

    def keep(**values: Any) -> None:
        found.append({name: value for name, value in values.items() if name not in fixtures})

    test.hypothesis.inner_test = keep
    try:
        test(**fixtures)
    finally:
        test.hypothesis.inner_test = inner
    return found


def _is_interactive(value: object) -> bool:
    """A DataObject, of `st.data()`, draws while the test runs."""
    return type(value).__name__ == "DataObject"
