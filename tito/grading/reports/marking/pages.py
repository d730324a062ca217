"""A page for each question, and one that says how far it is marked. Nothing on them depends on who wrote what."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

from tito.course.module import Module
from tito.grading.reports import escaping, templating
from tito.grading.reports.marking.marks import Marking
from tito.grading.reports.marking.scores import COLUMNS

FOLDER = "questions"
LONGEST_SHOWN = 10_000  # lines and characters of an answer: all of them


@dataclass(frozen=True)
class Shown:
    """An answer on a page. alike: how many handed in these words."""

    id: str
    text: str
    alike: int


def in_order(marking: Marking, question: str, seed: int) -> list[Shown]:
    """The answers to a question, shuffled by a seed."""

    def place(answer: str) -> bytes:
        return hashlib.sha256(f"{seed} {answer}".encode()).digest()

    texts = marking.texts(question)
    return [Shown(answer, *texts[answer]) for answer in sorted(texts, key=place)]


def render(module: Module, marking: Marking, asked: Mapping[str, str], seed: int) -> dict[str, bytes]:
    """Every page and table of a module's questions, by its name in the folder; none where nothing is asked or marked.

    asked: what each question asks.
    """
    if not (asked and marking.answers):
        return {}
    shown = {question.id: in_order(marking, question.id, seed) for question in module.questions}
    made = {f"{FOLDER}/{name}.html": question(module, marking, name, asked[name], shown[name]) for name in shown}
    made[f"{FOLDER}/index.html"] = _index(module, marking)
    made[f"{FOLDER}/answers.csv"] = _table(shown)
    return made


def question(
    module: Module, marking: Marking, name: str, asked: str, answers: list[Shown], grader: str | None = None
) -> bytes:
    """The page of one question. grader: who marks, where the page is served and keeps the scores by itself."""
    return _page(
        "question.html",
        module=module,
        rubric=marking.rubrics[name],
        asked=asked,
        answers=answers,
        blank=sum(name not in found for found in marking.answers.values()),
        served=grader is not None,
        grader=grader or "",
        most=LONGEST_SHOWN,
    )


def _index(module: Module, marking: Marking) -> bytes:
    marks = [mark for submission in marking.answers for mark in marking.of(submission)]
    rows = [(rubric, [mark.state for mark in marks if mark.rubric is rubric]) for rubric in marking.rubrics.values()]
    return _page("questions.html", module=module, marking=marking, rows=rows)


def _table(shown: dict[str, list[Shown]]) -> bytes:
    """For who marks in a spreadsheet: a row an answer, the cells of a score still empty."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow([*COLUMNS, "text"])
    for name, answers in shown.items():
        for answer in answers:
            words = escaping.cell(escaping.shown(answer.text, LONGEST_SHOWN, LONGEST_SHOWN))
            rows.writerow(["", name, answer.id, "", "", words])
    return text.getvalue().encode("utf-8-sig")


def _page(template: str, **values: object) -> bytes:
    return (templating.environment().get_template(template).render(**values) + "\n").encode()
