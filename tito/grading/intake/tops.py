"""What lies in the folder, or the one file, that an instructor has: files, and folders that are looked into in turn."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tito.grading.intake import unpacking
from tito.grading.intake.disk import Parts, Tree
from tito.grading.intake.unpacking import Budget, Entry

MOST_STUDENTS_FILES = 100_000  # in the one zip of a whole class
JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
Files = Callable[[], Iterable[Entry]]


@dataclass(frozen=True)
class Folder:
    """Everything below it, and what lies in it; neither is looked at before it is asked for."""

    files: Files
    look: Callable[[], Top]


@dataclass(frozen=True)
class Top:
    """What lies in one folder, on disk or in a zip."""

    name: str
    files: list[Entry]
    folders: Mapping[str, Folder]
    on_disk: bool = False
    nbgrader: bool = False  # it is nbgrader's `submitted`

    @property
    def visible(self) -> list[Entry]:
        return [entry for entry in self.files if _is_visible(entry.name)]

    @property
    def visible_folders(self) -> dict[str, Folder]:
        return {name: folder for name, folder in self.folders.items() if _is_visible(name)}

    def without(self, names: Container[str]) -> Top:
        """What is left when these files and folders are somebody's."""
        files = [entry for entry in self.files if entry.name not in names]
        return replace(self, files=files, folders={n: it for n, it in self.folders.items() if n not in names})


def _is_visible(name: str) -> bool:
    return name not in JUNK and not name.startswith(".")


def of_folder(path: Path) -> Top:
    """Raises OSError."""
    return _of_tree(Tree(path), (), path.name)


def _of_tree(tree: Tree, parts: Parts, name: str) -> Top:
    files, folders = list[Entry](), dict[str, Folder]()
    for item in tree.listed(parts):
        below = (*parts, item.name)
        if item.is_folder:
            folders[item.name] = Folder(
                partial(unpacking.below, tree, below), partial(_of_tree, tree, below, item.name)
            )
        else:
            files.append(unpacking.on_disk(tree, below, item.status, unpacking.shown(item.name)))
    return Top(name, files, folders, on_disk=True)


def of_file(path: Path, stack: ExitStack) -> Top:
    """One file, or what is in it if it is a zip. Raises OSError."""
    beside = of_folder(path.parent)
    entry = next((entry for entry in beside.files if entry.name == unpacking.shown(path.name)), None)
    return of_entry(entry or Entry(path.name, problem=f"{path.name} went away"), stack)


def of_entry(entry: Entry, stack: ExitStack) -> Top:
    name = entry.name.removesuffix(entry.suffix) or entry.name
    problem = entry.problem
    if entry.suffix == ".zip" and not problem:
        try:
            inside = unpacking.unpack(entry, Budget(stack))
        except unpacking.Refused as refusal:
            inside, problem = [], str(refusal)
        if len(inside) <= MOST_STUDENTS_FILES:
            return of_entries(name, inside or [replace(entry, problem=problem or f"{entry.path} is empty")])
        problem = f"{entry.path} holds more than {MOST_STUDENTS_FILES} files"
    return Top(name, [replace(entry, problem=problem)], {})


def of_entries(name: str, entries: Iterable[Entry]) -> Top:
    """A zip's members, as if they lay in a folder."""
    files, below = list[Entry](), dict[str, list[Entry]]()
    for entry in entries:
        first, _, rest = entry.path.partition("/")
        if rest and first not in ("", ".."):
            below.setdefault(first, []).append(replace(entry, path=rest))
        else:
            files.append(entry)
    folders = {
        first: Folder(partial(iter, inside), partial(of_entries, first, inside)) for first, inside in below.items()
    }
    return Top(name, files, folders)
