"""Grades in the tables that Moodle imports, and that Gradescope exports."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from markupsafe import Markup

from tito.course.module import Module
from tito.grading.reports import escaping, statistics, tables
from tito.grading.reports.gradebooks import of
from tito.grading.reports.standing import Standing
from tito.grading.reports.tables import number

MOODLE_COLUMNS = (
    *("Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade", "Grade can be changed"),
    *("Last modified (submission)", "Last modified (grade)", "Feedback comments"),
)
GRADESCOPE_COLUMNS = (
    *("First Name", "Last Name", "SID", "Email", "Sections", "Total Score", "Max Points", "Status", "Submission ID"),
    *("Submission Time", "Lateness (H:M:S)", "View Count", "Submission Count"),
)
MOST_NAMED = 5
MOODLE_FOLDER = re.compile(r"(?P<who>.+)_(?P<participant>\d+)_assignsubmission_[a-z]+_?")
GRADESCOPE_FOLDER = re.compile(r"submission_(\d+)")


def moodle_csv(module: Module, standings: Sequence[Standing]) -> bytes:
    """Moodle's grading worksheet, with those whose participant is known.

    Moodle finds a student by Identifier, and takes Grade and Feedback comments. It keeps a grade that was changed there
    after `Last modified (grade)`, which is empty here: to import a second time, allow records to be overwritten.
    """
    most = statistics.full_points(module, standings)
    rows: list[list[object]] = [list(MOODLE_COLUMNS)]
    for entry in standings:
        participant = moodle_participant(entry)
        if participant and entry.points is not None:
            rows.append([f"Participant {participant}", full_name(entry), entry.person.email, _moodle_status(entry)])
            rows[-1] += [entry.points, most, "Yes", _moodle_time(entry), "", _feedback(entry)]
    return tables.as_csv(rows).encode("utf-8-sig")


def without_participant(standings: Sequence[Standing]) -> Iterator[str]:
    """A warning where some have a row in Moodle's worksheet, and others none."""
    left = [entry.name for entry in standings if entry.points is not None and not moodle_participant(entry)]
    if left and any(map(moodle_participant, standings)):
        named = ", ".join(map(escaping.one_line, left[:MOST_NAMED])) + (", ..." if left[MOST_NAMED:] else "")
        yield f"moodle.csv has no row for {len(left)} whose participant is not known: {named}"


def moodle_participant(entry: Standing) -> str:
    """The number of Moodle's `Participant 123`; else that of a folder of its download; else nothing."""
    match = MOODLE_FOLDER.fullmatch(entry.name)
    return entry.person.moodle or (match["participant"] if match else "")


def full_name(entry: Standing) -> str:
    match = MOODLE_FOLDER.fullmatch(entry.name)
    return entry.person.name or (match["who"].replace("_", " ") if match else entry.name)


def _moodle_status(entry: Standing) -> str:
    return "No submission" if entry.grade.status == "missing" else "Submitted for grading"


def _moodle_time(entry: Standing) -> str:
    """`Friday, 6 March 2026, 11:59 PM`; empty where it is not known."""
    when = entry.late and entry.late.handed_in and entry.late.handed_in.when
    return f"{when:%A}, {when.day} {when:%B %Y}, {when:%I:%M %p}" if when else ""


def _feedback(entry: Standing) -> Markup:
    """What lost points, and what was added or taken off, as HTML: a line each."""
    lines = [
        f"{outcome.exercise} {outcome.points} of {outcome.max_points}: {outcome.message}"
        for outcome in entry.grade.outcomes
        if outcome.points < outcome.max_points and entry.grade.status == "graded"
    ]
    lines += list(entry.grade.remarks) if entry.grade.status == "refused" else []
    lines += [f"Adjustment of {number(one.points)} points: {of(one.exercise)}{one.reason}" for one in entry.adjustments]
    return Markup("<br>".join(html.escape(escaping.one_line(line)) for line in lines))


def gradescope_csv(module: Module, standings: Sequence[Standing]) -> bytes:
    """Scores as Gradescope's *Download Grades* has them: a column a question, of a split exercise one a part."""
    most = statistics.full_points(module, standings)
    rows: list[list[object]] = [[*GRADESCOPE_COLUMNS, *_questions(module)]]
    for entry in standings:
        first, last = _first_and_last(full_name(entry))
        match = GRADESCOPE_FOLDER.fullmatch(entry.name)
        status = "Missing" if entry.grade.status == "missing" else "Ungraded" if entry.points is None else "Graded"
        row = [
            first,
            last,
            entry.person.sis,
            entry.person.email,
            "",
            entry.points,
            most,
            status,
            match[1] if match else "",
        ]
        rows.append([*row, *_gradescope_time(entry), "", "", *_scores(module, entry)])
    return tables.as_csv(rows).encode("utf-8")


def _questions(module: Module) -> Iterator[str]:
    for place, exercise in enumerate(module.exercises, 1):
        for part_place, part in enumerate(exercise.parts, 1):
            yield f"{place}.{part_place}: {exercise.id}: {part.name} ({part.points:.1f} pts)"
        if not exercise.parts:
            yield f"{place}: {exercise.id} ({exercise.points:.1f} pts)"


def _scores(module: Module, entry: Standing) -> Iterator[object]:
    """In the order of the questions; empty where an exercise was not graded."""
    outcomes = {} if entry.points is None else {outcome.exercise: outcome for outcome in entry.grade.outcomes}
    for exercise in module.exercises:
        outcome = outcomes.get(exercise.id)
        parts = {part.name: part.points for part in outcome.parts} if outcome else {}
        if exercise.parts:
            yield from (parts.get(part.name, "") for part in exercise.parts)
        else:
            yield outcome.points if outcome else ""


def _first_and_last(name: str) -> tuple[str, str]:
    """Both `Marie Curie` and `Curie, Marie`."""
    last, comma, first = name.partition(", ")
    if comma:
        return first, last
    first, _, last = name.rpartition(" ")
    return first, last


def _gradescope_time(entry: Standing) -> tuple[str, str]:
    """When it came, and by how much it is late; both empty where that is not known."""
    when = entry.late and entry.late.handed_in and entry.late.handed_in.when
    if not (entry.late and when):
        return "", ""
    over = max(timedelta(), when - entry.late.terms.due) // timedelta(seconds=1)
    hours, minutes, seconds = over // 3600, over // 60 % 60, over % 60
    return f"{when:%Y-%m-%d %H:%M:%S %z}", f"{hours:02}:{minutes:02}:{seconds:02}"
