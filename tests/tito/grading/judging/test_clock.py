"""What a student's code is charged for: computing and sleeping, and not waiting for a machine that is busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.project import Project
from tito.grading.grade import MachineryError
from tito.grading.judging import clock as clocks
from tito.grading.judging import judge as judging
from tito.grading.judging.clock import Clock, Look
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.submission import Submission

from ...toy_course import copy_toy

T = TypeVar("T")
OURS, NICER = ("0", "0"), ("19", "0")
RIGHT = Submission("anna", {"double": ("def double(x):\n    return 2 * x",)})
SLOW = Submission("ben", {"double": ("import time\ntime.sleep(1)\n\ndef double(x):\n    return 2 * x",)})  # not missed
LIMIT = 30.0  # seconds for a submission; a fifth of it for a test
STOPPED_SECONDS = 9.0  # longer than a test may take

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")


@pytest.mark.parametrize(
    ("states", "schedule", "passed", "ran", "charged"),
    [
        ("SR", OURS, 1.0, 1.0, 1.0),  # computes
        ("SS", OURS, 1.0, 0.0, 1.0),  # sleeps, or waits for what never comes
        ("SR", OURS, 1.0, 0.25, 0.25),  # could run, and gets a quarter of a processor
        ("RS", OURS, 1.0, 0.0, 0.0),  # so does the test itself
        ("ST", OURS, 1.0, 0.0, 0.0),  # stopped from outside
        ("SD", OURS, 1.0, 0.125, 0.125),  # waits for a disk, or for memory
        ("SR", OURS, 1.0, 4.0, 1.0),  # computes on four threads
        ("SR", NICER, 1.0, 0.25, 1.0),  # made itself wait
        ("SS", OURS, 60.0, 0.0, clocks.UNSEEN_SECONDS),  # a container that was paused, and whoever looks with it
        ("SS", OURS, 60.0, 50.0, 50.0),  # whoever looks was kept from it by what it looks at
    ],
)
@linux
def test_a_second_is_charged_where_it_was_used(
    monkeypatch: pytest.MonkeyPatch, states: str, schedule: tuple[str, str], passed: float, ran: float, charged: float
) -> None:
    now, seconds = [100.0], [7.0]

    def looks(pid: int) -> dict[int, Look]:
        return {pid: Look(states[0], 0.0, OURS), pid + 1: Look(states[1], seconds[0], schedule)}

    monkeypatch.setattr(clocks, "_looks", looks)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock(1)
    now[0] += passed
    seconds[0] += ran
    assert (clock.time(), clock.waited) == (charged, passed - charged)


def test_where_processes_cannot_be_looked_at_every_second_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock(os.getpid())
    now[0] += 60.0
    assert (clock.time(), clock.waited) == (60.0, 0.0)


@linux
def test_a_process_is_seen_with_all_that_it_started() -> None:
    sleeper = "import time; time.sleep(600)"
    starter = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleeper!r}])"
    with subprocess.Popen([sys.executable, "-c", starter], start_new_session=True) as process:
        try:
            assert awaited(lambda: states(process.pid) == ["S", "S"])
            os.kill(max(clocks._looks(process.pid)), signal.SIGSTOP)
            assert awaited(lambda: states(process.pid) == ["S", "T"])
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def states(pid: int) -> list[str]:
    return [look.state for look in clocks._looks(pid).values()]


def awaited(look: Callable[[], T | None]) -> T:
    while not (found := look()):
        time.sleep(0.01)
    return found


@contextmanager
def stopped(judge: Judge, module: str, seconds: float) -> Iterator[None]:
    """As soon as a process of the judge's runs a module, it gets no processor for so long: once."""

    def runs(pid: int) -> bool:
        try:
            return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def found() -> int | None:
        assert judge._tests
        return next((pid for pid in reversed(clocks._looks(judge._tests.pid)) if runs(pid)), None)

    def stop() -> None:
        pid = awaited(found)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return

    thread = threading.Thread(target=stop)
    thread.start()
    yield
    thread.join()


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Judge]:
    project = Project(copy_toy(tmp_path))
    with Judge(
        Edition(project, load_module(project, "01_toy")), Options(limit_seconds=LIMIT, exercise="double")
    ) as judge:
        yield judge


@pytest.mark.sandbox
@pytest.mark.parametrize("module", ["tito.grading.sandbox.child", "tito.grading.judging.worker"])
def test_a_right_answer_keeps_its_points_on_a_machine_that_gives_it_no_time(judge: Judge, module: str) -> None:
    with stopped(judge, module, STOPPED_SECONDS):
        grade = judge.grade(SLOW)
    assert [outcome.status for outcome in grade.outcomes] == ["passed"], grade.outcomes


@pytest.mark.sandbox
def test_a_machine_that_never_gives_it_time_is_the_graders_failure(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "BUSY", 2.0 / LIMIT)
    with (
        stopped(judge, "tito.grading.sandbox.child", STOPPED_SECONDS),
        pytest.raises(MachineryError, match="the machine is too busy"),
    ):
        judge.grade(SLOW)
    assert judge.grade(RIGHT).points == 2
