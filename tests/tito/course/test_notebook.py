from __future__ import annotations

import os
from pathlib import Path

import jupytext
import pytest

from tito.course import markers, notebook
from tito.errors import TitoError

from ..toy_course import NOTEBOOK, Course


@pytest.fixture
def path(course: Course) -> Path:
    return course.root / NOTEBOOK


def pair(path: Path) -> Path:
    """The .ipynb beside the .py, as jupytext makes it."""
    twin = path.with_suffix(".ipynb")
    jupytext.write(jupytext.read(path), twin)
    return twin


def test_every_code_cell_knows_the_line_of_the_file_on_which_it_begins(course: Course, path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    cells = notebook.read(course.project, path).code
    assert len(cells) == 6
    for cell in cells:
        assert cell.first_line is not None
        size = cell.source.count("\n") + 1
        assert lines[cell.first_line - 1 : cell.first_line - 1 + size] == cell.source.split("\n")


def test_directives_are_the_lines_at_the_top_of_a_cell(course: Course, path: Path) -> None:
    cells = {cell.exercise: cell for cell in notebook.read(course.project, path).code}
    assert cells["double"].directives == {"export": "", "exercise": "double"}
    assert cells["double"].body[0] == (3, "def double(x: np.ndarray) -> np.ndarray:")
    assert cells["double"].line_of("exercise") == 2


@pytest.mark.parametrize(
    "written", ["#| export\n#| exercise: it", "#|export\n#|exercise it", "\n# | export\n# | exercise:it"]
)
def test_a_directive_may_be_spelled_as_nbdev_spells_it(written: str) -> None:
    cell = notebook.Cell("code", f"{written}\nx = 1\n#| hide", 1, 1)
    assert (cell.exported, cell.exercise) == (True, "it")
    assert [line for _, line in cell.body] == ["x = 1", "#| hide"], "below the code it is a comment"


def test_a_million_blanks_are_read_in_one_go() -> None:
    """Where two parts of a pattern match the same blanks, this takes a million times a million steps: hours."""
    blanks = " " * 1_000_000
    lines = f"#| exercise{blanks}:{blanks}a{blanks}b{blanks}", f"#{blanks}|{blanks}export"
    assert notebook.Cell("code", "\n".join(lines), 1, 1).directives == {"exercise": f"a{blanks}b", "export": ""}
    assert notebook.DEFAULT_EXP.search(f"#| default_exp{blanks}a{blanks}b") is None
    assert markers.EXERCISE.match(f"#| exercise{blanks}:{blanks}a{blanks}b") is None
    assert markers.NEARLY.match("#" * 1_000_000 + " 1") is None


def test_markdown_has_no_directives() -> None:
    assert notebook.Cell("markdown", "#| export", 1, 1).directives == {}


def test_a_cell_marker_inside_a_string_is_text(course: Course, path: Path) -> None:
    course.change(NOTEBOOK, '    """Twice x.', '    """Twice x.\n\n# %% not a cell\n')
    assert len(notebook.read(course.project, path).code) == 6


def test_the_ipynb_alone_reads_as_the_same_cells(course: Course, path: Path) -> None:
    before = [(cell.kind, cell.source) for cell in notebook.read(course.project, path).cells]
    pair(path)
    path.unlink()
    document = notebook.read(course.project, path)
    assert [(cell.kind, cell.source) for cell in document.cells] == before
    assert document.at(document.cells[2], 4) == "modules/source/01_toy/toy_dev.ipynb: cell 3, line 4"


def test_where_both_forms_agree_the_py_is_read(course: Course, path: Path) -> None:
    course.change(NOTEBOOK, "# %%\nassert", "# %%\n# %timeit double(2)\nassert")  # in the .ipynb it is a magic
    pair(path)
    assert notebook.read(course.project, path).path == path


@pytest.mark.parametrize("newer", ["toy_dev.py", "toy_dev.ipynb"])
def test_where_the_forms_differ_neither_wins_and_the_newer_is_named(course: Course, path: Path, newer: str) -> None:
    twin = pair(path)
    course.change(NOTEBOOK, "return 2 * x", "return x + x")
    for file in (path, twin):
        os.utime(file, (2e9, 2e9) if file.name == newer else (1e9, 1e9))
    course.tito("export", "01").refuses("toy_dev.py and toy_dev.ipynb hold different cells", f"{newer} was saved last")


def test_a_notebook_that_is_gone_or_broken_is_told_in_a_sentence(course: Course, path: Path) -> None:
    path.with_suffix(".ipynb").write_text('{"cells": [', encoding="utf-8")
    path.unlink()
    course.tito("export", "01").refuses("toy_dev.ipynb cannot be read as a notebook")
    path.with_suffix(".ipynb").unlink()
    with pytest.raises(TitoError, match="toy_dev.py is missing, and so is toy_dev.ipynb"):
        notebook.read(course.project, path)


def test_a_notebook_in_another_encoding_is_told_with_its_line(course: Course, path: Path) -> None:
    line = course.line_of(NOTEBOOK, "Twice x.")
    path.write_bytes(path.read_bytes().replace(b"Twice x.", "für x.".encode("latin-1")))
    course.tito("export", "01").refuses(f"{NOTEBOOK}:{line}: this line is not UTF-8")


@pytest.mark.parametrize("form", ["py", "ipynb"])
def test_the_target_is_found_without_jupytext_too(course: Course, path: Path, form: str) -> None:
    if form == "ipynb":
        pair(path)
        path.unlink()
    assert notebook.default_exp(path) == "sums"


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(course: Course, path: Path) -> None:
    assert course.tito("export", "01").status == 0
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r", b"").replace(b"\n", b"\r\n"))
    assert course.tito("export", "01", "--check").status == 0
