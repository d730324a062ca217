"""A student's machine is never ours: locales, consoles, folders that moved, folders in which nothing can be written.

The editions of these tests lie in a folder with a space and an umlaut in its name; `../test_cli.py` has the consoles.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from tito.errors import Status

from ..toy_course import NOTEBOOK, ODD_NAMES, TABLE, Course, Solve

ROUND = (
    ["test", "01"],
    ["hint"],
    ["status"],
    ["start", "--no-lab"],
    ["reset", "double"],
    ["submit", "--name", "Zoë"],
    ["doctor"],
)
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


def command(edition: Course, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TITO_PROJECT")} | environment
    command = [sys.executable, "-m", "tito", *arguments]
    return subprocess.run(command, cwd=edition.root, env=env, capture_output=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def german(edition: Course) -> Course:
    edition.change(TABLE, "Twice a number", "Zweimal für α")
    edition.change(TABLE, "What is x + x?", "Was ist x + x, für α → β?")
    return edition


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        pytest.param(PLAIN, marks=pytest.mark.nightly),
        pytest.param({"NO_COLOR": "1", "FORCE_COLOR": ""}, marks=pytest.mark.nightly),
    ],
)
def test_a_students_whole_round_survives_every_console(german: Course, environment: dict[str, str]) -> None:
    for arguments in ROUND:
        done = command(german, *arguments, **environment)
        assert b"Traceback" not in done.stderr, done.stderr.decode("utf-8", "replace")
        assert done.returncode in (Status.DONE, Status.FAILED), (arguments, done.stderr)
        assert b"\x1b" not in done.stdout, f"colour, although there is no terminal: {arguments}"
    assert (german.root / "01_toy_submission.zip").is_file()


def test_files_are_utf8_whatever_the_locale_says(german: Course) -> None:
    for arguments in ROUND:
        command(german, *arguments, **PLAIN)
    texts = [
        german.root / ".tito/progress.json",
        german.root / NOTEBOOK,
        german.root / "modules/source/01_toy/toy_dev.ipynb",
    ]
    assert all(path.read_text(encoding="utf-8") for path in texts)


def test_watch_without_a_terminal_or_any_input_goes_on_until_it_is_stopped(german: Course) -> None:
    env = os.environ | PLAIN
    command = [sys.executable, "-m", "tito", "watch"]
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    process = subprocess.Popen(command, cwd=german.root, env=env, stdin=nothing, stdout=pipe, stderr=pipe)
    assert process.stdout
    lines = iter(process.stdout.readline, b"")
    assert next(line for line in lines if b"not started" in line)
    german.change(NOTEBOOK, "# YOUR CODE HERE", "return 3 * x")
    assert next(line for line in lines if b"expected 6, got 9" in line), "a save in a folder the locale cannot spell"
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_folder_that_moves_takes_everything_along(edition: Course, solve: Solve, tmp_path: Path) -> None:
    solve(edition, "double")
    command(edition, "test", "01")
    command(edition, "hint")
    command(edition, "start", "--no-lab")
    edition.root = edition.root.rename(tmp_path / "somewhere else")
    done = command(edition, "status").stdout.decode("utf-8")
    assert "passed\n" in done and "1 hint seen" in done
    edition.change(NOTEBOOK, "return 2 * x", "return x + x")
    assert b"passed" in command(edition, "test", "01", "--exercise", "double").stdout
    assert command(edition, "reset", "double").returncode == Status.DONE


def test_two_editions_side_by_side_know_nothing_of_each_other(
    course: Course, edition: Course, solve: Solve, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    course.tito("release", "01", "--to", str(other))
    solve(edition, "double")
    edition.tito("test", "01")
    assert "passed" in edition.tito("status").out
    assert not (other / ".tito").exists()
    assert "passed" not in edition.tito("--project", str(other), "status").out


@pytest.fixture
def frozen(edition: Course, solve: Solve, monkeypatch: pytest.MonkeyPatch) -> Course:
    """An edition in whose folder nothing can be written any more: played, because root may write anywhere."""
    solve(edition, "double")
    edition.tito("export", "01")
    root, opened, made, os_opened = str(edition.root), Path.open, Path.mkdir, os.open

    def refuse(path: object) -> None:
        if str(path).startswith(root):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def open_(self: Path, mode: str = "r", *rest: Any, **named: Any) -> IO[Any]:
        if mode[0] in "wax":
            refuse(self)
        return opened(self, mode, *rest, **named)

    def mkdir(self: Path, *rest: Any, **named: Any) -> None:
        if not self.is_dir():
            refuse(self)
        return made(self, *rest, **named)

    def os_open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse(path)
        return os_opened(path, flags, *rest, **named)

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(os, "open", os_open)
    return edition


def test_where_nothing_can_be_written_one_can_still_test_and_ask(frozen: Course) -> None:
    before = frozen.files()
    said = frozen.tito("test", "01")
    assert "double      2 of 2 points  passed" in said.out and "cannot be written" in said.out and not said.err
    assert "hint 3 of 3" in frozen.tito("hint").out, (
        "none could be counted, so a second call would tell the first again"
    )
    assert frozen.tito("status").status == Status.DONE
    assert frozen.tito("export", "01").status == Status.DONE, "there is nothing to write"
    assert frozen.files() == before


@pytest.mark.parametrize("arguments", [["submit"], ["reset", "double"], ["start", "--no-lab"]])
def test_what_must_be_written_and_cannot_be_is_one_sentence(frozen: Course, arguments: list[str]) -> None:
    before = frozen.files()
    frozen.tito(*arguments).refuses("could not be written (Permission denied)")
    assert frozen.files() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows few of these names")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_course_may_lie_in_a_folder_of_any_name(edition: Course, tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    shutil.copytree(edition.root, root)
    command = [sys.executable, "-m", "tito", "test", "--exercise", "double"]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "not started yet: write your code at modules/" in done.stdout, done


if sys.platform != "win32":

    @pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
    def test_a_closed_stream_changes_no_result_and_gets_no_file(edition: Course, closed: tuple[int, ...]) -> None:
        def close() -> None:
            for number in closed:
                os.close(number)

        command = [sys.executable, "-m", "tito", "status", "--json", "out.json"]
        done = subprocess.run(command, cwd=edition.root, preexec_fn=close, capture_output=True, encoding="utf-8")
        assert done.returncode == 0 and "Traceback" not in done.stderr
        assert json.loads(edition.read("out.json"))["max_points"] == 5

    def test_nobody_listens_and_nothing_is_complained_of(edition: Course) -> None:
        command = f'"{sys.executable}" -m tito status | true; exit ${{PIPESTATUS[0]}}'
        done = subprocess.run(["bash", "-c", command], cwd=edition.root, capture_output=True, encoding="utf-8")
        assert done.stderr == ""

    @pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
    def test_a_terminal_that_is_closed_leaves_nothing_half_written(edition: Course, name: str) -> None:
        """The signal comes in the middle of the last write."""
        code = (
            "import os, signal, sys\nfrom tito import cli, files\nreal = files._write_synced\n"
            f"signal.signal(signal.{name}, signal.SIG_DFL)\n"  # which nohup may have changed for the tests
            "def write(path, data, mode):\n    real(path, data, mode)\n"
            f"    if 'sums.py' in path.name:\n        os.kill(os.getpid(), signal.{name})\n"
            "files._write_synced = write\nsys.exit(cli.main(['export']))\n"
        )
        edition.change(NOTEBOOK, "START = 0", "START = 7")
        before = edition.read("toy/sums.py")
        done = subprocess.run([sys.executable, "-c", code], cwd=edition.root, capture_output=True, encoding="utf-8")
        assert done.returncode == {"SIGHUP": 129, "SIGTERM": 143}[name] and done.stderr == ""
        assert edition.read("toy/sums.py") == before
        assert not [path for path in edition.root.rglob("*") if path.name.endswith(".new")]
