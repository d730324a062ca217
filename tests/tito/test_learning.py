"""The student's commands on a released toy course: hint, status, reset, submit, start, and what they remember."""

from __future__ import annotations

import json
import os
import sys
import zipfile

import jupytext
import pytest

from tito.course.module import load_module
from tito.errors import Status
from tito.grading.intake import collecting
from tito.learning import progress

NOTEBOOK = "modules/source/01_toy/toy_dev.py"
PAGE = "modules/source/01_toy/toy_dev.ipynb"
KEPT = ".tito/progress.json"
STUB = 'raise NotImplementedError("exercise double: your code is not written yet")'


def squeezed(text):
    return " ".join(text.split())


def test_hints_come_one_by_one_and_those_that_were_shown_stay(edition):
    all_three = [
        "double: Twice a number",
        "hint 1 of 3: What is x + x?",
        "hint 2 of 3: Python multiplies with *.",
        "hint 3 of 3: return 2 * x, nearly",
    ]
    said = [edition.tito("hint").out.strip().split("\n") for _ in range(4)]
    assert said == [all_three[:2], all_three[:3], all_three, [*all_three, "There is no further hint."]]


def test_a_hint_is_for_the_exercise_one_is_at(edition, solve):
    solve(edition, "double")
    edition.tito("test", "01")
    assert edition.tito("hint").out.startswith("counter: ")
    assert edition.tito("hint", "double").out.startswith("double: ")
    edition.tito("hint", "duoble").refuses("no exercise 'duoble' (the nearest is 'double')", status=2)


def test_when_all_is_passed_there_is_nothing_to_hint_at(edition, solve):
    solve(edition, "double")
    solve(edition, "counter")
    edition.tito("test", "01")
    assert "nothing left to hint at" in edition.tito("hint").out


def test_a_student_is_told_that_the_solutions_are_elsewhere(edition, solve):
    solve(edition, "double")
    edition.tito("test", "01")
    edition.tito("hint", "double", "--solution").refuses("the solutions stay with your instructor", status=2)


def test_an_instructor_sees_the_reference_beside_a_students_answer_once_it_passed(course, edition, solve):
    course.tito("hint", "double", "--solution").refuses("after the exercise passed: tito test 01_toy", status=2)
    course.tito("test", "01")
    edition.change(NOTEBOOK, f"# YOUR CODE HERE\n    {STUB}", "return x + x")
    edition.tito("submit")
    assert "--beside FILE" in course.tito("hint", "double", "--solution").out
    for theirs in (edition.root / NOTEBOOK, edition.root / "01_toy_submission.zip", edition.root):
        lines = course.tito("hint", "double", "--solution", "--beside", str(theirs)).out.split("\n")
        assert lines[2].split(maxsplit=1) == ["reference", theirs.name], "in two columns, where there is room"
        assert lines[4].split("    ") == ["return 2 * x", "return x + x"], "the answer alone, without what was given"
    course.tito("hint", "double", "--beside", "nowhere").refuses("nowhere does not exist", status=2)


def test_a_narrow_terminal_shows_the_two_answers_one_below_the_other(course, edition, monkeypatch):
    course.tito("test", "01")
    monkeypatch.setenv("COLUMNS", "20")
    said = course.tito("hint", "double", "--beside", str(edition.root)).out
    assert said.endswith(f"reference\n\nreturn 2 * x\n\n{edition.root.name}\n\n# YOUR CODE HERE\n{STUB}\n\n")


def test_status_tells_points_hints_and_what_is_next(edition, solve):
    solve(edition, "double")
    edition.tito("test", "01")
    edition.tito("hint")
    said = edition.tito("status", "--json", str(edition.root / "status.json"))
    lines = said.out.split("\n")
    assert lines[0].split() == ["double", "2", "of", "2", "points", "passed"]
    assert lines[1].split() == ["counter", "0", "of", "3", "points", "not", "started,", "1", "hint", "seen"]
    assert (
        f"Next: counter, An object that counts, in {NOTEBOOK}. toy_dev.py was saved less than a minute ago." in said.out
    )
    report = json.loads(edition.read("status.json"))
    assert (report["points"], report["max_points"]) == (2, 5)
    assert report["exercises"][0]["status"] == "passed"


def test_status_says_that_an_exercise_was_changed_since_its_test(edition, solve):
    solve(edition, "double")
    edition.tito("test", "01")
    edition.change(NOTEBOOK, "return 2 * x", "return 5 * x")
    assert "passed, changed since" in edition.tito("status").out


def test_how_long_ago_is_told_in_one_unit(edition):
    old = (edition.root / NOTEBOOK).stat().st_mtime - 2 * 3600 - 100
    os.utime(edition.root / NOTEBOOK, (old, old))
    assert "was saved 2 hours ago." in edition.tito("status").out


