"""An exercise's code as it was graded, line by line, with what the instructor says of a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tito.grading.reports.comments import Comment

Cells = Mapping[str, tuple[str, ...]]  # exercise -> its sources
MOST_LINES = 300


@dataclass(frozen=True)
class Line:
    text: str
    said: tuple[Comment, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The lines are counted from 1. beyond: what is said of lines that are not shown."""

    lines: tuple[Line, ...]
    left: int
    beyond: tuple[Comment, ...]

    @property
    def commented(self) -> bool:
        return bool(self.beyond) or any(line.said for line in self.lines)


def listing(sources: Sequence[str], comments: Iterable[Comment], exercise: str) -> Listing:
    """The cells of an exercise below each other."""
    texts = "\n\n".join(source.strip("\n") for source in sources).split("\n") if sources else []
    about = [comment for comment in comments if comment.exercise == exercise and comment.line is not None]
    shown = list(enumerate(texts[:MOST_LINES], 1))
    lines = (Line(text, tuple(comment for comment in about if comment.line == number)) for number, text in shown)
    beyond = tuple(comment for comment in about if (comment.line or 0) > len(shown))
    return Listing(tuple(lines), len(texts) - len(shown), beyond)
