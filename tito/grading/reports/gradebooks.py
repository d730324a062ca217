"""Grades as tables for other programs: grades.csv, Canvas' gradebook, Gradescope's results.json."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tito.course.module import Module
from tito.grading.reports import escaping, gradescope, statistics, tables
from tito.grading.reports.items import Item
from tito.grading.reports.standing import Standing
from tito.grading.reports.tables import number
from tito.grading.roster import Person
from tito.testing.outcome import Outcome, PartOutcome
from tito.testing.runner import Result

CANVAS_COLUMNS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
PARTS_COLUMNS = ("submission", "exercise", "part", "points", "max_points", "lost", "status", "claim", "message")
ITEMS_COLUMNS = (
    *("exercise", "part", "points", "submissions", "began", "right"),
    *("share_right", "discrimination", "note", "out_of_time", "slips"),
)
TIME_COLUMNS = ("late", "handed_in", "handed_in_by")  # empty without deadlines.toml
# Of a file in Canvas' bulk download, NAME[_LATE]_USER-ID_FILE-ID_OWN-NAME, intake makes NAME_USER-ID. Fewer digits are
# more likely to be a group's number, and who has that id in Canvas would get the group's points.
CANVAS_NAME = re.compile(r"(?!anon_)(?P<who>.+)_(?P<id>[1-9]\d{3,})")


def grades_csv(module: Module, standings: Sequence[Standing]) -> bytes:
    """A row a submission, by name. With a byte order mark, without which Excel does not read UTF-8."""
    ids = [exercise.id for exercise in module.exercises]
    most = statistics.full_points(module, standings)
    rows: list[list[object]] = [
        ["submission", "points", "max_points", "status", *ids, "message", "adjustment", "reason", *TIME_COLUMNS]
    ]
    for entry in standings:
        grade, failed = entry.grade, entry.grade.status == "machinery"
        earned = {} if failed else {outcome.exercise: outcome.points for outcome in grade.outcomes}
        rows.append([entry.name, entry.points, most, grade.status, *(earned.get(name, "") for name in ids)])
        rows[-1] += [message(entry), entry.adjusted if entry.adjustments else "", entry.reasons]
        rows[-1] += [entry.late.words, entry.late.received, entry.late.source] if entry.late else ["", "", ""]
    return tables.as_csv(rows).encode("utf-8-sig")


def parts_csv(module: Module, standings: Sequence[Standing]) -> bytes:
    """A row for each part of each exercise: the points that the tests gave, those that are lost, and why.

    An exercise whose points are not split is one row. Who was not graded has none.
    """
    rows: list[list[object]] = [list(PARTS_COLUMNS)]
    for entry in standings:
        for outcome in entry.grade.outcomes if entry.grade.status != "machinery" else ():
            rows += [[entry.name, outcome.exercise, part.name, *_lost(part)] for part in outcome.parts]
            rows += [] if outcome.parts else [[entry.name, outcome.exercise, "", *_lost(outcome)]]
    return tables.as_csv(rows).encode("utf-8-sig")


def _lost(found: Outcome | PartOutcome) -> list[object]:
    lost = found.max_points - found.points
    return [found.points, found.max_points, lost, found.status, found.claim, found.body]


def items_csv(items: Sequence[Item]) -> bytes:
    """A row for each exercise, and for each part of one. Where few began, `note` says so in the place of figures."""
    rows: list[list[object]] = [list(ITEMS_COLUMNS)]
    for item in items:
        share, discrimination = _figure(item.share), _figure(item.discrimination)
        slips = "; ".join(f"{slip.count} x {slip.claim or slip.message}" for slip in item.slips)
        rows.append([item.exercise.id, item.part, item.points, item.submissions, item.began, item.right])
        rows[-1] += [share, discrimination, item.why_none, item.out_of_time, slips]
    return tables.as_csv(rows).encode("utf-8-sig")


def _figure(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(f"{value:.2f}")


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
    rows.append(["Points Possible", "", "", "", "", statistics.full_points(module, standings)])
    for entry in standings:
        if entry.points is not None:
            person, (who, user) = entry.person, canvas_student(entry.name)
            if person != Person() and person.canvas != user:  # the number in the name is another platform's
                who, user = entry.name, person.canvas
            rows.append([person.name or who, user, person.sis, person.login, "", entry.points])
    return tables.as_csv(rows).encode("utf-8")


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
    remarks += [f"Adjustment of {number(a.points)} points: {of(a.exercise)}{a.reason}" for a in entry.adjustments]
    tests = [gradescope.entry(place, outcome) for place, outcome in enumerate(entry.grade.outcomes, 1)]
    results: dict[str, Any] = {"extra_data": {"made_by": "tito grade"}, "score": float(entry.points or 0)}
    results |= {"stdout_visibility": "hidden", "visibility": "visible"}
    results |= {"output": escaping.shown("\n".join(remarks)), "output_format": "text"} if remarks else {}
    shown = [test | {"output": escaping.shown(test["output"])} for test in tests]
    return (json.dumps(results | {"tests": shown}, indent=1) + "\n").encode("ascii")


def of(exercise: str) -> str:
    """Before a reason: of which exercise."""
    return f"{exercise}: " if exercise else ""
