"""Submissions as people get them -> Submission: an exercise's cells as text. Nothing of the student's is run here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tito.course import Module


@dataclass(frozen=True)
class Submission:
    """What one person handed in: of every known exercise the cells, in order, without their directive lines."""

    name: str  # unique in a batch; printable, no separators, no leading dot
    cells: dict[str, tuple[str, ...]]  # exercise id -> sources; an exercise that is missing has no key
    remarks: tuple[str, ...] = ()  # what the student should know
    refused: str = ""  # why it could not be read at all: graded 0 with this sentence

    @property
    def digest(self) -> str:
        """sha256 of the cells, in hex; two people with the same cells have the same."""
        return hashlib.sha256(json.dumps(self.cells, sort_keys=True).encode("ascii")).hexdigest()


def collect(module: Module, path: Path) -> list[Submission]:
    """All submissions in a folder, or in one file, sorted by name. Raises TitoError where `path` itself is wrong."""
    raise NotImplementedError(f"{module.name}: {path}")
