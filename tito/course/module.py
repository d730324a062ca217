"""A module's one table, `module.toml`, as Module, Notebook, Exercise and Question: order, titles, points and hints."""

from __future__ import annotations

import difflib
import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tito.course.project import RELEASED, Project
from tito.errors import TitoError, WrongCall

RELATIVE_PATH = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")  # downwards only
ID = re.compile(r"[a-z][a-z0-9_]*")  # of an exercise or a question
PART_NAME = re.compile(r"[A-Za-z]\w*( \w+)*", re.ASCII)  # it is a part of other programs' names, too


@dataclass(frozen=True)
class Part:
    """A function, a class or a claim of an exercise, which earns its points whatever the other parts do."""

    name: str
    points: int


@dataclass(frozen=True)
class Exercise:
    id: str
    title: str
    points: int
    hints: tuple[str, str, str]
    parts: tuple[Part, ...] = ()  # over which its points are split; none: all of them are earned together


@dataclass(frozen=True)
class Question:
    """A question that is answered in words, in a text cell, and marked by a person."""

    id: str
    title: str
    points: int = 0  # beyond those of the exercises; an instructor's rubric may say other


@dataclass(frozen=True)
class Notebook:
    """One dev notebook. `path` is its .py; a person may have only the .ipynb beside it, or both."""

    path: Path
    exercises: tuple[Exercise, ...]
    questions: tuple[Question, ...] = ()

    @property
    def ids(self) -> list[str]:
        return [exercise.id for exercise in self.exercises] + [question.id for question in self.questions]


@dataclass(frozen=True)
class Module:
    name: str
    title: str
    notebooks: tuple[Notebook, ...]
    given: tuple[str, ...] = ()  # folders and files of the package that an exercise finds where it is graded

    @property
    def exercises(self) -> tuple[Exercise, ...]:
        """All exercises in the order in which they are solved."""
        return tuple(exercise for notebook in self.notebooks for exercise in notebook.exercises)

    @property
    def questions(self) -> tuple[Question, ...]:
        """All questions in the order in which they are asked."""
        return tuple(question for notebook in self.notebooks for question in notebook.questions)

    @property
    def points(self) -> int:
        """Those of the exercises."""
        return sum(exercise.points for exercise in self.exercises)

    @property
    def names(self) -> list[str]:
        """By what an exercise may be called: its id, or the name of a part."""
        return [name for entry in self.exercises for name in (entry.id, *(part.name for part in entry.parts))]

    def notebook_of(self, exercise_id: str) -> Notebook:
        """The notebook that holds an exercise. Raises WrongCall, with the nearest name, where none does."""
        for notebook in self.notebooks:
            if any(exercise.id == exercise_id for exercise in notebook.exercises):
                return notebook
        raise WrongCall(f"{self.name} has no exercise '{exercise_id}'{self._nearest(exercise_id)}")

    def exercise_of(self, asked: str) -> Exercise:
        """The exercise of this id, or else the only one that has a part of this name. Raises WrongCall for no such."""
        by_id = [exercise for exercise in self.exercises if exercise.id == asked]
        by_part = [exercise for exercise in self.exercises if asked in [part.name for part in exercise.parts]]
        if by_id or len(by_part) == 1:
            return (by_id or by_part)[0]
        raise WrongCall(f"{self.name} has no exercise '{asked}'{self._nearest(asked)}")

    def _nearest(self, asked: str) -> str:
        """What a person may have meant by the name of no exercise, and the names that there are."""
        wholes = [exercise.id for exercise in self.exercises if asked in [part.name for part in exercise.parts]]
        ids = [exercise.id for exercise in self.exercises]
        if wholes:
            return f": it is a part of {' and of '.join(wholes)}"
        return f"{closest(asked, ids)}. It has: {', '.join(ids)}."


def module_names(project: Project) -> list[str]:
    """Every folder that has a module.toml, in order."""
    return sorted(path.parent.name for path in project.source.glob("*/module.toml"))


def find_module_name(project: Project, asked: str, instead: str = "write {}") -> str:
    """The module that `asked` names: in full, or by a beginning that only one module has (`17`).

    instead: what to do where an exercise is named, with `{}` for its module.
    """
    names = module_names(project)
    asked = Path(asked).name  # modules/source/17_quantization/ is what a shell completes to
    begun = [name for name in names if name.startswith(asked)] if asked else []
    if asked in names:
        return asked
    if len(begun) == 1:
        return begun[0]
    known = f"There are: {', '.join(names)}." if names else f"{project.shown(project.source)} holds none."
    if begun:
        raise WrongCall(f"'{asked}' could be any of {', '.join(begun)}: write more of the name")
    if holder := _holder(project, asked, names):
        name, what = holder
        raise WrongCall(f"'{asked}' is {what} of {name}, and a module is wanted here: {instead.format(name)}")
    raise WrongCall(f"there is no module '{asked}'{closest(asked, names)}. {known}")


def _holder(project: Project, asked: str, names: list[str]) -> tuple[str, str] | None:
    """The first module that has an exercise or a part of this name, and which of the two it is."""
    for name in names:
        with suppress(TitoError):  # of a module that cannot be read
            module = load_module(project, name)
            if asked in module.names:
                return name, "an exercise" if asked in [e.id for e in module.exercises] else "a part of an exercise"
    return None


