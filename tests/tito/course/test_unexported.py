"""A name that only a cell without `#| export` defines fails in `check` as in `tito test`, with one sentence."""

from __future__ import annotations

import pytest

from ..testing.both import by_check, by_tito_test, exercise
from ..toy_course import NOTEBOOK, Course

SENTENCE = (
    "is defined in a cell without `#| export`, so the package does not have it: move it into the exercise's cell, "
    "for only those are graded"
)
HELPER = "def helper(x):\n    return 2 * x"
CALLS_HELPER = exercise("return helper(x)")
ANSWERS = {
    "a function": (HELPER, CALLS_HELPER),
    "called by another helper": (
        HELPER, exercise("return second(x)\n\n\ndef second(x):\n    return helper(x)"),
    ),
    "a module": ("import operator as helper", exercise("return helper.mul(2, x)")),
    "a number": ("helper: int = 2", exercise("return helper * x")),
    "of several at once": ("other, helper = 1, 2", exercise("return helper * x")),
    "a class": ("class helper:\n    factor = 2", exercise("return helper.factor * x")),
    "bound by a loop": ("for helper in (1, 2):\n    pass", exercise("return helper * x")),
    "a default value": ("helper = 2", exercise("return x * factor").replace("(x)", "(x, factor=helper)")),
    "a decorator": (
        "def helper(f):\n    return f", exercise("return 2 * x").replace("def double", "@helper\ndef double"),
    ),
    "in the body of a class": (
        "helper = 2", exercise("return x * Factor.two\n\n\nclass Factor:\n    two = helper"),
    ),
    "made of it by a test": (
        HELPER, exercise("try:\n        return helper(x)\n    except ZeroDivisionError:\n        return 0"),
    ),
}  # fmt: skip


@pytest.fixture
def here(course: Course, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.chdir(course.root / "modules/source/01_toy")
    return course


@pytest.mark.parametrize("answer", ANSWERS)
def test_check_and_tito_test_say_the_same_sentence_once_with_the_line(
    here: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    cells = ANSWERS[answer]
    tested = by_tito_test(here, *cells)
    checked = by_check(monkeypatch, capsys, *cells)
    line = here.line_of(NOTEBOOK, cells[0].split("\n")[0])
    for said in (tested, checked):
        assert said.count(f"`helper` {SENTENCE}") == 1, said
        assert f"{NOTEBOOK}:{line}: {cells[0].split(chr(10))[0]}" in said, said
        assert "NameError" not in said and "likely" not in said, said
    assert "0 of 2 points  failed" in tested and checked.startswith("double: NOT PASSED\n")


def test_a_message_of_a_test_that_wraps_the_name_error_is_replaced_too(
    here: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here.write(
        "tests/01_toy/test_double.py",
        "def test_it_works(student):\n    try:\n        student.double(1)\n    except Exception as error:\n"
        "        raise AssertionError(f'raised {type(error).__name__}: {error}\\nlikely: a shape') from error\n",
    )
    for said in (
        by_tito_test(here, HELPER, CALLS_HELPER),
        by_check(monkeypatch, capsys, HELPER, CALLS_HELPER),
    ):
        assert said.count(SENTENCE) == 1 and "likely" not in said, said


def test_a_cell_that_was_not_saved_is_named_by_its_number_in_the_kernel(
    here: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = by_check(monkeypatch, capsys, HELPER, CALLS_HELPER)
    assert f"`helper` {SENTENCE}\nIn[1], line 1: def helper(x):" in said


@pytest.mark.parametrize(
    "cells",
    [
        (f"#| export\n{HELPER}", CALLS_HELPER),
        (HELPER, f"#| export\n{HELPER}", CALLS_HELPER),
        (f"#| export\n{HELPER}", HELPER, CALLS_HELPER),
        (HELPER, exercise("try:\n        return helper(x)\n    except NameError:\n        return 2 * x")),
        (HELPER, exercise("return 2 * x if x is not None else helper(x)")),
    ],
    ids=["exported", "exported afterwards", "tried out afterwards", "done without", "never reached"],
)
def test_where_tito_test_passes_so_does_check(
    here: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cells: tuple[str, ...]
) -> None:
    tested = by_tito_test(here, *(cells[1:] if cells[0] == HELPER and cells[1].endswith(HELPER) else cells))
    assert "2 of 2 points  passed" in tested
    assert by_check(monkeypatch, capsys, *cells) == "double: passed\n"


def test_the_kernel_has_its_names_again_afterwards(
    here: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tito.testing.in_notebook import check

    from ..testing.both import run_cells

    defined = run_cells(monkeypatch, HELPER, CALLS_HELPER)
    helper = defined["helper"]
    check("double", defined)
    assert defined["helper"] is helper and defined["double"](2) == 4
