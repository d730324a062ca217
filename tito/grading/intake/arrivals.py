"""Who handed in what: the folder, or the one file, that an instructor has -> a name and the files of each student."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from tito.course.module import Module
from tito.grading.intake import unpacking
from tito.grading.intake.unpacking import Budget, Entry

# What Canvas' download calls a file: name[_LATE]_user_attachment_file; without names [LATE_]anon_id_attachment_file.
CANVAS = re.compile(r"(?P<who>.{1,100}?)(?P<late>_LATE)?_(?P<user>\d+)_(?P<number>\d+)_(?P<file>.+)", re.DOTALL)
CANVAS_ANONYMOUS = re.compile(r"(?P<late>LATE_)?(?P<who>anon)_(?P<user>[^_]+)_(?P<number>\d+)_(?P<file>.+)", re.DOTALL)
CANVAS_NO_FILE = re.compile(r"(?P<who>.{1,100}?)(?P<late>_LATE)?_(?P<user>\d+)_(?P<file>(text|link)\.html)", re.DOTALL)
NOTEBOOKS = (".py", ".ipynb")
FORBIDDEN = re.compile(r'[<>:"/\\|?*%#&;\s]+')
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)  # what Windows opens instead
LONGEST_NAME = 80
MOST_STUDENTS_FILES = 100_000  # in the one zip of a whole class
JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
Files = Callable[[], Iterable[Entry]]


@dataclass
class Arrival:
    """What one student handed in. `aside`: it lay beside notebooks, and is no submission where it holds none."""

    name: str
    files: list[Files]
    remarks: tuple[str, ...] = ()
    aside: bool = False


@dataclass(frozen=True)
class _Top:
    """What lies at the top: files, and folders that are looked into when it is their turn."""

    name: str
    files: list[Entry]
    folders: dict[str, Files]
    path: Path | None = None  # of a folder on disk

    @property
    def visible(self) -> list[Entry]:
        return [entry for entry in self.files if entry.name not in JUNK and not entry.name.startswith(".")]


def arrivals(module: Module, path: Path, stack: ExitStack) -> list[Arrival]:
    """Everyone's files, by names that differ even where capital letters do not count, in order."""
    top = _of_folder(path) if path.is_dir() else _of_file(path, stack)
    if path.is_dir() and [entry.suffix for entry in top.visible] == [".zip"] and not top.folders:
        inside = _of_file(path / top.visible[0].name, stack)
        top = inside if any(_canvas(entry.name) for entry in inside.files) else top
    return _apart(sorted(_grouped(module, _descended(top)), key=lambda arrival: arrival.name))


def safe(name: str) -> str:
    """A name that is a file name on every system, part of a link, and one line."""
    text = FORBIDDEN.sub("_", unicodedata.normalize("NFC", unpacking.printable(name)))
    text = text[:LONGEST_NAME].lstrip(". ").rstrip(". ")
    return (f"{text}_" if DEVICES.fullmatch(text) else text) or "unnamed"


def _apart(found: list[Arrival]) -> list[Arrival]:
    """Two of one name are two submissions: name, name~2."""
    taken = set[str]()
    for arrival in found:
        name = wanted = safe(arrival.name)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{wanted}~{number}"
        if number > 1:
            arrival.remarks += (f"another submission is called {wanted} too: this one is {name}",)
        taken.add(name.casefold())
        arrival.name = name
    return found


def _of_folder(folder: Path) -> _Top:
    files, folders = list[Entry](), dict[str, Files]()
    for item in sorted(folder.iterdir()):
        if item.is_dir() and not item.is_symlink():
            folders[item.name] = partial(unpacking.walk, item)
        else:
            files.append(unpacking.on_disk(item, unpacking.shown(item.name)))
    return _Top(folder.name, files, folders, folder)


def _of_file(file: Path, stack: ExitStack) -> _Top:
    entry = unpacking.on_disk(file, unpacking.shown(file.name))
    problem = entry.problem
    if entry.suffix == ".zip" and not problem:
        try:
            inside = unpacking.unpack(entry, Budget(stack))
        except unpacking.Refused as refusal:
            inside, problem = [], str(refusal)
        if len(inside) <= MOST_STUDENTS_FILES:
            return _of_entries(file.stem, inside or [replace(entry, problem=problem or f"{entry.path} is empty")])
        problem = f"{entry.path} holds more than {MOST_STUDENTS_FILES} files"
    return _Top(file.stem, [replace(entry, problem=problem)], {})


