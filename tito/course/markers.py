"""The instructor's text and the student's: what stands between solution markers, and what takes its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tito.course import percent
from tito.errors import TitoError

MARKER = re.compile(r"^(?P<indent>[ \t]*)#{2,}\s*(?P<edge>BEGIN|END) SOLUTION\s*$")
NEARLY = re.compile(r"^\s*#[\s#]*(BEGIN|END)[ _-]*SOLUTIONS?\b", re.IGNORECASE)
EXERCISE = re.compile(r"^#\s*\|\s*exercise(?:\s*:)?\s*(\S+)\s*$")
YOURS = "# YOUR CODE HERE"
UNWRITTEN = "your code is not written yet"
ANSWER = "*Your answer here.*"


def marker(line: str, in_text: bool = False) -> re.Match[str] | None:
    """The solution marker that a line is. In a text cell of a .py every line is a comment, and the marker with it."""
    return MARKER.match(line.removeprefix("# ") if in_text else line)


def check_markers(text: str, at: Callable[[int], str], in_text: bool = False) -> None:
    """Refuse markers that do not come in pairs, or are misspelled: what they hold would reach every student.

    `at` tells where a line of `text`, counted from 1, stands.
    """
    begun = 0
    for number, line in enumerate(text.split("\n"), 1):
        match = marker(line, in_text)
        if match and match["edge"] == "BEGIN":
            if begun:
                raise TitoError(f"{at(number)}: BEGIN SOLUTION, but the one at {at(begun)} has not ended; end it first")
            begun = number
        elif match:
            if not begun:
                raise TitoError(f"{at(number)}: END SOLUTION without a BEGIN SOLUTION above it in this cell")
            begun = 0
        elif NEARLY.match(line):
            raise TitoError(f"{at(number)}: write `### BEGIN SOLUTION` or `### END SOLUTION`, got `{line.strip()}`")
    if begun:
        raise TitoError(f"{at(begun)}: this BEGIN SOLUTION has no END SOLUTION in its cell")


@dataclass(frozen=True)
class Line:
    """A line of a percent .py: its exercise, and whether it is a solution's marker, or stands between two."""

    text: str
    number: int
    exercise: str
    in_text: bool
    marker: re.Match[str] | None
    inside: bool


def lines(text: str, name: str = "notebook") -> Iterator[Line]:
    """Every line of a percent .py. Raises TitoError, as NAME:LINE, where markers do not pair."""
    whole, (_, cells) = text.split("\n"), percent.split(text)
    begins = [cell.begin for cell in cells] + [len(whole) + 1]
    for number in range(1, begins[0]):  # the header
        yield Line(whole[number - 1], number, "", False, None, False)
    for cell, end in zip(cells, begins[1:], strict=True):
        yield from _numbered(whole[cell.begin - 1 : end - 1], cell.begin, cell.kind != "code", name)


def cell_lines(source: str, name: str = "cell") -> Iterator[Line]:
    """Every line of one code cell. Raises TitoError, as NAME:LINE, where markers do not pair."""
    return _numbered(source.split("\n"), 1, False, name)


def _numbered(texts: list[str], begin: int, in_text: bool, name: str) -> Iterator[Line]:
    check_markers("\n".join(texts), lambda number: f"{name}:{begin + number - 1}", in_text)
    exercise, inside = "", False
    for number, text in enumerate(texts, begin):
        exercise = match[1] if (match := EXERCISE.match(text)) else exercise
        edge = marker(text, in_text)
        yield Line(text, number, exercise, in_text, edge, inside and edge is None)
        inside = edge["edge"] == "BEGIN" if edge else inside


def stub(text: str, name: str = "notebook") -> str:
    """A percent .py with every solution replaced by a line that says whose turn it is. Raises what `lines` raises."""
    return _without_solutions(lines(text, name))


def cell_stub(source: str, name: str = "cell") -> str:
    """One code cell with every solution replaced by a line that says whose turn it is. Raises what `lines` raises.

    >>> print(cell_stub("#| exercise: f\\ndef f():\\n    ### BEGIN SOLUTION\\n    return 1\\n    ### END SOLUTION"))
    #| exercise: f
    def f():
        # YOUR CODE HERE
        raise NotImplementedError("exercise f: your code is not written yet")
    """
    return _without_solutions(cell_lines(source, name))


def _without_solutions(lines: Iterable[Line]) -> str:
    kept = list[str]()
    for line in lines:
        if line.marker and line.marker["edge"] == "BEGIN":
            indent = line.marker["indent"]
            answer = ("# " if line.text.startswith("# ") else "") + ANSWER
            kept += [answer] if line.in_text else [indent + YOURS, indent + _raise(line.exercise)]
        if not (line.marker or line.inside):
            kept.append(line.text)
    return "\n".join(kept)


def _raise(exercise: str) -> str:
    whose = f"exercise {exercise}: " if exercise else ""
    return f'raise NotImplementedError("{whose}{UNWRITTEN}")'


def is_left_over(source: str, line: int) -> bool:
    """Is this line, from 1, the `raise` of a stub that was left below code that somebody wrote in its place?

    Code below it tells nothing: in some stubs what is given goes on there. Above the line that says whose turn it is,
    a stub has a comment, a docstring or the head of a function.
    """
    texts = source.split("\n")
    if not 0 < line <= len(texts) or UNWRITTEN not in texts[line - 1]:
        return False
    above = next((text.strip() for text in reversed(texts[: line - 1]) if text.strip() not in ("", YOURS)), "")
    return not (above.startswith("#") or above.endswith((":", '"""', "'''")))


def is_stub(source: str, exercise: str) -> bool:
    """Is there still a stub of this exercise in a cell, or in what it exports?"""
    return _raise(exercise) in source
