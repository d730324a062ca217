"""Time as it is charged to a student's code: what it computed or slept, not what it waited for a busy machine.

Where more wants to run than there are processors, a right answer that takes a second may come after a minute. So a
process that could run is charged the processor time that it got, and one that sleeps or is blocked every second.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.1  # between two looks at the processes
UNSEEN_SECONDS = 2.0  # between two looks: beyond it whoever looks was kept from it, and so were those looked at
COULD_RUN = "RDT"  # states: runs or waits for a processor; waits for a disk or for memory; was stopped from outside


@dataclass(frozen=True)
class Look:
    """A process at one moment: its state, what a processor has given it so far, and how it is scheduled."""

    state: str
    seconds: float
    schedule: tuple[str, str]  # its niceness and its policy


class Clock:
    """Seconds charged to a process and to all that it started; elsewhere than on Linux every second that passes.

    Whoever made itself wait by another niceness or policy is charged every second as well.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self._at, self._looks = time.monotonic(), _looks(pid)
        self.charged, self.waited = 0.0, 0.0  # until the last look

    def time(self) -> float:
        """Seconds charged so far. Looks at the processes, unless that was done a moment ago."""
        with self._lock:
            passed = time.monotonic() - self._at
            if passed < LOOK_SECONDS:
                return self.charged + passed
            before, self._looks = self._looks, _looks(self._pid)
            charged = min(passed, self._due(before))
            self._at += passed
            self.charged += charged
            self.waited += passed - charged
            return self.charged

    def _due(self, before: dict[int, Look]) -> float:
        """The most that may be charged since the look before."""
        if self._pid not in self._looks:
            return UNSEEN_SECONDS if sys.platform == "linux" else float("inf")
        own = self._looks[self._pid].schedule
        known = {pid: look.seconds for pid, look in before.items()}
        ran = sum(max(0.0, look.seconds - known.get(pid, 0.0)) for pid, look in self._looks.items())
        could_run = any(look.state in COULD_RUN and look.schedule == own for look in self._looks.values())
        return ran if could_run else max(ran, UNSEEN_SECONDS)


def _looks(pid: int) -> dict[int, Look]:
    """A process and all that it started, by their numbers; nothing of those that are gone."""
    return dict(_tree(pid)) if sys.platform == "linux" else {}


def _tree(pid: int) -> Iterator[tuple[int, Look]]:
    folder = Path("/proc", str(pid))
    with suppress(OSError, ValueError, IndexError):
        fields = (folder / "stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
        ticks = int(fields[11]) + int(fields[12])
        yield pid, Look(fields[0], ticks / os.sysconf("SC_CLK_TCK"), (fields[16], fields[38]))
        for child in (folder / "task" / str(pid) / "children").read_bytes().split():
            yield from _tree(int(child))
