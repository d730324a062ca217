"""An exercise's tests, run inside a notebook's own kernel on what its cells have defined.

`check("choose_qparams")` in a cell prints what `tito test` would say. `passes` is for nbgrader's test cells.
"""

from __future__ import annotations

import io
import linecache
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from tito.course import markers, notebook, unexported
from tito.course.module import Exercise, Module, load_module, module_names
from tito.course.notebook import Cell, Document
from tito.course.project import Project, find_project, is_project_root
from tito.errors import TitoError, WrongCall
from tito.testing import environment, explained, part_marks, pytest_process, withheld
from tito.testing.explained import AboutName
from tito.testing.first_failure import FirstFailure
from tito.testing.outcome import claim_of
from tito.testing.printing import Printed, Printing
from tito.testing.protocol import Failure
from tito.testing.proxies import InProcess, Student
from tito.testing.typing_in import NobodyTypes
from tito.testing.verdicts import LEFT_OVER

NOT_RUN = "run the cell that defines it; after a restart of the kernel, all cells above this one"
QUIET = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "--import-mode=importlib"]


def check(exercise: str | Callable[..., Any] = "", defined: dict[str, Any] | None = None) -> None:
    """Print how an exercise stands in this notebook, in the words of `tito test`; nothing is exported or remembered.

    exercise: its name, `check("quantize")`, or one of its functions, by name or as it is.
    """
    defined = vars(sys.modules["__main__"]) if defined is None else defined
    name = exercise if isinstance(exercise, str) else getattr(exercise, "__name__", repr(exercise))
    try:
        _say_how_it_stands(name, defined)
    except KeyboardInterrupt:
        print(f"{name}: interrupted before its tests had ended")


def _say_how_it_stands(name: str, defined: dict[str, Any]) -> None:
    try:
        here, module = _module_of(name)
        name = module.exercise_of(name).id
    except TitoError as error:
        print(error)
        return
    names = withheld.withheld(here, module)
    missing = _not_exported(here, module, name, defined) | withheld.names_of(defined, names)
    tests = here.module_tests(module.name)
    told = Told(about_name=lambda name: missing.get(name, ""))
    if needed := _needed_when_loaded(name, defined, missing):
        print(f"{name}: NOT PASSED\n{needed}")
        return
    try:
        with _without(defined, missing), withheld.absent(names):
            _test(name, defined, tests, told=told)
        print(f"{name}: passed")
        _print_lacking(here, module, name, defined)
    except AssertionError as error:
        stub = markers.UNWRITTEN in str(error) and LEFT_OVER not in str(error)
        print(f"{name}: not started yet" if stub else f"{name}: NOT PASSED\n{str(error).removeprefix(f'{name}: ')}")
        with _without(defined, missing), withheld.absent(names):
            _print_parts(next(entry for entry in module.exercises if entry.id == name), defined, tests)
    except TitoError as error:
        print(error)
    if told.printed.lines:
        print(told.printed)


def _not_exported(here: Project, module: Module, exercise: str, defined: dict[str, Any]) -> dict[str, str]:
    """The names that this kernel has and the package will not have, each with the sentence about it."""
    documents = list[Document]()
    for path in (path for entry in module.notebooks for path in (entry.path, entry.path.with_suffix(".ipynb"))):
        with suppress(TitoError, OSError):
            documents.append(notebook.load(here, path))
    tests, _ = here.test_files(module.name, exercise)
    with suppress(OSError):
        return unexported.in_kernel(_ran(defined), documents, tests.read_text(encoding="utf-8"))
    return {}


@contextmanager
def _without(defined: dict[str, Any], names: Iterable[str]) -> Iterator[None]:
    """Take names away for a while: what needs them then fails here as it does in the package."""
    kept = {name: defined.pop(name) for name in names if name in defined}
    try:
        yield
    finally:
        defined.update(kept)


def _needed_when_loaded(exercise: str, defined: dict[str, Any], missing: Mapping[str, str]) -> str:
    """The sentence about a missing name that the exercise's cell needs to be run at all; empty where it needs none."""
    for cell in _last_run(exercise, defined):
        for name in sorted(unexported.used_when_loaded(cell) & missing.keys()):
            return missing[name]
    return ""


def _print_parts(exercise: Exercise, defined: dict[str, Any], tests: Path) -> None:
    """Of an exercise that does not pass, the parts that do."""
    for part in exercise.parts:
        with suppress(AssertionError):
            _test(exercise.id, defined, tests, part=part.name)
            print(f"passed: {part.name} ({part.points} of {exercise.points} points)")


def _module_of(exercise: str) -> tuple[Project, Module]:
    """The course, and the module in which an exercise is, or a part of this name. Raises WrongCall where none is."""
    try:
        here = find_project()
    except WrongCall:  # on Colab the notebook lies elsewhere; its first cell has put the course on Python's path
        roots = (Path(entry) for entry in sys.path if entry and is_project_root(Path(entry)))
        here = find_project(next(roots, Path(__file__)))
    modules = [load_module(here, name) for name in module_names(here)]
    module = next((module for module in modules if exercise in module.names), modules[-1])
    module.exercise_of(exercise)  # raises, and names the nearest
    return here, module


def _print_lacking(here: Project, module: Module, exercise: str, defined: dict[str, Any]) -> None:
    for sentence in environment.lacking_in(here, module, _last_run(exercise, defined)):
        print(sentence)


