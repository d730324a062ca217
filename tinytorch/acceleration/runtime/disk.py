"""Compiled code on disk, so that only the first process compiles it.

A file is written whole or not at all and begins with its own digest, so that whatever cannot be read back as it was
written counts as not there, and is made again. Where no folder takes it, each process compiles anew and says so once: a
disk costs speed, never an answer.
"""

import hashlib
import os
import sys
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
DIGEST = 32  # bytes of SHA-256
_told: list[bool] = []


@cache
def folder_name() -> str:
    """A digest of all that machine code depends on: a change of source, version or processor looks elsewhere, and never
    meets an old file."""
    import llvmlite.binding as llvm
    import numba

    sources = sorted(PACKAGE.rglob("*.py"))
    parts = [numba.__version__, llvm.get_process_triple(), llvm.get_host_cpu_name(), *map(str, llvm.llvm_version_info)]
    parts += [str(sys.implementation.cache_tag), getattr(sys, "abiflags", ""), llvm.get_host_cpu_features().flatten()]
    parts += [path.read_text(encoding="utf-8") for path in sources]
    return "kernels-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _takes_files(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    return False


def _of_user() -> list[Path]:
    """The user's cache directory; none where nobody knows this user's home."""
    wanted = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if wanted.is_absolute():
        return [wanted / "tinytorch"]
    with suppress(RuntimeError):
        return [Path.home() / ".cache" / "tinytorch"]
    return []


def folders() -> list[Path]:
    """Where compiled code may lie. NUMBA_CACHE_DIR alone if it takes files; else beside this package and in the user's
    cache directory. Looked up at each use, for a process may lose the right to write."""
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    if wanted and _takes_files(folder := Path(wanted, folder_name())):
        return [folder]
    return [folder / folder_name() for folder in (PACKAGE / "__pycache__", *_of_user())]


def _is_trusted(owner: int) -> bool:
    """Whether to run what this user wrote: root, the owner of this package, or the user who runs it."""
    return not hasattr(os, "geteuid") or owner in (0, os.geteuid()) or owner == PACKAGE.stat().st_uid


def _read(file: Path) -> bytes | None:
    with suppress(OSError), file.open("rb") as stream:
        digest, data = stream.read(DIGEST), stream.read()
        if _is_trusted(os.fstat(stream.fileno()).st_uid) and hashlib.sha256(data).digest() == digest:
            return data
    return None


def _write(file: Path, data: bytes) -> None:
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(hashlib.sha256(data).digest() + data)
        part.replace(file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def read(name: str) -> bytes | None:
    """What some process wrote under `name`; None if that is not there, or not whole."""
    return next((data for folder in folders() if (data := _read(folder / name)) is not None), None)


def write(name: str, data: bytes) -> None:
    """Keep `data` under `name` in the first folder that takes it."""
    fault: OSError | None = None
    for folder in folders():
        try:
            return _write(folder / name, data)
        except OSError as error:
            if _read(folder / name) == data:  # another process was first, and Windows lets nobody replace an open file
                return None
            fault = fault or error
    if not _told:
        _told.append(True)
        warnings.warn(
            f"compiled kernels cannot be kept on disk ({fault}): each process compiles them anew, which takes seconds; "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
    return None


def kept(name: str, make: Callable[[], bytes]) -> bytes:
    """The bytes that `make` gives, or gave an earlier process."""
    data = read(name)
    if data is None:
        data = make()
        write(name, data)
    return data
