"""What decides an exercise's outcome is among its conditions, and what decides nothing is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.project import Project
from tito.grading.conditions import Conditions, conditions
from tito.grading.options import Options
from tito.grading.submission import Submission

from ..toy_course import NOTEBOOK, ROOT, TABLE, TARGET, Course

TESTS = "tests/01_toy"
BOTH = {"double", "counter"}
HELPED = """import numpy as np
import close_01


def test_a_number_comes_back_twice(student):
    close_01.check(student.double(3), 6)
"""


def now(course: Course, options: Options = Options(seed=1)) -> Conditions:  # noqa: B008 - frozen
    return conditions(Edition(course.project, load_module(course.project, "01_toy")), options)


def changed(before: Conditions, after: Conditions) -> dict[str, list[str]]:
    """The exercises that are to be graded again, by the keys of the journal, and why."""
    ada = Submission("ada", {"double": ("pass",)})
    old, new = before.keys(ada).each, after.keys(ada).each
    found = {name: after.changes(before, name) for name in new if old.get(name) != new[name]}
    assert all(found.values()), f"graded again, and nobody says why: {found}"
    assert not any(after.changes(before, name) for name in new.keys() - found), "said, and not graded again"
    return found


@pytest.fixture
def change(course: Course) -> Callable[[str, str, str], dict[str, list[str]]]:
    """Change a text in a file of the course; returns what is to be graded again, and why."""

    def change(file: str, old: str, new: str) -> dict[str, list[str]]:
        before = now(course)
        course.change(file, old, new)
        return changed(before, now(course))

    return change


Change = Callable[[str, str, str], dict[str, list[str]]]


@pytest.mark.parametrize(
    ("file", "old", "new", "exercises", "why"),
    [
        (f"{TESTS}/test_double.py", "[2.0, -4.0]", "[2.0, -4.5]", {"double"}, "tests of double changed"),
        (f"{TESTS}/hidden/test_counter.py", "add(5)", "add(6)", {"counter"}, "hidden tests of counter changed"),
        (TABLE, '"adds up"', '"sums up"', {"counter"}, "parts of counter changed"),
        (NOTEBOOK, "return 2 * x", "return x + x", {"double"}, "reference solution of double changed"),
        (NOTEBOOK, "START = 0", "START = 1", BOTH, "given code of toy.sums changed"),
        (NOTEBOOK, "import numpy as np", "import numpy", BOTH, "given code of toy.sums changed"),
        ("toy/__init__.py", "", "x = 1\n", BOTH, "toy/__init__.py changed"),
        (TABLE, 'id = "counter"', 'id = "count"', {"count"}, "count added"),
        ("pyproject.toml", "testpaths", "x = 1\ntestpaths", BOTH, "settings of pytest in pyproject.toml changed"),
    ],
    ids=["a test", "hidden", "a part's name", "a solution", "given code", "an import", "package", "an id", "pytest"],
)  # fmt: skip
def test_a_change_costs_the_exercises_that_read_it_and_is_named(
    change: Change, file: str, old: str, new: str, exercises: set[str], why: str
) -> None:
    found = change(file, old, new)
    assert found.keys() >= exercises and why in found[min(exercises)]
    if "count" not in exercises:  # another id moves cells and names
        assert found == {name: [why] for name in exercises}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (TABLE, "points = 2", "points = 7"),
        (TABLE, '"adds up" = 2, "own total" = 1', '"adds up" = 1, "own total" = 2'),
        (TABLE, "What is x + x?", "What are two x?"),
        (TABLE, "Twice a number", "Double"),
        (NOTEBOOK, "# x = 1 is not code here.", "# A word more.\n\n# %% [markdown]\n# A whole cell more."),
        (NOTEBOOK, "assert double(2) == 4", "assert double(3) == 6"),
        (NOTEBOOK, "    return 2 * x", "    # twice\n    return  2 * x"),
        ("pyproject.toml", 'version = "1"', 'version = "2"'),
    ],
    ids=[
        "points",
        "points of parts",
        "a hint",
        "a title",
        "prose",
        "an example",
        "a comment in a solution",
        "a version",
    ],
)
def test_what_no_test_reads_costs_nothing(change: Change, file: str, old: str, new: str) -> None:
    assert change(file, old, new) == {}


def test_what_lies_about_is_read_by_nobody(course: Course) -> None:
    before = now(course)
    course.write(f"{TESTS}/__pycache__/test_double.pyc", "bytes")
    course.write(f"{TESTS}/mistakes/double.toml", "a = 1")
    course.write(f"{TESTS}/helper_01.py", "nobody = 'imports it'")
    course.write("modules/source/01_toy/demo.py", "print('another demo')\n")
    course.write(TARGET, "exported = True\n")
    path = course.root / NOTEBOOK
    jupytext.write(jupytext.read(path), path.with_suffix(".ipynb"))  # as JupyterLab does when somebody looks
    assert now(course) == before


@pytest.mark.parametrize(
    ("reader", "text", "helper"),
    [
        (f"{TESTS}/test_double.py", "import close_01", f"{TESTS}/close_01.py"),
        (f"{TESTS}/test_double.py", "from close_01 import check as wanted", f"{TESTS}/close_01.py"),
        (
            f"{TESTS}/test_double.py",
            "import importlib\nclose = importlib.import_module('close_01')",
            f"{TESTS}/close_01.py",
        ),
        (f"{TESTS}/test_double.py", "WANTED = 'golden.npz'", f"{TESTS}/golden.npz"),
        (f"{TESTS}/test_double.py", "NAME = 'x'\nWANTED = f'{NAME}.npz'", f"{TESTS}/golden.npz"),
        (f"{TESTS}/test_double.py", "FOLDER = 'data'", f"{TESTS}/data/golden.npz"),
        (f"{TESTS}/test_double.py", "from tests import shared", "tests/shared.py"),
        (f"{TESTS}/test_double.py", "def wanted():\n    from shared.deep import it", "shared/deep.py"),
        (f"{TESTS}/test_double.py", "def wanted():\n    import toy.other", "toy/deep/unnamed.py"),
        (f"{TESTS}/test_double.py", "def broken(:\n    close_01", f"{TESTS}/close_01.py"),
    ],
)
def test_a_file_that_tests_name_in_whichever_way_costs_their_exercise(
    course: Course, reader: str, text: str, helper: str
) -> None:
    course.write(reader, f"{text}\n")
    course.write(helper, "a = 1\n")
    before = now(course)
    course.write(helper, "a = 2\n")
    assert changed(before, now(course)) == {"double": [f"{helper} changed"]}


def test_what_a_helper_names_in_turn_counts_as_well(course: Course) -> None:
    course.write(f"{TESTS}/test_double.py", HELPED)
    course.write(f"{TESTS}/close_01.py", "from far_01 import far\n")
    course.write(f"{TESTS}/far_01.py", "far = 1\n")
    before = now(course)
    course.write(f"{TESTS}/far_01.py", "far = 2\n")
    assert changed(before, now(course)) == {"double": [f"{TESTS}/far_01.py changed"]}


@pytest.mark.parametrize(
    "file", ["conftest.py", "tests/conftest.py", f"{TESTS}/conftest.py", f"{TESTS}/hidden/conftest.py"]
)
def test_a_conftest_and_what_it_names_cost_every_exercise(course: Course, file: str) -> None:
    helper = str(Path(file).parent / "shared_01.py")
    course.write(file, "def pytest_configure():\n    import shared_01\n")
    course.write(helper, "a = 1\n")
    before = now(course)
    course.write(helper, "a = 2\n")
    middle = now(course)
    assert changed(before, middle) == {name: [f"{helper} changed"] for name in BOTH}
    course.write(file, course.read(file) + "# changed\n")
    assert changed(middle, now(course)) == {name: [f"{file} changed"] for name in BOTH}


def test_tests_that_come_and_go_are_told_as_such(course: Course) -> None:
    before = now(course)
    course.write(f"{TESTS}/hidden/test_double.py", "def test_it(student):\n    pass\n")
    between = now(course)
    assert changed(before, between) == {"double": ["hidden tests of double added"]}
    (course.root / TESTS / "hidden" / "test_double.py").unlink()
    assert changed(between, now(course)) == {"double": ["hidden tests of double removed"]}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(seed=2), "the seed changed"),
        (Options(seed=1, limit_seconds=5.0), "the time limit changed"),
        (Options(seed=1, unsafe=True), "the protection (--unsafe) changed"),
    ],
)
def test_options_cost_every_exercise(course: Course, options: Options, why: str) -> None:
    assert changed(now(course), now(course, options)) == {name: [why] for name in BOTH}


def test_another_grader_costs_every_exercise(course: Course) -> None:
    before = now(course)
    after = replace(before, grader=before.grader | {"numpy": "0.1"})
    assert changed(before, after) == {name: ["numpy changed"] for name in BOTH}


def test_in_the_course_itself_each_exercise_reads_its_own_tests_and_the_helpers_that_they_import() -> None:
    project = Project(ROOT)
    module = load_module(project, "17_quantization")
    found = conditions(Edition(project, module), Options(seed=1)).exercises
    for name in ("oracle_17", "checks_17"):
        files = {exercise.id: project.test_files(module.name, exercise.id) for exercise in module.exercises}
        texts = {key: "".join(file.read_text(encoding="utf-8") for file in pair) for key, pair in files.items()}
        importing = {key for key, text in texts.items() if f"import {name}" in text or f"from {name} import" in text}
        path = f"tests/17_quantization/{name}.py"
        assert {key for key, reads in found.items() if path in reads} == importing and importing
    own = {key: {f"tests of {key}", f"hidden tests of {key}"} for key in found}
    assert all(own[key] <= reads.keys() for key, reads in found.items())
    assert not any(own[other] & reads.keys() for key, reads in found.items() for other in found if other != key)