def test_before_any_test_status_knows_nothing_and_says_so(edition):
    assert "not tested" in edition.tito("status").out


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"modules": {"01_toy": {"double": {"colour": 1}}}}'])
def test_a_progress_file_that_cannot_be_read_is_kept_and_begun_anew(edition, text):
    edition.write(KEPT, text)
    assert edition.tito("status").status == Status.DONE
    assert edition.tito("hint").out.split("\n")[1].startswith("hint 1 of 3")
    copies = list((edition.root / ".tito/backups").iterdir())
    assert [copy.read_text(encoding="utf-8") for copy in copies] == [text]
    assert progress.read(edition.project).get("01_toy", "double").hints == 1


def test_what_is_remembered_is_private_to_git(edition):
    edition.tito("hint")
    assert edition.read(".tito/.gitignore") == "*\n"


def test_a_folder_that_cannot_be_written_costs_the_memory_only(edition, solve):
    solve(edition, "double")
    edition.write(".tito", "a file where the folder would be")
    said = edition.tito("test", "01")
    assert "double 2 of 2 points passed" in squeezed(said.out) and "cannot be written" in said.out
    assert said.err == ""


def test_reset_brings_the_stub_back_and_keeps_the_text(edition, solve):
    before = edition.read(NOTEBOOK)
    solve(edition, "double")
    solve(edition, "counter")
    mine = edition.read(NOTEBOOK)
    said = edition.tito("reset", "counter")
    assert said.status == Status.DONE
    copy = said.out.split()[-1]
    assert edition.read(copy) == mine and copy in said.out
    assert "return 2 * x" in edition.read(NOTEBOOK), "reset took another exercise with it"
    edition.tito("reset", "double")
    assert edition.read(NOTEBOOK) == before


def test_reset_changes_both_forms_of_a_notebook(edition, solve):
    solve(edition, "double")
    edition.tito("start", "--no-lab")
    assert "return 2 * x" in edition.read(PAGE)
    said = edition.tito("reset", "double")
    assert "return 2 * x" not in edition.read(PAGE) + edition.read(NOTEBOOK)
    assert said.out.count("is as it was given") == 2
    assert edition.tito("export", "01").status == Status.DONE


def test_reset_says_what_to_do_where_the_cell_is_gone(edition):
    text = edition.read(NOTEBOOK)
    edition.write(NOTEBOOK, text.replace("#| exercise: double", "# gone"))
    edition.tito("reset", "double").refuses("has 0 of the 1 cells of 'double'", "released/toy_dev.py")


def test_the_instructors_edition_cannot_be_reset(course):
    before = course.files()
    course.tito("reset", "double").refuses("only a student's edition", status=2)
    assert course.files() == before


def test_submit_writes_one_archive_and_says_exactly_what_is_in_it(edition, solve):
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


def test_submit_names_code_that_would_not_be_graded(edition, solve):
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


def as_page(edition, outputs=()):
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
def test_an_archive_holds_code_and_no_outputs_and_a_grader_reads_all_of_it(course, edition, solve, tmp_path, output):
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
    (read,) = collecting.collect(load_module(course.project, "01_toy"), path)
    assert "return x + x" in read.cells["double"][0] or "return 2 * x" in read.cells["double"][0]


def test_submit_says_what_a_grader_would_not_read(edition, solve):
    """A cell that is too long, and one that lost its line, are told before they cost points."""
    solve(edition, "double")
    edition.change(NOTEBOOK, "return 2 * x", f"return 2 * x  # {'x' * 200_000}")
    edition.change(NOTEBOOK, "#| exercise: counter\n", "")
    said = edition.tito("submit", "--untested")
    assert said.status == Status.DONE, said.err
    assert "double is not in it, and earns no points: no cell of it was found" in said.out
    assert "lost its line `#| exercise: counter`, and was taken nevertheless" in said.out
    assert "characters, more than 100000: it was not read" in said.out


def test_what_no_grader_could_read_is_not_written(edition):
    edition.write(NOTEBOOK, "# %%\nprint('all exercises are gone')\n")
    said = edition.tito("submit", "--untested")
    said.refuses("nothing was written, for a grader could not read it", "no exercise of 01_toy was found in toy_dev.py")
    assert not (edition.root / "01_toy_submission.zip").exists()


