"""What one student handed in, before anything of it is read."""

from __future__ import annotations

from dataclasses import dataclass

from tito.grading.handed_in import HandedIn
from tito.grading.intake.tops import Files
from tito.grading.roster import Person


@dataclass
class Arrival:
    """`aside`: it lay beside notebooks, and is no submission where it holds none."""

    name: str
    files: list[Files]
    remarks: tuple[str, ...] = ()
    aside: bool = False
    handed_in: HandedIn | None = None  # what the platform says of all its files
    nbgrader: bool = False  # it lay in nbgrader's `submitted`, where nbgrader writes when each assignment came
    surely_one: bool = False  # that these are one student's files says a platform, or that their names go together
    person: Person = Person()
