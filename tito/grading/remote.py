"""The judge's end of the line: a box a submission, asked call by call, ended when its time is up."""

from __future__ import annotations

import builtins
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tito import processes
from tito.door import Ref
from tito.grading import box
from tito.grading.channel import Broken, Channel, TooLarge

SHOWN_TEXT = 4000  # characters of an exception's text
REFUSED = (KeyboardInterrupt, GeneratorExit, BaseExceptionGroup, SystemError)  # raised here they would end the judge


class Lost(BaseException):
    """The box is gone, or its time is up. No test catches it: it is not an Exception."""


class Box:
    """A process with a student's code in it. Every answer of it is checked; none is believed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._channel = Channel(process.stdout, process.stdin)
        self._drops: deque[tuple[int, int]] = deque()
        self._changed: list[tuple[np.ndarray, np.ndarray]] = []
        self._lock = threading.Lock()
        self.why = ""  # why it is lost: "late" or "gone"; empty while it lives
        self.message = ""
        self.loading = ""  # the cell that is being loaded
        self.unloaded: dict[str, dict[str, Any]] = {}  # cell -> why it could not be loaded

    def load(self, seed: int, limits: dict[str, int], modules: dict[str, list[tuple[str, str, str]]]) -> None:
        """Send the cells and wait until they are loaded. `loading` names the last one where it does not come to that."""
        names = {cell[0] for cells in modules.values() for cell in cells}
        self._send((seed, limits, modules))
        while True:
            match self._receive()[0]:
                case ("loaded",):
                    return
                case ("loading", str(name)) if name in names:
                    self.loading = name
                case ("unloaded", str(name), *error) if name in names and len(error) == 1:
                    self.unloaded[name] = described(error[0])
                case _:
                    self.lose("gone", "what it said cannot be understood")

    def ask(self, *request: Any) -> Any:
        """One question, one answer. Raises what the student's code raised, as the nearest builtin exception."""
        __tracebackhide__ = True
        if self.why:
            raise Lost(self.message)
        drops = tuple(self._drops.popleft() for _ in range(len(self._drops)))
        sent = self._send((request[0], drops, *request[1:]))
        match self._receive()[0]:
            case ((kind, *rest), tuple(changed)):
                self._write_back(sent, changed)
            case _:
                self.lose("gone", "what it said cannot be understood")
        if kind == "value" and len(rest) == 1:
            return rest[0]
        raise rebuilt(described((*rest,)), rest)

    def drop(self, which: int, number: int) -> None:
        """A handle is no longer held; told with the next question."""
        self._drops.append((which, number))

    def restore(self) -> None:
        """Undo what student's code did to arrays of a test, so that no other submission sees it."""
        while self._changed:
            array, before = self._changed.pop()
            array[...] = before

    def _write_back(self, sent: list[np.ndarray], changed: tuple[Any, ...]) -> None:
        for item in changed:
            match item:
                case (int(k), np.ndarray() as new) if 0 <= k < len(sent):
                    old = sent[k]
                    if new.shape == old.shape and new.dtype == old.dtype and old.flags.writeable:
                        self._changed.append((old, old.copy()))
                        old[...] = new
                case _:
                    self.lose("gone", "what it said cannot be understood")

    def _send(self, message: Any) -> list[np.ndarray]:
        try:
            return self._channel.send(message)
        except Broken as error:
            self.lose("gone", str(error))

    def _receive(self) -> tuple[Any, list[np.ndarray]]:
        try:
            return self._channel.receive()
        except Broken as error:
            self.lose("gone", str(error))

    def lose(self, why: str, message: str) -> NoReturn:
        """End it and say so. What the watchdog said first counts."""
        self.end(why, message)
        raise Lost(self.message)

    def end(self, why: str, message: str) -> None:
        """End the process; may be called from another thread, and twice."""
        with self._lock:
            if not self.why:
                self.why, self.message = why, message
                processes.end(self._process)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and threading.current_thread() is threading.main_thread():
                try:
                    stream.close()
                except OSError:
                    pass


