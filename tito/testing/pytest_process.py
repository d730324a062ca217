"""The pytest process in which tests run, heard one event at a time."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import msgspec

from tito import processes
from tito.course.project import PYPROJECT, Project
from tito.testing import protocol

START_SECONDS = 120.0  # for pytest to start and collect
STEP_SECONDS = 0.1  # of waiting for an event
REST = 0.1  # of a test's limit, which is left when it is asked where it is
PYTEST = [
    "-p",
    "tito.testing.student_fixture",
    "-p",
    "no:cacheprovider",
    "--import-mode=importlib",
    "--continue-on-collection-errors",
]
PYTEST += ["--tb=no", "--quiet"]  # the report is ours: drawing tracebacks nobody sees takes most of the time


class Cancelled(Exception):
    """Tests were stopped from another thread, before they had ended: there is no result."""


class PytestProcess:
    """pytest in a process of its own, from its start to `close`."""

    def __init__(self, project: Project, program: str, arguments: list[str], **variables: str) -> None:
        one_thread = dict.fromkeys(processes.THREADS, "1")  # tests multiply small matrices: threads would only wait
        env = plain(processes.environment(project)) | one_thread | variables
        where = ["--rootdir", ".", "-c", PYPROJECT]  # the folder's own name may hold what pytest takes for a pattern
        command = ["-m", program, *PYTEST, *where, *(_from_root(project, argument) for argument in arguments)]
        pipe = subprocess.PIPE
        self._open = ExitStack()
        self._errors = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._process = self._open.enter_context(
            processes.python(command, env, cwd=project.root, stdin=pipe, stdout=pipe, stderr=self._errors)
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def event(self, seconds: float, cancel: threading.Event | None = None) -> protocol.Event:
        """The next event; Late after so many seconds, Gone when there is none to come. Raises Cancelled."""
        try:
            line = _get(self._lines, seconds, cancel)
        except queue.Empty:
            return protocol.Late(f"no answer after {seconds:g} seconds")
        if line is None:
            return protocol.Gone(f"exit status {self._process.wait()}")
        try:
            return protocol.event_of(line)
        except ValueError:
            return protocol.Gone("its report cannot be read")

    def send(self, message: protocol.Setup | protocol.Request) -> None:
        """Whether it still listens, the next event tells."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(protocol.line_of(message).encode("ascii"))
            self._process.stdin.flush()

    def stderr(self) -> str:
        """The last line of its standard error, in brackets; empty where there is none."""
        if self._errors.closed:  # from another thread
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f" ({re.sub(r'^E +', '', lines[-1])[:300]})" if lines else ""  # pytest's mark of an error's line

    def close(self) -> None:
        """End it, and all that it started."""
        self._open.close()


def plain(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without a person's own settings of pytest: tests say the same for everybody."""
    kept = {name: value for name, value in env.items() if not name.startswith("PYTEST_")}
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _from_root(project: Project, argument: str) -> str:
    """An argument; of a file in the course, its path as it is seen from the course's folder."""
    if not Path(argument).is_absolute():
        return argument
    root, path = os.path.realpath(project.root), os.path.realpath(argument)
    return os.path.relpath(path, root) if Path(path).is_relative_to(root) else argument


def events(
    project: Project,
    paths: list[str],
    left: Callable[[], float],
    limit: float,
    cancel: threading.Event | None = None,
) -> Iterator[protocol.Event]:
    """What a process over these test files sends; the last event says why there is no further one.

    Once `cancel` is set, the process is ended and Cancelled is raised.
    """
    tests = PytestProcess(
        project, "tito.testing.pytest_reporter", paths, **{processes.PATIENCE_OF_TESTS: str(limit * (1 - REST))}
    )
    try:
        while True:
            event = tests.event(left(), cancel)
            if isinstance(event, protocol.Stopped):
                yield msgspec.structs.replace(event, stderr=tests.stderr())
                return
            yield event
    finally:
        tests.close()


def _get(lines: queue.Queue[bytes | None], seconds: float, cancel: threading.Event | None) -> bytes | None:
    """The next line. Waits in short steps: on Windows Ctrl-C is not heard during a wait, nor anywhere `cancel`."""
    until = time.monotonic() + seconds
    while True:
        if cancel and cancel.is_set():
            raise Cancelled
        try:
            return lines.get(timeout=max(0.0, min(STEP_SECONDS, until - time.monotonic())))
        except queue.Empty:
            if time.monotonic() >= until:
                raise


def _read(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with stream, suppress(ValueError):  # closed from the other side
        for line in stream:
            lines.put(line)
    lines.put(None)
