"""What one person handed in, as it is graded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tito.grading.handed_in import HandedIn
from tito.grading.roster import Person


@dataclass(frozen=True)
class Submission:
    """Of every known exercise the cells, without their directive lines.

    An exercise that was found has as many sources as the student's edition has cells of it, each in the place of one.
    From Canvas' download a name ends with Canvas' number of the student: `lovelaceada_12345`. `person` is for tables
    and pages: it decides no grade, and is not in the digest.
    """

    name: str  # unique in a batch, in any case of letters; printable, no separators, no leading dot
    cells: dict[str, tuple[str, ...]]  # exercise id -> sources; an exercise that is missing has no key
    remarks: tuple[str, ...] = ()  # what the student should know
    refused: str = ""  # why it could not be read at all: graded 0 with this sentence
    person: Person = Person()
    handed_in: HandedIn | None = None  # None: nobody knows; it decides whether it is late, and nothing of its grade
    answers: dict[str, str] = field(default_factory=dict)  # question id -> words; tests know nothing of them

    @property
    def digest(self) -> str:
        """sha256 of the cells, in hex; two people with the same cells have the same."""
        return hashlib.sha256(json.dumps(self.cells, sort_keys=True).encode("ascii")).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"handed_in": self.handed_in and self.handed_in.as_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Submission:
        """The inverse of as_json."""
        cells = {exercise: tuple(sources) for exercise, sources in data["cells"].items()}
        own = {
            "cells": cells,
            "remarks": tuple(data["remarks"]),
            "person": Person.from_json(data.get("person", {})),  # an older journal says nothing of people and times
            "handed_in": HandedIn.from_json(data.get("handed_in")),
        }
        return cls(**(data | own))
