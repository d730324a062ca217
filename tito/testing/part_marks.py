"""Which parts of an exercise a test bears on: those of its marks, `@pytest.mark.part("quantize")`; without one, all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tito.testing.outcome import is_hidden
from tito.testing.protocol import CollectedTest

if TYPE_CHECKING:
    import pytest

MARK = "part"
REGISTERED = f"{MARK}(name, ...): the parts of its exercise in module.toml that a test bears on; without a mark, all"


def parts_of(item: pytest.Item) -> tuple[str, ...]:
    """The parts that a test's marks name, its own and those of its class and its file; none where it has no mark."""
    named = (str(name) for mark in item.iter_markers(MARK) for name in (mark.args or ("",)))
    return tuple(dict.fromkeys(named))


def bears_on(part: str, named: Sequence[str]) -> bool:
    """Does a test whose marks name these parts bear on this one?"""
    return not named or part in named


def refusal(exercise: str, parts: Sequence[str], tests: Sequence[CollectedTest]) -> str:
    """What is wrong with the marks of an exercise's tests, in a sentence; or nothing.

    Each names parts that the exercise has, and on each part bears a test that students have.

    >>> refusal("quantize", ["quantize"], [CollectedTest("test_quantize.py", "test_quantize.py::test_a", ("code",))])
    "test_quantize.py::test_a is marked for the part 'code', and the parts of quantize in module.toml are: quantize"
    """
    has = f"the parts of {exercise} in module.toml are: {', '.join(parts)}" if parts else f"{exercise} has no parts"
    for test in tests:
        for name in test.parts:
            if name not in parts:
                return f"{test.name} is marked for the part '{name}', and {has}"
    visible = [test.parts for test in tests if not is_hidden(test.name)]
    untested = [part for part in parts if visible and not any(bears_on(part, named) for named in visible)]
    return f"no test that students have bears on the part '{untested[0]}' of {exercise}" if untested else ""
