"""A module's one table, `module.toml`, as Module, Notebook and Exercise: order, titles, points and hints live there."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tito.course.project import RELEASED, Project
from tito.errors import TitoError, WrongCall

RELATIVE_PATH = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")  # downwards only
EXERCISE_ID = re.compile(r"[a-z][a-z0-9_]*")
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
class Notebook:
    """One dev notebook. `path` is its .py; a person may have only the .ipynb beside it, or both."""

    path: Path
    exercises: tuple[Exercise, ...]


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
    def points(self) -> int:
        return sum(exercise.points for exercise in self.exercises)

    def notebook_of(self, exercise_id: str) -> Notebook:
        """The notebook that holds an exercise. Raises WrongCall, with the nearest name, where none does."""
        for notebook in self.notebooks:
            if any(exercise.id == exercise_id for exercise in notebook.exercises):
                return notebook
        ids = [exercise.id for exercise in self.exercises]
        near = _closest(exercise_id, ids)
        raise WrongCall(f"{self.name} has no exercise '{exercise_id}'{near}. It has: {', '.join(ids)}.")


def module_names(project: Project) -> list[str]:
    """Every folder that has a module.toml, in order."""
    return sorted(path.parent.name for path in project.source.glob("*/module.toml"))


def find_module_name(project: Project, asked: str) -> str:
    """The module that `asked` names: in full, or by a beginning that only one module has (`17`)."""
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
    raise WrongCall(f"there is no module '{asked}'{_closest(asked, names)}. {known}")


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


def _closest(asked: str, names: list[str]) -> str:
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
            ("exercise id", [exercise.id for notebook in notebooks for exercise in notebook.exercises]),
            ("notebook file", [notebook.path.name for notebook in notebooks]),
        ):
            for value in seen:
                if seen.count(value) > 1:
                    self.fail(f"the {what} '{value}' is used twice: each needs its own")
        if not any(notebook.exercises for notebook in notebooks):
            self.fail("no exercise at all; add [[notebook.exercise]] with id, title, points and hints")
        return Module(name, title, notebooks, self.names("given"))

    def notebook(self, folder: Path) -> Notebook:
        self.allow("file", "exercise")
        path = folder / self.text("file")
        if path.parent != folder or path.suffix != ".py":
            self.fail(f"file must name a .py beside module.toml, got '{self.values['file']}'")
        forms = (path, path.with_suffix(".ipynb"), path.parent / RELEASED / path.name)  # the last can be put back
        if not any(form.is_file() for form in forms):
            self.fail(f"file '{path.name}' does not exist, nor does {path.with_suffix('.ipynb').name}")
        rows = self.tables("exercise") if "exercise" in self.values else []  # a notebook may only show
        return Notebook(path, tuple(row.exercise() for row in rows))

    def exercise(self) -> Exercise:
        self.allow("id", "title", "points", "parts", "hints")
        name, points, hints = self.text("id"), self.get("points"), self.get("hints")
        if not EXERCISE_ID.fullmatch(name):
            self.fail(f"id must be a lower-case name such as 'choose_qparams' (its tests are test_ID.py), got '{name}'")
        if type(points) is not int or points < 1:
            self.fail(f"points of '{name}' must be a whole number above 0, got {points!r}")
        if not (isinstance(hints, list) and len(hints) == 3 and all(isinstance(h, str) and h.strip() for h in hints)):
            got = f"{len(hints)}" if isinstance(hints, list) else repr(hints)
            self.fail(f"hints of '{name}' must be three texts (a question, a nudge, nearly the line), got {got}")
        return Exercise(name, self.text("title"), points, (hints[0], hints[1], hints[2]), self.parts(name, points))

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
            self.fail(f"unknown key '{key}'{_closest(key, list(keys))}; known are {', '.join(keys)}")

    def get(self, key: str) -> Any:
        if key not in self.values:
            name = self.values.get("id")
            self.fail(f"{key} is missing" + (f" for exercise '{name}'" if name else ""))
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