def _of_entries(name: str, entries: Iterable[Entry]) -> _Top:
    """A zip's members, as if they lay in a folder."""
    files, below = list[Entry](), dict[str, list[Entry]]()
    for entry in entries:
        first, _, rest = entry.path.partition("/")
        if rest and first not in ("", ".."):
            below.setdefault(first, []).append(replace(entry, path=rest))
        else:
            files.append(entry)
    return _Top(name, files, {first: partial(iter, inner) for first, inner in below.items()})


def _descended(top: _Top) -> _Top:
    """Go into nbgrader's `submitted`, and into a folder that is all there is in a zip (on disk: one of that name)."""
    inner = "submitted" if "submitted" in top.folders else next(iter(top.folders), "")
    alone = len(top.folders) == 1 and not top.visible
    if inner != "submitted" and not (alone and (top.path is None or inner in ("submissions", top.name))):
        return top
    below = _of_folder(top.path / inner) if top.path else _of_entries(top.name, top.folders[inner]())
    below = replace(below, name=top.name)
    return below if inner == "submitted" else _descended(below)


def _grouped(module: Module, top: _Top) -> Iterator[Arrival]:
    names = {entry.path.name for entry in module.notebooks} | {"manifest.json"}
    names |= {PurePosixPath(name).with_suffix(".ipynb").name for name in names}
    if any(entry.name in names for entry in top.files):
        yield from _with_others_beside(top)
    elif "modules" in top.folders and any(entry.name == "pyproject.toml" for entry in top.files):
        yield Arrival(top.name, [partial(iter, top.files), *top.folders.values()])  # a student's whole course folder
    else:
        by_name = dict[str, Arrival]()
        for entry in top.visible:
            who, renamed, remarks = _whose(module, entry)
            arrival = by_name.setdefault(who, Arrival(who, []))
            arrival.files.append(partial(iter, [renamed]))
            arrival.remarks = tuple(dict.fromkeys((*arrival.remarks, *remarks)))
        yield from by_name.values()
        yield from (Arrival(name, [files]) for name, files in _visible_folders(top))


def _with_others_beside(top: _Top) -> Iterator[Arrival]:
    """Notebooks at the top are one submission. Folders and zips beside them may be others."""
    zips = [entry for entry in top.visible if entry.suffix == ".zip"]
    yield Arrival(top.name, [partial(iter, [entry for entry in top.visible if entry not in zips])])
    yield from (Arrival(PurePosixPath(entry.path).stem, [partial(iter, [entry])], aside=True) for entry in zips)
    yield from (Arrival(name, [files], aside=True) for name, files in _visible_folders(top))


def _visible_folders(top: _Top) -> list[tuple[str, Files]]:
    return [(name, files) for name, files in top.folders.items() if name not in JUNK and not name.startswith(".")]


def _canvas(name: str) -> re.Match[str] | None:
    return CANVAS.fullmatch(name) or CANVAS_ANONYMOUS.fullmatch(name) or CANVAS_NO_FILE.fullmatch(name)


def _whose(module: Module, entry: Entry) -> tuple[str, Entry, tuple[str, ...]]:
    """Whose file this is, by its name: Canvas', NAME.zip, NAME.ipynb, or NAME_quantization_dev.ipynb."""
    stem, remarks = PurePosixPath(entry.name).stem, tuple[str, ...]()
    if match := _canvas(entry.name):
        newer = int(match.groupdict().get("number", "0")[-18:])
        stem = f"{match['who']}_{match['user']}"
        remarks = ("Canvas marks this submission as late",) if match["late"] else ()
        entry = replace(entry, path=match["file"], when=(newer,))
    elif entry.suffix in NOTEBOOKS:
        stem = next((who for notebook in module.notebooks if (who := _before(stem, notebook.path.stem))), stem)
    if entry.suffix not in (*NOTEBOOKS, ".zip") and not entry.problem:
        entry = replace(entry, problem=f"{entry.path} is neither .ipynb, .py nor .zip")
    return stem, entry, remarks


def _before(stem: str, notebook: str) -> str:
    return stem[: -len(notebook)].rstrip(" _-.") if stem.lower().endswith(notebook) else ""