def _last_run(exercise: str, defined: dict[str, Any]) -> list[Cell]:
    """The exercise's cell as it was run last, of those that IPython remembers."""
    return [cell for cell in _ran(defined) if cell.exercise == exercise][-1:]


def _ran(defined: dict[str, Any]) -> list[Cell]:
    """The cells that this kernel ran, so far as IPython remembers them."""
    return [Cell("code", source, number, None) for number, source in enumerate(defined.get("In", ()))]


def passes(
    exercise: str,
    defined: dict[str, Any],
    exported_as: str = "",
    tests: str | Path = "tests",
    hidden: Mapping[str, str] | None = None,
    part: str = "",
) -> None:
    """Run `tests/test_EXERCISE.py` on a notebook's globals(). AssertionError tells the first failure.

    Where all pass, what `tito grade` would not have is printed, so far as the course is at hand.
    exported_as: the module that this notebook is exported to; what was imported from there was not written here.
    hidden: file names and texts of tests that are run instead, beside the same conftest.py.
    part: of the exercise; only those tests are run that bear on it.
    """
    for name, value in defined.items():
        if exported_as and getattr(value, "__module__", None) == exported_as:
            raise AssertionError(f"{exercise}: {name} was imported from {exported_as}: write it in this notebook")
    _test(exercise, defined, tests, hidden, part)
    with suppress(TitoError):
        if not hidden:  # once in a cell
            _print_lacking(*_module_of(exercise), exercise, defined)


@dataclass(frozen=True)
class Told:
    """What is told beside the first failure: what was printed, and of a name that is missing, why."""

    printed: Printed = field(default_factory=Printed)
    about_name: AboutName = lambda name: ""


def _test(
    exercise: str,
    defined: dict[str, Any],
    tests: str | Path,
    hidden: Mapping[str, str] | None = None,
    part: str = "",
    told: Told | None = None,
) -> None:
    """Raise AssertionError for the first failure."""
    with tempfile.TemporaryDirectory(prefix="tito_tests_") as folder:
        copy = Path(folder, "tests")
        shutil.copytree(tests, copy, ignore=shutil.ignore_patterns("__pycache__"))
        where = copy / "hidden" if hidden else copy
        for name, text in (hidden or {}).items():
            where.mkdir(exist_ok=True)
            (where / name).write_text(text, encoding="utf-8")
        (copy / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        failure = _run(where / f"test_{exercise}.py", copy, _Here(defined, part), told or Told())
    if failure:
        raise AssertionError(f"{exercise}: {'a hidden test: ' if hidden else ''}{failure}")


def _run(file: Path, root: Path, here: _Here, told: Told) -> str:
    """The first failure, in words; empty where all tests pass, and where none of the hidden ones bears on the part.

    Raises KeyboardInterrupt where they are interrupted.
    """
    first = FirstFailure()
    above = root.parent.parent  # modules are named from here: by a folder no earlier run had, so that none is reused
    tests = root.relative_to(above)  # in the names of folders above, pytest may see patterns and variables
    where = ["--rootdir", ".", "--confcutdir", str(tests), "-c", str(tests / "pytest.ini")]
    output = io.StringIO()
    plain = mock.patch.dict(os.environ, pytest_process.plain(os.environ), clear=True)
    with redirect_stdout(output), redirect_stderr(output), plain, chdir(above):
        plugins = [here, first, Printing(told.printed.add), NobodyTypes()]
        status = pytest.main([*QUIET, *where, str(file.relative_to(above))], plugins=plugins)
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if first.failure:
        told.printed.failed = first.test
        return _in_words(first.test, first.failure, told.about_name)
    if (status == pytest.ExitCode.OK and first.ran) or (here.all_left_out and file.parent.name == "hidden"):
        return ""
    return f"the tests could not be run:\n{output.getvalue()[-1000:]}"


def _in_words(test: str, failure: Failure, about_name: AboutName) -> str:
    if markers.UNWRITTEN in failure.text:
        lines = [(linecache.getlines(file), line) for file, line in failure.frames if not Path(file).is_file()]
        if any(markers.is_left_over("".join(lines), line) for lines, line in lines):
            return f"{LEFT_OVER}{_where(failure)}"
    text = failure.text if failure.type in ("AssertionError", "Failed") else ""
    text = explained.instead(failure, about_name) or text
    return f"{claim_of(test)}:\n{text or f'{failure.type}: {failure.text}'}{_where(failure)}"


def _where(failure: Failure) -> str:
    """The innermost line of a cell that an exception came through: a cell is no file, but Python keeps its text."""
    cells = [(file, line) for file, line in failure.frames if not Path(file).is_file()]
    lines = [(line, linecache.getline(file, line).strip()) for file, line in cells]
    return next((f"\nline {line} of your cell: {text}" for line, text in reversed(lines) if text), "")


class _Here:
    """A pytest plugin: the fixture `student` is the notebook, in whose folder tests run, all or those of a part."""

    def __init__(self, defined: dict[str, Any], part: str) -> None:
        self._part, self.all_left_out = part, False
        self._module = ModuleType("notebook")
        self._module.__dict__.update(defined)
        self._folder = Path.cwd()

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", part_marks.REGISTERED)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._part:
            kept = [item for item in items if part_marks.bears_on(self._part, part_marks.parts_of(item))]
            self.all_left_out = bool(items) and not kept
            items[:] = kept

    def pytest_collection_finish(self) -> None:
        os.chdir(self._folder)

    @pytest.fixture(scope="module")
    def student(self) -> Student:
        return Student(InProcess(self._module, NOT_RUN), "this notebook")
