"""Python processes that `tito` starts, and ends together with everything that they started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tito.course.project import Project

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PATIENCE_OF_TESTS = "TITO_PATIENCE"  # variable: seconds after which a test that still runs tells where it is
PATIENCE = 2.0  # seconds that a process has to end by itself when it is asked to


def environment(project: Project) -> dict[str, str]:
    """This process's environment, in which `import` finds the package of this course and of no other copy."""
    paths = [str(project.root), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def typed(*words: str) -> str:
    """A command as a person types it into this system's shell, whatever stands in the names of folders."""
    if sys.platform != "win32":
        import shlex

        return shlex.join(words)
    return " ".join(word if re.fullmatch(r"[\w.:=/\\-]+", word) else f'"{word}"' for word in words)


@contextmanager
def python(arguments: list[str], env: dict[str, str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process in a group of its own, so that Ctrl-C reaches only us; at the end of the block it is gone.

    Its output, if piped, is closed by whoever reads it: a child that got away may hold the other end.
    """
    own_group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    process = subprocess.Popen([sys.executable, *arguments], env=env, **own_group, **options)
    try:
        yield process
    finally:
        end(process)
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()


def descendants(pid: int) -> Iterator[int]:
    """What a process started, and what those started, the last first; where a Linux says so."""
    for children in Path("/proc", str(pid), "task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_bytes().split()):
                yield from descendants(child)
                yield child


def end_descendants(process: subprocess.Popen[bytes]) -> bool:
    """End what a process started, also in other groups: what is told nothing of its parent's end would outlive it.

    Parents end before their children: bubblewrap is gone as soon as it is told that the program within has ended, and
    would leave the process between them as a zombie. Returns whether there was any.
    """
    found = [*descendants(process.pid)] if process.returncode is None else []
    for child in reversed(found):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)
    return bool(found)


def end(process: subprocess.Popen[bytes], patience: float = 0) -> None:
    """End a process and all that it started, if they still run: asked first where `patience` is given, then made to."""
    with suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
        if patience and process.poll() is None:
            process.terminate()
            process.wait(patience)
    end_descendants(process)
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def ended_with_care() -> Iterator[None]:
    """Let SIGTERM, and the SIGHUP of a closed terminal, end the block as Ctrl-C does: with everything tidied."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    wanted = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Under nohup SIGHUP is ignored, and stays so.
    handled = [number for number in wanted if in_main_thread and signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def run_script(project: Project, script: Path, arguments: list[str]) -> int:
    """Run a script where the person stands, its output going straight to them; return its exit status.

    It multiplies on one thread unless the person says otherwise: what it times then does not hang on who else works.
    """
    return _run([str(script), *arguments], environment(project))


def run_module(project: Project | None, module: str, arguments: list[str]) -> int:
    """Run a module of a package as `run_script` runs a script: the course's own, or, without one, what is installed."""
    env = dict(os.environ) if project is None else environment(project)
    return _run(["-P", "-m", module, *arguments], env)  # -P: what lies where the person stands is not imported


def _run(arguments: list[str], env: dict[str, str]) -> int:
    with python(arguments, dict.fromkeys(THREADS, "1") | env) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            end(process, PATIENCE)
            raise
    return 128 - status if status < 0 else status
