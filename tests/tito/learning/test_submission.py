"""`tito submit` writes one archive, says what is in it, and names what a grader would not read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import jupytext
import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.errors import Status
from tito.grading.intake import collecting

from ..toy_course import NOTEBOOK, PAGE, Course, Solve


def test_submit_writes_one_archive_and_says_exactly_what_is_in_it(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    said = edition.tito("submit", "--name", "Ada Lövelace")
    assert said.status == Status.DONE
    assert "01_toy_submission.zip  2 of 5 points by the tests that you have. It holds:" in said.out
    with zipfile.ZipFile(edition.root / "01_toy_submission.zip") as archive:
        inside = {entry.filename: entry.file_size for entry in archive.infolist()}
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.read("toy_dev.py") == (edition.root / NOTEBOOK).read_bytes()
    told = [line.split() for line in said.out.split("\n") if line.startswith("  ")]
    assert {name: int(size) for name, size, _ in told} == inside
    assert list(inside) == ["manifest.json", "toy_dev.py"]
    assert said.out.endswith(f"Hand in this one file: {edition.root / '01_toy_submission.zip'}\n")
    assert (manifest["module"], manifest["student"], manifest["points"]) == ("01_toy", "Ada Lövelace", 2)
    assert manifest["exercises"] == {"double": "passed", "counter": "not started"}


def test_status_knows_what_submit_has_tested(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    assert "2 of 5 points" in edition.tito("submit", "01").out
    told = edition.tito("status").out
    assert "double      2 of 2 points  passed" in told and "counter     0 of 3 points  not started" in told


def test_submit_names_code_that_would_not_be_graded(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    assert "not graded" not in edition.tito("submit").out
    edition.change(
        NOTEBOOK, "# %%\n#| export\n#| exercise: double", "# %%\nTWO = 2\n\n# %%\n#| export\n#| exercise: double"
    )
    edition.change(NOTEBOOK, "return 2 * x", "return TWO * x")
    edition.change(NOTEBOOK, "START = 0", "START = 100")
    said = edition.tito("submit", "--untested")
    assert said.status == Status.DONE
    assert "toy_dev.py: double uses TWO, which only cell 5 defines: that is a cell of no exercise" in said.out
    assert "toy_dev.py: cell 8 is of no exercise and is not as it was given: what it says is not graded" in said.out


def as_page(edition: Course, outputs: Sequence[dict[str, object]] = ()) -> None:
    """The notebook as Jupyter saves it; its .py is gone."""
    page = json.loads(jupytext.writes(jupytext.reads(edition.read(NOTEBOOK), fmt="py:percent"), fmt="ipynb"))
    for cell in page["cells"]:
        cell |= {"outputs": [*outputs], "execution_count": 7} if cell["cell_type"] == "code" else {}
    page["metadata"]["widgets"] = {"state": ["w" * 1_000_000]}
    edition.write(PAGE, json.dumps(page))
    (edition.root / NOTEBOOK).unlink()


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "stream", "name": "stdout", "text": ["spam\n"] * 1_000_000},
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": "iVBORw0KGgo" * 500_000}},
        {"output_type": "stream", "name": "stdout", "text": ["half a letter: \ud83d"]},
    ],
    ids=["lines", "a picture", "half a surrogate"],
)
def test_an_archive_holds_code_and_no_outputs_and_a_grader_reads_all_of_it(
    course: Course, edition: Course, solve: Solve, tmp_path: Path, output: dict[str, object]
) -> None:
    solve(edition, "double")
    as_page(edition, [output])
    said = edition.tito("submit", "--untested")
    assert said.status == Status.DONE, said.err
    assert "not written yet: counter" in said.out and "widgets" not in said.out
    path = edition.root / "01_toy_submission.zip"
    assert path.stat().st_size < 10_000
    with zipfile.ZipFile(path) as archive:
        page = json.loads(archive.read("toy_dev.ipynb"))
    assert {len(cell.get("outputs", ())) for cell in page["cells"]} == {0} and "widgets" not in page["metadata"]
    (read,) = collecting.collect(Edition(course.project, load_module(course.project, "01_toy")), path)
    assert "return x + x" in read.cells["double"][0] or "return 2 * x" in read.cells["double"][0]


def test_submit_says_what_a_grader_would_not_read(edition: Course, solve: Solve) -> None:
    """A cell that is too long, and one that lost its line, are told before they cost points."""
    solve(edition, "double")
    edition.change(NOTEBOOK, "return 2 * x", f"return 2 * x  # {'x' * 200_000}")
    edition.change(NOTEBOOK, "#| exercise: counter\n", "")
    said = edition.tito("submit", "--untested")
    assert said.status == Status.DONE, said.err
    assert "double is not in it, and earns no points: no cell of it was found" in said.out
    assert "lost its line `#| exercise: counter`, and was taken nevertheless" in said.out
    assert "characters, more than 100000: it was not read" in said.out


def test_what_no_grader_could_read_is_not_written(edition: Course) -> None:
    edition.write(NOTEBOOK, "# %%\nprint('all exercises are gone')\n")
    said = edition.tito("submit", "--untested")
    said.refuses("nothing was written, for a grader could not read it", "no exercise of 01_toy was found in toy_dev.py")
    assert not (edition.root / "01_toy_submission.zip").exists()


@pytest.mark.parametrize(
    "copy", ["toy_dev-Copy1.ipynb", "toy_dev (1).ipynb", "drafts/toy_dev.ipynb", "my homework.ipynb"]
)
def test_submit_names_work_in_a_copy_that_is_not_handed_in(edition: Course, solve: Solve, copy: str) -> None:
    given = edition.read(NOTEBOOK)
    solve(edition, "double")
    page = jupytext.writes(jupytext.reads(edition.read(NOTEBOOK), fmt="py:percent"), fmt="ipynb")
    edition.write(f"modules/source/01_toy/{copy}", page)
    same = edition.tito("submit", "--untested").out
    assert "is not handed in" not in same, "a copy with the same work is no loss"
    edition.write(NOTEBOOK, given)
    said = edition.tito("submit", "--untested")
    assert f"{copy} is not handed in, and holds other work on double" in said.out


def test_the_same_work_gives_the_same_archive_and_an_earlier_one_is_kept(edition: Course, solve: Solve) -> None:
    edition.tito("submit")
    first = (edition.root / "01_toy_submission.zip").read_bytes()
    assert "is kept as" not in edition.tito("submit").out
    assert (edition.root / "01_toy_submission.zip").read_bytes() == first
    solve(edition, "double")
    said = edition.tito("submit").out
    copy = next(line for line in said.split("\n") if "is kept as" in line).split()[-1].rstrip(".")
    assert (edition.root / copy).read_bytes() == first


def test_a_cell_that_cannot_be_exported_is_named_and_the_rest_is_handed_in(edition: Course) -> None:
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return (")
    said = edition.tito("submit")
    assert said.status == Status.DONE and "double   failed: " in said.out and "toy_dev.py:" in said.out
    assert (edition.root / "01_toy_submission.zip").exists()
    said = edition.tito("submit", "--untested")
    assert said.status == Status.DONE and "not tested. It holds:" in said.out
