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
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tito.course.project import RELEASED

MIB = 2**20
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
    waiting, seen = [folder], 0
    while waiting:
        here = waiting.pop()
        inside = here.relative_to(folder).as_posix()
        try:
            found = sorted(os.scandir(here), key=lambda item: item.name)
        except OSError as error:
            yield Entry(shown(inside), problem=f"{shown(here.name)} cannot be opened ({error.strerror})")
            continue
        for item in found:
            seen += 1
            if seen > MOST_FILES:
                raise Refused(TOO_MANY)
            if _ignored(item.name):
                continue
            path = shown((PurePosixPath(inside) / item.name).as_posix())
            if item.is_dir(follow_symlinks=False):
                if len(Path(item.path).relative_to(folder).parts) <= DEEPEST:
                    waiting.append(Path(item.path))
                if item.name.endswith((".py", ".ipynb")):
                    yield Entry(path, problem=f"{shown(item.name)} is a folder, not a notebook")
            else:
                yield on_disk(Path(item.path), path)


def on_disk(file: Path, path: str) -> Entry:
    """One file, which must be a regular one with no second name."""
    try:
        status = file.lstat()
        when = tuple(time.localtime(status.st_mtime)[:6])
    except (OSError, OverflowError, ValueError) as error:
        return Entry(path, problem=f"{shown(file.name)} cannot be looked at ({error})")
    return Entry(path, lambda: _open(file), when, problem=_unusual(shown(file.name), status))


def _unusual(name: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"{name} is a link; only files are read"
    if not stat.S_ISREG(status.st_mode):
        return f"{name} is neither a file nor a folder"
    return f"{name} has a second name elsewhere (a hard link): hand in a copy" if status.st_nlink > 1 else ""


def _open(file: Path) -> BinaryIO:
    """Open a file as what it was listed as; if it has become a link or a pipe since, it is refused, not waited for."""
    flags = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    try:
        stream = os.fdopen(os.open(file, flags), "rb")
    except OSError as error:
        raise Refused(f"{shown(file.name)} cannot be opened ({error.strerror})") from None
    problem = _unusual(shown(file.name), os.fstat(stream.fileno()))
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
                    raise Refused(f"{entry.path} is larger than {LARGEST // MIB} MiB")
    except Refused:
        raise
    except Exception as error:  # zipfile raises a dozen kinds for damaged bytes; to a person they are one
        raise Refused(f"{entry.path} is damaged ({_reason(error)})") from None
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
                inside = [replace(inner, when=(*entry.when, *inner.when)) for inner in inside]
                yield from flat(inside, budget, depth + 1)


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
    return Entry(path.rstrip("/"), lambda: archive.open(info), info.date_time, packed, problem)  # type: ignore[return-value,arg-type]


def _ignored(part: str) -> bool:
    return part in IGNORED or (part.startswith(".") and part not in (".", ".."))


def _reason(error: Exception) -> str:
    return shown(str(error)) or type(error).__name__
