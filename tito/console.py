"""Lines for people: plain text that survives any console, coloured only where the terminal shows colour."""

from __future__ import annotations

COLOURS = {"passed": "green", "failed": "red", "timeout": "red", "not started": "yellow"}


def say(text: str, colour: str = "") -> None:
    """One line (or several) to standard output, at once. NO_COLOR and a missing terminal switch colour off."""
    from rich.console import Console
    from rich.text import Text

    Console(soft_wrap=True).print(Text(text, style=colour))


def points(earned: int, of: int) -> str:
    return f"{earned} of {of} point{'' if of == 1 else 's'}"


def page(lines: list[tuple[str, str]]) -> None:
    """Lines with their colours: on a terminal in place of what was shown, elsewhere below it, after a rule."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    if console.is_terminal:
        console.clear()
    else:
        console.print(Text("-" * 20))
    for text, colour in lines:
        console.print(Text(text, style=colour))
