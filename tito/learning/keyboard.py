"""Single keys of a terminal, without Enter; where there is no terminal, lines of standard input."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def listening(on_key: Callable[[str], None]) -> Iterator[None]:
    """Call `on_key` with every key, from a thread, while the block runs; the terminal is left as it was found."""
    with _raw() as read:
        threading.Thread(target=_follow, args=(read, on_key), daemon=True).start()
        yield


def _follow(read: Callable[[], str], on_key: Callable[[str], None]) -> None:
    with suppress(OSError, ValueError):  # the terminal is gone, or standard input was closed
        while key := read():
            on_key(key)


@contextmanager
def _raw() -> Iterator[Callable[[], str]]:
    """How to wait for the next key; it answers with nothing at the end of the input."""
    if not sys.stdin.isatty():
        yield _line
    elif sys.platform == "win32":
        import msvcrt

        yield msvcrt.getwch
    else:
        import os
        import termios
        import tty

        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)  # keys come one by one and unseen; Ctrl-C still is Ctrl-C
        try:
            yield lambda: os.read(terminal, 1).decode("ascii", "replace")
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _line() -> str:
    """The first letter of the next line, a blank for an empty one."""
    line = sys.stdin.readline()
    return (line.strip() or " ")[0] if line else ""
