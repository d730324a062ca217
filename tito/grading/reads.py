"""What a run of an exercise's tests reads of the course: each thing in words, with a hash of it.

Every run loads the given code of all notebooks and the given files of the package, for a student's cell may use any of
it. Its own are the exercise's test files and what these name: helpers that stand beside them, and what those name in
turn. A file is named by an import, or by a text that holds its name, its folder's name or its suffix.

Not here, for no run reads it: points, hints, titles, prose, and the tests of other exercises.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tito import files
from tito.course.edition import Edition
from tito.course.module import Exercise

Reads = dict[str, str]  # what is read, in words -> a hash of it
NAME = re.compile(r"[\w.-]+")
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # of what is no Python


class Reading:
    """What the runs of an edition's exercises read."""

    def __init__(self, edition: Edition) -> None:
        self._edition, self._project, self._module = edition, edition.project, edition.module
        self._tests = self._project.module_tests(self._module.name)
        self._beside = {
            path: _names(path.relative_to(self._tests))
            for path in files_below(self._tests)
            if path.name != "conftest.py"
        }
        self._words = cache(_words)

    def of_all(self) -> Reads:
        """What each run reads. A conftest.py above the module's tests serves other modules as well: of the package it
        may name what no exercise of this one meets.
        """
        above = _conftests(self._project.root, self._project.tests)
        own = _conftests(self._tests, self._tests / "hidden")
        helpers = self._named(own) | {path for path in self._named(above) if not self._is_of_package(path)}
        order = [(entry.path.name, [exercise.id for exercise in entry.exercises]) for entry in self._module.notebooks]
        settings = [self._project.package_name, self._project.pyproject.get("tool", {}).get("pytest")]
        return (
            self._contents([*above, *own, *sorted(helpers), *self._edition.package.files])
            | {
                f"given code of {name}": hash_of([(place.exercise, place.given, place.last) for place in places])
                for name, places in self._edition.modules.items()
            }
            | {"order of the exercises": hash_of(order), "settings of pytest in pyproject.toml": hash_of(settings)}
        )

    def of_each(self) -> dict[str, Reads]:
        """What the runs of single exercises read besides."""
        return {exercise.id: self._of_one(exercise) for exercise in self._module.exercises}

    def _of_one(self, exercise: Exercise) -> Reads:
        """Of its parts the names count, for tests are marked with them. The solution is run where somebody fails."""
        visible, hidden = self._project.test_files(self._module.name, exercise.id)
        tests = {what: file for what, file in (("tests", visible), ("hidden tests", hidden)) if file.is_file()}
        solution = [_statements(source) for source in self._edition.reference.get(exercise.id, ())]
        return (
            {f"{what} of {exercise.id}": files.digest(file.read_bytes()) for what, file in tests.items()}
            | {f"parts of {exercise.id}": hash_of([part.name for part in exercise.parts])}
            | {f"reference solution of {exercise.id}": hash_of(solution)}
            | self._contents(sorted(self._named(tests.values())))
        )

    def _contents(self, paths: Iterable[Path]) -> Reads:
        return {self._project.shown(path): files.digest(path.read_bytes()) for path in paths}

    def _named(self, readers: Iterable[Path]) -> set[Path]:
        """The files that these files name, and those that these name in turn."""
        found, waiting = set[Path](), list(readers)
        own = set(waiting)
        while waiting:
            reader = waiting.pop()
            words = self._words(reader)
            more = {path for path, names in self._beside.items() if names & words}
            more |= {path for place in (self._project.root, reader.parent) for path in self._imported(place, words)}
            more -= found | own
            waiting += [path for path in more if path.suffix == ".py" and not self._is_of_package(path)]
            found |= more
        return found

    def _imported(self, place: Path, words: Iterable[str]) -> Iterator[Path]:
        """The Python files at a place, by these dotted names. Of the course's package all, for one imports another; of
        this program none, for it decides every outcome.
        """
        tops = {path.stem for path in place.iterdir() if path.suffix == ".py" or path.is_dir()} - {"tito"}
        for word in words:
            path = place.joinpath(*word.split("."))
            if word.partition(".")[0] not in tops:
                continue
            if self._is_of_package(path):
                yield from files_below(self._project.package)
            yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())

    def _is_of_package(self, path: Path) -> bool:
        return path.is_relative_to(self._project.package)


def _conftests(*folders: Path) -> list[Path]:
    return [path for folder in folders if (path := folder / "conftest.py").is_file()]


def _names(path: Path) -> set[str]:
    """By which words a text names a file, whose path is seen from the folder of the tests."""
    folders, is_test = set(path.parts[:-1]) - {"hidden"}, path.name.startswith("test_")
    return {path.name, *folders, *([path.stem] if path.suffix == ".py" else []), *([] if is_test else [path.suffix])}


def _words(file: Path) -> set[str]:
    """What a Python file uses, imports or holds as a text, whole and in pieces; comments, docstrings name nothing."""
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except UNREADABLE:
        return set(NAME.findall(text))
    told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    found = set[str]()
    for node in nodes:
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module, *(f"{module}.{alias.name}" for alias in names)}
            case ast.Constant(value=str(value)) if id(node) not in told:
                found |= set(NAME.findall(value))
    return (found | {part for word in found for part in word.split(".")}) - {""}


def _statements(source: str) -> str:
    """What code does: its text without comments and layout."""
    try:
        return ast.dump(ast.parse(source))
    except UNREADABLE:
        return source


def files_below(folder: Path, suffix: str = "") -> list[Path]:
    """What lies below a folder and can be read by a run: not what Python or a notebook's server left there."""
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sorted(path for path in found if not any(_left_behind(part) for part in path.relative_to(folder).parts))


def _left_behind(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


def hash_of(value: object) -> str:
    """A hash of what JSON can hold."""
    return files.digest(json.dumps(value, sort_keys=True).encode())
