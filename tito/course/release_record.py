"""release.json: what a release put where, so that a student's edition knows itself, and a later release its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from tito import files

NAME = "release.json"


def read(folder: Path) -> dict[str, str] | None:
    """The files of the release that lies in a folder, each with its SHA-256; None where no record can be read."""
    return _texts(_record(folder).get("files"))


def form(folder: Path) -> tuple[str, str]:
    """The format and the module of the release that lies in a folder; empty where no record can be read."""
    record = _record(folder)
    return str(record.get("format", "")), str(record.get("module", ""))


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = files.parsed((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and record.get("made_by") == "tito release" else {}


def _texts(value: object) -> dict[str, str] | None:
    whole = isinstance(value, dict) and all(isinstance(part, str) for pair in value.items() for part in pair)
    return cast(dict[str, str], value) if whole else None
