"""Where things are. Every folder's name is spelled here, once; everything else asks a `Project`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tito.errors import TitoError, WrongCall

PYPROJECT = "pyproject.toml"
GIVE_ALONG = f"{PYPROJECT}: [tool.tito] give_along must be a list of files and folders of this repository"
SOURCE = Path("modules", "source")
RELEASED = "released"  # beside a student's notebooks: as they were given
CARRIED = Path(__file__).parents[1] / "course_files"  # what `tito` from a wheel carries of the course; a clone has none


@dataclass(frozen=True)
class Project:
    """A repository with modules in it.

    >>> Project(Path("course")).module_toml("01_toy").as_posix()
    'course/modules/source/01_toy/module.toml'
    """

    root: Path

    @property
    def source(self) -> Path:
        return self.root / SOURCE

    @property
    def tests(self) -> Path:
        return self.root / "tests"

    @property
    def package(self) -> Path:
        """The folder that notebooks are exported into."""
        return self.root / self.package_name

    @property
    def personal(self) -> Path:
        """What a person did here: progress and backups. No part of the course, and never committed."""
        return self.root / ".tito"

    def module(self, name: str) -> Path:
        return self.source / name

    def module_toml(self, name: str) -> Path:
        return self.module(name) / "module.toml"

    def script(self, name: str, what: str) -> Path:
        """A program that a module brings: its "demo", or what `tito deploy` runs."""
        return self.module(name) / f"{what}.py"

    @property
    def benchmark(self) -> Path:
        return self.root / "benchmarks" / "kernels.py"

    def released(self, notebook: Path) -> Path:
        """A notebook as it was given to the student: only the student's edition has it."""
        return notebook.parent / RELEASED / notebook.name

    def released_package(self, module: str) -> Path:
        """The package's hand-written files as they were given, in one archive: only the student's edition has it."""
        return self.module(module) / RELEASED / "package.zip"

    def module_tests(self, module: str) -> Path:
        """The tests of a module. What lies in folders inside it is withheld from students."""
        return self.tests / module

    def test_files(self, module: str, exercise: str) -> tuple[Path, Path]:
        """The exercise's tests: those that everyone has, and those that are withheld from students."""
        folder, name = self.module_tests(module), f"test_{exercise}.py"
        return folder / name, folder / "hidden" / name

    def shown(self, path: Path) -> str:
        """The path as messages show it: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        import tomllib

        path = self.root / PYPROJECT
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TitoError(f"{path} is not valid TOML: {error}") from None

    @cached_property
    def package_name(self) -> str:
        """`[tool.tito] package`, or the project's own name."""
        ours, project = self.pyproject.get("tool", {}).get("tito", {}), self.pyproject.get("project", {})
        name = ours.get("package", project.get("name"))
        if not (isinstance(name, str) and name.isidentifier()):
            raise TitoError(f'{PYPROJECT} must name the package folder: [tool.tito] package = "NAME"; got {name!r}')
        return name

    @cached_property
    def names_given_along(self) -> list[str]:
        """`[tool.tito] give_along`, whether there are such files or not."""
        names = self.pyproject.get("tool", {}).get("tito", {}).get("give_along", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TitoError(f"{GIVE_ALONG}, got {names!r}")
        return names

    @cached_property
    def given_along(self) -> list[Path]:
        """Files and folders that students get besides package, module and tests."""
        for name in self.names_given_along:
            path = (self.root / name).resolve()
            if not path.exists() or self.root.resolve() not in path.parents:
                raise TitoError(f"{GIVE_ALONG}, got {name!r}, which is none")
        return [self.root / name for name in self.names_given_along]


def is_project_root(folder: Path) -> bool:
    return (folder / PYPROJECT).is_file() and (folder / SOURCE).is_dir()


def find_project(start: Path | None = None) -> Project:
    """The project that holds `start` (default: the current folder). Raises WrongCall where there is none."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if is_project_root(folder):
            return Project(folder)
    raise WrongCall(
        f"no course found in {here} or above it: a course has {PYPROJECT} and {SOURCE.as_posix()}/. "
        "Change into its folder, name it with --project DIR, or get one: `tito new quantization`"
    )
