"""rubric.toml: for what an answer earns points, and one sentence for what is wrong in it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tito.course.module import Module
from tito.errors import TitoError
from tito.grading.reports.marking import rubric

from .asked import RUBRIC, asking


@pytest.fixture
def asked(module: Module) -> Module:
    return asking(module)


def test_a_rubric_says_what_earns_how_much(asked: Module, tmp_path: Path) -> None:
    (tmp_path / rubric.FILE).write_text(RUBRIC, encoding="utf-8")
    found = rubric.read(tmp_path, asked)["overflow"]
    assert (found.points, [item.name for item in found.items]) == (3, ["bound", "type", "wrong"])
    assert found.earned(["bound", "type"]) == 3 and found.earned(["type"]) == Decimal("1.5")
    assert found.earned(["wrong"]) == 0 and found.earned(["wrong", "bound"]) == 1
    assert found.bank == ("For which type?",)


def test_without_a_rubric_a_question_has_the_points_of_its_module_and_none_by_default(
    module: Module, tmp_path: Path
) -> None:
    found = rubric.read(tmp_path, asking(module, points=2))
    assert [(r.points, r.earned(["right"])) for r in found.values()] == [(2, Decimal(2))] * 2
    (tmp_path / rubric.FILE).write_text("[state]\npoints = 4\n", encoding="utf-8")
    found = rubric.read(tmp_path, asking(module))
    assert [(r.points, r.earned(["right"])) for r in found.values()] == [(0, Decimal(0)), (4, Decimal(4))]
    (tmp_path / rubric.FILE).unlink()
    found = rubric.read(tmp_path, asking(module))
    assert [(r.points, r.items) for r in found.values()] == [(0, ()), (0, ())]


def test_more_than_the_points_of_a_question_nobody_earns(asked: Module, tmp_path: Path) -> None:
    text = "[state]\npoints = 1\nitems.a = { points = 1, text = 'a' }\nitems.b = { points = 1, text = 'b' }\n"
    (tmp_path / rubric.FILE).write_text(text, encoding="utf-8")
    assert rubric.read(tmp_path, asked)["state"].earned(["a", "b"]) == 1


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[overflow]", "[overfull]", "there is no question 'overfull' (the nearest is 'overflow')"),
        ("[overflow]", "overflow = 3\n[state]", "overflow must be a table with points, items, comments, got 3"),
        ("points = 3", "points = 2.5", "overflow: points must be a whole number from 0 on, got Decimal('2.5')"),
        ("points = 3", "points = -3", "points must be a whole number from 0 on, got -3"),
        ("points = 3", "points = true", "points must be a whole number from 0 on, got True"),
        ("points = 3", "points = 4", "its items add up to 3.5, so that nobody could earn its 4 points"),
        ("points = 3", "point = 3", "unknown key 'point' (the nearest is 'points')"),
        ("items.bound", "items.none", "an item's name is a short lower-case word other than 'none', got 'none'"),
        ("items.bound", 'items."the bound"', "an item's name is a short lower-case word"),
        ("{ points = 2,", "{ points = 'two',", "overflow.items.bound: points must be a number such as 2, -1 or 0.5"),
        ("{ points = 2,", "{ points = nan,", "overflow.items.bound: points must be a number such as 2, -1 or 0.5"),
        ("{ points = 2,", "{ points = 1e50,", "overflow.items.bound: points must be a number such as 2, -1 or 0.5"),
        ("{ points = 2,", "{ points = -inf,", "overflow.items.bound: points must be a number such as 2, -1 or 0.5"),
        ("{ points = 2,", "{ points = 1.005,", "overflow.items.bound: points must be a number such as 2, -1 or 0.5"),
        ("text = 'the bound'", "text = ''", "overflow.items.bound: text must say what a grader looks for, got ''"),
        ("text = 'the bound'", "texts = ''", "overflow.items.bound: unknown key 'texts'"),
        ("['For which type?']", "'For which type?'", "comments must be a list of up to 9 texts"),
        ("['For which type?']", "['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']", "a list of up to 9 texts"),
        ("[overflow]", "[overflow", "rubric.toml is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_rubric_is_one_sentence(
    asked: Module, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in RUBRIC
    (tmp_path / rubric.FILE).write_text(RUBRIC.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(TitoError) as error:
        rubric.read(tmp_path, asked)
    assert sentence in str(error.value) and rubric.FILE in str(error.value) and "\n" not in str(error.value)


def test_more_items_than_keys_and_a_file_that_is_no_text_are_refused(asked: Module, tmp_path: Path) -> None:
    items = "".join(f"items.i{number} = {{ points = 1, text = 'x' }}\n" for number in range(10))
    (tmp_path / rubric.FILE).write_text(f"[state]\npoints = 1\n{items}", encoding="utf-8")
    with pytest.raises(TitoError, match="items must be a table of up to 9"):
        rubric.read(tmp_path, asked)
    (tmp_path / rubric.FILE).write_bytes("[state]\n# größer".encode("latin-1"))
    with pytest.raises(TitoError, match="is not UTF-8"):
        rubric.read(tmp_path, asked)
