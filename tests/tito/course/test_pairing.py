"""A notebook that JupyterLab saves in two forms: they agree, whatever Jupyter can run and whatever people write."""

from __future__ import annotations

import json
import os

import jupytext
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from tito.course import notebook

from ..toy_course import NOTEBOOK, PAGE, STUB, Course, Solve, squeezed

KINDS = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
SOURCES = [
    *("double?", "double??", "?double", "??double", "x = !ls", "t = %timeit -o double(2)", "ls", "ls -l", "cd .."),
    *("pip install x", "%pip install x", "!pip install x", "!ls \\\n  -l", "%%bash\necho $PATH", "%%html\n<b>"),
    *("# !x", "# %x", "#!x", "# ?x", "#%x", "# ls", "# cd ..", "# x?", "#x?", "# %%time", "#%%time", "# # %x"),
    *("x = 1\n# %timeit x\n!ls", "if 1:\n    !ls\n    # !ls\n    %cd ..", "x = '''\n!ls\n%x\n# %y\n'''", "# x = !ls"),
    *("# %%", "# %% x", "x = 1\n# %%\ny = 2", "# In[1]:", "# <codecell>\nx", '"""\n# %%\n"""', "# +", "# # +", "# ---"),
    *("", " ", "\n", "x = 1\n\n\n", "\n\nx = 1", "x = 1\n# the end", "x = 1  ", "\tx = 1", "x\x0cy", "x = 'a\u2028b'"),
    *("%load_ext x\n%matplotlib inline", "%x # noescape", "x # escape %y", "---\ntitle: x\n---", "```\n# %%\n```"),
    *("%%writefile a.py\nx = 1", "%%javascript\nalert(1)", "%%capture out\nx = 1", "help(x)?", "x.y?", "*int*?", "# ü"),
]


def saved(course: Course, book: NotebookNode) -> NotebookNode:
    """As JupyterLab saves a paired notebook; what it shows when the notebook is opened again."""
    text = jupytext.writes(book, fmt="py:percent")
    course.write(NOTEBOOK, text)
    course.write(PAGE, jupytext.writes(book, fmt="ipynb"))
    shown: NotebookNode = jupytext.reads(text, fmt="py:percent")
    return shown


@pytest.fixture
def book(edition: Course) -> NotebookNode:
    text = notebook.page_text(notebook.load(edition.project, edition.root / NOTEBOOK))
    book: NotebookNode = jupytext.reads(text, "ipynb")
    return book


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_forms_agree_at_every_save(edition: Course, book: NotebookNode, kind: str) -> None:
    for source in SOURCES:
        changed = jupytext.reads(jupytext.writes(book, "ipynb"), "ipynb")
        changed.cells.insert(3, KINDS[kind](source))
        for _ in range(2):
            changed = saved(edition, changed)
            document = notebook.read(edition.project, edition.root / NOTEBOOK)
            assert document.path.suffix == ".py", source
            again = jupytext.reads(edition.read(PAGE), "ipynb")
            again.cells = changed.cells
            changed = again


@pytest.mark.parametrize("metadata", [{"tags": ["active-ipynb"]}, {"tags": ["x", "y"]}, {"collapsed": True}, {"k": {}}])
@pytest.mark.parametrize("source", ["x = 1\n!ls", "# x = 1", "double?", "#| hide\nx = 1"])
def test_the_metadata_of_a_cell_makes_no_difference(
    edition: Course, book: NotebookNode, metadata: dict[str, object], source: str
) -> None:
    book.cells.insert(3, new_code_cell(source, metadata=metadata))
    saved(edition, book)
    assert notebook.read(edition.project, edition.root / NOTEBOOK).path.suffix == ".py"


def test_every_command_goes_on_beside_a_cell_that_asks_for_help(edition: Course, book: NotebookNode) -> None:
    book.cells.insert(3, new_code_cell("double?"))
    book.cells.insert(3, new_code_cell("x = !ls"))
    saved(edition, book)
    assert edition.tito("status").status == 0
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 2 * x")  # in the .py alone: it is the one that was changed
    assert edition.tito("export").status == 0
    assert edition.tito("submit", "--untested").status == 0
    assert edition.tito("start", "--no-lab").status == 0
    assert "return 2 * x" in edition.read(PAGE) and '"double?"' in edition.read(PAGE), "a magic is one in the .ipynb"
    assert "# double?" in edition.read(NOTEBOOK)


