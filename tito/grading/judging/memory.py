"""How much memory a test may take for what a student's code answered: beyond it the test ends, and the judge goes on.

An answer is bounded before it is read, but a test may make lists, texts and differences of it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

BYTES = 768 << 20  # for all that tests make, beside what was there when they were collected
STATUS = Path("/proc/self/status")
ENDED = f"the test ran out of memory, of which it has {BYTES >> 20} MB: is the answer far too large?"


def limit() -> None:
    """Let this process take so much from here on. What it starts may raise the limit again for itself."""
    if sys.platform != "linux":
        return
    import resource

    lines = STATUS.read_text(encoding="ascii").splitlines()
    taken = next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    with suppress(ValueError, OSError):  # a lower limit was set from outside, and holds
        resource.setrlimit(resource.RLIMIT_DATA, (taken + BYTES, hard))


class MemoryOfTests:
    """A pytest plugin: a test that runs out of memory lets go of all that it made before anything is said of it."""

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self) -> Generator[None, object, object]:
        try:
            return (yield)
        except MemoryError as error:
            if hasattr(error, "student_frames"):  # it was the student's code that ran out
                raise
        gc.collect()
        raise MemoryError(ENDED)
