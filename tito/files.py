"""Files are written whole or not at all, and what could not be written is named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tito.errors import TitoError


def write_whole(texts: Sequence[tuple[Path, str | bytes]]) -> None:
    """Write every text beside its target, and only when all are on the disk put them in place.

    Raises TitoError naming the target where the disk is full, read-only, or says no; the old files are then untouched.
    """
    beside = [(target.with_name(f".{target.name}.{os.getpid()}.new"), target, text) for target, text in texts]
    try:
        for path, target, text in beside:
            with naming(target):
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_synced(path, text)
        for path, target, _ in beside:
            with naming(target):
                path.replace(target)
    finally:
        for path, _, _ in beside:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _write_synced(path: Path, text: str | bytes) -> None:
    with path.open("wb") as stream:
        stream.write(text.encode() if isinstance(text, str) else text)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Tell an OSError as a sentence that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise TitoError(f"{target} could not be written ({reason}); what was there is unchanged") from None
