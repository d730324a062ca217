"""A short and fixed part of the fuzz, and that the fuzz itself can find what it looks for.

The whole of it: `python -m tests.tito.fuzz --notebooks 2000 --seed 0`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from importlib import resources

import pytest

from . import command
from .kinds import KINDS, Context, File, Kind
from .memory import Memory, meaning
from .page import Page, solved
from .ways import Ways

CASES = [f"ci:{number}" for number in range(4)]


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("ways")
    (folder / "memory").mkdir()
    with Ways(folder / "course", Memory(folder / "memory")) as ways:
        yield ways


def changes_something(kind: Kind, page: Page) -> bool:
    """Whether it changes this page, or its file, as one of a dozen students would."""
    files = {page.name: File(page.file())}
    stub = replace(page, cells=[replace(cell, source=cell.head) for cell in page.cells])
    for seed in range(12):
        context, changed = Context(random.Random(seed), stubs={page.stem: stub}), deepcopy(page)
        if kind.where == "cells":
            kind.apply(context, changed)
            done = changed != page
        elif kind.where == "bytes":
            done = kind.apply(context, files[page.name].data, page.suffix) != files[page.name].data
        else:
            done = kind.apply(context, files) != files
        if done:
            return True
    return False


def test_the_catalogue_is_as_long_as_it_says_and_each_kind_changes_something(ways: Ways) -> None:
    assert len(KINDS) >= 40
    pages = [solved(ways.here, entry) for entry in ways.module.notebooks]
    pages += [replace(page, cells=[cell for cell in page.cells if cell.kind == "code"]) for page in pages]
    pages += [replace(page, suffix=".ipynb") for page in pages]
    idle = [name for name, kind in KINDS.items() if not any(changes_something(kind, page) for page in pages)]
    assert not idle, f"kinds of change that change nothing: {', '.join(idle)}"


def test_what_excuses_nbgrader_stands_in_its_readme() -> None:
    text = resources.files("tito.releasing").joinpath("templates", "nbgrader.md").read_text(encoding="utf-8")
    readme = re.sub(r"\s+", " ", text)
    missing = {kind.in_nbgrader for kind in KINDS.values() if kind.in_nbgrader not in readme}
    assert not missing, f"not a sentence of nbgrader's README: {missing}"


def test_code_has_one_meaning_whatever_its_comments_and_another_where_a_number_differs() -> None:
    assert meaning("x = 1  # one\n\n") == meaning("x=1") != meaning("x = 2")
    assert meaning("x = (") == "x = ("


@pytest.mark.parametrize("name", CASES)
def test_every_way_gives_the_same_points(ways: Ways, name: str) -> None:
    made = command.case(ways, name)
    found = command.differences(ways, made, command.results(ways, made))
    unexplained = [f"{one.exercise}: {one.points}" for one in found if not one.why]
    assert not unexplained, f"{', '.join(kind.name for kind in made.kinds)}: {unexplained}"


def test_a_way_that_loses_a_point_is_found(ways: Ways) -> None:
    made = command.case(ways, "lost", "run_all")
    came = command.results(ways, made)
    assert not command.differences(ways, made, came)
    came["gradescope"] = replace(came["gradescope"], points=came["gradescope"].points | {"clip": 0})
    lost = command.differences(ways, made, came)
    assert [(one.exercise, one.why) for one in lost] == [("clip", "")], f"expected clip to be found, got {lost}"


def test_a_point_that_all_ways_lose_is_found(ways: Ways) -> None:
    made = command.case(ways, "lost by all", "crlf")
    came = command.results(ways, made)
    for way, result in came.items():
        came[way] = replace(result, points=result.points | {"report": 0})
    lost = command.differences(ways, made, came)
    assert [(one.exercise, one.why) for one in lost] == [("report", "")], f"expected report to be found, got {lost}"
