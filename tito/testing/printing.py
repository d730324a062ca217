"""What judged code prints while it is tested: the first lines, and how many more. Only `check` and `tito test` tell it:
in grading a hidden test's inputs could be printed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field

import pytest

MOST_LINES = 20  # of one exercise
LONGEST_LINE = 200  # characters


@dataclass
class Printed:
    """The first lines that were printed, and how many more there were."""

    lines: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, lines: tuple[str, ...], more: int) -> None:
        room = MOST_LINES - len(self.lines)
        self.lines += lines[:room]
        self.more += more + len(lines[room:])

    def __str__(self) -> str:
        """As people read it; empty where nothing was printed."""
        if not self.lines:
            return ""
        rest = [f"... and {self.more} more line{'' if self.more == 1 else 's'}"] if self.more else []
        return "\n".join(["what the code printed:", *(f"  {line}" for line in (*self.lines, *rest))])


class FirstLines(io.TextIOBase):
    """A stream that passes its first lines on, as soon as each ends, and only counts those that follow."""

    encoding = "utf-8"

    def __init__(self, tell: Callable[[tuple[str, ...], int], None]) -> None:
        """tell: called with lines, and with a number of further lines."""
        self._tell = tell
        self.begin()

    def begin(self) -> None:
        """Forget everything: another test runs."""
        self._room, self._more, self._line = MOST_LINES, 0, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        rest = text
        while self._room and "\n" in rest:
            end, _, rest = rest.partition("\n")
            self._keep(end)
            self._end_line()
        if self._room:
            self._keep(rest)
        elif rest:
            self._more += rest.count("\n")
            self._line = "" if rest.endswith("\n") else "a line that has begun, and is only counted"
        return len(text)

    def _keep(self, piece: str) -> None:
        """Of the line that has begun, no more than is shown."""
        self._line = (self._line + piece[: LONGEST_LINE + 1])[: LONGEST_LINE + 1]

    def _end_line(self) -> None:
        line, self._line, self._room = self._line, "", self._room - 1
        self._tell((line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ...",), 0)

    def tell_rest(self) -> None:
        """Pass on a line that has not ended, and how many there were beyond the first."""
        if self._line and self._room:
            self._end_line()
        self._tell((), self._more + bool(self._line))
        self._more, self._line = 0, ""


class Printing:
    """A pytest plugin: tests print into one stream of first lines, instead of into files without a bound."""

    def __init__(self, tell: Callable[[tuple[str, ...], int], None]) -> None:
        self.stream = FirstLines(tell)

    @pytest.hookimpl(wrapper=True, trylast=True)  # the innermost: pytest's own capture is around it
    def pytest_runtest_call(self) -> Generator[None]:
        self.stream.begin()
        try:
            with redirect_stdout(self.stream), redirect_stderr(self.stream):
                yield
        finally:
            self.stream.tell_rest()
