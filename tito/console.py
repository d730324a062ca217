"""Lines for people: plain text that survives any console, coloured only where the terminal shows colour."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

GAP = "    "  # between columns
COLOURS = {"passed": "green", "failed": "red", "timeout": "red", "not started": "yellow"}


def stdout() -> Console:
    """Standard output, whose lines are not broken. COLUMNS counts if it is a width, which 0 is not."""
    from rich.console import Console

    size = shutil.get_terminal_size()
    return Console(soft_wrap=True, width=size.columns, height=size.lines)


def say(text: str, colour: str = "") -> None:
    """One line (or several) to standard output, at once. NO_COLOR and a missing terminal switch colour off.

    A terminal gets long lines broken between words; elsewhere they stay whole.
    """
    _print(stdout(), text, colour)


def _print(console: Console, text: str, colour: str) -> None:
    from rich.text import Text

    if console.is_terminal:
        text = "\n".join(_wrapped(text, console.width))
    console.print(Text(text, style=colour))


def bar(what: str, terminal: Console) -> Progress:
    """A bar with the time left, which is gone at its end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = TextColumn("{task.description}")
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), shown)
    return Progress(*columns, console=terminal, transient=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str, str], None]]:
    """Call what this gives with a line, which may be empty, and its colour for each of `total` things that is done.

    On a terminal a bar with the time left stands below the lines.
    """
    terminal = stdout()
    if total < 2 or not terminal.is_terminal:
        yield lambda text, colour: say(text, colour) if text else None
        return
    with bar(what, terminal) as shown:
        task = shown.add_task("", total=total)

        def done(text: str, colour: str) -> None:
            if text:
                _print(terminal, text, colour)
            shown.advance(task)

        yield done


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal what is waited for and since when, where nobody can say how long; it is gone at the end."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    terminal = stdout()
    if not terminal.is_terminal:
        yield
        return
    with Progress(SpinnerColumn(), TextColumn(what), TimeElapsedColumn(), console=terminal, transient=True) as shown:
        shown.add_task("")
        yield


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters; what a line goes on with is indented as the line is."""
    pieces = list[str]()
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        wrapper = textwrap.TextWrapper(max(width, 20), subsequent_indent=indent)
        wrapper.break_on_hyphens = wrapper.replace_whitespace = False
        pieces += wrapper.wrap(line) or [""]
    return pieces


def points(earned: int, of: int) -> str:
    return f"{earned} of {of} point{'' if of == 1 else 's'}"


def beside(texts: dict[str, str]) -> None:
    """Titled texts in columns, where the terminal is wide enough for them; else one below the other."""
    blocks = [[title, "", *text.split("\n")] for title, text in texts.items()]
    widths = [max(map(len, block)) + len(GAP) for block in blocks]
    if sum(widths) <= stdout().width:
        rows = zip_longest(*blocks, fillvalue="")
        lines = ["".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    else:
        lines = [line for block in blocks for line in (*block, "")]
    say("\n".join(lines))


def page(lines: list[tuple[str, str]]) -> None:
    """Lines with their colours: on a terminal in place of what was shown, elsewhere below it, after a rule.

    A page that is higher than the terminal loses its blank lines, and then what stands above its last line.
    """
    from rich.text import Text

    console = stdout()
    if console.is_terminal:
        console.clear()
        lines = _fitted(lines, console.width, console.height - 1)  # in the last line stands the cursor
    else:
        console.print(Text("-" * 20))
    for text, colour in lines:
        console.print(Text(text, style=colour))


def _fitted(lines: list[tuple[str, str]], width: int, height: int) -> list[tuple[str, str]]:
    rows = [(piece, colour) for text, colour in lines for piece in _wrapped(text, width)]
    if len(rows) > height:
        rows = [row for row in rows if row[0]]
    hidden = len(rows) - height + 1
    if hidden > 1:
        rows = [*rows[: height - 2], (f"... {hidden} more lines: make the window taller", ""), rows[-1]]
    return rows