def load_module(project: Project, name: str) -> Module:
    """Read and check a module's table. Raises TitoError naming the file and the key that is wrong."""
    path = project.module_toml(name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WrongCall(f"{project.shown(path)} is missing: every module has one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TitoError(f"{project.shown(path)} is not valid TOML: {error}") from None
    return _Table(project.shown(path), table).module(name, path.parent)


def closest(asked: str, names: list[str]) -> str:
    """The name that is spelled most alike, as words to put behind the one that was asked for; empty where none is."""
    near = difflib.get_close_matches(asked, names, n=1, cutoff=0.4)
    return f" (the nearest is '{near[0]}')" if near else ""


@dataclass(frozen=True)
class _Table:
    """A TOML table that knows where it stands, so that every complaint names the file and the key."""

    where: str
    values: dict[str, Any]

    def module(self, name: str, folder: Path) -> Module:
        self.allow("title", "given", "notebook")
        title = self.text("title")
        notebooks = tuple(table.notebook(folder) for table in self.tables("notebook"))
        for what, seen in (
            ("id", [name for notebook in notebooks for name in notebook.ids]),
            ("notebook file", [notebook.path.name for notebook in notebooks]),
        ):
            for value in seen:
                if seen.count(value) > 1:
                    self.fail(f"the {what} '{value}' is used twice: each needs its own")
        if not any(notebook.exercises for notebook in notebooks):
            self.fail("no exercise at all; add [[notebook.exercise]] with id, title, points and hints")
        return Module(name, title, notebooks, self.names("given"))

    def notebook(self, folder: Path) -> Notebook:
        self.allow("file", "exercise", "question")
        path = folder / self.text("file")
        if path.parent != folder or path.suffix != ".py":
            self.fail(f"file must name a .py beside module.toml, got '{self.values['file']}'")
        forms = (path, path.with_suffix(".ipynb"), path.parent / RELEASED / path.name)  # the last can be put back
        if not any(form.is_file() for form in forms):
            self.fail(f"file '{path.name}' does not exist, nor does {path.with_suffix('.ipynb').name}")
        rows = self.tables("exercise") if "exercise" in self.values else []  # a notebook may only show
        asked = self.tables("question") if "question" in self.values else []
        return Notebook(path, tuple(row.exercise() for row in rows), tuple(row.question() for row in asked))

    def exercise(self) -> Exercise:
        self.allow("id", "title", "points", "parts", "hints")
        name, points, hints = self.text("id"), self.get("points"), self.get("hints")
        if not ID.fullmatch(name):
            self.fail(f"id must be a lower-case name such as 'choose_qparams' (its tests are test_ID.py), got '{name}'")
        if type(points) is not int or points < 1:
            self.fail(f"points of '{name}' must be a whole number above 0, got {points!r}")
        if not (isinstance(hints, list) and len(hints) == 3 and all(isinstance(h, str) and h.strip() for h in hints)):
            got = f"{len(hints)}" if isinstance(hints, list) else repr(hints)
            self.fail(f"hints of '{name}' must be three texts (a question, a nudge, nearly the line), got {got}")
        return Exercise(name, self.text("title"), points, (hints[0], hints[1], hints[2]), self.parts(name, points))

    def question(self) -> Question:
        self.allow("id", "title", "points")
        name, points = self.text("id"), self.values.get("points", 0)
        if not ID.fullmatch(name):
            self.fail(f"id must be a lower-case name such as 'acceptable_loss', got '{name}'")
        if type(points) is not int or points < 0:
            self.fail(f"points of '{name}' must be a whole number from 0 on, got {points!r}")
        return Question(name, self.text("title"), points)

    def parts(self, exercise: str, points: int) -> tuple[Part, ...]:
        """How an exercise's points are split; not at all where the key is missing."""
        if "parts" not in self.values:
            return ()
        table = self.values["parts"]
        if not (isinstance(table, dict) and all(type(value) is int and value > 0 for value in table.values())):
            wanted = "whole numbers above 0 by name, such as { quantize = 3, dequantize = 2 }"
            self.fail(f"parts of '{exercise}' must be {wanted}, got {table!r}")
        for name in table:
            if not PART_NAME.fullmatch(name):
                self.fail(f"a part of '{exercise}' must be called as its function is, or in a few words, got '{name}'")
        if sum(table.values()) != points:
            self.fail(f"the parts of '{exercise}' add up to {sum(table.values())}, and its points are {points}")
        return tuple(Part(name, value) for name, value in table.items())

    def fail(self, message: str) -> NoReturn:
        raise TitoError(f"{self.where}: {message}")

    def allow(self, *keys: str) -> None:
        for key in sorted(self.values.keys() - set(keys)):
            self.fail(f"unknown key '{key}'{closest(key, list(keys))}; known are {', '.join(keys)}")

    def get(self, key: str) -> Any:
        if key not in self.values:
            name = self.values.get("id")
            self.fail(f"{key} is missing" + (f" for '{name}'" if name else ""))
        return self.values[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not (isinstance(value, str) and value.strip()):
            self.fail(f"{key} must be a text, got {value!r}")
        return str(value)

    def names(self, key: str) -> tuple[str, ...]:
        """A list of paths below a folder; none where the key is missing."""
        values = self.values.get(key, [])
        if not (isinstance(values, list) and all(isinstance(v, str) and RELATIVE_PATH.fullmatch(v) for v in values)):
            self.fail(f'{key} must be a list of folders and files of the package, such as ["core"], got {values!r}')
        return tuple(values)

    def tables(self, key: str) -> list[_Table]:
        rows = self.get(key)
        if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
            self.fail(f"{key} must be a list of tables, each begun with [[...{key}]]")
        return [_Table(f"{self.where}: {key} {number}", row) for number, row in enumerate(rows, 1)]
