"""Who handed in what: the folder, or the one file, that an instructor has -> a name and the files of each student."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from tito.course.module import Module
from tito.errors import WrongCall
from tito.grading.intake import attempts, platforms, tops, unpacking
from tito.grading.intake.arrival import Arrival
from tito.grading.intake.tops import Top
from tito.grading.intake.unpacking import NOTEBOOKS, Entry
from tito.grading.roster import Person, Roster

FORBIDDEN = re.compile(r'[<>:"/\\|?*%#&;\s]+')
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)  # what Windows opens instead
LONGEST_NAME = 80
SUBMITTED = "submitted"  # nbgrader's folder, and what may lie beside it:
NBGRADER = frozenset({SUBMITTED, "source", "release", "autograded", "feedback", "exchange", "downloaded", "archive"})
# A name that a person gave to a folder may end as Canvas' do: NAME_ID. Fewer digits are rather a group's number.
CANVAS_NAME = re.compile(r"(?!anon_).+_(?P<id>[1-9]\d{3,})")


def arrivals(module: Module, path: Path, stack: ExitStack, roster: Roster) -> list[Arrival]:
    """Everyone's files, by names that differ even where capital letters do not count, in order.

    Raises WrongCall where it cannot be said who the students are, and OSError.
    """
    top = tops.of_folder(path) if path.is_dir() else tops.of_file(path, stack)
    if top.on_disk and [entry.suffix for entry in top.visible] == [".zip"] and not top.folders:
        inside = tops.of_entry(top.visible[0], stack)
        top = inside if _is_class(inside) else top
    found = attempts.joined(_grouped(module, _descended(module, top, path)), roster)
    return _apart(sorted(found, key=lambda arrival: arrival.name))


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


def _descended(module: Module, top: Top, path: Path) -> Top:
    """Go into nbgrader's `submitted`, and into a folder that is all there is: in a zip into any; on disk into one that
    is called so, or that holds a class.
    """
    if SUBMITTED in top.folders and (below := _submitted(module, top, path)):
        return below
    if len(top.folders) != 1 or top.visible:
        return top
    ((name, folder),) = top.folders.items()
    below = folder.look()
    if not top.on_disk or name in ("submissions", top.name) or _is_class(below):
        return _descended(module, replace(below, name=top.name), path / name)
    return top


def _submitted(module: Module, top: Top, path: Path) -> Top | None:
    """What is in nbgrader's `submitted`; None where a student's folder is called so.

    Raises WrongCall where it lies among other submissions, for one of both would not be graded.
    """
    inside = top.folders[SUBMITTED].look()
    if not inside.folders or _holds_notebook(module, inside):
        return None
    others = [name for name in top.visible_folders if name not in NBGRADER]
    others += [
        entry.name for entry in top.visible if entry.suffix in (*NOTEBOOKS, ".zip") and "nbgrader" not in entry.name
    ]
    if others:
        raise WrongCall(
            f"{path} holds nbgrader's folder '{SUBMITTED}' beside {', '.join(map(unpacking.shown, others[:3]))}: "
            f"name {path / SUBMITTED}, or move one of both elsewhere"
        )
    return replace(inside, name=top.name, nbgrader=True)


def _is_class(top: Top) -> bool:
    """Is this surely a class, or the folder above one: a platform's download, nbgrader's course, or several clones?"""
    inside = [folder.look() for folder in top.visible_folders.values()]
    if len(inside) == 1 and not top.visible and _is_class(inside[0]):
        return True
    clones = [below.name for below in inside if ".git" in below.folders or _is_course(below)]
    return SUBMITTED in top.folders or len(clones) > 1 or platforms.is_download(top)


def _is_course(top: Top) -> bool:
    return "modules" in top.folders and any(entry.name == "pyproject.toml" for entry in top.files)


def _holds_notebook(module: Module, top: Top) -> bool:
    names = {entry.path.name for entry in module.notebooks} | {"manifest.json"}
    names |= {PurePosixPath(name).with_suffix(".ipynb").name for name in names}
    return any(entry.name in names for entry in top.files)


def _grouped(module: Module, top: Top) -> Iterator[Arrival]:
    if _holds_notebook(module, top):
        yield from _with_others_beside(top)
    elif _is_course(top):
        files = [folder.files for folder in top.folders.values()]
        yield Arrival(top.name, [partial(iter, top.files), *files], surely_one=True)  # a student's whole course folder
    else:
        for platform in platforms.PLATFORMS:
            claimed = platform(top)
            yield from claimed.arrivals.values()
            top = top.without(claimed.names)
        yield from _by_name(module, top)


def _with_others_beside(top: Top) -> Iterator[Arrival]:
    """Notebooks at the top are one submission. Folders and zips beside them may be others."""
    zips = [entry for entry in top.visible if entry.suffix == ".zip"]
    yield Arrival(top.name, [partial(iter, [entry for entry in top.visible if entry not in zips])])
    yield from (Arrival(PurePosixPath(entry.path).stem, [partial(iter, [entry])], aside=True) for entry in zips)
    yield from (Arrival(name, [folder.files], aside=True) for name, folder in top.visible_folders.items())


def _by_name(module: Module, top: Top) -> Iterator[Arrival]:
    """Files and folders that carry their students' names."""
    for entry in top.visible:
        name, person = _whose(module, entry)
        yield Arrival(name, [partial(iter, [platforms.checked(entry)])], person=person)
    for name, folder in top.visible_folders.items():
        person = _by_canvas_id(name)
        yield Arrival(name, [folder.files], nbgrader=top.nbgrader, surely_one=top.nbgrader, person=person)


def _whose(module: Module, entry: Entry) -> tuple[str, Person]:
    """Whose file this is, by its name: NAME.zip, NAME.ipynb, NAME_quantization_dev.ipynb, and as Google Classroom
    calls files, NAME - quantization_dev (1).ipynb.
    """
    stem = PurePosixPath(entry.name).stem
    if entry.suffix in NOTEBOOKS:
        plain = attempts.without_number(stem)
        whose = (_before(form, notebook.path.stem) for form in (stem, plain) for notebook in module.notebooks)
        stem = next(filter(None, whose), stem)
    return stem, _by_canvas_id(stem)


def _before(stem: str, notebook: str) -> str:
    return stem[: -len(notebook)].rstrip(" _-.") if stem.lower().endswith(notebook) else ""


def _by_canvas_id(name: str) -> Person:
    match = CANVAS_NAME.fullmatch(name)
    return Person(canvas=match["id"]) if match else Person()
