"""`tito reset` brings an exercise's stub back, and keeps a copy of what was there."""

from __future__ import annotations

from tito.errors import Status

from ..toy_course import NOTEBOOK, PAGE, Course, Solve


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
    edition.tito("reset", "double")
    assert edition.read(NOTEBOOK) == before


def test_reset_changes_both_forms_of_a_notebook(edition: Course, solve: Solve) -> None:
    solve(edition, "double")
    edition.tito("start", "--no-lab")
    assert "return 2 * x" in edition.read(PAGE)
    said = edition.tito("reset", "double")
    assert "return 2 * x" not in edition.read(PAGE) + edition.read(NOTEBOOK)
    assert said.out.count("is as it was given") == 2
    assert edition.tito("export", "01").status == Status.DONE


def test_reset_says_what_to_do_where_the_cell_is_gone(edition: Course) -> None:
    text = edition.read(NOTEBOOK)
    edition.write(NOTEBOOK, text.replace("#| exercise: double", "# gone"))
    edition.tito("reset", "double").refuses("has 0 of the 1 cells of 'double'", "released/toy_dev.py")


def test_the_instructors_edition_cannot_be_reset(course: Course) -> None:
    before = course.files()
    course.tito("reset", "double").refuses("only a student's edition", status=2)
    assert course.files() == before
