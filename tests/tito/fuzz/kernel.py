"""Runs the code cells of notebooks as nbgrader's autograde does: in IPython, all of them, whatever fails.

`python -m tests.tito.fuzz.kernel FOLDER COURSE` reads a JSON list of cells a line, and answers with what each raised.
Every notebook gets a process of its own, forked from one that has imported IPython, NumPy and pytest.
"""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # read late, by the process that needs it
    from IPython.core.interactiveshell import InteractiveShell

SECONDS = 60


class Kernel:
    """The process, from this side."""

    def __init__(self, folder: Path, course: Path) -> None:
        root = Path(__file__).parents[3]
        command = [sys.executable, "-m", "tests.tito.fuzz.kernel", str(folder), str(course)]
        env = os.environ | {"PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        env["IPYTHONDIR"] = tempfile.mkdtemp(prefix="fuzz_ipython_")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=root, env=env, encoding="utf-8", stdin=pipe, stdout=pipe)

    def run(self, cells: list[str]) -> list[str]:
        """For each cell what it raised, in words; empty where it ran."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(cells) + "\n")
        self._process.stdin.flush()
        answer: list[str] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main(folder: str, course: str) -> None:
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    from IPython.core.interactiveshell import InteractiveShell

    import tito.testing.in_notebook  # noqa: F401

    os.chdir(folder)
    sys.path.insert(0, course)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                _run(InteractiveShell, json.loads(line), said.fileno())
            os.waitpid(child, 0)
            said.seek(0)
            raised = json.loads(said.read() or b"[]")
        missing = len(json.loads(line)) - len(raised)
        answers.write(json.dumps([*raised, *["the kernel ended"] * missing]) + "\n")
        answers.flush()


def _run(shell_type: type[InteractiveShell], cells: list[str], fd: int) -> None:
    """In the child: run, write what came, and end."""
    signal.alarm(SECONDS)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    shell, raised = shell_type.instance(), list[str]()
    builtins.input = _no_input
    for cell in cells:
        result = shell.run_cell(cell, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        raised.append(f"{type(error).__name__}: {error}" if error else "")
        os.pwrite(fd, json.dumps(raised).encode(), 0)
    os._exit(0)


def _no_input(*_: object) -> str:
    raise RuntimeError("raw_input was called, but this frontend does not support input requests.")


if __name__ == "__main__":
    main(*sys.argv[1:])