@pytest.mark.parametrize(
    "copy", ["toy_dev-Copy1.ipynb", "toy_dev (1).ipynb", "drafts/toy_dev.ipynb", "my homework.ipynb"]
)
def test_submit_names_work_in_a_copy_that_is_not_handed_in(edition, solve, copy):
    given = edition.read(NOTEBOOK)
    solve(edition, "double")
    page = jupytext.writes(jupytext.reads(edition.read(NOTEBOOK), fmt="py:percent"), fmt="ipynb")
    edition.write(f"modules/source/01_toy/{copy}", page)
    same = edition.tito("submit", "--untested").out
    assert "is not handed in" not in same, "a copy with the same work is no loss"
    edition.write(NOTEBOOK, given)
    said = edition.tito("submit", "--untested")
    assert f"{copy} is not handed in, and holds other work on double" in said.out


def test_the_same_work_gives_the_same_archive_and_an_earlier_one_is_kept(edition, solve):
    edition.tito("submit")
    first = (edition.root / "01_toy_submission.zip").read_bytes()
    assert "is kept as" not in edition.tito("submit").out
    assert (edition.root / "01_toy_submission.zip").read_bytes() == first
    solve(edition, "double")
    said = edition.tito("submit").out
    copy = next(line for line in said.split("\n") if "is kept as" in line).split()[-1].rstrip(".")
    assert (edition.root / copy).read_bytes() == first


def test_a_cell_that_cannot_be_exported_is_named_and_the_rest_is_handed_in(edition):
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return (")
    said = edition.tito("submit")
    assert said.status == Status.DONE and "double   failed: " in said.out and "toy_dev.py:" in said.out
    assert (edition.root / "01_toy_submission.zip").exists()
    said = edition.tito("submit", "--untested")
    assert said.status == Status.DONE and "not tested. It holds:" in said.out


def test_start_makes_the_page_that_jupyter_opens(edition):
    said = edition.tito("start", "--no-lab")
    assert said.status == Status.DONE and PAGE in said.out
    page = json.loads(edition.read(PAGE))
    assert page["metadata"]["jupytext"]["formats"] == "ipynb,py:percent"
    assert page["metadata"]["kernelspec"]["name"] == "python3"
    again = edition.read(PAGE)
    edition.tito("start", "--no-lab")
    assert edition.read(PAGE) == again


def test_without_jupyterlab_start_says_how_to_go_on(edition, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = edition.tito("start")
    assert said.status == Status.FAILED
    assert "JupyterLab is not installed" in said.err and "VS Code" in said.err and sys.executable in said.err
    assert (edition.root / PAGE).is_file()


def saved_in_the_page(edition, old, new):
    edition.change(PAGE, json.dumps(old)[1:-1], json.dumps(new)[1:-1])


def test_work_in_either_form_counts_and_neither_is_merged_in_silence(edition):
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


def test_a_page_that_was_never_touched_is_no_conflict_in_a_fresh_copy(edition, solve):
    edition.tito("start", "--no-lab")
    (edition.root / ".tito/pairs.json").unlink()
    solve(edition, "double")
    assert "double 2 of 2 points passed" in squeezed(edition.tito("test", "01").out)


def test_the_module_last_used_is_meant_where_there_are_several(edition):
    text = edition.read(NOTEBOOK).replace("default_exp sums", "default_exp more").replace("Counter", "Other")
    edition.write("modules/source/02_more/toy_dev.py", text.replace("def double", "def treble"))
    edition.write("modules/source/02_more/module.toml", edition.read("modules/source/01_toy/module.toml"))
    edition.tito("status").refuses("which module? There are: 01_toy, 02_more", status=2)
    edition.tito("hint", "--module", "02")
    assert "02_more" in edition.tito("status").out


def test_where_to_write_is_told_by_cell_too_where_there_is_a_page(edition):
    edition.tito("start", "--no-lab")
    line = edition.line_of(NOTEBOOK, "raise NotImplementedError")
    said = edition.tito("test", "01").out
    assert f"write your code at {NOTEBOOK}:{line} (cell 5, line 10)" in said, said
    (edition.root / NOTEBOOK).unlink()
    assert f"write your code at {PAGE}: cell 5, line 10" in edition.tito("test", "01").out


def test_jupytext_opens_the_pair_although_the_page_was_made_later(edition):
    from jupytext.paired_paths import paired_paths

    old = (edition.root / NOTEBOOK).stat().st_mtime - 100
    os.utime(edition.root / NOTEBOOK, (old, old))
    edition.tito("start", "--no-lab")
    page, text = edition.root / PAGE, edition.root / NOTEBOOK
    assert page.stat().st_mtime <= text.stat().st_mtime, "jupytext takes the .py for outdated, and refuses to open"
    book = json.loads(page.read_text(encoding="utf-8"))
    pair = paired_paths(str(page), {"extension": ".ipynb"}, book["metadata"]["jupytext"]["formats"])
    assert {path for path, _ in pair} == {str(page), str(text)}
