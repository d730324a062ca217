"""The instructor's text and the student's: what stands between solution markers, and what takes its place."""

from __future__ import annotations

import re
from collections.abc import Callable

from tito.errors import TitoError

MARKER = re.compile(r"^(?P<indent>[ \t]*)#{2,}\s*(?P<edge>BEGIN|END) SOLUTION\s*$")
NEARLY = re.compile(r"^\s*#+\s*(BEGIN|END)[ _-]*SOLUTIONS?\b", re.IGNORECASE)
EXERCISE = re.compile(r"^#\s*\|\s*exercise\s*:?\s*(\S+)\s*$")
CELL = re.compile(r"^#\s*%%")


def check_markers(text: str, at: Callable[[int], str]) -> None:
    """Refuse markers that do not come in pairs, or are misspelled: what they hold would reach every student.

    `at` tells where a line of `text`, counted from 1, stands.
    """
    begun = 0
    for number, line in enumerate(text.split("\n"), 1):
        match = MARKER.match(line)
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


def stub(text: str, name: str = "notebook") -> str:
    """A percent .py, or one cell, with every solution replaced by a line that says whose turn it is.

    >>> print(stub("#| exercise: f\\ndef f():\\n    ### BEGIN SOLUTION\\n    return 1\\n    ### END SOLUTION"))
    #| exercise: f
    def f():
        # YOUR CODE HERE
        raise NotImplementedError("exercise f: your code is not written yet")
    """
    lines, kept, exercise, inside, begun = text.split("\n"), list[str](), "", False, 1
    for number, line in enumerate(lines, 1):
        if CELL.match(line):
            check_markers("\n".join(lines[begun - 1 : number - 1]), lambda n, begun=begun: f"{name}:{begun + n - 1}")  # type: ignore[misc]
            begun, exercise = number, ""
        exercise = match[1] if (match := EXERCISE.match(line)) else exercise
        marker = MARKER.match(line)
        if marker and marker["edge"] == "BEGIN":
            kept += [f"{marker['indent']}# YOUR CODE HERE", f"{marker['indent']}{_raise(exercise)}"]
        if marker:
            inside = marker["edge"] == "BEGIN"
        elif not inside:
            kept.append(line)
    check_markers("\n".join(lines[begun - 1 :]), lambda n: f"{name}:{begun + n - 1}")
    return "\n".join(kept)


def _raise(exercise: str) -> str:
    whose = f"exercise {exercise}: " if exercise else ""
    return f'raise NotImplementedError("{whose}your code is not written yet")'
