"""One submission at a time, in the worker: its cells, its sandbox, its clock."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from tito.grading.judging.clock import Clock
from tito.grading.sandbox import bubblewrap
from tito.grading.sandbox.client import Sandbox, SandboxLost, SandboxModule
from tito.testing import protocol
from tito.testing.protocol import Failure, ModuleCell, Request, Setup

TICK_SECONDS = 0.02  # between two looks at the clock


class NoSandbox(Exception):
    """No sandbox can be started, or it does not come to the student's code: that is no student's doing."""


class SubmissionRun:
    """One submission at a time: its cells, its sandbox, its clock."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._sandbox: Sandbox | None = None
        self._clock = Clock(os.getpid())
        self._end = 0.0  # by that clock, of the submission
        self._until, self._deadline = 0.0, math.inf  # of the tests of this kind, of what runs now
        self._lock = threading.Lock()
        self._test: Path | None = None  # the file of the test that runs
        if sys.platform != "win32":
            signal.signal(signal.SIGALRM, self._interrupt)
        threading.Thread(target=self._watch, daemon=True).start()
        self.lost: dict[str, protocol.Lost] = {}  # exercise -> how it was cut short
        self.unloaded: dict[str, Failure] = {}  # exercise -> why one of its cells could not be loaded

    def begin(self, request: Request) -> None:
        self._request = request
        self._end = self._until = self._clock.time() + request.seconds
        self.lost, self.unloaded = {}, {}

    def finish(self) -> None:
        """The submission is done: nothing of it stays."""
        self._stop_clock()
        if self._sandbox:
            self._sandbox.end("gone", "done")
        self._sandbox = None

    def opened(self, exercise: str) -> SandboxModule:
        """The exercise's module, in the sandbox that runs, or in a new one. Raises SandboxLost and NoSandbox."""
        while exercise not in self.lost and (self._sandbox is None or self._sandbox.why):
            self._sandbox = self._loaded()
        if self._sandbox is None or exercise in self.lost:
            raise SandboxLost(self.lost[exercise].message)
        return self._sandbox.modules[self._request.exercises[exercise]]

    def test_begins(self, file: Path, hidden: bool) -> None:
        """Visible tests run first, and leave to the hidden ones at least the time of one test."""
        self._test, self._until = file, self._end - (0 if hidden else self._setup.test_seconds)
        self._start_clock()

    def test_ends(self, exercise: str, test: str) -> None:
        self._stop_clock()
        self._test = None
        if self._sandbox and self._sandbox.why and exercise not in self.lost:
            self.lost[exercise] = protocol.Lost(exercise, self._sandbox.why, self._sandbox.message, test)

    def _loaded(self) -> Sandbox | None:
        """A sandbox with the cells in it; None, and the guilty exercise among `lost`, where loading them ended it."""
        modules = self._request.modules
        owner = {cell.name: cell.exercise for cells in modules.values() for cell in cells}
        self._sandbox = started = Sandbox(bubblewrap.start(Path(self._setup.given), self._setup.unsafe))
        self._start_clock()  # at each try: the next cell may hang as well
        try:
            sent = {module: [self._cell(cell) for cell in cells] for module, cells in modules.items()}
            started.load(bubblewrap.limits(self._request.seconds), sent)
        except SandboxLost as lost:
            suspects = ((name, owner[name]) for name in reversed(started.loading))
            guilty = next(
                ((name, exercise) for name, exercise in suspects if exercise and exercise not in self.lost), None
            )
            if guilty is None and self._clock.charged >= self._until:
                raise
            if guilty is None:
                raise NoSandbox(f"the sandbox ended before the student's code ran: {lost}") from None
            cell, whose = guilty
            self.lost[whose] = protocol.Lost(whose, started.why or "gone", started.message, cell=cell)
            return None
        for name, failure in started.unloaded.items():
            if exercise := owner[name]:
                self.unloaded.setdefault(exercise, failure)
        return started

    def _cell(self, cell: ModuleCell) -> tuple[str, str, str]:
        """Its name, what is loaded, and what else is given there; of an exercise that was lost, what is given."""
        return cell.name, cell.given if cell.exercise in self.lost else cell.source, cell.given

    def _start_clock(self) -> None:
        with self._lock:
            self._deadline = min(self._clock.time() + self._setup.test_seconds, self._until)

    def _stop_clock(self) -> None:
        with self._lock:
            self._deadline = math.inf

    def _watch(self) -> None:
        """End the sandbox whose time is up. One thread for all tests: to start one takes as long as a short test."""
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                if self._clock.time() >= self._deadline and self._sandbox:
                    self._sandbox.end("late", "its time is up")
                    if sys.platform != "win32":
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        """Cut short a test that computes without end on what the sandbox gave it; the worker goes on."""
        while frame is not None and self._clock.charged >= self._deadline:
            if self._test and frame.f_code.co_filename == str(self._test):
                raise SandboxLost("its time is up")
            frame = frame.f_back