class Boxed:
    """A `door.Backend` for one of the modules in a box."""

    def __init__(self, box: Box, which: int) -> None:
        self._box, self._which = box, which

    def get(self, target: Ref, name: str) -> Any:
        __tracebackhide__ = True
        return self._box.ask("get", self._which, target, name)

    def call(self, target: Ref, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        try:
            return self._box.ask("call", self._which, target, args, kwargs)
        except TooLarge as error:
            raise ValueError(f"a test sent too much: {error}") from None

    def release(self, target: Ref) -> None:
        if target.number:
            self._box.drop(self._which, target.number)


def described(error: Any) -> dict[str, Any]:
    """An exception as the box told it, with what `reporting.describe` says of one; odd shapes are made plain."""
    match error:
        case (str(kind), tuple(), str(text), list(frames)):
            steps = [(f, n) for f, n in (s for s in frames if type(s) is tuple and len(s) == 2) if _is_step(f, n)]
            return {"type": kind[:100], "text": text[:SHOWN_TEXT], "frames": steps, "test_line": None}
    return {"type": "RuntimeError", "text": "an exception that cannot be shown", "frames": [], "test_line": None}


def _is_step(file: Any, line: Any) -> bool:
    return type(file) is str and type(line) is int and 0 < line < 1 << 31


def rebuilt(told: dict[str, Any], rest: list[Any]) -> BaseException:
    """The exception itself, of a builtin class that a test may raise."""
    kind = getattr(builtins, told["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, BaseException)) or issubclass(kind, REFUSED):
        kind, told["text"] = RuntimeError, f"{told['type']}: {told['text']}"
        rest = []
    args = rest[1] if len(rest) > 1 and isinstance(rest[1], tuple) else ()
    scalars = all(a is None or type(a) in (str, int, float, bool) for a in args) and len(args) <= 3
    try:
        error: Any = (
            kind(*(a[:SHOWN_TEXT] if type(a) is str else a for a in args)) if scalars and args else kind(told["text"])
        )
    except TypeError:
        error = RuntimeError(told["text"])
    error.student_frames = told["frames"]
    return error  # type: ignore[no-any-return]


class Bench:
    """One submission at a time: its cells, its box, its clock."""

    def __init__(self, given: Path, unsafe: bool, test_seconds: float) -> None:
        self._given, self._unsafe, self._test_seconds = given, unsafe, test_seconds
        self._box: Box | None = None
        self._timer: threading.Timer | None = None
        self._until = 0.0
        self.lost: dict[str, tuple[str, str]] = {}  # exercise -> why, message
        self.unloaded: dict[str, dict[str, Any]] = {}  # exercise -> why one of its cells could not be loaded

    def begin(self, request: dict[str, Any]) -> None:
        self._request = request
        self._until = time.monotonic() + request["seconds"]
        self.lost, self.unloaded = {}, {}

    def finish(self) -> None:
        """The submission is done: nothing of it stays."""
        self._stop_clock()
        if self._box:
            self._box.end("gone", "done")
        self._box = None

    def opened(self, exercise: str) -> Boxed:
        """The exercise's module, in the box that runs; in a new one where there is none."""
        while exercise not in self.lost and (self._box is None or self._box.why):
            self._box = self._loaded()
        if self._box is None or exercise in self.lost:
            raise Lost(self.lost[exercise][1])
        return Boxed(self._box, self._request["exercises"][exercise])

    def test_begins(self) -> None:
        self._start_clock(self._test_seconds)

    def test_ends(self, exercise: str) -> None:
        self._stop_clock()
        if self._box:
            self._box.restore()
            if self._box.why and exercise not in self.lost:
                self.lost[exercise] = (self._box.why, self._box.message)

    def _loaded(self) -> Box | None:
        """A box with the cells in it; None, and the guilty exercise among `lost`, where loading them ended it."""
        self._box = started = Box(box.start(self._given, self._unsafe))
        self._start_clock(self._test_seconds)  # at each try: the next cell may hang as well
        cells = {cell["name"]: cell["exercise"] for cells in self._request["modules"].values() for cell in cells}
        modules = {
            module: [
                (cell["name"], cell["given"] if cell["exercise"] in self.lost else cell["source"], cell["given"])
                for cell in cells
            ]
            for module, cells in self._request["modules"].items()
        }
        try:
            started.load(self._request["seed"], box.limits(self._request["seconds"]), modules)
        except Lost:
            names = list(cells)
            before = names[: names.index(started.loading) + 1] if started.loading else []
            guilty = next(
                (cells[name] for name in reversed(before) if cells[name] and cells[name] not in self.lost), None
            )
            if guilty is None:
                raise
            self.lost[guilty] = (started.why, f"while its cell was loaded: {started.message}")
            return None
        for name, failure in started.unloaded.items():
            if cells[name]:
                self.unloaded.setdefault(cells[name], failure)
        return started

    def _start_clock(self, seconds: float) -> None:
        self._stop_clock()
        seconds = max(0.0, min(seconds, self._until - time.monotonic()))
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def _stop_clock(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _ring(self) -> None:
        if self._box:
            self._box.end("late", "its time is up")
