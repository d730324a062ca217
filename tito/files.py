"""Files are written whole or not at all, by one person at a time, and what could not be written is named."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tito.errors import TitoError

PRIVATE, PRIVATE_FOLDER = 0o600, 0o700  # for their owner alone; Windows knows no such modes
DEEPEST = 500  # levels of lists and objects in JSON, of which a notebook has six
TICK = 2  # seconds: the coarsest that a file system counts a file's time in
_threads = threading.RLock()
atexit.register(_threads.acquire)  # when Python ends, a thread may not be in the middle of writing


def parsed(text: str, **numbers: Any) -> Any:
    """What JSON holds that a person may have damaged. Raises ValueError, too where it is nested too deeply: how deep
    Python itself reads depends on its version."""
    try:
        value = json.loads(text, **numbers)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [part for whole in level for part in _lists_and_objects_in(whole)]
    if level:
        raise ValueError("its JSON is nested too deeply")
    return value


def _lists_and_objects_in(value: Any) -> list[Any]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in parts if isinstance(part, dict | list)]


def digest(data: bytes) -> str:
    """A hash of what a file holds, whichever line ends Git or an editor gave it."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


def write_whole(texts: Sequence[tuple[Path, str | bytes]], imported: bool = False, private: bool = False) -> None:
    """Write every text beside its target, and only when all are on the disk put them in place, one after the other.

    A link stays a link to the file that is written, and a file that is replaced keeps its mode. Raises TitoError
    naming the target that could not be written, because the disk is full, read-only, or says no. Each target then
    holds either all of its old text or all of its new one; those that hold the new one already are named. Ctrl-C
    leaves all targets as they were, or comes too late for any.

    imported: the files are modules. Python takes bytecode for a module's own where time, in whole seconds, and length
    agree, so each module gets a later time than the one that it replaces. private: the files, and the folders that
    have to be made for them, are for their owner alone, whatever the umask and the mode of what is replaced.
    """
    with _threads:
        _write_whole(texts, imported, private)


def _write_whole(texts: Sequence[tuple[Path, str | bytes]], imported: bool, private: bool) -> None:
    beside, written = list[tuple[Path, Path]](), list[Path]()
    try:
        for target, text in texts:
            data = text.encode() if isinstance(text, str) else text
            with naming(target):
                if _is_device(target):  # as `--json /dev/stdout` names one
                    target.write_bytes(data)
                    continue
                real = Path(os.path.realpath(target))
                private_folder(real.parent) if private else real.parent.mkdir(parents=True, exist_ok=True)
                beside.append((real.with_name(f".{real.name[:40]}.{secrets.token_hex(4)}.new"), target))
                _write_synced(beside[-1][0], data, PRIVATE if private else 0o666)
                if real.is_file() and not private:
                    beside[-1][0].chmod(stat.S_IMODE(real.stat().st_mode))
                if real.is_file() and imported:
                    _make_later(beside[-1][0], real)
        with until_in_place():
            for path, target in beside:
                with naming(target, written):
                    path.replace(os.path.realpath(target))
                written.append(target)
    finally:
        for path, _ in beside:
            with suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def until_in_place() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP wait for the end of the block, which moves or removes what is on the disk."""
    came, handlers = list[int](), dict[int, Any]()
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        handlers = {number: found for number in numbers if callable(found := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number in came[:1]:
        signal.raise_signal(number)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which at the end of the block is `folder`; where the block raises, nothing is left of it.

    `folder` is new or empty. Ctrl-C while it is put in place is too late, and stops nothing.
    """
    place = folder.absolute()
    made = place.with_name(f".{place.name[:40]}.{secrets.token_hex(4)}.new")
    above = next(path for path in place.parents if path.exists())
    missing = [path for path in place.parents if path.is_relative_to(above) and path != above]
    try:
        with naming(folder):
            made.mkdir(parents=True)
        yield made
        with suppress(KeyboardInterrupt), naming(folder), until_in_place():
            if place.is_dir():  # an empty one, in which the person may stand
                for path in made.iterdir():
                    path.rename(place / path.name)
            else:
                made.rename(place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if not place.exists():
            for path in missing:  # the innermost first
                with suppress(OSError):
                    path.rmdir()


def _is_device(target: Path) -> bool:
    """Is the target something that cannot be replaced, only written to: a terminal, a pipe, /dev/null?"""
    return target.exists() and not target.is_file() and not target.is_dir()


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone. One that is there stays as it is."""
    for folder in [each for each in (*reversed(path.parents), path) if not each.exists()]:
        folder.mkdir(PRIVATE_FOLDER, exist_ok=True)
        folder.chmod(PRIVATE_FOLDER)  # the umask may have taken away more


def make_private(path: Path) -> None:
    """Take from everybody else what they may do with a file or a folder, if it is there and ours."""
    with suppress(OSError):
        if not path.is_symlink():
            path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE)


def create_private(path: Path) -> None:
    """Put an empty file where there is none, for its owner alone: what a library opens later has this mode from the
    beginning.
    """
    with suppress(OSError):  # whoever opens it will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
    make_private(path)


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
        if mode == PRIVATE and hasattr(os, "fchmod"):
            os.fchmod(stream.fileno(), mode)  # the umask may have taken away more
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _make_later(path: Path, than: Path) -> None:
    """Date a file later than another one, even where the clock has not gone on or was set back."""
    written = path.stat()
    earliest = than.stat().st_mtime_ns + TICK * 1_000_000_000
    if written.st_mtime_ns < earliest:
        os.utime(path, ns=(written.st_atime_ns, earliest))


@contextmanager
def naming(target: Path, written: Sequence[Path] = ()) -> Iterator[None]:
    """Tell an OSError as a sentence that names the file, and those that were written before it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        but = (
            f", but {', '.join(map(str, written))} {'was' if len(written) == 1 else 'were'} written" if written else ""
        )
        raise TitoError(f"{target} could not be written ({reason}); what was there is unchanged{but}") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that no other thread and no other process holds, for the time between reading a file and writing it.

    `path` is an empty file that stays. On a disk without locks, as some networks have, only threads are kept apart.
    """
    with _threads, path.open("ab") as stream:
        with suppress(OSError):
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
            else:
                import fcntl

                fcntl.flock(stream, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back
