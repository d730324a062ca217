"""Who is expected to hand in, by OUT/roster.csv: read before anybody is graded, and never written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tito.errors import TitoError
from tito.grading.grade import Grade
from tito.grading.intake.arrivals import safe
from tito.grading.options import Shard
from tito.grading.reports import escaping, tables
from tito.grading.reports.adjustments import quoted
from tito.grading.roster import IDS, Listed, Person, Roster
from tito.grading.submission import Submission

FILE = "roster.csv"
COLUMNS = ("name", *IDS, "submission")
SEVERAL = "|"  # between the names of one person's submissions: no spreadsheet writes it between cells
PARTICIPANT = re.compile(r"(?:participant\s*)?(\d+)", re.IGNORECASE)
CANVAS_ID = re.compile(r"\d+")
NOTHING = "nothing was handed in"


def read(out: Path) -> Roster:
    """The roster in a folder; an empty one where there is none, or no line in it.

    Raises TitoError, one sentence that names file and line, where a line names nobody, an id is none, or two people
    share what belongs to one.
    """
    path = out / FILE
    if not path.is_file():
        return Roster()
    listed, taken = list[Listed](), dict[tuple[str, str], int]()
    for line, cells in tables.rows(path, (), optional=COLUMNS):
        where, values = f"{path}, line {line}", dict(zip(COLUMNS, cells, strict=True))
        names = tuple(name for each in values.pop("submission").split(SEVERAL) if (name := each.strip()))
        if not any((*values.values(), *names)):
            raise TitoError(f"{where}: it names nobody: fill in one of {', '.join(COLUMNS)}")
        values["canvas"] = _number(where, "canvas", values["canvas"], CANVAS_ID)
        values["moodle"] = _number(where, "moodle", values["moodle"], PARTICIPANT)
        for column, value in (*((name, values[name]) for name in IDS), *(("submission", name) for name in names)):
            if value and taken.setdefault((column, value.casefold()), line) != line:
                first = taken[column, value.casefold()]
                raise TitoError(f"{where}: {column} '{escaping.one_line(value)}' is on line {first} too: whose is it?")
        listed.append(Listed(line, Person(**values), names))
    return Roster(listed)


def _number(where: str, column: str, text: str, form: re.Pattern[str]) -> str:
    match = form.fullmatch(text)
    if text and not match:
        raise TitoError(f"{where}: {column} must be a number, got '{escaping.one_line(text)}'")
    return match[match.lastindex or 0] if match else ""


@dataclass(frozen=True)
class Attendance:
    """Who handed in, and who did not."""

    submissions: tuple[Submission, ...] = ()  # each with what the roster says of its student; last, empty, the missing
    missing: tuple[Grade, ...] = ()  # of everybody on the roster who handed in nothing: no points, and no zero
    warnings: tuple[str, ...] = ()  # about submissions that are nobody's on the roster


def attendance(out: Path, submissions: Sequence[Submission], shard: Shard) -> Attendance:
    """The roster in `out` beside what was handed in. Of a part of a batch nobody can tell who is missing.

    Raises TitoError where a line of the roster is wrong, or two submissions would have one row in a gradebook.
    """
    roster = read(out)
    known = [replace(one, person=roster.person(one.name, one.person)) for one in submissions]
    check_one_each(known)
    absent = list(_absent(roster, known)) if shard.count == 1 else []
    grades = tuple(Grade(one.name, (), "missing", 0.0, (NOTHING,)) for one in absent)
    return Attendance((*known, *absent), grades, tuple(_warnings(roster, known)))


def _absent(roster: Roster, submissions: Iterable[Submission]) -> Iterator[Submission]:
    """Something to be called by for everybody on the roster who handed in nothing, which nobody else is called."""
    submissions = list(submissions)
    here, taken = {_found(roster, one) for one in submissions}, {one.name.casefold() for one in submissions}
    for listed in roster.listed:
        if listed not in here:
            name = wanted = safe(listed.submissions[0] if listed.submissions else listed.called)
            number = 1
            while name.casefold() in taken:
                number += 1
                name = f"{wanted}~{number}"
            taken.add(name.casefold())
            yield Submission(name, {}, person=listed.person)


def _found(roster: Roster, one: Submission) -> Listed | None:
    return roster.find(one.name, one.person)


def _warnings(roster: Roster, submissions: Iterable[Submission]) -> Iterator[str]:
    """A sentence about every submission that is nobody's on the roster."""
    if not roster.listed:
        return
    names = [name for it in roster.listed for name in (*it.submissions, *asdict(it.person).values()) if name]
    for one in submissions:
        if _found(roster, one) is None:
            whose = quoted(one.name, names)
            yield f"{FILE} says not whose the submission {whose} is: write this name into the column submission"


def check_one_each(submissions: Iterable[Submission]) -> None:
    """Raise TitoError where two submissions would have one row in a gradebook."""
    taken = dict[tuple[str, str], str]()
    for one in submissions:
        for kind in IDS:
            value = getattr(one.person, kind).casefold()
            if value and taken.setdefault((kind, value), one.name) != one.name:
                what = {"canvas": "Canvas' id", "moodle": "Moodle's participant", "sis": "the id"}.get(kind, kind)
                both = f"{taken[kind, value]} and {one.name} both have {what} {escaping.one_line(value)}"
                raise TitoError(f"{both}, for which a gradebook has one row: rename one, or leave out one")
