from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from tito.course import markers, notebook, project
from tito.course.markers import cell_stub, stub
from tito.course.module import load_module, module_names
from tito.errors import TitoError

from ..toy_course import NOTEBOOK, ROOT, Course


def test_a_stub_holds_no_line_of_any_solution_and_names_its_exercise(course: Course) -> None:
    text = stub(course.read(NOTEBOOK))
    assert "return 2 * x" not in text and "self.total += double(x)" not in text and "SOLUTION" not in text
    assert (
        '    # YOUR CODE HERE\n    raise NotImplementedError("exercise double: your code is not written yet")\n' in text
    )
    assert '        # YOUR CODE HERE\n        raise NotImplementedError("exercise counter: your code' in text


def test_everything_outside_of_the_markers_stays(course: Course) -> None:
    text = course.read(NOTEBOOK)
    kept = [line for line in stub(text).split("\n") if "YOUR CODE" not in line and "NotImplemented" not in line]
    gone = ["return 2 * x", "self.total += double(x)", "return self.total", "### BEGIN SOLUTION", "### END SOLUTION"]
    assert kept == [line for line in text.split("\n") if line.strip() not in gone]


def test_a_stub_of_a_stub_is_itself(course: Course) -> None:
    once = stub(course.read(NOTEBOOK))
    assert stub(once) == once


def test_no_stub_of_the_course_looks_as_if_somebody_had_written_above_it() -> None:
    here = project.Project(ROOT)
    notebooks = [book for name in module_names(here) for book in load_module(here, name).notebooks]
    found = [cell_stub(cell.source).split("\n") for book in notebooks for cell in notebook.read(here, book.path).code]
    stubs = [(lines, at) for lines in found for at, line in enumerate(lines, 1) if markers.UNWRITTEN in line]
    assert len(stubs) > 30 and not [lines for lines, at in stubs if markers.is_left_over("\n".join(lines), at)]


def test_every_region_of_a_cell_is_replaced() -> None:
    text = "#| exercise: f\na\n### BEGIN SOLUTION\nb\n### END SOLUTION\nc\n### BEGIN SOLUTION\nd\n### END SOLUTION\ne"
    lines = [line for line in stub(text).split("\n") if not line.startswith(("#", "raise"))]
    assert lines == ["a", "c", "e"]
    assert stub(text).count('raise NotImplementedError("exercise f:') == 2


def test_an_exercise_ends_with_its_cell() -> None:
    text = "# %%\n#| exercise: f\n\n# %%\n### BEGIN SOLUTION\n1\n### END SOLUTION"
    assert 'raise NotImplementedError("your code is not written yet")' in stub(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a\n### BEGIN SOLUTION\nb", "book.py:2: this BEGIN SOLUTION has no END"),
        ("### BEGIN SOLUTION\n\n# %%\n### END SOLUTION", "book.py:1: this BEGIN SOLUTION has no END"),
        ("a\n# %%\n### END SOLUTION", "book.py:3: END SOLUTION without a BEGIN"),
        (
            "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION",
            "book.py:2: BEGIN SOLUTION, but the one at book.py:1",
        ),
    ],
)
def test_markers_that_do_not_pair_are_refused_with_their_line(text: str, where: str) -> None:
    with pytest.raises(TitoError) as refused:
        stub(text, "book.py")
    assert str(refused.value).startswith(where)


@pytest.mark.parametrize("module", [markers, project])
def test_the_examples_in_docstrings_run(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.failed == 0 and result.attempted > 0


def test_the_stub_of_the_toy_exports_and_compiles(course: Course) -> None:
    course.write(NOTEBOOK, stub(course.read(NOTEBOOK)))
    assert course.tito("export", "01").status == 0
    compile(course.read("toy/sums.py"), "sums.py", "exec")
