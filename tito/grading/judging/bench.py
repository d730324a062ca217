"""One submission at a time, on the judge's side: its cells, its box, its clock."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tito.grading.judging import box
from tito.grading.judging.clock import Clock
from tito.grading.judging.remote import Box, Boxed, Lost

TICK_SECONDS = 0.02  # between two looks at the clock


class NoBox(Exception):
    """No box can be started, or it does not come to the student's code: that is no student's doing."""


@dataclass(frozen=True)
class Loss:
    """How an exercise was cut short: "late" or "gone", why, and in which test, or while which cell was loaded."""

    why: str
    message: str
    test: str = ""
    cell: str = ""


class Bench:
    """One submission at a time: its cells, its box, its clock."""

    def __init__(self, given: Path, unsafe: bool, test_seconds: float) -> None:
        self._given, self._unsafe, self._test_seconds = given, unsafe, test_seconds
        self._box: Box | None = None
        self._clock = Clock(os.getpid())
        self._until, self._deadline = 0.0, math.inf  # by that clock: of the submission, of what runs now
        self._lock = threading.Lock()
        self._test: Path | None = None  # the file of the test that runs
        if sys.platform != "win32":
            signal.signal(signal.SIGALRM, self._interrupt)
        threading.Thread(target=self._watch, daemon=True).start()
        self.lost: dict[str, Loss] = {}  # exercise -> how it was cut short
        self.unloaded: dict[str, dict[str, Any]] = {}  # exercise -> why one of its cells could not be loaded

    def begin(self, request: dict[str, Any]) -> None:
        self._request = request
        self._until = self._clock.time() + request["seconds"]
        self.lost, self.unloaded = {}, {}

    def finish(self) -> None:
        """The submission is done: nothing of it stays."""
        self._stop_clock()
        if self._box:
            self._box.end("gone", "done")
        self._box = None

    def opened(self, exercise: str) -> Boxed:
        """The exercise's module, in the box that runs; in a new one where there is none. Raises Lost and NoBox."""
        while exercise not in self.lost and (self._box is None or self._box.why):
            self._box = self._loaded()
        if self._box is None or exercise in self.lost:
            raise Lost(self.lost[exercise].message)
        which: int = self._request["exercises"][exercise]
        return self._box.modules[which]

    def test_begins(self, file: Path) -> None:
        self._test = file
        self._start_clock()

    def test_ends(self, exercise: str, test: str) -> None:
        self._stop_clock()
        self._test = None
        if self._box:
            self._box.restore()
            if self._box.why and exercise not in self.lost:
                self.lost[exercise] = Loss(self._box.why, self._box.message, test)

    def _loaded(self) -> Box | None:
        """A box with the cells in it; None, and the guilty exercise among `lost`, where loading them ended it."""
        modules = self._request["modules"]
        owner = {cell["name"]: cell["exercise"] for cells in modules.values() for cell in cells}
        self._box = started = Box(box.start(self._given, self._unsafe))
        self._start_clock()  # at each try: the next cell may hang as well
        try:
            sent = {module: [self._cell(cell) for cell in cells] for module, cells in modules.items()}
            started.load(self._request["seed"], box.limits(self._request["seconds"]), sent)
        except Lost as lost:
            suspects = (name for name in reversed(started.loading) if owner[name])
            guilty = next((name for name in suspects if owner[name] not in self.lost), None)
            if guilty is None and self._clock.charged >= self._until:
                raise
            if guilty is None:
                raise NoBox(f"the box ended before the student's code ran: {lost}") from None
            self.lost[owner[guilty]] = Loss(started.why, started.message, cell=guilty)
            return None
        for name, failure in started.unloaded.items():
            if owner[name]:
                self.unloaded.setdefault(owner[name], failure)
        return started

    def _cell(self, cell: dict[str, Any]) -> tuple[str, str, str]:
        """Its name, what is loaded, and what else is given there; of an exercise that was lost, what is given."""
        return cell["name"], cell["given"] if cell["exercise"] in self.lost else cell["source"], cell["given"]

    def _start_clock(self) -> None:
        with self._lock:
            self._deadline = min(self._clock.time() + self._test_seconds, self._until)

    def _stop_clock(self) -> None:
        with self._lock:
            self._deadline = math.inf

    def _watch(self) -> None:
        """End the box whose time is up. One thread for all tests: to start one takes as long as a short test."""
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                if self._clock.time() >= self._deadline and self._box:
                    self._box.end("late", "its time is up")
                    if sys.platform != "win32":
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        """Cut short a test that computes without end on what the box gave it, and nothing else: the judge goes on."""
        while frame is not None and self._clock.charged >= self._deadline:
            if self._test and frame.f_code.co_filename == str(self._test):
                raise Lost("its time is up")
            frame = frame.f_back
