"""What one person handed in, as it is graded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Submission:
    """Of every known exercise the cells, without their directive lines.

    An exercise that was found has as many sources as the student's edition has cells of it, each in the place of one.
    From Canvas' download a name ends with Canvas' number of the student: `lovelaceada_12345`.
    """

    name: str  # unique in a batch, in any case of letters; printable, no separators, no leading dot
    cells: dict[str, tuple[str, ...]]  # exercise id -> sources; an exercise that is missing has no key
    remarks: tuple[str, ...] = ()  # what the student should know
    refused: str = ""  # why it could not be read at all: graded 0 with this sentence

    @property
    def digest(self) -> str:
        """sha256 of the cells, in hex; two people with the same cells have the same."""
        return hashlib.sha256(json.dumps(self.cells, sort_keys=True).encode("ascii")).hexdigest()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Submission:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        cells = {exercise: tuple(sources) for exercise, sources in data["cells"].items()}
        return cls(**(data | {"cells": cells, "remarks": tuple(data["remarks"])}))
