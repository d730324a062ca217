"""`tito reset` brings an exercise's stub back, and keeps a copy of what was there."""

from __future__ import annotations

import pytest

from tito.errors import Status

from ..toy_course import NOTEBOOK, PAGE, Course, Solve

RELEASED = "modules/source/01_toy/released"


def test_reset_brings_the_stub_back_and_keeps_the_text(edition: Course, solve: Solve) -> None:
    before = edition.read(NOTEBOOK)
    solve(edition, "double")
    solve(edition, "counter")
    mine = edition.read(NOTEBOOK)
    said = edition.tito("reset", "counter")
    assert said.status == Status.DONE
    copy = said.out.split()[-1]
    assert edition.read(copy) == mine and copy in said.out
    assert "return 2 * x" in edition.read(NOTEBOOK), "reset took another exercise with it"
    edition.tito("reset", "01", "double")
    assert edition.read(NOTEBOOK) == before


def test_reset_changes_both_forms_of_a_notebook(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.tito("start", "--no-lab")
    assert "return 2 * x" in edition.read(PAGE)
    said = edition.tito("reset", "double")
    assert "return 2 * x" not in edition.read(PAGE) + edition.read(NOTEBOOK)
    assert said.out.count("is as it was given") == 2
    assert edition.tito("export", "01").status == Status.DONE


@pytest.mark.parametrize("form", [NOTEBOOK, PAGE])
@pytest.mark.parametrize("looked", [[], ["test"], ["start", "--no-lab"]])
@pytest.mark.parametrize("asked", ["double", "counter"])
def test_after_a_reset_both_forms_hold_the_newer_text_of_everything_else(
    edition: Course, solve: Solve, form: str, looked: list[str], asked: str
) -> None:
    solve(edition, "double")
    edition.tito("start", "--no-lab")
    edition.change(form, "self.total = START", "self.total = START + 0")
    if looked:
        edition.tito(*looked)
    said = edition.tito("reset", asked)
    assert said.status == Status.DONE and said.out.count("is as it was given") == 2
    for text in (edition.read(NOTEBOOK), edition.read(PAGE)):
        assert ("return 2 * x" in text) == (asked != "double")
        assert ("self.total = START + 0" in text) == (asked == "double")
    assert "saved with other cells" not in edition.tito("test").out
    assert edition.tito("submit", "--untested").status == Status.DONE


def test_a_cell_that_is_two_in_the_text_is_reset_in_both_forms_alike(edition: Course) -> None:
    edition.tito("start", "--no-lab")
    edition.change(PAGE, "# YOUR CODE HERE", "x = 1\\n# %%\\nx = 2 #")
    edition.tito("test")
    assert edition.tito("reset", "double").status == Status.DONE
    assert edition.tito("export").status == Status.DONE


def test_reset_changes_nothing_where_both_forms_were_changed(edition: Course) -> None:
    edition.tito("start", "--no-lab")
    edition.change(PAGE, "# YOUR CODE HERE", "x = 1 #")
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "x = 2 #")
    edition.tito("export")
    before = edition.files()
    edition.tito("reset", "counter").refuses("hold different cells", "Keep one")
    assert edition.files() == before


def test_reset_says_what_to_do_where_the_cell_is_gone(edition: Course) -> None:
    text = edition.read(NOTEBOOK)
    edition.write(NOTEBOOK, text.replace("#| exercise: double", "# gone"))
    edition.tito("reset", "double").refuses("has 0 of the 1 cells of 'double'", "released/toy_dev.py")


def test_the_instructors_edition_cannot_be_reset(course: Course) -> None:
    before = course.files()
    course.tito("reset", "double").refuses("only a student's edition", status=2)
    assert course.files() == before


@pytest.mark.parametrize("asked", ["double", "counter", "toy_dev.py", NOTEBOOK])
def test_a_deleted_notebook_is_told_by_every_command_and_comes_back_as_it_was_given(
    edition: Course, asked: str
) -> None:
    given = edition.read(NOTEBOOK)
    (edition.root / NOTEBOOK).unlink()
    mend = f"`tito reset toy_dev.py` puts it back as it was given, from {RELEASED}/toy_dev.py"
    for command in (["test", "01"], ["export"], ["start", "--no-lab"], ["submit"]):
        edition.tito(*command).refuses(f"{NOTEBOOK} is missing", mend)
    assert edition.tito("status").status == Status.DONE
    assert f"Fix: {mend}" in edition.tito("doctor").out
    said = edition.tito("reset", asked)
    assert said.status == Status.DONE and "it was missing" in said.out
    assert edition.read(NOTEBOOK) == given
    assert edition.tito("export").status == Status.DONE


def test_a_notebook_of_which_one_form_is_there_is_not_missing(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.tito("start", "--no-lab")
    (edition.root / NOTEBOOK).unlink()
    edition.tito("reset", "counter")
    assert "return 2 * x" in edition.read(PAGE), "an exercise is put back in the form that is there"
    page = edition.read(PAGE)
    said = edition.tito("reset", "toy_dev.py")
    copy = said.out.split(" is in ")[1].split("\n")[0]
    assert edition.read(copy) == page and edition.read(NOTEBOOK) == edition.read(f"{RELEASED}/toy_dev.py")


@pytest.mark.parametrize("asked", ["toy/__init__.py", "toy"])
def test_a_deleted_file_of_the_package_is_told_and_comes_back(edition: Course, asked: str) -> None:
    given = edition.read("toy/__init__.py")
    (edition.root / "toy/__init__.py").unlink()
    mend = f"`tito reset toy/__init__.py` puts back as it was given what is missing, from {RELEASED}/package.zip"
    edition.tito("test", "01").refuses("toy/__init__.py is missing", mend)
    assert mend in edition.tito("doctor").out
    assert edition.tito("reset", asked).status == Status.DONE
    assert edition.read("toy/__init__.py") == given
    assert "not started" in edition.tito("test", "01").out


def test_a_file_of_the_package_that_was_changed_is_kept_when_it_is_put_back(edition: Course) -> None:
    given = edition.read("toy/__init__.py")
    edition.write("toy/__init__.py", "mine = 1\n")
    said = edition.tito("reset", "toy/__init__.py")
    assert edition.read("toy/__init__.py") == given
    assert edition.read(said.out.split()[-1]) == "mine = 1\n"


def test_what_is_neither_an_exercise_nor_given_is_refused(edition: Course) -> None:
    before = edition.files()
    edition.tito("reset", "../toy").refuses("no exercise", status=2)
    edition.tito("reset", "toy/sums.py").refuses("no exercise", status=2)
    assert edition.files() == before
