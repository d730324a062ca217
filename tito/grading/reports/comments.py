"""What the instructor says about an exercise, a line of it or an answer: OUT/comments.csv, for the student's page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tito.course.module import Module
from tito.errors import TitoError
from tito.grading.reports import adjustments, escaping, tables

FILE = "comments.csv"
COLUMNS = ("submission", "exercise", "line", "text")
LONGEST = 2_000  # characters of a comment
LINE = re.compile(r"[1-9]\d{0,5}", re.ASCII)


@dataclass(frozen=True)
class Comment:
    submission: str
    exercise: str  # or a question; empty: about the submission as a whole
    line: int | None  # of the exercise's code, as the student's page numbers it
    text: str


def read(out: Path, module: Module, names: Iterable[str]) -> tuple[list[Comment], list[str]]:
    """The comments in the file's order, and a warning for each that is for nobody; none where there is no file.

    Raises TitoError, one sentence that names the line, for an exercise that does not exist, a line that is no number.
    """
    path = out / FILE
    if not path.is_file():
        return [], []
    known = adjustments.known_names(names)
    exercises = [exercise.id for exercise in module.exercises]
    topics = [*exercises, *(question.id for question in module.questions)]
    made, warnings = list[Comment](), list[str]()
    for number, (submission, topic, line, text) in tables.rows(path, COLUMNS):
        where = f"{path}, line {number}"
        if topic and topic not in topics:
            raise TitoError(f"{where}: there is no exercise or question {adjustments.quoted(topic, topics)}")
        if line and not (LINE.fullmatch(line) and topic in exercises):
            shown = escaping.one_line(line)
            raise TitoError(f"{where}: line must be the number of a line of an exercise, or empty, got '{shown}'")
        if not text or len(text) > LONGEST:
            raise TitoError(f"{where}: the text, in the last column, must have 1 to {LONGEST} letters, got {len(text)}")
        if submission in known:
            made.append(Comment(known[submission], topic, int(line) if line else None, text))
        else:
            nobody = f"there is no submission {adjustments.quoted(submission, known)}, so nobody reads this line"
            warnings.append(f"{FILE}, line {number}: {nobody}")
    return made, warnings
