"""What a cell of a percent .py is: jupytext says it, and every reader of cells here says the same."""

from __future__ import annotations

import random
from pathlib import Path

import jupytext
import pytest

from tito.course import markers, notebook, percent, replacing
from tito.course.project import Project
from tito.errors import TitoError
from tito.grading.intake import reading

from ..toy_course import NOTEBOOK, Course

LINES = [
    *("# %%", "#%%", "# %% a title", "  # %%", "# %%%", "# In[1]:", "# In[ ]", "# <codecell>", "# %% [markdown]"),
    *("# %% [raw]", "# %% md", '# %% tags=["x"]', "# # %%", "# %%time", "%%", "x = '# %%'", "# text", "# it's"),
    *('"""a docstring\n# %%\nof three lines"""', "'''\n# In[2]:\n'''", 'r"""\n# <codecell>\n"""', "x = 1", "", ""),
    *('s = \'"""\'', 's = "\\""', '"""one"""', '# """', "x = 'a' # '''", "def f():", "    return 1", "#| export"),
]


def cells(project: Project, path: Path) -> list[tuple[int | None, str]]:
    """Where code begins, and what it is; blank edges aside."""
    return [
        (cell.first_line, cell.source.rstrip()) for cell in notebook.load(project, path).code if cell.source.strip()
    ]


