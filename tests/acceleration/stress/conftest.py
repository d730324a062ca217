"""How a stress scenario is written: it is a test in a file of this folder, in a short and in a long size.

    python -m pytest tests/acceleration/stress                       short: in every test run, below three minutes
    TINYTORCH_STRESS=long python -m pytest tests/acceleration/stress  long: hours

What may crash, hang or run out of something happens in child processes. A child is a function at the top of the
scenario's file, which imports what it needs, takes arguments that JSON can carry, and raises if an answer is wrong:

    def first_calls(threads: int) -> None: ...

    def test_first_calls_at_once_are_right(in_child: Run, size: Size) -> None:
        for _ in range(size(short=2, long=200)):
            in_child(first_calls, 8)

`in_child` fails the test if the child ends by a signal, raises, or does not end within its time. That time is there to
catch what hangs for ever, and is no measure of speed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

CHILD = "import json, runpy, sys; runpy.run_path(sys.argv[1])[sys.argv[2]](*json.loads(sys.argv[3]))"


class Run(Protocol):
    """What `in_child` is."""

    def __call__(
        self, function: Callable[..., None], /, *arguments: Any, environment: dict[str, str] | None = None,
        seconds: float = 300, **popen: Any,
    ) -> str: ...  # fmt: skip


class Size(Protocol):
    """What `size` is."""

    def __call__(self, *, short: int, long: int) -> int: ...


def run_in_child(
    function: Callable[..., None], /, *arguments: Any, environment: dict[str, str] | None = None,
    seconds: float = 300, **popen: Any,
) -> str:  # fmt: skip
    """Call `function(*arguments)` in a new Python and return what it printed. popen: what `subprocess.run` takes."""
    file, name = Path(function.__code__.co_filename), function.__name__
    command = [sys.executable, "-X", "faulthandler", "-c", CHILD, str(file), name, json.dumps(arguments)]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=seconds,
        env={**os.environ, **(environment or {})}, **popen,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}{arguments} ended with {done.returncode}\n{done.stdout}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture
def in_child() -> Run:
    return run_in_child


@pytest.fixture
def size() -> Size:
    """size(short=, long=): the one that this run wants."""
    return lambda *, short, long: long if os.environ.get("TINYTORCH_STRESS") == "long" else short
