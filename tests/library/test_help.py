"""`help` shows what a person needs on one screen."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import pytest

import tinytorch.acceleration as ta
import tinytorch.core as tc
import tinytorch.quantization as tq

OFFERED = {f"{package.__name__}.{name}": getattr(package, name) for package in (tq, tc, ta) for name in package.__all__}
FUNCTIONS = {name: value for name, value in OFFERED.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in OFFERED.items() if inspect.isclass(value)}
COLUMNS, LINES = 120, 30


def rows(text: str) -> int:
    """Lines on a screen, where long ones go on in the next."""
    return sum(max(1, -(-len(line) // COLUMNS)) for line in text.rstrip().split("\n"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_of_a_function_fits_on_a_screen(name: str) -> None:
    said = pydoc.plain(pydoc.render_doc(FUNCTIONS[name]))
    assert rows(said) <= LINES, said
    assert "numpy._typing" not in said and "_array_like" not in said


@pytest.mark.parametrize("name", OFFERED)
def test_a_signature_shows_names_and_not_what_they_stand_for(name: str) -> None:
    value: Any = OFFERED[name]
    if not callable(value) or not getattr(value, "__module__", "").startswith("tinytorch"):
        return  # a constant, or an alias of types
    assert len(str(inspect.signature(value))) <= 5 * 80, inspect.signature(value)


@pytest.mark.parametrize("name", OFFERED)
def test_what_is_offered_says_what_it_is(name: str) -> None:
    if inspect.isfunction(OFFERED[name]) or inspect.isclass(OFFERED[name]):
        assert inspect.getdoc(OFFERED[name]), f"{name} has no docstring"


@pytest.mark.parametrize("name", CLASSES)
def test_a_method_shows_names_and_not_what_they_stand_for(name: str) -> None:
    for method, value in inspect.getmembers(CLASSES[name], inspect.isfunction):
        if value.__module__.startswith("tinytorch"):
            assert "numpy._typing" not in str(inspect.signature(value)), f"{name}.{method}"
