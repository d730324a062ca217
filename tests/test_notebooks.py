"""Every notebook runs from its first cell to its last, as a student would run it, and shows its plots."""

import doctest
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbclient
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("modules/source/*/*_dev.py"))
PROSE_LIMIT = 120  # words a cell; more is a lecture
LONGEST = 1100  # lines of a notebook; what is given and longer has a file of its own in the package


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS, f"no *_dev.py found below {ROOT / 'modules' / 'source'}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebook_runs_top_to_bottom_and_shows_every_plot(path: Path) -> None:
    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}})
    client.execute()  # raises CellExecutionError, with the cell and its traceback
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    wanted = sum("plt.show()" in cell.source for cell in code)
    assert shown == wanted > 0, f"{wanted} cells end with plt.show(), but {shown} pictures came"


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
