"""What the instructor adds to a grade or takes off, with a reason: OUT/adjustments.csv, read again at every report.

Every other source of points is read likewise, to `Additions`; `standing` joins them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tito import files
from tito.course.module import Module
from tito.errors import TitoError
from tito.grading.reports import escaping, tables

FILE = "adjustments.csv"
COLUMNS = ("submission", "exercise", "points", "reason")
POINTS = re.compile(r"[+-]?\d{1,4}([.,]\d{1,2})?")


@dataclass(frozen=True)
class Adjustment:
    """Points that are added (or, below zero, taken off), and why."""

    submission: str
    exercise: str  # its id, or "" for the submission as a whole
    points: Decimal
    reason: str


@dataclass(frozen=True)
class Additions:
    """What one source adds to the tests' points, or takes off, and what in it the instructor should look at."""

    adjustments: tuple[Adjustment, ...] = ()
    warnings: tuple[str, ...] = ()


def begin(out: Path) -> None:
    """Put an empty adjustments.csv where the instructor will look for it. One that is there stays as it is."""
    path = out / FILE
    if not path.exists():
        files.write_whole([(path, f"{','.join(COLUMNS)}\r\n".encode("utf-8-sig"))], private=True)


def read(out: Path, module: Module, names: Iterable[str]) -> Additions:
    """The adjustments in the file, in its order; none where there is no file.

    A submission that is not among `names` is a warning: its student may have withdrawn. Raises TitoError, one sentence
    that names the line, for an exercise that does not exist, points that are not a number, a reason that is missing,
    or a file that is no such table.
    """
    path = out / FILE
    if not path.is_file():
        return Additions()
    known = known_names(names)
    exercises = [item.id for items in (module.exercises, module.questions) for item in items]
    made, warnings = list[Adjustment](), list[str]()
    for line, (submission, exercise, points, reason) in tables.rows(path, COLUMNS):
        where = f"{path}, line {line}"
        if exercise and exercise not in exercises:
            raise TitoError(f"{where}: there is no exercise {quoted(exercise, exercises)}")
        if not reason:
            raise TitoError(f"{where}: the reason is missing: the student will ask, so write it in the last column")
        added = _points(where, points)
        if submission in known:
            made.append(Adjustment(known[submission], exercise, added, reason))
        else:
            nobody = f"there is no submission {quoted(submission, known)}, so this line changes nothing"
            warnings.append(f"{FILE}, line {line}: {nobody}")
    return Additions(tuple(made), tuple(warnings))


def known_names(names: Iterable[str]) -> dict[str, str]:
    """Every submission's name, by itself and as grades.csv shows it."""
    names = list(names)
    return {escaping.cell(escaping.one_line(name)): name for name in names} | {name: name for name in names}


def quoted(asked: str, known: Iterable[str]) -> str:
    """A name that is not known, with the nearest that is.

    >>> quoted("jnae", ["jane", "joe"])
    "'jnae' (the nearest is 'jane')"
    """
    near = difflib.get_close_matches(asked, list(known), n=1, cutoff=0.4)
    hint = f" (the nearest is '{escaping.one_line(near[0])}')" if near else ""
    return f"'{escaping.one_line(asked)}'{hint}"


def _points(where: str, text: str) -> Decimal:
    plain = text.replace("\N{MINUS SIGN}", "-")
    if not POINTS.fullmatch(plain):
        shown = escaping.one_line(text)
        raise TitoError(f"{where}: points must be a number such as 2, -1 or 0.5, got '{shown}'")
    return Decimal(plain.replace(",", "."))
