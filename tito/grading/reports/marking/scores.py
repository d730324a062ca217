"""What graders found in answers: the tables in OUT/scores, by `tito mark`, a page's download, or a spreadsheet.

A grader's name stands in each row, so that files may be called as they like. Rows without a name are what the graders
agreed on, or what somebody marked who is alone; they decide.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tito.errors import TitoError
from tito.grading.reports import escaping, tables
from tito.grading.reports.marking.rubric import NONE, Rubric, nearest

FOLDER = "scores"
COLUMNS = ("grader", "question", "answer", "items", "comment")
ANSWER = re.compile(r"[a-z]{10}")
LONGEST_NAME, LONGEST_COMMENT = 60, 2_000


@dataclass(frozen=True)
class Score:
    """What one grader found in one answer. items: names of the rubric; None where there is only a comment so far."""

    grader: str
    question: str
    answer: str  # by which the page knows it
    items: tuple[str, ...] | None
    comment: str = ""


def read(out: Path, rubrics: Mapping[str, Rubric]) -> list[Score]:
    """The rows of all tables. Raises TitoError naming the file and the line that is wrong."""
    found, places = dict[tuple[str, str, str], Score](), dict[tuple[str, str, str], str]()
    for path in sorted((out / FOLDER).glob("*.csv")):
        for where, score in read_file(path, rubrics):
            key = score.grader, score.question, score.answer
            if key in found and found[key] != score:
                who = f"{escaping.one_line(score.grader)} has" if score.grader else "there is"
                raise TitoError(f"{where}: {who} another score of {score.answer} in {places[key]}: delete one of them")
            found[key], places[key] = score, where
    return list(found.values())


def read_file(path: Path, rubrics: Mapping[str, Rubric]) -> list[tuple[str, Score]]:
    """The rows of one table that say something, each with its place."""
    found = list[tuple[str, Score]]()
    for line, (grader, question, answer, items, comment) in tables.rows(path, COLUMNS, others=("text",)):
        where = f"{path}, line {line}"
        if not items and not comment:
            continue
        if question not in rubrics:
            name = escaping.one_line(question)
            raise TitoError(f"{where}: there is no question '{name}'{nearest(name, rubrics)}")
        if not ANSWER.fullmatch(answer):
            raise TitoError(f"{where}: an answer is known by ten small letters, got '{escaping.one_line(answer, 40)}'")
        if len(grader) > LONGEST_NAME or len(comment) > LONGEST_COMMENT:
            raise TitoError(f"{where}: a grader's name has up to {LONGEST_NAME} letters, a comment {LONGEST_COMMENT}")
        found.append((where, Score(grader, question, answer, _items(where, items, rubrics[question]), comment)))
    return found


def _items(where: str, text: str, rubric: Rubric) -> tuple[str, ...] | None:
    names, known = text.replace(",", " ").split(), [item.name for item in rubric.items]
    if names == [NONE]:
        return ()
    for name in names:
        if name not in known:
            shown = escaping.one_line(name)
            has = f"it has {', '.join(known) or 'none'}, or '{NONE}'"
            raise TitoError(f"{where}: {rubric.question.id} has no item '{shown}'{nearest(shown, known)}; {has}")
    return tuple(name for name in known if name in names) if names else None


def table(scores: Iterable[Score]) -> bytes:
    """The scores as a table that `read_file` reads, and a spreadsheet."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for score in scores:
        items = "" if score.items is None else " ".join(score.items) or NONE
        rows.writerow([score.grader, score.question, score.answer, items, score.comment])
    return text.getvalue().encode("utf-8-sig")
