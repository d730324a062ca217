"""Files as strangers hand them in, on disk or in zips in zips: listed and read with caps, never followed or written.

No header is believed: what is read is counted while it is read.
"""

from __future__ import annotations

import io
import os
import re
import stat
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tito.course.project import RELEASED
from tito.grading.intake.disk import Parts, Tree

MIB = 2**20
NOTEBOOKS = (".py", ".ipynb")
LARGEST = 128 * MIB  # of one file: a notebook's outputs may be large, and are not looked at
MOST_BYTES = 384 * MIB  # that are read of one submission
MOST_FILES = 5_000  # that are looked at of one submission
DEEPEST = 12  # folders in folders
ZIPS_DEEP = 3  # zips in zips
TABLE = 8 * MIB  # of a zip's table of contents
IGNORED = frozenset({"__pycache__", "__MACOSX", RELEASED, "site-packages", "node_modules"})
TOO_MANY = f"more than {MOST_FILES} files were handed in: hand in the notebooks only"


class Refused(Exception):
    """Why something of a student's is not read, in one sentence."""


@dataclass
class Budget:
    """What may still be read of one submission. Its stack closes the archives that were opened."""

    stack: ExitStack
    bytes_left: int = MOST_BYTES
    files_left: int = MOST_FILES

    def take_bytes(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise Refused(f"more than {MOST_BYTES // MIB} MiB were handed in: hand in the notebooks only")

    def take_file(self) -> None:
        self.files_left -= 1
        if self.files_left < 0:
            raise Refused(TOO_MANY)


@dataclass(frozen=True)
class Entry:
    """A file that was handed in; with a `problem` it is named, and not read."""

    path: str  # inside the submission, with forward slashes; printable
    open: Callable[[], BinaryIO] = io.BytesIO
    when: tuple[int, ...] = ()
    packed: int = 0  # bytes in its zip; 0: it lies on disk
    problem: str = ""
    dated: datetime | None = None  # of a file on disk, or of the outermost zip; in a zip without a time zone
    outer: tuple[str, ...] = ()  # the zips in which it lies, and the folder where one of a student's several is meant
    label: str = ""  # what messages call it, where several have its path

    @property
    def called(self) -> str:
        return self.label or self.path

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix.lower()


def printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:400])


def shown(name: str) -> str:
    """A stranger's name as a message may hold it: one line, printable, not endless."""
    text = printable(name)
    return text if len(text) <= 120 else f"{text[:60]}...{text[-57:]}"


def walk(folder: Path) -> Iterator[Entry]:
    """The files below a folder in order; links and devices are entries with a problem."""
    try:
        tree = Tree(folder)
    except OSError as error:
        yield Entry(shown(folder.name), problem=f"{shown(folder.name)} cannot be opened ({error.strerror})")
    else:
        yield from below(tree, ())


def below(tree: Tree, top: Parts) -> Iterator[Entry]:
    """The same for a folder of a tree."""
    waiting, seen = [top], 0
    while waiting:
        here = waiting.pop()
        try:
            found = tree.listed(here, MOST_FILES + 1)
        except OSError as error:
            name = here[-1] if here else tree.root.name
            yield Entry(shown("/".join(here[len(top) :])), problem=f"{shown(name)} cannot be opened ({error.strerror})")
            continue
        for item in found:
            seen += 1
            if seen > MOST_FILES:
                raise Refused(TOO_MANY)
            if _ignored(item.name):
                continue
            parts = (*here, item.name)
            path = shown("/".join(parts[len(top) :]))
            if item.is_folder:
                if len(parts) - len(top) <= DEEPEST:
                    waiting.append(parts)
                if item.name.endswith((".py", ".ipynb")):
                    yield Entry(path, problem=f"{shown(item.name)} is a folder, not a notebook")
            else:
                yield on_disk(tree, parts, item.status, path)


def on_disk(tree: Tree, parts: Parts, status: os.stat_result, path: str) -> Entry:
    """One file, which must be a regular one with no second name."""
    try:
        when = tuple(time.localtime(status.st_mtime)[:6])
        dated = datetime.fromtimestamp(int(status.st_mtime), UTC)
    except (OSError, OverflowError, ValueError) as error:
        return Entry(path, problem=f"{shown(parts[-1])} cannot be looked at ({error})")
    problem = _unusual(shown(parts[-1]), status)
    return Entry(path, lambda: _open(tree, parts), when, problem=problem, dated=dated)


