"""Grades as tables for other programs: grades.csv, Canvas' gradebook, Gradescope's results.json."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from tito.course.module import Module
from tito.grading.reports import escaping, gradescope, statistics
from tito.grading.reports.adjustments import Standing, number
from tito.testing.runner import Result

CANVAS_COLUMNS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
# Of a file in Canvas' bulk download, NAME[_LATE]_USER-ID_FILE-ID_OWN-NAME, intake makes NAME_USER-ID. Fewer digits are
# more likely to be a group's number, and who has that id in Canvas would get the group's points.
CANVAS_NAME = re.compile(r"(?!anon_)(?P<who>.+)_(?P<id>[1-9]\d{3,})")


def grades_csv(module: Module, standings: Sequence[Standing]) -> bytes:
    """A row a submission, by name. With a byte order mark, without which Excel does not read UTF-8."""
    ids = [exercise.id for exercise in module.exercises]
    most = statistics.full_points(module, [entry.grade for entry in standings])
    rows: list[list[object]] = [
        ["submission", "points", "max_points", "status", *ids, "message", "adjustment", "reason"]
    ]
    for entry in standings:
        grade, failed = entry.grade, entry.grade.status == "machinery"
        earned = {} if failed else {outcome.exercise: outcome.points for outcome in grade.outcomes}
        rows.append([entry.name, entry.points, most, grade.status, *(earned.get(name, "") for name in ids)])
        rows[-1] += [message(entry), entry.adjusted if entry.adjustments else "", entry.reasons]
    return _table(rows).encode("utf-8-sig")


def message(entry: Standing) -> str:
    """What to look at first: why there is no grade, or the first exercise that does not pass."""
    if entry.grade.status != "graded":
        return " ".join(entry.grade.remarks)
    first = Result("", 0.0, entry.grade.outcomes).most_useful
    return f"{first.exercise}: {first.message}" if first else ""


def canvas_csv(module: Module, standings: Sequence[Standing]) -> bytes:
    """What Canvas' gradebook imports. A submission that the grader itself failed at has no row: an empty grade would
    erase what Canvas holds. The column's name finds the assignment; another name would make a new one.
    """
    grades = [entry.grade for entry in standings]
    graded = next((grade.outcomes for grade in grades if grade.status == "graded"), ())
    part = [outcome.exercise for outcome in graded] if 0 < len(graded) < len(module.exercises) else []
    title = f"{module.title}: {', '.join(part)}" if part else module.title
    rows: list[list[object]] = [[*CANVAS_COLUMNS, title]]
    rows.append(["Points Possible", "", "", "", "", statistics.full_points(module, grades)])
    for entry in standings:
        if entry.points is not None:
            who, user = canvas_student(entry.name)
            rows.append([who, user, "", "", "", entry.points])
    return _table(rows).encode("utf-8")


def canvas_student(name: str) -> tuple[str, str]:
    """A submission's name -> the student's name and Canvas' id of them, which a bulk download writes into its files.

    >>> canvas_student("curiemarie_47110"), canvas_student("team_12")
    (('curiemarie', '47110'), ('team_12', ''))
    """
    match = CANVAS_NAME.fullmatch(name)
    return (match["who"], match["id"]) if match else (name, "")


def gradescope_json(entry: Standing) -> bytes:
    """results.json as Gradescope defines it. Only for a submission that has points."""
    remarks = [*entry.grade.remarks]
    remarks += [f"Adjustment of {number(a.points)} points: {_of(a.exercise)}{a.reason}" for a in entry.adjustments]
    tests = [gradescope.entry(place, outcome) for place, outcome in enumerate(entry.grade.outcomes, 1)]
    results: dict[str, Any] = {"extra_data": {"made_by": "tito grade"}, "score": float(entry.points or 0)}
    results |= {"stdout_visibility": "hidden", "visibility": "visible"}
    results |= {"output": escaping.shown("\n".join(remarks)), "output_format": "text"} if remarks else {}
    shown = [test | {"output": escaping.shown(test["output"])} for test in tests]
    return (json.dumps(results | {"tests": shown}, indent=1) + "\n").encode("ascii")


def _of(exercise: str) -> str:
    return f"{exercise}: " if exercise else ""


def _table(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    """Our own numbers as they are, so that a spreadsheet can add them; every text made harmless."""
    if isinstance(value, Decimal | None):
        return number(value)
    return escaping.cell(escaping.one_line(value)) if isinstance(value, str) else str(value)
