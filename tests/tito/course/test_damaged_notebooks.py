"""Notebooks that are damaged, incomplete or in the way: one sentence each, the right exit status, and nothing lost."""

from __future__ import annotations

import json

import pytest

from tito.course import notebook

from ..toy_course import NOTEBOOK, PAGE, Course


def page(course: Course, **changes: object) -> None:
    """Keep only the .ipynb, as JSON with these keys changed; None takes one away."""
    path = course.root / NOTEBOOK
    book = json.loads(notebook.page_text(notebook.load(course.project, path))) | changes
    course.write(PAGE, json.dumps({key: value for key, value in book.items() if value is not None}))
    path.unlink()


@pytest.mark.parametrize(
    "changes",
    [{"nbformat": None}, {"nbformat": None, "nbformat_minor": None}, {"nbformat": "4"}, {"metadata": None}]
    + [{"metadata": {"jupytext": "x"}}, {"nbformat_minor": 99}, {"extra": [float("nan"), 10**400]}],
    ids=str,
)
def test_a_notebook_needs_no_more_than_its_cells(edition: Course, changes: dict[str, object]) -> None:
    page(edition, **changes)
    for command in ("export", "status", "doctor"):
        said = edition.tito(command)
        assert (said.status, said.err) == (0, "") or command == "doctor", said
    assert edition.tito("start", "--no-lab").status == 0
    assert "exercise: double" in edition.read(NOTEBOOK)
    assert edition.tito("reset", "double").status == 0
    assert edition.tito("submit", "--untested").status == 0


OLD = {"worksheets": [{"cells": []}], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}
DAMAGED = {
    "empty": "",
    "cut off": '{"cells": [',
    "a list": "[]",
    "a number": "1",
    "no cells": "{}",
    "cells of text": '{"cells": ["x"]}',
    "cells of none": '{"cells": null}',
    "a source of numbers": '{"cells": [{"cell_type": "code", "source": 1}]}',
    "nested too deeply": "[" * 200_000,
    "whole, and too deep for some Pythons": '{"cells": [], "x": ' + "[" * 2_000 + "]" * 2_000 + "}",
    "a number too long": '{"cells": [], "x": ' + "9" * 10_000 + "}",
    "of before 2015": json.dumps(OLD),
    "a page of HTML": "<html>",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("alone", [True, False])
def test_a_damaged_ipynb_is_one_sentence_for_every_command(edition: Course, damage: str, alone: bool) -> None:
    edition.write(PAGE, DAMAGED[damage])
    if alone:
        (edition.root / NOTEBOOK).unlink()
    before = edition.files()
    for arguments in (["export"], ["test"], ["submit", "--untested"], ["start", "--no-lab"], ["reset", "double"]):
        edition.tito(*arguments).refuses("toy_dev.ipynb cannot be read as a notebook (")
    assert edition.tito("status").status == 0
    after = edition.files()
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("where", ["code", "markdown", "output"])
def test_half_a_surrogate_pair_stops_nothing(edition: Course, where: str) -> None:
    path = edition.root / NOTEBOOK
    book = json.loads(notebook.page_text(notebook.load(edition.project, path)))
    path.unlink()
    output = {"output_type": "stream", "name": "stdout", "text": "a \ud83d b"}
    code = {"cell_type": "code", "id": "x", "metadata": {}, "execution_count": 1, "outputs": [], "source": "x = 1"}
    extra = {
        "code": code | {"source": "x = 'a \ud83d b'"},
        "markdown": {"cell_type": "markdown", "id": "x", "metadata": {}, "source": "a \ud83d b"},
        "output": code | {"outputs": [output]},
    }[where]
    book["cells"].insert(3, extra)
    edition.write(PAGE, json.dumps(book))
    assert edition.tito("reset", "double").status == 0
    assert edition.tito("export").status == 0
    assert json.loads(edition.read(PAGE))["cells"][3] == extra, "what is not reset stays as it was"
    assert edition.tito("start", "--no-lab").status == 0
    assert notebook.read(edition.project, path).path == path, "and the two forms agree"
    assert edition.tito("submit", "--untested").status == 0


def test_half_a_surrogate_pair_in_exported_code_becomes_a_question_mark(edition: Course) -> None:
    edition.change(NOTEBOOK, "START = 0", "START = 0\nTEXT = 'half'")
    page(edition)
    edition.change(PAGE, "half", "\\ud83d")
    assert edition.tito("export").status == 0
    assert "TEXT = '?'" in edition.read("toy/sums.py")


def test_folders_and_links_in_a_notebooks_place_are_told(edition: Course) -> None:
    (edition.root / PAGE).mkdir()
    assert edition.tito("export").status == 0, "a folder is no other form of the notebook"
    edition.tito("start", "--no-lab").refuses("toy_dev.ipynb could not be written (Is a directory)")
    (edition.root / PAGE).rmdir()
    (edition.root / NOTEBOOK).unlink()
    (edition.root / NOTEBOOK).mkdir()
    edition.tito("export").refuses("toy_dev.py")
