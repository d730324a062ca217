"""Intake: what was made to take long is read quickly, or costs its author only."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tito.grading.intake import lexing, stopwatch

from ..conftest import HandIn
from .handed import TEXT, answer, solved

CPU = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only Unix has a timer of a process")


def forever(*_: object) -> Iterator[int]:
    """What never ends, and gives as little as it can."""
    while True:
        try:
            while True:
                pass
        except Exception:
            yield 0


@CPU
def test_a_submission_that_takes_too_long_is_refused_with_a_sentence_and_the_others_are_read(
    hand_in: HandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = stopwatch.limited
    monkeypatch.setattr(stopwatch, "limited", lambda: limited(0.3))
    definitions = lexing.definitions
    monkeypatch.setattr(lexing, "definitions", lambda text: next(forever()) if "endless" in text else definitions(text))
    found = hand_in({"ada.py": solved(), "eve.py": TEXT + "\n# %%\nendless = 1\n", "zoe.py": solved()})
    assert [(one.name, bool(one.cells)) for one in found] == [("ada", True), ("eve", False), ("zoe", True)]
    assert found[1].refused == "to read it took more than 10 s: hand in the notebooks only"


@CPU
def test_time_that_a_busy_machine_takes_is_not_counted() -> None:
    with stopwatch.limited(0.2):
        time.sleep(0.5)


@CPU
def test_after_the_block_nothing_is_raised_and_the_old_handler_is_back() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(stopwatch.TooLong), stopwatch.limited(0.05):
        next(forever())
    assert signal.getsignal(signal.SIGVTALRM) is before and signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_in_another_thread_the_block_runs_without_a_limit() -> None:
    ran = list[bool]()

    def run() -> None:
        with stopwatch.limited(0.01):
            ran.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ran == [True]


LONG = {
    "chained assignments": lambda n: " = ".join(f"a{i}" for i in range(n)) + " = 1",
    "statements on one line": lambda n: "    if 1: " + "a=1;" * n,
    "tuples": lambda n: "a, b = " * n + "1",
    "dotted imports": lambda n: "import " + "a." * n + "b",
}


def _steps(text: str) -> int:
    """How many lines of Python run to read a text: a measure that no machine changes."""
    count = 0

    def step(*_: Any) -> Any:
        nonlocal count
        count += 1
        return step

    sys.settrace(step)
    try:
        lexing.definitions(text), lexing.defined(text), lexing.imported(text), lexing.free(text)
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("kind", LONG)
def test_a_text_of_twice_the_length_takes_twice_as_long_to_read(kind: str) -> None:
    assert _steps(LONG[kind](2_000)) < 2.2 * _steps(LONG[kind](1_000))


def test_a_name_of_a_chain_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step count does not see: a set that grows with the chain and is joined at each of its names."""
    joined = list[int]()

    class Counted(set[str]):
        def __ior__(self, other: object) -> Counted:  # type: ignore[override]
            joined.append(len(other))  # type: ignore[arg-type]
            self.update(other)  # type: ignore[arg-type]
            return self

    monkeypatch.setitem(vars(lexing), "set", Counted)
    lexing._bound(list(lexing.tokens(LONG["chained assignments"](1_000))))
    assert sum(joined) == 1_000


@pytest.mark.parametrize(
    "scratch", ["import", "from", "async", "import ;", "from . import", "class", "def", "lambda", "as"]
)
def test_a_scratch_cell_that_breaks_off_costs_nothing(hand_in: HandIn, scratch: str) -> None:
    (found,) = hand_in({"ada.py": f"{TEXT}\n# %%\n{scratch}\n"})
    assert answer(found) == "return 2 * x"
