"""What of the package is given beside a student's cells where they are graded: no part of it that does the exercises.

The folder `core` of the package, its own files and the folder the notebooks are exported to are given whole. Of every
other folder only those definitions come in that the given cells need, found by reading imports and names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tito.course import release_record
from tito.course.project import Project

WHOLE = "core"


class Given:
    """What is given of the package: whole files, and of others the text that the given cells need."""

    def __init__(self, project: Project, targets: list[Path], sources: Iterable[str]) -> None:
        package = project.package
        exported_to = {target.parent for target in targets} - {package}
        folders = [package / WHOLE, *exported_to]
        record = release_record.read(project.root)  # in a student's edition more may lie there than was given
        self._package, self._targets = package, targets
        self.whole = [
            file
            for file in [*package.glob("*.py"), *(file for place in folders for file in place.rglob("*"))]
            if file.is_file()
            and "__pycache__" not in file.parts
            and file not in targets
            and (file.parent not in exported_to or file.name == "__init__.py")  # what else is there was exported
            and (record is None or project.shown(file) in record["files"])
        ]
        self.texts = _Needed(package, {*folders, package}).texts(sources)

    def has(self, name: str) -> bool:
        """Is this dotted name of the package given, or exported by the judged notebooks?"""
        place, parts = self._package, name.split(".")[1:]
        while parts and (place / parts[0]).is_dir():
            place /= parts.pop(0)
        file = place / f"{parts[0]}.py" if parts else place / "__init__.py"
        if file in self._targets or file in self.whole:
            return True
        if parts and not file.is_file():
            file = place / "__init__.py"
        elif parts:
            parts = parts[1:]
        if file in self.texts and parts:
            return parts[0] in {name for node in ast.parse(self.texts[file]).body for name in _defined(node)}
        return file in self.texts or file in self.whole


class _Needed:
    """The top-level statements of the package's other files that some names need, transitively."""

    def __init__(self, package: Path, whole: set[Path]) -> None:
        self._package, self._whole = package, whole
        self._kept: dict[Path, set[ast.stmt]] = {}
        self._trees: dict[Path, list[ast.stmt]] = {}

    def texts(self, sources: Iterable[str]) -> dict[Path, str]:
        """Files, cut down to what is needed by the imports at the top of these sources."""
        for source in sources:
            for node in ast.parse(source).body:
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    parts = node.module.split(".")
                    if parts[0] == self._package.name:
                        self._follow(self._file(self._package.joinpath(*parts[1:])), node)
        return {
            path: "\n\n".join(ast.unparse(node) for node in self._trees[path] if node in kept) + "\n"
            for path, kept in self._kept.items()
        }

    def _file(self, path: Path) -> Path:
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def _follow(self, file: Path, node: ast.ImportFrom) -> None:
        if not file.is_file() or any(file.is_relative_to(place) for place in self._whole - {self._package}):
            return
        if file.parent == self._package:
            return
        self._open(file.parent / "__init__.py")
        for alias in node.names:
            self._need(file, alias.name)

    def _open(self, file: Path) -> list[ast.stmt]:
        if file not in self._trees:
            body = ast.parse(file.read_text(encoding="utf-8")).body
            self._trees[file] = [single for node in body for single in _singly(node)]
            self._kept[file] = set()
        return self._trees[file]

    def _need(self, file: Path, name: str) -> None:
        for node in self._open(file):
            if node in self._kept[file] or name not in _defined(node):
                continue
            self._kept[file].add(node)
            if isinstance(node, ast.ImportFrom) and node.level:
                base = file.parents[node.level - 1]
                self._follow(self._file(base.joinpath(*(node.module or "").split("."))), node)
            for used in _names(node):
                self._need(file, used)
            for part in ast.walk(node):
                if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                    self._need_of_module(file, part.value.id, part.attr)

    def _need_of_module(self, file: Path, module: str, name: str) -> None:
        """`module.name`, where the file says `from . import module`."""
        for node in self._open(file):
            if isinstance(node, ast.ImportFrom) and node.level and not node.module and module in _defined(node):
                beside = file.parents[node.level - 1] / f"{node.names[0].name}.py"
                if beside.is_file():
                    self._need(beside, name)


def _singly(node: ast.stmt) -> list[ast.stmt]:
    """An import of several names as several imports: each is needed by itself."""
    if isinstance(node, ast.ImportFrom):
        return [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
    return [ast.Import([alias]) for alias in node.names] if isinstance(node, ast.Import) else [node]


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    else:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id


def _names(node: ast.stmt) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load))
