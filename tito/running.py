"""The process in which tests run, heard one event at a time."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from tito import processes
from tito.project import PYPROJECT, Project

START_SECONDS = 120.0  # for pytest to start and collect
REST = 0.1  # of a test's limit, which is left when it is asked where it is
PYTEST = ["-p", "tito.student", "-p", "no:cacheprovider", "--import-mode=importlib", "--continue-on-collection-errors"]
PYTEST += ["--tb=no", "--quiet"]  # the report is ours: drawing tracebacks nobody sees takes most of the time


def events(
    project: Project, paths: list[str], errors: IO[bytes], left: Callable[[], float], limit: float
) -> Iterator[dict[str, Any]]:
    """What the process tells, up to its `end`; or, if it does not come to that, `late` or `gone`."""
    one_thread = dict.fromkeys(processes.THREADS, "1")  # tests multiply small matrices: threads would only wait
    env = processes.environment(project) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | one_thread
    env |= {processes.PATIENCE_OF_TESTS: str(limit * (1 - REST))}
    env.pop("PYTEST_ADDOPTS", None)
    where = ["--rootdir", str(project.root), "-c", str(project.root / PYPROJECT)]
    lines: queue.Queue[bytes | None] = queue.Queue()
    with processes.python(
        ["-m", "tito.reporting", *PYTEST, *where, *paths],
        env,
        cwd=project.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
    ) as process:
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        while True:
            try:
                line = _get(lines, left())
            except queue.Empty:
                yield {"event": "late", "message": f"no answer after {left():g} seconds"}
                return
            if line is None:
                yield {"event": "gone", "message": f"exit status {process.wait()}"}
                return
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "gone", "message": "its report cannot be read"}
            yield event
            if event["event"] in ("end", "broken", "gone"):
                return


def _get(lines: queue.Queue[bytes | None], seconds: float) -> bytes | None:
    """The next line. Waits in short steps: on Windows Ctrl-C is not heard during a wait."""
    until = time.monotonic() + seconds
    while True:
        try:
            return lines.get(timeout=max(0.0, min(0.5, until - time.monotonic())))
        except queue.Empty:
            if time.monotonic() >= until:
                raise


def _read(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return f" ({lines[-1].removeprefix('E').strip()[:300]})" if lines else ""
