"""How long one submission may be read: one that was made to take hours costs seconds, and nobody else waits for it.

What counts is the time that this process computes, not the clock: on a busy machine nobody is refused for that.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 10.0  # of computing; an honest submission of this course takes less than a tenth of one
AGAIN = 0.5  # seconds after which an exception that something swallowed is raised once more


class TooLong(BaseException):
    """Raised inside of whatever is at work. No Exception, for reading has handlers for all of those."""


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raise TooLong once the block has computed for so long.

    The system's timer for a process is Unix', and its signal reaches the main thread only: on Windows, and in other
    threads, the block is as long as its caps on bytes, files and cells let it be.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _raise)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _raise(_: int, __: FrameType | None) -> None:
    raise TooLong
