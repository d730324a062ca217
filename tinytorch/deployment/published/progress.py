"""How far the work is, on standard error: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
from threading import Timer
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SILENT, EVERY = 2.0, 5.0  # seconds of which nothing is shown; between two lines where there is no terminal


class Shown:
    """Shows what takes more than two seconds. batches: of calibration, how many there will be."""

    def __init__(self, batches: int) -> None:
        console = Console(stderr=True)
        self.batches, self.is_terminal = batches, console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar, self.task = Progress(*columns, console=console, transient=True), TaskID(0)
        self.timer = Timer(SILENT, self.bar.start)
        self.timer.daemon = True
        self.begun = self.last = monotonic()
        self.what, self.first = "", (0, self.begun)

    def __enter__(self) -> Self:
        if self.is_terminal:
            self.timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.is_terminal:
            self.timer.cancel()
            self.timer.join()
            self.bar.stop()

    def phase(self, what: str) -> None:
        """What begins now."""
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        self.what, self.task = what, self.bar.add_task(what, total=None)

    def told(self, what: str, done: int, of: int | None) -> None:
        """So much of it is done, as `quantize_onnx` tells."""
        now, of = monotonic(), of or self.batches
        if what != self.what:
            self.phase(what)
            self.first = done, now
        self.bar.update(self.task, total=of, completed=done)
        if not self.is_terminal and now - self.begun > SILENT and now - self.last > EVERY:
            self.last = now
            before, start = self.first
            left = (now - start) / max(done - before, 1) * (of - done)
            print(f"{what}: {done} of {of}, {left:.0f} s left", file=sys.stderr, flush=True)
        if done == of:
            self.phase("writing codes, finding their errors")
