"""Whose points changed from one report to the next, as a table and for a page; and the grades.csv of before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from tito import files
from tito.grading.changes import Change
from tito.grading.reports import tables

COLUMNS = ("date (UTC)", "submission", "exercise", "old points", "new points", "test", "reason")
EARLIER = "earlier"  # the folder of every grades.csv that was replaced


def changes_csv(history: Sequence[Change]) -> bytes:
    """A row a change, the oldest first."""
    rows: list[list[object]] = [list(COLUMNS)]
    for one in history:
        old = "" if one.old is None else one.old
        rows.append([one.when, one.submission, one.exercise, old, one.new, one.test, one.reason])
    return tables.as_csv(rows).encode("utf-8-sig")


def by_report(history: Sequence[Change]) -> list[tuple[str, list[Change]]]:
    """The changes of each report, with its date; the latest first."""
    return [(when, list(changes)) for when, changes in groupby(history, key=lambda one: one.when)][::-1]


def replaced(table: Path, data: bytes) -> list[tuple[Path, bytes]]:
    """The copy that is to be kept of a table that `data` will replace, named by when that was written; or nothing."""
    if not table.is_file() or (old := table.read_bytes()) == data:
        return []
    written = datetime.fromtimestamp(table.stat().st_mtime, UTC)
    name = f"{table.stem}_{written:%Y-%m-%dT%H-%M-%SZ}_{files.digest(old)[:6]}{table.suffix}"
    return [(table.parent / EARLIER / name, old)]
