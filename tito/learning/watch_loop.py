"""The loop of `tito watch`: files that are saved, keys that are pressed, rounds that end, in one queue."""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from tito import console
from tito.course.module import Exercise, Module
from tito.course.project import Project
from tito.errors import WrongCall
from tito.learning import keyboard, watch_state

Event = tuple[str, Any]


def watch(project: Project, module: Module, limit: float) -> None:
    """Test at every save, until `q` is pressed. Raises WrongCall where watchfiles is missing."""
    events: queue.Queue[Event] = queue.Queue()
    stop = threading.Event()
    _start(_follow_files, module, _watcher(), stop, events)
    state = watch_state.Watch(project, module)
    running, again = False, True  # a round is under way; another is wanted after it
    try:
        with keyboard.listening(lambda key: events.put(("key", key))):
            while True:
                if again and not running and state.exercise:
                    running, again = True, False
                    _start(_play, project, module, state.exercise, limit, events)
                kind, value = _next(events)
                if kind == "key" and value == "q":
                    return
                if kind == "failed":
                    raise value
                if kind == "done":
                    running = False
                    again |= state.finished(value)
                elif kind == "key":
                    again |= state.key(value)
                else:
                    again = True
                if kind != "saved":
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


def _play(project: Project, module: Module, exercise: Exercise, limit: float, events: queue.Queue[Event]) -> None:
    events.put(("done", watch_state.play(project, module, exercise, limit)))


def _watcher() -> Any:
    try:
        from watchfiles import watch as changes
    except ImportError:
        raise WrongCall(f"tito watch needs watchfiles: {sys.executable} -m pip install watchfiles") from None
    return changes


def _follow_files(module: Module, changes: Any, stop: threading.Event, events: queue.Queue[Event]) -> None:
    """Tell of every save of one of the module's notebooks, in whichever way an editor saves.

    The folder is looked at again and again: that works on network drives too, and where the system, which could tell
    of changes, has told too many others already.
    """
    names = {name for n in module.notebooks for name in (n.path.name, n.path.with_suffix(".ipynb").name)}
    folder = _in_unicode(module.notebooks[0].path.parent)
    often = {"force_polling": True, "poll_delay_ms": 200, "debounce": 200, "step": 20}
    for found in changes(folder, stop_event=stop, recursive=False, raise_interrupt=False, **often):
        if any(Path(path).name in names for _, path in found):
            events.put(("saved", None))


def _in_unicode(folder: Path) -> Path:
    """A path that watchfiles can take: where the locale cannot spell the folder's name, it becomes the current one."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        os.chdir(folder)
        return Path()
    return folder
