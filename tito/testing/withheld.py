"""Parts of the package that may do an exercise: grading does not give them, and while one is tested they are not there.

What a student's code imports of them fails then as it does where it is graded, in `tito test` and in a notebook alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import ModuleType
from typing import Any

import pytest

from tito.course import exporting, notebook
from tito.course.module import Module, load_module
from tito.course.project import Project
from tito.errors import TitoError


def withheld(project: Project, module: Module) -> list[str]:
    """The modules of the package's folders that the module's table does not give, as dotted names."""
    given = {name.partition("/")[0] for name in module.given}
    for entry in module.notebooks:
        with suppress(TitoError, ValueError):
            target = exporting.target(project, entry.path, notebook.default_exp(entry.path))
            given.add(target.relative_to(project.package).parts[0])
    folders = (file.parent for file in project.package.glob("*/__init__.py") if file.parent.name not in given)
    files = (file.relative_to(project.package).with_suffix("") for folder in folders for file in folder.rglob("*.py"))
    return sorted(".".join((project.package_name, *file.parts)).removesuffix(".__init__") for file in files)


def sentence(name: str) -> str:
    return f"{name} may do the exercise, so grading does not have it, nor a test: write it with NumPy"


@contextmanager
def absent(names: list[str]) -> Iterator[None]:
    """Modules of these names cannot be imported for a while."""
    before = {name: sys.modules.get(name) for name in names}
    owners = [(sys.modules.get(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
    attributes = [(owner, name, vars(owner).pop(name)) for owner, name in owners if owner and name in vars(owner)]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: importlib says that it is not there
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
        for owner, name, value in attributes:
            setattr(owner, name, value)


def names_of(defined: Mapping[str, Any], names: list[str]) -> dict[str, str]:
    """What was imported from there: each name, with the sentence about it."""
    origins = {name: _origin(value) for name, value in defined.items()}
    return {name: sentence(f"`{name}` of {origin}") for name, origin in origins.items() if origin in names}


def _origin(value: Any) -> str:
    named = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return named if isinstance(named, str) else ""


class Withheld:
    """A pytest plugin for a process of its own: from the end of collection on they are absent."""

    def __init__(self) -> None:
        self._absent = ExitStack()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        project = Project(session.config.rootpath)
        folders = {file.parent for file in (item.path for item in session.items) if file.parent.name != "hidden"}
        for folder in folders:
            with suppress(TitoError):  # not a module's tests
                self._absent.enter_context(absent(withheld(project, load_module(project, folder.name))))
