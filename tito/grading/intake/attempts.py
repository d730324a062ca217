"""What one student handed in several times: ada.zip, ada (1).zip, ada-2.zip, and a folder ada beside its zip."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tito.grading.intake import unpacking
from tito.grading.intake.arrival import Arrival
from tito.grading.intake.tops import Files
from tito.grading.intake.unpacking import Entry
from tito.grading.roster import Roster

NUMBER = re.compile(r"(?P<before>.+?)(?: ?\(\d{1,3}\)|-\d{1,2})", re.DOTALL)  # what browsers, Drive and Canvas add


def without_number(name: str) -> str:
    """A name without the number of a second download.

    >>> without_number("ada (1)"), without_number("ada-2"), without_number("ada")
    ('ada', 'ada', 'ada')
    """
    match = NUMBER.fullmatch(name)
    return match["before"] if match else name


def joined(found: Iterable[Arrival], roster: Roster) -> list[Arrival]:
    """One arrival for each student. `ada (1)` is a second one of `ada`'s only where there is an `ada`.

    The roster goes before: names that it gives to one person are one student's, and to several, several students'.
    """
    by_student = dict[object, list[Arrival]]()
    found = list(found)
    names = {arrival.name for arrival in found if not arrival.surely_one}
    for arrival in found:
        by_student.setdefault(_student(arrival, names, roster), []).append(arrival)
    return [_one(arrivals) for arrivals in by_student.values()]


def _student(arrival: Arrival, names: set[str], roster: Roster) -> object:
    """What tells this student from the others."""
    if listed := roster.find(arrival.name, arrival.person):
        return listed
    before = without_number(arrival.name)
    if arrival.surely_one or before not in names:
        return arrival.name, arrival.surely_one, arrival.aside
    return roster.find(before, arrival.person) or (before, arrival.surely_one, arrival.aside)


def _one(arrivals: list[Arrival]) -> Arrival:
    first, *others = sorted(arrivals, key=lambda arrival: (len(arrival.name), arrival.name))
    if not others:
        return first
    names = dict.fromkeys(arrival.name for arrival in (first, *others))
    if len(names) > 1:
        told = " and ".join(unpacking.shown(name) for name in names if name != first.name)
        first.remarks += (f"{told} {'was' if len(names) == 2 else 'were'} taken as handed in by {first.name} as well",)
    for arrival in others:
        first.remarks = tuple(dict.fromkeys((*first.remarks, *arrival.remarks)))
        first.person, first.handed_in = first.person.or_else(arrival.person), first.handed_in or arrival.handed_in
    first.surely_one = True
    first.files = [_of(arrival.name, files) for arrival in (first, *others) for files in arrival.files]
    return first


def _of(name: str, files: Files) -> Files:
    """Files that know in which of several they lay, which a message may have to say."""

    def known() -> Iterator[Entry]:
        for entry in files():
            alone = entry.path in (unpacking.shown(name), unpacking.shown(name + entry.suffix))
            yield entry if alone else replace(entry, outer=(unpacking.shown(name), *entry.outer))

    return known
