"""What of the package is given beside a student's cells where they are graded: no part of it that does the exercises.

Given are the package's own files, the folder that the notebooks are exported to, without what is exported there, and
what the module's table names: `given = ["core"]`, folders or files of the package. Nothing else of it is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tito.course import release_record
from tito.course.module import Module
from tito.course.project import Project
from tito.errors import TitoError


class Given:
    """What is given of the package.

    files: paths of existing files, none of which is exported by the module.
    """

    def __init__(self, project: Project, module: Module, targets: list[Path]) -> None:
        """targets: the files that the module's notebooks are exported to. Raises TitoError where a name is wrong."""
        self._package, self._targets = project.package, targets
        for name in module.given:
            if not (project.package / name).exists():
                table, package = project.shown(project.module_toml(module.name)), project.shown(project.package)
                raise TitoError(f"{table}: given names '{name}', which {package}/ does not hold")
        released = release_record.read(project.root)  # in a student's edition more may lie there than was given
        self.files = [
            file
            for file in dict.fromkeys(self._named(module))
            if file.is_file()
            and "__pycache__" not in file.parts
            and file not in targets
            and (released is None or project.shown(file) in released)
        ]

    def _named(self, module: Module) -> Iterator[Path]:
        yield from self._package.glob("*.py")
        yield from (target.parent / "__init__.py" for target in self._targets)
        for name in module.given:
            place = self._package / name
            yield from sorted(place.rglob("*")) if place.is_dir() else (place,)

    def has(self, name: str) -> bool:
        """Is this dotted name of the package given, or exported by the judged notebooks?"""
        place, parts = self._package, name.split(".")[1:]
        while parts and (place / parts[0]).is_dir():
            place /= parts.pop(0)
        file = place / f"{parts[0]}.py" if parts else place / "__init__.py"
        if parts and not file.is_file() and file not in self._targets:
            file = place / "__init__.py"
        return file in self._targets or file in self.files
