"""release.json: what a release put where, so that a student's edition knows itself, and a later release its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "release.json"


def read(folder: Path) -> dict[str, Any] | None:
    """The record of the release that lies in a folder, or None where there is none that can be read."""
    try:
        record = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and isinstance(record.get("files"), dict)
    return record if whole and record.get("made_by") == "tito release" else None
