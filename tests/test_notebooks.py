"""Every notebook runs from its first cell to its last, as a student would run it, and shows its plots."""

import doctest
import importlib
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jupytext
import nbclient
import pytest

from tests.cell_names import bound, imported, taken

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("modules/source/*/*_dev.py"))
PROSE_LIMIT = 120  # words a cell; more is a lecture
LONGEST = 1100  # lines of a notebook; what is given and longer has a file of its own in the package
SLOW_SECONDS = 0.25  # a cell that takes longer trains or measures
SLOW_EVERY = 20  # every night it is in the first random order and in one of so many


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS, f"no *_dev.py found below {ROOT / 'modules' / 'source'}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_first_cell_finds_the_course_or_says_what_to_do(path: Path, tmp_path: Path) -> None:
    finder = next(cell.source for cell in jupytext.read(path).cells if "find_spec" in cell.source)
    code = f"{finder}\nprint(find_spec('tinytorch').origin)"

    def said(folder: Path) -> str:
        """In a Python that knows no package but its own."""
        command = [sys.executable, "-I", "-S", "-c", code]
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
        return (done.stdout + done.stderr).strip()

    alone, unpacked = tmp_path / "content", tmp_path / "a course"
    (unpacked / "tinytorch" / "core").mkdir(parents=True)
    (unpacked / "tinytorch" / "__init__.py").touch()
    (unpacked / "modules").mkdir()
    alone.mkdir()
    assert "drop it into the list of files" in said(alone)
    assert said(unpacked / "modules") == str(unpacked / "tinytorch" / "__init__.py")
    shutil.make_archive(str(alone / "course"), "zip", tmp_path, unpacked.name)
    for _ in range(2):  # and when the cell is run again
        assert said(alone) == str(alone / unpacked.name / "tinytorch" / "__init__.py")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_can_be_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST, f"{lines} lines: move what is given to a hand-written file, or cut the notebook in two"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_name_means_two_things(path: Path) -> None:
    """What a cell takes from others, one alone binds; and what is exported is bound nowhere else.

    So a cell that is run again, whichever ran last, finds what it found before.
    """
    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    binders = Counter(name for source in cells for name in bound(source) - imported(source))
    for source in cells:
        where = f"the cell that begins {source[:60]!r}"
        twice = {name for name in taken(source) if binders[name] > 1}
        assert not twice, f"{where} takes {twice}, which several cells bind: which is meant depends on the order"
        exported = bound(source) - imported(source) if "#| export" in source else set()
        again = {name for name in exported if binders[name] > 1}
        assert not again, f"{where} exports {again}, which another cell binds too: rename that"


def runs(path: Path, orders: int) -> None:
    """Run a notebook top to bottom, where every plot must be shown; then its cells again in `orders` random orders.

    All in one kernel, so what a slow cell leaves behind stays there for the orders that it is not in.
    Raises CellExecutionError, with the cell and its traceback.
    """
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}})
    cells = [(at, cell) for at, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    slow = set[int]()
    with client.setup_kernel():
        for at, cell in cells:
            since = time.perf_counter()
            client.execute_cell(cell, at)
            slow |= {at} if time.perf_counter() - since > SLOW_SECONDS else set()
        shown = sum("image/png" in output.get("data", {}) for _, cell in cells for output in cell.outputs)
        wanted = sum("plt.show()" in cell.source for _, cell in cells)
        assert shown == wanted > 0, f"{wanted} cells end with plt.show(), but {shown} pictures came"
        for seed in range(orders):
            for at, cell in random.Random(seed).sample(cells, len(cells)):
                if at not in slow or (orders > 1 and seed % SLOW_EVERY == 0):
                    client.execute_cell(cell, at)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebook_runs_top_to_bottom_shows_every_plot_and_any_cell_runs_again(path: Path) -> None:
    runs(path, orders=1)


@pytest.mark.nightly
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_any_cell_runs_again_in_200_orders(path: Path) -> None:
    runs(path, orders=200)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_cell_lectures(path: Path) -> None:
    for cell in jupytext.read(path).cells:
        words = len(cell.source.split())
        lecture = f"{words} words in the cell that begins {cell.source[:60]!r}"
        assert cell.cell_type == "code" or words <= PROSE_LIMIT, lecture


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("quantize", 25),
        ("packing", 2),
        ("tensors", 2),
        ("trees", 1),
        ("networks", 2),
        ("qat", 6),
        ("mixed_precision", 3),
    ],
)
def test_every_number_in_a_docstring_is_what_the_code_computes(name: str, least: int) -> None:
    result = doctest.testmod(importlib.import_module(f"tinytorch.quantization.{name}"))
    assert result.failed == 0, "a docstring shows a number that the code does not compute; see above"
    assert result.attempted >= least, f"the docstrings should hold {least} examples, found {result.attempted}"
