"""The pytest plugin that gives tests the fixture `student`: the judged code, behind the door of `tito.testing.proxies`.

A test file `tests/MODULE/test_EXERCISE.py` needs to name nothing: the module it judges is the one that the exercise's
notebook is exported to. `--student-file PATH` judges that file instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, cast

import pytest

from tito.course import exporting, notebook
from tito.course.module import load_module
from tito.course.project import Project
from tito.errors import TitoError
from tito.testing import proxies
from tito.testing.part_marks import REGISTERED
from tito.testing.protocol import Step
from tito.testing.proxies import MODULE, InProcess, Opaque, Student, as_builtin, may_change, type_name

__all__ = ["Opaque", "Student", "may_change", "open_file", "type_name"]

OPENED = pytest.StashKey[Callable[[Path, Path], Student]]()
"""How a course's folder and a test's file become the student, where they are judged elsewhere: set by `tito grade`."""

LOADING = pytest.StashKey[Callable[[Step | None], None]]()
"""Who is told every line of the exported module as it is loaded: set by `tito test`."""

_fresh = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--student-file", metavar="PATH", help="judge this file instead of the exported module")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", REGISTERED)


@pytest.fixture(scope="module")
def student(request: pytest.FixtureRequest) -> Student:
    """The judged module. What its functions return is a plain value or an opaque handle; see `tito.testing.proxies`."""
    file = request.config.getoption("--student-file")
    opened = request.config.stash.get(OPENED, partial(_exported, request.config.stash.get(LOADING, _unheard)))
    try:
        return open_file(Path(file)) if file else opened(request.config.rootpath, request.path)
    except TitoError as error:
        pytest.fail(str(error), pytrace=False)


def open_file(path: Path) -> Student:
    """Load any Python file as judged code, under a name that no other module has."""
    name = f"student_{next(_fresh)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise TitoError(f"{path} is not a Python file that could be judged")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except proxies.CAUGHT as error:
        raise _while_loaded(error) from None
    return Student(InProcess(module), path.name)


def _while_loaded(error: BaseException) -> BaseException:
    """The exception as a builtin one, with the lines of modules (not of their functions) that were being run."""
    shown: Any = as_builtin(error)
    steps = traceback.walk_tb(error.__traceback__)
    shown.loading = [(frame.f_code.co_filename, line) for frame, line in steps if frame.f_code.co_name == MODULE]
    return cast(BaseException, shown)


def _unheard(_: Step | None) -> None:
    """Nobody listens."""


def _exported(loading: Callable[[Step | None], None], root: Path, test_file: Path) -> Student:
    project = Project(root)
    folder = test_file.parent.parent if test_file.parent.name == "hidden" else test_file.parent
    exercise = test_file.stem.removeprefix("test_")
    entry = load_module(project, folder.name).notebook_of(exercise)
    given = project.released(entry.path)  # whose target counts where the notebook's own is lost
    name = notebook.default_exp(entry.path) or (notebook.default_exp(given) if given.is_file() else None)
    target = exporting.target(project, entry.path, name)
    return Student(InProcess(_load(project, target, loading)), project.shown(target))


def _load(project: Project, target: Path, loading: Callable[[Step | None], None]) -> ModuleType:
    if not target.is_file():
        raise TitoError(f"{project.shown(target)} does not exist yet: run `tito export` first")
    name = ".".join(target.relative_to(project.root).with_suffix("").parts)
    sys.path.insert(0, str(project.root))
    try:
        with _lines_of(target.parent, loading):
            module = importlib.import_module(name)
    except proxies.CAUGHT as error:
        raise _while_loaded(error) from None
    finally:
        sys.path.remove(str(project.root))
    if not module.__file__ or not Path(module.__file__).samefile(target):
        raise TitoError(f"{name} was loaded from {module.__file__}, not from {target}: another copy is in the way")
    return module


@contextmanager
def _lines_of(folder: Path, loading: Callable[[Step | None], None]) -> Iterator[None]:
    """Tell the lines of modules in this folder before they run, of a loop once: a process that ends tells nothing."""
    prefix, before = f"{folder}{os.sep}", sys.gettrace()

    def on_call(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_name != MODULE or not frame.f_code.co_filename.startswith(prefix):
            return None
        last = 0

        def on_line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            if frame.f_lineno > last:
                last = frame.f_lineno
                loading((frame.f_code.co_filename, last))
            return on_line

        return on_line

    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)
        loading(None)
