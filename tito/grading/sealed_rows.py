"""Rows of the journal, each sealed with a hash of itself: a damaged file is read for those that are whole."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

BESIDE = ("", "-wal", "-shm")  # SQLite's files
TABLE = "CREATE TABLE rows (kind TEXT, key TEXT, text TEXT, seal TEXT, PRIMARY KEY (kind, key))"

Row = tuple[str, str, str, str]  # kind, key, JSON, seal


def sealed(kind: str, key: str, value: dict[str, Any]) -> Row:
    """A row for a value that JSON can hold."""
    text = json.dumps(value)
    return kind, key, text, seal(kind, key, text)


def seal(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def is_whole(row: Row) -> bool:
    """Whether a row that was read is what was once put. Of a damaged file it may hold anything."""
    return all(isinstance(value, str) for value in row) and row[3] == seal(*row[:3])


def text_of(data: bytes) -> str:
    """Spoilt bytes are for the seal to find, and no error."""
    return data.decode("utf-8", "replace")


def set_aside(path: Path, damaged: Path) -> None:
    """Rename a database that is damaged, with the files that SQLite keeps beside it."""
    for suffix in BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(damaged.with_name(damaged.name + suffix))


def rescued(path: Path) -> Iterator[Row]:
    """The rows of a damaged database that can be reached, from the front or from the back, and are whole."""
    with suppress(sqlite3.DatabaseError):
        rows = sqlite3.connect(path, timeout=0)
        rows.text_factory = text_of
        try:
            for order in ("ASC", "DESC"):
                with suppress(sqlite3.DatabaseError):
                    for row in rows.execute(f"SELECT kind, key, text, seal FROM rows ORDER BY rowid {order}"):
                        if is_whole(row):
                            yield row
        finally:
            rows.close()
