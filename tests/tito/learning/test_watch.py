"""What `tito watch` shows after each event, and the loop in a real terminal."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tito.course.module import load_module
from tito.learning import progress, watch_loop, watch_state

from ..toy_course import NOTEBOOK, Course, Solve


@pytest.fixture
def state(edition: Course) -> watch_state.Watch:
    return watch_state.Watch(edition.project, load_module(edition.project, "01_toy"))


def played(state: watch_state.Watch) -> bool:
    """One round of the exercise that the state is at, taken in: does one move on?"""
    assert state.exercise
    return state.finished(watch_state.play(state.project, state.module, state.exercise))


def shown(state: watch_state.Watch) -> str:
    return "\n".join(text for text, _ in state.page())


def test_at_first_it_tells_where_to_write(edition: Course, state: watch_state.Watch) -> None:
    assert "testing ..." in shown(state)
    assert not played(state)
    line = edition.line_of(NOTEBOOK, "raise NotImplementedError")
    page = shown(state)
    assert "01_toy  [........................]  0 of 5 points, 0 of 2 exercises" in page
    assert "double: Twice a number (for 2)\nnot started" in page and f"{NOTEBOOK}:{line}" in page
    assert page.endswith(watch_state.KEYS)


def test_it_shows_the_one_failure_and_moves_on_when_it_passes(
    edition: Course, solve: Solve, state: watch_state.Watch
) -> None:
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x")
    assert not played(state)
    assert "failed" in shown(state) and "expected 6, got 9: is it x + x?" in shown(state)
    solve(edition, "double")
    assert played(state)
    page = shown(state)
    assert "double passed: 2 of 2 points." in page
    assert "counter: An object that counts (for 3: adds up 2, own total 1)\ntesting ..." in page
    assert "[#########...............]  2 of 5 points, 1 of 2 exercises" in page
    solve(edition, "counter")
    assert not played(state)
    assert "All exercises passed." in shown(state) and "tito submit" in shown(state)


def test_a_save_that_edits_another_exercise_leads_there_and_back_when_it_passes(
    edition: Course, solve: Solve, state: watch_state.Watch
) -> None:
    state.key("n")
    assert not played(state)
    solve(edition, "double")
    assert played(state) and "double: Twice a number" in shown(state) and "testing ..." in shown(state)
    assert progress.read(state.project).at == {"01_toy": "double"}
    assert played(state)
    assert "double passed: 2 of 2 points." in shown(state) and "counter: An object that counts" in shown(state)


def test_a_key_leads_away_from_an_exercise_that_was_edited_but_not_tested(
    edition: Course, state: watch_state.Watch
) -> None:
    assert not played(state)
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x")
    state.key("n")
    assert not played(state) and "counter: An object that counts" in shown(state)


def test_a_save_that_edits_the_exercise_one_is_at_stays_there_whatever_else_it_edits(
    edition: Course, solve: Solve, state: watch_state.Watch
) -> None:
    assert not played(state)
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x")
    solve(edition, "counter")
    assert not played(state) and "expected 6, got 9" in shown(state)
    edition.change(NOTEBOOK, "return 3 * x", "return 3 * (")
    assert not played(state) and "double: Twice a number" in shown(state)


def test_keys_show_hints_the_list_and_the_next_exercise(state: watch_state.Watch) -> None:
    state.key("h")
    state.key("h")
    assert "hint 1 of 3: What is x + x?\nhint 2 of 3: Python multiplies" in shown(state)
    state.key("l")
    page = shown(state)
    assert "> double      0 of 2 points  not tested\n  counter     0 of 3 points  not tested" in page
    state.key("l")
    assert "double: Twice a number" in shown(state)
    assert state.key("n")
    assert "counter: An object that counts" in shown(state) and "hint" not in shown(state).removesuffix(
        watch_state.KEYS
    )
    assert progress.read(state.project).at == {"01_toy": "counter"}, "the next `tito watch` begins where one was"
    assert state.key("n")
    assert "double: " in shown(state), "after the last exercise comes the first that is not passed"
    assert not state.key("x")


def test_a_hint_is_on_the_page_once_and_those_before_it_too(edition: Course, state: watch_state.Watch) -> None:
    for _ in range(4):
        state.key("h")
    page = shown(state)
    assert [line[:11] for line in page.split("\n") if line.startswith("hint")] == [f"hint {n} of 3" for n in (1, 2, 3)]
    assert page.endswith(f"There is no further hint.\n\n{watch_state.KEYS}")
    again = watch_state.Watch(edition.project, state.module)
    again.key("h")
    assert "hint 1 of 3" in shown(again), "what was shown yesterday can be read today"


def test_a_round_of_an_exercise_one_has_left_changes_nothing_but_what_is_remembered(state: watch_state.Watch) -> None:
    assert state.exercise
    done = watch_state.play(state.project, state.module, state.exercise)
    state.key("n")
    assert state.finished(done), "the exercise one is at now is to be tested"
    assert "testing ..." in shown(state)


def test_a_notebook_that_cannot_be_exported_is_told_with_its_line(edition: Course, state: watch_state.Watch) -> None:
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "return (")
    assert not played(state)
    assert "failed" in shown(state) and f"{NOTEBOOK}:" in shown(state) and "return (" in shown(state)


def test_an_endless_loop_ends_after_the_limit(edition: Course, state: watch_state.Watch) -> None:
    edition.change(NOTEBOOK, "# YOUR CODE HERE", "while True: pass")
    assert state.exercise and not state.finished(watch_state.play(state.project, state.module, state.exercise, 1.0))
    assert "stopped after 1 seconds: is there a loop that never ends?" in shown(state)


OF_THE_CALLER = ("NO_COLOR", "TITO_PROJECT", "COLUMNS", "LINES")  # what would decide what is shown


def tito_watch(edition: Course, **options: Any) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if name not in OF_THE_CALLER}
    command = [sys.executable, "-m", "tito", "watch", "01"]
    return subprocess.Popen(command, cwd=edition.root, env=env | {"TERM": "xterm", "PYTHONUNBUFFERED": "1"}, **options)


def test_without_a_terminal_pages_follow_each_other_as_plain_lines(edition: Course) -> None:
    process = tito_watch(edition, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(b"h\nq\n", timeout=60)
    assert (process.returncode, err) == (0, b"")
    text = out.decode("utf-8")
    assert text.startswith("--------------------") and "hint 1 of 3: What is x + x?" in text
    assert "\x1b" not in text


if sys.platform != "win32":
    import pty
    import signal
    import termios
    import threading

    import pyte

    class Terminal:
        """A pseudo-terminal with `tito watch` in it, read as a person reads it: what is on the screen now."""

        def __init__(self, edition: Course, columns: int = 100, rows: int = 30) -> None:
            self.screen = pyte.Screen(columns, rows)
            self._stream, self._lock = pyte.ByteStream(self.screen), threading.Lock()
            self._ours, self.theirs = pty.openpty()
            termios.tcsetwinsize(self._ours, (rows, columns))
            self.before = termios.tcgetattr(self.theirs)
            ends = {"stdin": self.theirs, "stdout": self.theirs, "stderr": self.theirs}
            self.process = tito_watch(edition, start_new_session=True, **ends)
            threading.Thread(target=self._read, daemon=True).start()

        def _read(self) -> None:
            while piece := os.read(self._ours, 65536):
                with self._lock:
                    self._stream.feed(piece)

        @property
        def text(self) -> str:
            with self._lock:
                return "\n".join(line.rstrip() for line in self.screen.display)

        def press(self, key: str) -> None:
            os.write(self._ours, key.encode())

        def wait_for(self, part: str, patience: float = 60.0) -> str:
            until = time.monotonic() + patience
            while part not in self.text:
                assert time.monotonic() < until, f"{part!r} did not appear:\n{self.text}"
                assert self.process.poll() is None, f"tito watch ended:\n{self.text}"
                time.sleep(0.02)
            return self.text

    @pytest.fixture
    def terminal(edition: Course) -> Iterator[Terminal]:
        made = Terminal(edition)
        yield made
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()

    def test_in_a_terminal_a_student_saves_sees_and_moves_on(edition: Course, solve: Solve, terminal: Terminal) -> None:
        terminal.wait_for("not started")
        terminal.press("h")
        terminal.wait_for("hint 1 of 3: What is x + x?")
        edition.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x")
        screen = terminal.wait_for("expected 6, got 9: is it x + x?")
        assert screen.count("0 of 5 points") == 1, "the screen shows one page, not one below the other"
        terminal.wait_for("hint 1 of 3")  # a hint stays while one works with it
        solve(edition, "double")
        terminal.wait_for("double passed: 2 of 2 points.")
        terminal.wait_for("counter: An object that counts")
        terminal.wait_for("not started")
        terminal.press("l")
        terminal.wait_for("> counter")
        solve(edition, "counter")
        terminal.wait_for("All exercises passed.")
        terminal.press("q")
        assert terminal.process.wait(60) == 0
        assert termios.tcgetattr(terminal.theirs) == terminal.before, "the terminal is left as it was found"

    def test_a_small_terminal_still_shows_where_one_stands_and_breaks_lines_between_words(edition: Course) -> None:
        terminal = Terminal(edition, columns=40, rows=8)
        screen = terminal.wait_for("not started yet: write your code at\nmodules")
        assert screen.startswith("01_toy  [....") and watch_state.KEYS in screen
        terminal.press("h")
        terminal.press("h")
        terminal.press("h")
        screen = terminal.wait_for("more lines: make the window taller")
        assert screen.startswith("01_toy  [....") and watch_state.KEYS in screen
        terminal.press("q")
        assert terminal.process.wait(60) == 0

    def test_a_file_that_is_replaced_counts_as_saved(edition: Course, terminal: Terminal) -> None:
        terminal.wait_for("not started")
        text = edition.read(NOTEBOOK).replace("# YOUR CODE HERE", "return 7 * x")
        beside = edition.root / "modules/source/01_toy/.toy_dev.py.swp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(edition.root / NOTEBOOK)
        terminal.wait_for("expected 6, got 21")

    def test_saves_that_follow_each_other_within_a_second_are_all_seen(edition: Course, terminal: Terminal) -> None:
        terminal.wait_for("not started")
        before = "# YOUR CODE HERE"
        while time.time() % 1 > 0.1:  # so that the first two fall into one second, whatever keeps times in seconds
            time.sleep(0.01)
        for factor in (3, 5, 7):
            edition.change(NOTEBOOK, before, before := f"return {factor} * x")
            terminal.wait_for(f"expected 6, got {3 * factor}")

    def test_ctrl_c_leaves_no_process_and_the_terminal_as_it_was(edition: Course, terminal: Terminal) -> None:
        terminal.wait_for("not started")
        edition.change(
            NOTEBOOK,
            "# YOUR CODE HERE",
            "import os, pathlib, time\n    pathlib.Path('pid').write_text(str(os.getpid()))\n    time.sleep(600)",
        )
        until = time.monotonic() + 60
        pid = edition.root / "pid"
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < until, terminal.text
            time.sleep(0.02)
        child = int(pid.read_text())
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert terminal.process.wait(60) == 130
        while alive(child):
            assert time.monotonic() < until + 60, f"process {child} still runs"
            time.sleep(0.02)
        assert termios.tcgetattr(terminal.theirs) == terminal.before

    def test_a_saved_fix_interrupts_a_test_that_hangs_and_each_round_is_told_when_it_begins(
        edition: Course, terminal: Terminal
    ) -> None:
        terminal.wait_for("not started")
        hang = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
        edition.change(NOTEBOOK, "# YOUR CODE HERE", hang)
        screen = terminal.wait_for("testing ...")
        assert "not started" not in screen, "what the last round said is of another text"
        until = time.monotonic() + 60
        pid = edition.root / "pid"
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < until, terminal.text
            time.sleep(0.02)
        child = int(pid.read_text())
        edition.change(NOTEBOOK, hang, "return 7 * x")
        terminal.wait_for("expected 6, got 21", patience=55)  # of one test's 60 seconds nothing is waited for
        assert not alive(child)

    def test_the_next_exercise_interrupts_a_test_that_hangs(edition: Course, terminal: Terminal) -> None:
        terminal.wait_for("not started")
        edition.change(NOTEBOOK, "# YOUR CODE HERE", "import time; time.sleep(600)")
        terminal.wait_for("testing ...")
        terminal.press("n")
        terminal.wait_for("counter: An object that counts")
        terminal.wait_for("not started", patience=55)

    def alive(pid: int) -> bool:
        """Does a process run? One that has ended and waits for its parent to ask does not."""
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, encoding="ascii").stdout
        return bool(state.strip()) and not state.strip().startswith("Z")


def test_a_save_is_seen_by_looking_at_the_file_and_told_once(edition: Course) -> None:
    """The number of inotify instances is limited, and a network drive tells of no change."""
    path, events = edition.root / NOTEBOOK, queue.Queue[watch_loop.Event]()
    between_looks = iter([lambda: None, lambda: path.write_text("saved", encoding="utf-8"), lambda: None, lambda: None])

    class Looks(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if step := next(between_looks, None):
                step()
            return step is None

    watch_loop._follow_files([path], [watch_loop._state(path)], Looks(), events)
    assert events.get_nowait() == ("saved", None) and events.empty()
