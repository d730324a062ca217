"""What the tests of intake hand in: the toy course's notebook, solved, in any form and place."""

from __future__ import annotations

import jupytext

from tito.course import notebook
from tito.course.project import Project
from tito.grading.submission import Submission

from ... import toy_course

TOY = Project(toy_course.TOY)
REAL = Project(toy_course.ROOT)
NOTEBOOKS = sorted(REAL.module("17_quantization").glob("*_dev.py"))
TEXT = (TOY.module("01_toy") / "toy_dev.py").read_text(encoding="utf-8")


def as_page(text: str) -> str:
    return str(jupytext.writes(jupytext.reads(text, fmt=notebook.PERCENT), fmt="ipynb"))


def solved(answer: str = "return 2 * x") -> str:
    assert "    return 2 * x\n" in TEXT
    return TEXT.replace("return 2 * x", answer)


def answer(submission: Submission) -> str:
    """The line that `solved` wrote."""
    assert not submission.refused, f"{submission.name} should have been read, but: {submission.refused}"
    lines = [line for line in submission.cells["double"][0].split("\n") if "SOLUTION" not in line]
    return lines[-1].strip()
