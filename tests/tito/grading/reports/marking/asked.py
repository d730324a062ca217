"""What the tests of marking share: the toy module with two questions, a rubric, and a class that answered them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tito.course.module import Module, Question
from tito.grading.reports.marking import marks, scores
from tito.grading.reports.marking.marks import Marking, blind

RUBRIC = """
[overflow]
points = 3
items.bound = { points = 2, text = 'the bound' }
items.type = { points = 1.5, text = 'the type' }
items.wrong = { points = -1, text = 'claims what is not so' }
comments = ['For which type?']
"""
ASKED = {"overflow": "When does twice a number not fit?", "state": "What does a counter keep?"}
ANSWERS = {
    "jane": {"overflow": "Above 63.", "state": "Its total."},
    "joe": {"overflow": "Never."},
    "kim": {"overflow": "Above 63."},
    "lee": {},
}
HEAD = "grader,question,answer,items,comment\n"


def asking(module: Module, points: int = 0) -> Module:
    """The toy module with its two questions."""
    questions = (Question("overflow", "Too large", points), Question("state", "What is kept", points))
    return replace(module, notebooks=(replace(module.notebooks[0], questions=questions),))


def row(grader: str, question: str, text: str, items: str, comment: str = "") -> str:
    return f"{grader},{question},{blind(question, text)},{items},{comment}\n"


def marking(
    module: Module, out: Path, rows: str = "", answers: Mapping[str, Mapping[str, str]] = ANSWERS, text: str = RUBRIC
) -> Marking:
    """What is made of these scores, by this rubric."""
    (out / scores.FOLDER).mkdir(parents=True, exist_ok=True)
    (out / "rubric.toml").write_text(text, encoding="utf-8")
    (out / scores.FOLDER / "all.csv").write_text(HEAD + rows, encoding="utf-8")
    return marks.read(out, asking(module), answers)
