"""What the instructor adds to a grade or takes off, with a reason: OUT/adjustments.csv, read again at every report."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tito.course.module import Module
from tito.errors import TitoError
from tito.files import naming
from tito.grading.grade import Grade
from tito.grading.reports import escaping

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
class Standing:
    """What counts in the end: the grade that the tests gave, with the instructor's adjustments."""

    grade: Grade
    adjustments: tuple[Adjustment, ...] = ()

    @property
    def name(self) -> str:
        return self.grade.submission

    @property
    def adjusted(self) -> Decimal:
        return sum((adjustment.points for adjustment in self.adjustments), Decimal(0))

    @property
    def points(self) -> Decimal | None:
        """Never below 0; above the full points where the instructor gives more; None where the grader itself failed."""
        return None if self.grade.status == "machinery" else max(Decimal(0), self.grade.points + self.adjusted)

    @property
    def reasons(self) -> str:
        return "; ".join(f"{entry.exercise}: {entry.reason}".removeprefix(": ") for entry in self.adjustments)


def number(points: Decimal | None) -> str:
    """Points as people write them.

    >>> number(Decimal("2.50")), number(Decimal(10)), number(None)
    ('2.5', '10', '')
    """
    if points is None:
        return ""
    return f"{points:f}".rstrip("0").rstrip(".") if "." in f"{points:f}" else f"{points:f}"


def begin(out: Path) -> None:
    """Put an empty adjustments.csv where the instructor will look for it. One that is there stays as it is."""
    path = out / FILE
    with naming(path):
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(",".join(COLUMNS) + "\r\n", encoding="utf-8-sig", newline="")


def standings(out: Path, module: Module, grades: Iterable[Grade]) -> list[Standing]:
    """Every grade, by name, with what is to be added to it. Raises TitoError naming the line that is wrong."""
    ordered = sorted(grades, key=lambda grade: grade.submission)
    found = read(out / FILE, module, [grade.submission for grade in ordered])
    return [Standing(grade, tuple(a for a in found if a.submission == grade.submission)) for grade in ordered]


def read(path: Path, module: Module, names: Iterable[str]) -> list[Adjustment]:
    """The adjustments in the file, in its order; none where there is no file.

    Raises TitoError, one sentence that names the line, for a submission or exercise that does not exist, points that
    are not a number, a reason that is missing, or a file that is no such table.
    """
    if not path.is_file():
        return []
    known = {escaping.cell(escaping.one_line(name)): name for name in names}  # as grades.csv shows them
    known |= {name: name for name in known.values()}
    exercises = {exercise.id: exercise.id for exercise in module.exercises}
    made = []
    for line, (submission, exercise, points, reason) in _rows(path):
        where = f"{path}, line {line}"
        name = _named(where, "submission", submission, known)
        task = _named(where, "exercise", exercise, exercises) if exercise else ""
        if not reason:
            raise TitoError(f"{where}: the reason is missing: the student will ask, so write it in the last column")
        made.append(Adjustment(name, task, _points(where, points), reason))
    return made


def _named(where: str, what: str, asked: str, known: dict[str, str]) -> str:
    if asked in known:
        return known[asked]
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.4)
    hint = f" (the nearest is '{escaping.one_line(near[0])}')" if near else ""
    raise TitoError(f"{where}: there is no {what} '{escaping.one_line(asked)}'{hint}")


def _points(where: str, text: str) -> Decimal:
    plain = text.replace("\N{MINUS SIGN}", "-")
    if not POINTS.fullmatch(plain):
        shown = escaping.one_line(text)
        raise TitoError(f"{where}: points must be a number such as 2, -1 or 0.5, got '{shown}'")
    return Decimal(plain.replace(",", "."))


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The number of each line, and its cells in the order of COLUMNS. Spreadsheets write commas, semicolons or tabs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TitoError(f"{path} is not UTF-8: in the spreadsheet, save it as 'CSV UTF-8'") from None
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        columns = [column for cell in next(reader, []) if (column := cell.strip().casefold())]
        if sorted(columns) != sorted(COLUMNS):
            raise TitoError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}; got '{head.strip()}'")
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) < len(columns) or any(cells[len(columns) :]):
                fix = 'a text with a comma in it stands in quotes: "late, but ill"'
                raise TitoError(f"{path}, line {reader.line_num}: wanted {len(columns)} cells, got {len(cells)}; {fix}")
            yield reader.line_num, tuple(cells[columns.index(column)] for column in COLUMNS)
    except csv.Error as error:
        raise TitoError(f"{path}, line {reader.line_num}: not a table ({error}); is a quote left open?") from None
