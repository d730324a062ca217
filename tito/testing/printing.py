"""What judged code prints while it is tested: the first lines of a test, and how many more.

Only `check` and `tito test` tell it: in grading a hidden test's inputs could be printed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field

import pytest

from tito.testing.outcome import claim_of

MOST_LINES = 5  # of one test
LONGEST_LINE = 200  # characters


@dataclass
class Printed:
    """What an exercise's tests printed: the first lines of each, and how many lines there were in all."""

    lines: dict[str, list[str]] = field(default_factory=dict)  # the test -> its first lines
    count: int = 0
    failed: str = ""  # the test that failed first: of it a person wants to see what was printed

    def add(self, test: str, lines: tuple[str, ...], more: int) -> None:
        if lines:
            kept = self.lines.setdefault(test, [])
            kept += lines[: MOST_LINES - len(kept)]
        self.count += len(lines) + more

    def __str__(self) -> str:
        """As people read it, of one test: the one that failed, or the first that printed; empty where none did."""
        if not self.lines:
            return ""
        test = self.failed if self.failed in self.lines else next(iter(self.lines))
        more = self.count - len(self.lines[test])
        where = ", there and in other tests" if len(self.lines) > 1 else ""
        rest = [f"... and {more} more line{'' if more == 1 else 's'}{where}"] if more else []
        return "\n".join(
            [f"what the code printed in the test '{claim_of(test)}':"]
            + [f"  {line}" for line in (*self.lines[test], *rest)]
        )


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

    def __init__(self, tell: Callable[[str, tuple[str, ...], int], None]) -> None:
        """tell: called with the id of the test that runs, with lines, and with a number of further lines."""
        self._test = ""
        self.stream = FirstLines(lambda lines, more: tell(self._test, lines, more))

    @pytest.hookimpl(wrapper=True, trylast=True)  # the innermost: pytest's own capture is around it
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        self._test = item.nodeid
        self.stream.begin()
        try:
            with redirect_stdout(self.stream), redirect_stderr(self.stream):
                yield
        finally:
            self.stream.tell_rest()
