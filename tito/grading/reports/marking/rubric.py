"""For what an answer in words earns points: OUT/rubric.toml, which is the instructor's."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tito.course.module import Module, Question
from tito.errors import TitoError

FILE = "rubric.toml"
NONE = "none"  # in a table of scores: the answer was read, and nothing of the rubric is in it
POINTS = re.compile(r"-?\d{1,4}(\.\d{1,2})?", re.ASCII)  # of an item
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
MOST = 9  # items, and comments, of a question: each has a key


@dataclass(frozen=True)
class Item:
    """Something that may be found in an answer, and the points for it: below 0 for what is wrong."""

    name: str
    text: str
    points: Decimal


@dataclass(frozen=True)
class Rubric:
    """points: the most that an answer earns. bank: comments that many answers will need."""

    question: Question
    points: int
    items: tuple[Item, ...]
    bank: tuple[str, ...] = ()

    def chosen(self, names: Iterable[str]) -> list[Item]:
        """The items of these names, in the rubric's order."""
        wanted = set(names)
        return [item for item in self.items if item.name in wanted]

    def earned(self, names: Iterable[str]) -> Decimal:
        """Never below 0, and never above the question's points."""
        total = sum((item.points for item in self.chosen(names)), Decimal(0))
        return min(max(total, Decimal(0)), Decimal(self.points))


def read(out: Path, module: Module) -> dict[str, Rubric]:
    """The rubric of every question; one item, `right`, for all its points where the file names none.

    Raises TitoError, one sentence that names the file and the key that is wrong.
    """
    path = out / FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal) if path.is_file() else {}
    except UnicodeDecodeError:
        raise TitoError(f"{path} is not UTF-8: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise TitoError(f"{path} is not valid TOML: {error}") from None
    questions = {question.id: question for question in module.questions}
    for name in tables:
        if name not in questions:
            known = f"there are: {', '.join(questions)}" if questions else "the module asks none"
            raise TitoError(f"{path}: there is no question '{name}'{nearest(name, questions)}; {known}")
    return {name: _rubric(f"{path}: {name}", asked, tables.get(name, {})) for name, asked in questions.items()}


def nearest(asked: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(asked, list(known), n=1, cutoff=0.4)
    return f" (the nearest is '{near[0]}')" if near else ""


def _rubric(where: str, question: Question, table: Any) -> Rubric:
    _check_keys(where, table, ("points", "items", "comments"))
    points, items, bank = table.get("points", question.points), table.get("items", {}), table.get("comments", [])
    if type(points) is not int or points < 0:
        raise TitoError(f"{where}: points must be a whole number from 0 on, got {points!r}")
    if not isinstance(items, dict) or len(items) > MOST:
        raise TitoError(f"{where}: items must be a table of up to {MOST}, such as items.{_EXAMPLE}")
    if not (isinstance(bank, list) and len(bank) <= MOST and all(isinstance(text, str) and text for text in bank)):
        raise TitoError(f"{where}: comments must be a list of up to {MOST} texts")
    made = tuple(_item(f"{where}.items.{name}", name, item) for name, item in items.items())
    if "items" not in table and points:
        made = (Item("right", "right", Decimal(points)),)
    most = sum((max(item.points, Decimal(0)) for item in made), Decimal(0))
    if most < points:
        raise TitoError(f"{where}: its items add up to {most}, so that nobody could earn its {points} points")
    return Rubric(question, points, made, tuple(bank))


_EXAMPLE = 'bound = { points = 2, text = "names the bound" }'


def _item(where: str, name: str, table: Any) -> Item:
    if not NAME.fullmatch(name) or name == NONE:
        raise TitoError(f"{where}: an item's name is a short lower-case word other than '{NONE}', got '{name}'")
    _check_keys(where, table, ("points", "text"))
    points, text = table.get("points"), table.get("text")
    if type(points) not in (int, Decimal) or not POINTS.fullmatch(f"{points}"):
        raise TitoError(f"{where}: points must be a number such as 2, -1 or 0.5, got {points!r}")
    if not (isinstance(text, str) and text.strip()):
        raise TitoError(f"{where}: text must say what a grader looks for, got {text!r}")
    return Item(name, text.strip(), Decimal(points))


def _check_keys(where: str, table: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(table, dict):
        raise TitoError(f"{where} must be a table with {', '.join(keys)}, got {table!r}")
    for key in sorted(table.keys() - set(keys)):
        raise TitoError(f"{where}: unknown key '{key}'{nearest(key, keys)}; known are {', '.join(keys)}")
