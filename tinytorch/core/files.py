"""Files that several processes may write at once: each is whole, from one writer, or was not written."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write. When the block ends without an error it becomes `path`, which keeps its permissions.

    Raises OSError if the folder is missing or full, or if `path` is a folder or a device.
    """
    path = Path(os.path.realpath(path))  # what a link leads to, as open() would write
    if path.exists() and not path.is_file():
        raise OSError(f"{path} must be a file to be written, got a folder or a device: give another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} must be in a folder that exists, got none at {path.parent}: make it first")
    part = path.with_name(f".tinytorch-{secrets.token_hex(8)}.part")  # a name of its own: writers never share one
    try:
        with _opened(part, path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            part.chmod(S_IMODE(path.stat().st_mode))
        replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _opened(part: Path, path: Path) -> BinaryIO:
    """`part`, to write. OSError names `path`, which is what somebody asked for."""
    try:
        return part.open("xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def replace(part: Path, path: Path) -> None:
    """os.replace; Windows refuses it while somebody reads `path`, so there it is tried for a second."""
    for _ in range(100 if sys.platform == "win32" else 0):
        with suppress(PermissionError):
            part.replace(path)
            return
        time.sleep(0.01)
    part.replace(path)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Inside the block no other process or thread is inside a block of the same lock file, which is removed behind it.

    Where the file system knows no locks, everybody is let in.
    """
    held = False
    try:
        while not held:
            with lock.open("ab") as file:
                with suppress(OSError):
                    _lock(file)
                held = _is_named(file, lock)  # else who held it before has removed it: a newer file has the name
                if held:
                    try:
                        yield
                    finally:
                        with suppress(OSError):
                            lock.unlink()
    finally:
        if sys.platform == "win32":  # which removes no open file; one that somebody else has opened stays his
            with suppress(OSError):
                lock.unlink()


def _is_named(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: BinaryIO) -> None:
    """Wait until the file is ours; on Windows for ten seconds at most."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