def _unusual(name: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"{name} is a link; only files are read"
    if not stat.S_ISREG(status.st_mode):
        return f"{name} is neither a file nor a folder"
    return f"{name} has a second name elsewhere (a hard link): hand in a copy" if status.st_nlink > 1 else ""


def _open(tree: Tree, parts: Parts) -> BinaryIO:
    """Open a file as what it was listed as; if it has become a link or a pipe since, it is refused, not waited for."""
    name = shown(parts[-1])
    try:
        stream = os.fdopen(tree.opened(parts), "rb")
    except OSError as error:
        raise Refused(f"{name} cannot be opened ({error.strerror})") from None
    problem = _unusual(name, os.fstat(stream.fileno()))
    if problem:
        stream.close()
        raise Refused(problem)
    return stream


def read(entry: Entry, budget: Budget) -> bytearray:
    """The bytes of a file. Raises Refused where it is damaged, or more than is read."""
    data = bytearray()
    if entry.problem:
        raise Refused(entry.problem)
    try:
        with entry.open() as stream:
            while part := stream.read(MIB // 4):
                data += part
                budget.take_bytes(len(part))
                if len(data) > LARGEST:
                    raise Refused(f"{entry.called} is larger than {LARGEST // MIB} MiB")
    except Refused:
        raise
    except Exception as error:  # zipfile raises a dozen kinds for damaged bytes; to a person they are one
        raise Refused(f"{entry.called} is damaged ({_reason(error)})") from None
    return data


def flat(entries: Iterable[Entry], budget: Budget, depth: int = 0) -> Iterator[Entry]:
    """The entries, and in place of a zip what is in it."""
    for entry in entries:
        budget.take_file()
        if entry.suffix != ".zip" or entry.problem:
            yield entry
        elif depth == ZIPS_DEEP:
            yield replace(entry, problem=f"{entry.path} is a zip in {depth} others: it was not opened")
        else:
            try:
                inside = unpack(entry, budget)
            except Refused as refusal:
                yield replace(entry, problem=str(refusal))
            else:
                inside = [_within(entry, inner) for inner in inside]
                yield from flat(inside, budget, depth + 1)


def _within(outer: Entry, inner: Entry) -> Entry:
    """A member of a zip that was handed in: the zip's date comes before its own."""
    return replace(
        inner,
        when=(*outer.when, *inner.when),
        dated=outer.dated or inner.dated,
        outer=(*outer.outer, outer.path),
    )


def told_apart(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, those of one path each with a label of its own: by its zip, and in one zip by its place."""
    entries, seen = list(entries), Counter[tuple[str, ...]]()
    paths = Counter(entry.path for entry in entries)
    labelled = list[Entry]()
    for entry in entries:
        whole = (*entry.outer, entry.path)
        seen[whole] += 1
        nth = f"no. {seen[whole]} of " if seen[whole] > 1 else ""
        label = ": ".join((*entry.outer, f"{nth}{entry.path}")) if paths[entry.path] > 1 else ""
        labelled.append(replace(entry, label=label))
    return labelled


def unpack(entry: Entry, budget: Budget) -> list[Entry]:
    """What is in a zip; nothing of it is read yet. Raises Refused where its table cannot be read."""
    stream = io.BytesIO(read(entry, budget)) if entry.packed else budget.stack.enter_context(entry.open())
    try:
        archive = zipfile.ZipFile(_Frugal(stream))
    except Refused:
        raise Refused(f"{entry.path} has a table of contents of more than {TABLE // MIB} MiB") from None
    except Exception as error:
        raise Refused(f"{entry.path} is not a zip that can be opened ({_reason(error)})") from None
    found = (_in_zip(entry.path, archive, info) for info in archive.infolist())
    return [inner for inner in found if inner]


class _Frugal:
    """A file that refuses to give much at once: zipfile would read as long a table as an archive claims to have."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(TABLE + 1 if size < 0 else min(size, TABLE + 1))
        if len(data) > TABLE:
            raise Refused("too long")
        return data


def _in_zip(outer: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry | None:
    """A zip's member under its own name; None for a folder, and for what tools leave behind."""
    name = info.orig_filename.replace("\\", "/")  # old Windows tools wrote these
    parts = name.rstrip("/").split("/")
    if any(map(_ignored, parts)) and ".." not in parts:
        return None
    path = shown(name)
    mode = stat.S_IFMT(info.external_attr >> 16)
    problem = ""
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", name):
        problem = f"{path} in {outer} would lie outside of the archive"
    elif not name.isprintable():
        problem = f"{path} in {outer} has a name that cannot be printed"
    elif mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = f"{path} in {outer} is a link; only files are read"
    elif name.endswith("/"):
        if not parts[-1].endswith((".py", ".ipynb")):
            return None
        problem = f"{path} in {outer} is a folder, not a notebook"
    elif info.flag_bits & 1:
        problem = f"{path} in {outer} is encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"{path} in {outer} is packed by a method other than deflate"
    packed = max(1, info.compress_size)
    dated = _date(info)
    return Entry(path.rstrip("/"), lambda: archive.open(info), info.date_time, packed, problem, dated)  # type: ignore[return-value,arg-type]


def _date(info: zipfile.ZipInfo) -> datetime | None:
    """A member's date; None for what is no date, and for 1980, which is written where there is none."""
    try:
        date = datetime(*info.date_time)
    except ValueError:
        return None
    return date if date.year > 1980 else None


def _ignored(part: str) -> bool:
    return part in IGNORED or (part.startswith(".") and part not in (".", ".."))


def _reason(error: Exception) -> str:
    return shown(str(error)) or type(error).__name__