@pytest.mark.parametrize("form", [NOTEBOOK, PAGE])
@pytest.mark.parametrize("source", ["double?", "# !x", "x = !ls", "# %%", "%%bash\nls"])
def test_of_the_two_the_one_that_was_changed_is_read(
    edition: Course, book: NotebookNode, form: str, source: str
) -> None:
    book.cells.insert(3, new_code_cell(source))
    saved(edition, book)
    assert notebook.read(edition.project, edition.root / NOTEBOOK).paired == (source != "# %%")
    edition.change(form, "# YOUR CODE HERE", "return 2 * x #")
    assert notebook.read(edition.project, edition.root / NOTEBOOK).path == edition.root / form


def test_where_both_were_changed_the_exercise_that_differs_is_named(edition: Course, book: NotebookNode) -> None:
    book.cells.insert(3, new_code_cell("double?"))
    saved(edition, book)
    notebook.read(edition.project, edition.root / NOTEBOOK)
    edition.change(PAGE, "# YOUR CODE HERE", "return 2 * x #")
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x #")
    line = edition.line_of(NOTEBOOK, "#| exercise: double") - 1
    edition.tito("export").refuses(f"hold different cells, first in exercise double at line {line};", "Keep one")


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_make_no_difference(edition: Course, book: NotebookNode, ends: str) -> None:
    saved(edition, book)
    path = edition.root / NOTEBOOK
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", ends.encode()))
    page = edition.root / PAGE
    page.write_bytes(b"\xef\xbb\xbf" + page.read_bytes().replace(b"\\n", ends.encode("unicode_escape")))
    os.utime(path, (1e9, 1e9))
    assert notebook.read(edition.project, path).path == path


def saved_in_the_page(edition: Course, old: str, new: str) -> None:
    edition.change(PAGE, json.dumps(old)[1:-1], json.dumps(new)[1:-1])


def test_work_in_either_form_counts_and_neither_is_merged_in_silence(edition: Course) -> None:
    edition.tito("start", "--no-lab")
    saved_in_the_page(edition, STUB, "return 2 * x")
    assert "double 2 of 2 points passed" in squeezed(edition.tito("test", "01").out), "VS Code saves the .ipynb alone"
    edition.tito("start", "--no-lab")
    assert "return 2 * x" in edition.read(NOTEBOOK), "JupyterLab reads the .py: start brings it up to date"
    edition.change(NOTEBOOK, "return 2 * x", "return x + x")
    assert "double 2 of 2 points passed" in squeezed(edition.tito("test", "01").out), "an editor saves the .py alone"
    saved_in_the_page(edition, "return 2 * x", "return x * 2")
    line = edition.line_of(NOTEBOOK, "#| exercise: double") - 1
    edition.tito("test", "01").refuses(
        f"hold different cells, first in exercise double at line {line}; ", " after the other. Keep one: move "
    )
    before = edition.files()
    edition.tito("start", "--no-lab").refuses("hold different cells")
    assert edition.files() == before


def test_a_page_that_was_never_touched_is_no_conflict_in_a_fresh_copy(edition: Course, solve: Solve) -> None:
    edition.tito("start", "--no-lab")
    (edition.root / ".tito/pairs.json").unlink()
    solve(edition, "double")
    assert "double 2 of 2 points passed" in squeezed(edition.tito("test", "01").out)


def test_jupytext_opens_the_pair_although_the_page_was_made_later(edition: Course) -> None:
    from jupytext.paired_paths import paired_paths

    old = (edition.root / NOTEBOOK).stat().st_mtime - 100
    os.utime(edition.root / NOTEBOOK, (old, old))
    edition.tito("start", "--no-lab")
    page, text = edition.root / PAGE, edition.root / NOTEBOOK
    assert page.stat().st_mtime <= text.stat().st_mtime, "jupytext takes the .py for outdated, and refuses to open"
    book = json.loads(page.read_text(encoding="utf-8"))
    pair = paired_paths(str(page), {"extension": ".ipynb"}, book["metadata"]["jupytext"]["formats"])
    assert {path for path, _ in pair} == {str(page), str(text)}


KEPT = "the earlier text is kept in "


