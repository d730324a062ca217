"""The loop of `tito watch`: files that are saved, keys that are pressed, rounds that end, in one queue."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any

from tito import console
from tito.course.module import Exercise, Module
from tito.course.project import Project
from tito.learning import keyboard, watch_state
from tito.testing import pytest_process

Event = tuple[str, Any]
State = tuple[int, int, int] | None  # of a file
SECONDS_BETWEEN_LOOKS = 0.1


def watch(project: Project, module: Module, limit: float) -> None:
    """Test at every save, until `q` is pressed."""
    events: queue.Queue[Event] = queue.Queue()
    stop = threading.Event()
    paths = [path for n in module.notebooks for path in (n.path, n.path.with_suffix(".ipynb"))]
    _start(_follow_files, paths, [_state(path) for path in paths], stop, events)
    state = watch_state.Watch(project, module)
    running, again = False, True  # a round is under way; another is wanted in its place
    cancel = threading.Event()
    try:
        with keyboard.listening(lambda key: events.put(("key", key))):
            while True:
                if again and not running and state.exercise:
                    running, again, cancel = True, False, threading.Event()
                    _start(_play, project, module, state.exercise, limit, cancel, events)
                    state.begun()
                    console.page(state.page())
                elif again and running:
                    cancel.set()
                kind, value = _next(events)
                if kind == "key" and value == "q":
                    return
                if kind == "failed":
                    raise value
                if kind in ("done", "cancelled"):
                    running = False
                    again |= kind == "done" and state.finished(value)
                elif kind == "key":
                    again |= state.key(value)
                else:
                    again = True
                if kind in ("done", "key"):
                    console.page(state.page())
    finally:
        stop.set()


def _next(events: queue.Queue[Event]) -> Event:
    """The next event. Waits in short steps: on Windows Ctrl-C is not heard during a wait."""
    while True:
        try:
            return events.get(timeout=0.5)
        except queue.Empty:
            continue


def _start(what: Any, *arguments: Any) -> None:
    threading.Thread(target=_guarded, args=(what, *arguments), daemon=True).start()


def _guarded(what: Any, *arguments: Any) -> None:
    """An exception in a thread ends the loop, instead of a thread that nobody misses."""
    try:
        what(*arguments)
    except Exception as error:
        arguments[-1].put(("failed", error))


def _play(
    project: Project,
    module: Module,
    exercise: Exercise,
    limit: float,
    cancel: threading.Event,
    events: queue.Queue[Event],
) -> None:
    try:
        events.put(("done", watch_state.play(project, module, exercise, limit, cancel)))
    except pytest_process.Cancelled:
        events.put(("cancelled", None))


def _follow_files(paths: list[Path], seen: list[State], stop: threading.Event, events: queue.Queue[Event]) -> None:
    """Tell of every save of one of the files, in whichever way an editor saves. seen: their states at the beginning.

    They are looked at again and again, which works on network drives too. watchfiles, when it polls, keeps times in
    whole seconds and misses the second of two saves within one.
    """
    before = seen
    while not stop.wait(SECONDS_BETWEEN_LOOKS):
        now = [_state(path) for path in paths]
        if now == before and now != seen:  # an editor that was still writing has ended
            seen = now
            events.put(("saved", None))
        before = now


def _state(path: Path) -> State:
    """What differs after every save: which file it is, its time and length. None where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