@pytest.mark.parametrize("seed", range(8))
def test_cells_are_those_of_jupytext_and_intake_reads_the_same(course: Course, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(40):
        text = "\n".join(["# %%", *(draw.choice(LINES) for _ in range(draw.randint(1, 12)))]) + "\n"
        path = tmp_path / "any_dev.py"
        path.write_text(text, encoding="utf-8")
        theirs = jupytext.reads(text, fmt=notebook.PERCENT | {"comment_magics": False}).cells
        ours = notebook.load(course.project, path).cells
        assert [(cell.kind, cell.source) for cell in ours] == [(cell.cell_type, cell.source) for cell in theirs], text
        taken = reading.page(bytearray(text.encode()), "any_dev.py").cells
        read = [(cell.first_line, cell.source.rstrip()) for cell in taken if cell.source.strip()]
        assert read == cells(course.project, path), text
        assert "\n".join(line.text for line in markers.lines(text)) == text


@pytest.mark.parametrize("marker", ["# In[1]:", "# <codecell>", "#%%", "# %% a title", "  # %%", "# %%% deeper"])
def test_reset_replaces_a_cell_whatever_marks_its_beginning(edition: Course, marker: str) -> None:
    edition.change(NOTEBOOK, "# %%\n#| export\n#| exercise: double", f"{marker}\n#| export\n#| exercise: double")
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x")
    assert edition.tito("reset", "double").status == 0
    assert "return 3 * x" not in edition.read(NOTEBOOK) and "# YOUR CODE HERE" in edition.read(NOTEBOOK)


def test_what_cannot_be_placed_is_told_and_nothing_is_changed(course: Course) -> None:
    document = notebook.load(course.project, course.root / NOTEBOOK)
    text = next(cell for cell in document.cells if cell.kind == "markdown")
    with pytest.raises(TitoError, match=f"cell {text.number} cannot be found in the file: nothing was changed"):
        replacing.replaced(document, {text.number: "x"})


def test_an_empty_cell_is_filled_without_touching_the_next(course: Course) -> None:
    course.change(NOTEBOOK, "# %%\n#| default_exp", "# %%\n# %%\n#| default_exp")
    document = notebook.load(course.project, course.root / NOTEBOOK)
    empty = next(cell for cell in document.code if not cell.source)
    assert replacing.replaced(document, {empty.number: "x = 1"}) == document.text.replace(
        "# %%\n# %%\n#| default_exp", "# %%\nx = 1\n# %%\n#| default_exp"
    )


@pytest.mark.parametrize("inside", ["# %%", "# %% [markdown]", "# In[3]:", "#%%"])
def test_release_takes_a_marker_inside_a_docstring_for_text(course: Course, tmp_path: Path, inside: str) -> None:
    course.change(NOTEBOOK, '    """Twice x.\n', f'    """Twice x.\n\n{inside}\n')
    assert course.tito("release", "01", "--to", str(tmp_path / "given")).status == 0
    given = (tmp_path / "given" / NOTEBOOK).read_text(encoding="utf-8")
    assert 'exercise double: your code is not written yet")' in given and "return 2 * x" not in given


@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_a_quote_that_is_never_closed_does_not_swallow_the_cells_below(edition: Course, quote: str) -> None:
    edition.change(NOTEBOOK, "# YOUR CODE HERE", f"return {quote}x")
    assert [
        cell.exercise for cell in notebook.load(edition.project, edition.root / NOTEBOOK).code if cell.exercise
    ] == [
        "double",
        "counter",
    ]
    edition.tito("export", "01").refuses("unterminated triple-quoted string literal")


@pytest.mark.parametrize("quotes", [['"""'], ["'''"], ['"""', "'''"], ['"""', '"""'], ["'''", '"""', "'''"]])
def test_intake_ends_an_open_quote_with_its_cell_as_the_export_does(
    course: Course, tmp_path: Path, quotes: list[str]
) -> None:
    """Below it, a marker inside of a docstring is none."""
    docstring = '# %%\ndef f():\n    """A cell:\n# %%\nhas a marker."""\n\n'
    text = docstring + "".join(f"# %%\nx = {quote}open\n\n{docstring}" for quote in quotes)
    path = tmp_path / "any_dev.py"
    path.write_text(text, encoding="utf-8")
    read = reading.page(bytearray(text.encode()), path.name).cells
    assert [(cell.first_line, cell.source.rstrip()) for cell in read] == cells(course.project, path), text


MAGICS = [
    "%timeit f(1)",
    "ls",
    "cd ..",
    "?f",
    "f.f??",
    "\t%x",
    "x = !ls",
    "f?",
    "%%time",
    "!ls \\\n  -l",
    "x = 1  # %x",
    "s = '''\n%x\n'''",
    "if 1:\n    !ls\n    x = 1",
]


@pytest.mark.parametrize("magic", MAGICS)
def test_intake_reads_an_exercises_magics_alike_in_both_forms(magic: str) -> None:
    source = f"#| export\n#| exercise: f\n{magic}\ndef f(x):\n    return x"
    book = jupytext.reads("# %%\n1\n", "py:percent")
    book.cells[0].source = source
    page, text = jupytext.writes(book, "ipynb"), jupytext.writes(book, "py:percent")
    (of_page,) = reading.page(bytearray(page.encode()), "any_dev.ipynb").cells
    (of_text,) = reading.page(bytearray(text.encode()), "any_dev.py").cells
    assert of_page.source == of_text.source.strip() and of_page.exercise == "f"


@pytest.mark.parametrize("letter", ["\f", "\x0b", "\x1c", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_line(edition: Course, letter: str) -> None:
    """Python's splitlines, and with it jupytext, ends lines at these too: a comment would become code."""
    edition.change(NOTEBOOK, "START = 0", f"START = 0  # a{letter}b\nTEXT = 'a{letter}b'")
    assert edition.tito("export", "01").status == 0
    assert f"TEXT = 'a{letter}b'" in edition.read("toy/sums.py")


def test_another_format_of_jupytext_is_told(edition: Course) -> None:
    edition.change(NOTEBOOK, "format_name: percent", "format_name: light")
    edition.tito("export", "01").refuses(NOTEBOOK, "jupytext's format 'light'", "Pair Notebook with percent Script")
    edition.change(NOTEBOOK, "format_name: light", "format_name: hydrogen")
    assert edition.tito("export", "01").status == 0


def test_a_header_that_is_no_yaml_is_told(edition: Course) -> None:
    edition.change(NOTEBOOK, "#   jupytext:\n", "#   jupytext: [\n")
    edition.tito("export", "01").refuses(f"{NOTEBOOK} cannot be read as a notebook")


def test_other_lines_in_the_header_are_a_raw_cell_as_in_jupyterlab(course: Course) -> None:
    text = "# ---\n# title: A toy\n# jupyter:\n#   kernel: x\n# ---\n\n# %%\nx = 1\n"
    header, pieces = percent.split(text)
    assert (header, pieces[0].source, pieces[0].first_line) == ("---\ntitle: A toy\n---", "x = 1", 8)


@pytest.mark.parametrize(
    "line", ["%%capture", "  %timeit f(x)", "!ls -l", "a, b = !ls", "x = %time f()", "?f", "f??", "cd .."]
)
def test_what_only_a_notebook_runs_is_called_an_ipython_command(line: str) -> None:
    assert percent.why_no_python(line).startswith(f"`{line.strip()}` is an IPython command")


@pytest.mark.parametrize("line", ["return x /", "x = 3 % % 2", "if x != :", "def f(x", "x ! y", "pip = = 2", "'%d' % "])
def test_a_slip_in_python_is_not_called_an_ipython_command(line: str) -> None:
    assert percent.why_no_python(line) == ""