@pytest.mark.parametrize("form", [NOTEBOOK, PAGE])
@pytest.mark.parametrize("command", ["test", "export"])
def test_a_form_that_jupyterlab_saves_over_is_kept_and_named_once(
    edition: Course, book: NotebookNode, form: str, command: str
) -> None:
    """JupyterLab writes both forms from what it shows, whatever an editor has saved in one of them meanwhile."""
    saved(edition, book)
    edition.tito(command, "01")
    edition.change(form, "# YOUR CODE HERE", "return 2 * x #")
    edition.tito(command, "01")
    mine = edition.read(form)
    book.cells.append(new_code_cell("x = 1"))
    saved(edition, book)
    said = edition.tito(command, "01").out
    assert KEPT in said and f"{form} was saved with other cells" in said
    copy = said.split(KEPT)[1].split(";")[0]
    assert edition.read(copy) == mine and "x = 1" in edition.read(NOTEBOOK)
    assert KEPT not in edition.tito(command, "01").out


def test_where_both_were_changed_neither_is_lost_when_jupyterlab_saves_again(
    edition: Course, book: NotebookNode
) -> None:
    saved(edition, book)
    edition.tito("export")
    edition.change(PAGE, "# YOUR CODE HERE", "return 2 * x #")
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x #")
    mine = edition.read(NOTEBOOK)
    edition.tito("export").refuses("hold different cells")
    saved(edition, jupytext.reads(edition.read(PAGE), "ipynb"))
    said = edition.tito("export").out
    assert said.count(KEPT) == 1 and edition.read(said.split(KEPT)[1].split(";")[0]) == mine
    assert "return 2 * x" in edition.read(NOTEBOOK)


def test_a_text_that_both_forms_come_to_hold_is_no_loss(edition: Course, book: NotebookNode) -> None:
    saved(edition, book)
    edition.tito("export")
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x #")
    edition.tito("export")
    edition.change(NOTEBOOK, "return 3 * x", "return 2 * x")
    edition.tito("start", "--no-lab")
    assert KEPT not in edition.tito("test", "01").out
    assert not list((edition.root / ".tito/ahead").rglob("*.py"))


@pytest.mark.parametrize("quiet", [["status"], ["start", "--no-lab"]])
def test_no_other_command_takes_the_sentence_away(edition: Course, book: NotebookNode, quiet: list[str]) -> None:
    saved(edition, book)
    edition.tito("export")
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 2 * x #")
    edition.tito("export")
    saved(edition, book)
    edition.tito(*quiet)
    assert KEPT in edition.tito("export").out


def test_a_conflict_is_placed_at_the_cell_that_differs_and_the_doctor_says_how_to_end_it(edition: Course) -> None:
    edition.change(NOTEBOOK, "# %%\n#| export\n#| exercise: double", SECOND_CELL)
    edition.tito("start", "--no-lab")
    edition.change(NOTEBOOK, "y = 1", "y = 2")
    saved_in_the_page(edition, "y = 1", "y = 3")
    line = edition.line_of(NOTEBOOK, "y = 2") - 2
    edition.tito("export").refuses(f"hold different cells, first in exercise double at line {line};")
    said = edition.tito("doctor").out
    assert "Fix: Keep one: move " in said and "mend that line" not in said, said


SECOND_CELL = """\
# %%
#| export
#| exercise: double
def half(x):
    return x / 2

# %%
#| export
#| exercise: double
y = 1

# %%
#| export
#| exercise: double"""


def test_whoever_works_on_in_the_other_form_after_start_has_lost_nothing(edition: Course) -> None:
    edition.tito("start", "--no-lab")
    saved_in_the_page(edition, STUB, "return 2 * x")
    edition.tito("test", "01")
    edition.tito("start", "--no-lab")
    edition.change(NOTEBOOK, "return 2 * x", "return x + x")
    edition.tito("start", "--no-lab")
    assert KEPT not in edition.tito("test", "01").out


@pytest.mark.parametrize("form", [NOTEBOOK, PAGE])
def test_whoever_undoes_a_change_in_the_editor_has_lost_nothing(edition: Course, form: str) -> None:
    edition.tito("start", "--no-lab")
    edition.change(form, "# YOUR CODE HERE", "print(1) #")
    edition.tito("test", "01")
    edition.change(form, "print(1) #", "# YOUR CODE HERE")
    assert KEPT not in edition.tito("test", "01").out


def test_whoever_ends_a_conflict_as_told_is_not_warned_of_it(edition: Course) -> None:
    edition.tito("start", "--no-lab")
    edition.change(PAGE, "# YOUR CODE HERE", "x = 1 #")
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "x = 2 #")
    edition.tito("test", "01").refuses("Keep one")
    (edition.root / NOTEBOOK).unlink()
    edition.tito("start", "--no-lab")
    assert "x = 1 #" in edition.read(NOTEBOOK)
    assert KEPT not in edition.tito("test", "01").out
