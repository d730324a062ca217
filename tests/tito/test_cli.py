"""The commands as people and shells meet them: exit statuses, help, consoles of every kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tito import __main__ as program
from tito.cli import main
from tito.errors import Status

from .toy_course import NOTEBOOK, Course

DEMO = "modules/source/01_toy/demo.py"


def command(course: Course, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """tito in a process of its own, without a terminal, in the course's folder."""
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TITO_PROJECT")} | environment
    return subprocess.run([sys.executable, "-m", "tito", *arguments], cwd=course.root, env=env, capture_output=True)


COMMANDS = ["export", "test", "demo", "doctor", "start", "watch", "hint", "status", "reset", "submit", "release"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_in_plain_letters(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == Status.DONE
    text = capsys.readouterr().out
    assert f"Example: tito {name}" in " ".join(text.split())
    assert text.isascii(), "sandbox glyphs and emoji break consoles"


def test_help_lists_every_command_and_loads_none_of_what_they_need() -> None:
    code = "import sys; from tito.cli import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert all(f"\n  {name}" in done.stdout for name in COMMANDS)
    loaded = done.stdout.rsplit("[", 1)[1]
    costly = ("numpy", "jupytext", "nbdev", "pytest", "hashlib", "json", "shlex", "tomllib")
    assert not [name for name in costly if f"'{name}'" in loaded]


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", "complete -o"), ("zsh", "#compdef tito"), ("fish", "complete ")]
)
def test_a_shell_is_told_how_to_complete_commands(shell: str, script: str) -> None:
    env = os.environ | {"_TITO_COMPLETE": f"source_{shell}"}
    done = subprocess.run([sys.executable, "-m", "tito"], env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and script in done.stdout and "_TITO_COMPLETE" in done.stdout, done


def test_a_command_is_completed_from_its_first_letters() -> None:
    env = os.environ | {"_TITO_COMPLETE": "complete_bash", "COMP_WORDS": "tito re", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "tito"], env=env, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout.split()) == (0, ["reset", "release"]), done


@pytest.mark.parametrize("columns", ["0", "00", "-1", "wide", ""])
def test_where_columns_is_no_width_everything_is_shown(course: Course, columns: str) -> None:
    shown = command(course, "status", COLUMNS=columns, LINES=columns).stdout
    assert shown.startswith(b"double      0 of 2 points  not tested"), shown


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == Status.DONE
    assert capsys.readouterr().out.startswith("tito ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exprot", "01"], "No such command 'exprot'"),
        (["hint", "double", "half"], "one at a time, got: double half"),
        (["hint", "01", "duoble"], "duoble"),
        (["reset", "01"], "what of 01_toy? Name an exercise"),
        (["reset", "01", "double", "half"], "one at a time"),
        (["export", "01", "--chek"], "No such option"),
        (["test", "01", "--limit-seconds", "soon"], "'--limit-seconds'"),
        *((["test", "01", "--limit-seconds", text], "--limit-seconds must be") for text in ("nan", "inf", "-1")),
        (["test", "01", "--limit-seconds", "0"], "--limit-seconds must be from 0.1 to 86400, got 0.0"),
    ],
)
def test_a_wrong_call_is_status_2_and_names_what_is_wrong(course: Course, arguments: list[str], said: str) -> None:
    answer = course.tito(*arguments)
    assert answer.status == Status.WRONG_CALL and said in answer.err and "Traceback" not in answer.err


def test_outside_of_a_course_every_command_says_how_to_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["export", "01"], ["test", "01"], ["demo", "01"]):
        assert main(["--project", str(tmp_path), *arguments]) == Status.WRONG_CALL
        assert "no course found in" in capsys.readouterr().err


def test_a_demo_gets_its_arguments_and_gives_its_exit_status(course: Course) -> None:
    done = command(course, "demo", "01", "--seed", "3", "--json", "out.json", "-x")
    assert (done.returncode, done.stdout.split()) == (0, b"demo of the toy --seed 3 --json out.json -x".split())
    failed = command(course, "demo", "--fail", "--seed", "3")
    assert (failed.returncode, failed.stdout.split()) == (3, b"demo of the toy --fail --seed 3".split())


def test_a_demo_shows_the_notebook_that_lies_in_front_of_the_person(course: Course) -> None:
    course.write(DEMO, "from toy.sums import double\nprint(double(10))\n")
    assert command(course, "demo").stdout.split() == [b"20"]
    course.change(NOTEBOOK, "return 2 * x", "return 3 * x")
    assert command(course, "demo", "01").stdout.split() == [b"30"]


def test_a_demo_of_what_is_not_written_yet_is_one_sentence(course: Course) -> None:
    course.tito("release", "01", "--to", str(course.root / "given"))
    course.tito("--project", str(course.root / "given"), "demo", "01").refuses(
        "2 of 2 exercises are not written yet, the first is double; `tito watch`"
    )


def test_a_module_that_is_deployed_nowhere_says_so(course: Course) -> None:
    said = course.tito("deploy", "01", "--to", "onnx")
    said.refuses("01_toy has no deploy: modules/source/01_toy/deploy.py does not exist", status=2)


def test_a_file_of_weights_is_no_module(course: Course) -> None:
    course.write(DEMO.replace("demo", "deploy"), "import sys\nprint(sys.argv[1:])\n")
    assert command(course, "deploy", "net.npz", "--to", "onnx").stdout.strip() == b"['net.npz', '--to', 'onnx']"


def test_the_only_module_need_not_be_named(course: Course) -> None:
    assert "toy/sums.py  written" in course.tito("export").out
    assert "5 of 5 points" in course.tito("test").out


def test_a_hint_is_given_for_an_exercise_named_behind_its_module(course: Course) -> None:
    for named in (["double"], ["01", "double"], ["01_toy", "double"], ["double", "--module", "01"]):
        assert course.tito("hint", *named).out.startswith("double: ")


def test_a_module_without_a_demo_says_so(course: Course) -> None:
    (course.root / DEMO).unlink()
    course.tito("demo", "01").refuses(f"01_toy has no demo: {DEMO} does not exist", status=2)


def test_a_report_that_cannot_be_written_is_named(course: Course) -> None:
    course.write("file", "")
    said = course.tito("test", "01", "--json", str(course.root / "file" / "report.json"))
    assert said.status == Status.FAILED
    assert said.err.startswith("tito: ") and "report.json could not be written" in said.err


def test_an_ascii_console_survives_every_message(course: Course) -> None:
    course.change("modules/source/01_toy/module.toml", "Twice a number", "Zweimal für α")
    course.change("tests/01_toy/test_double.py", "is it x + x?", "für α → β 🙂?")
    course.change(NOTEBOOK, "return 2 * x", "return 3 * x")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = command(course, "test", "01", "--json", "out.json", **plain)
    assert done.returncode == 1 and done.stderr == b"", done.stderr
    text = done.stdout.decode("ascii")
    assert "double: Zweimal f\\xfcr \\u03b1" in text and "expected 6, got 9: f\\xfcr \\u03b1 \\u2192" in text
    assert json.loads(course.read("out.json"))["exercises"][0]["title"] == "Zweimal für α"
    refused = command(course, "export", "01", "--project", "nowhere", **plain)
    assert refused.returncode == 2 and refused.stderr.decode("ascii")


def test_a_windows_console_survives_every_message(course: Course) -> None:
    course.change("tests/01_toy/test_double.py", "is it x + x?", "α → β 🙂?")
    course.change(NOTEBOOK, "return 2 * x", "return 3 * x")
    done = command(course, "test", "01", PYTHONIOENCODING="cp1252")
    assert done.returncode == 1 and "\\u03b1 \\u2192 \\u03b2 \\U0001f642" in done.stdout.decode("cp1252")


def test_a_listener_that_goes_away_is_no_traceback(course: Course) -> None:
    course.tito("export", "01")
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "tito", "export", "01"]
    done = subprocess.run(arguments, cwd=course.root, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_output_that_is_full_is_one_sentence(course: Course) -> None:
    full = Path("/dev/full")
    if not full.exists():  # only Linux has a file that is always full
        return
    course.tito("export", "01")
    with full.open("wb") as stream:
        arguments = [sys.executable, "-m", "tito", "export", "01"]
        done = subprocess.run(arguments, cwd=course.root, stdout=stream, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"tito: No space left on device\n")


def test_two_courses_side_by_side_are_each_tested_on_their_own_code(course: Course, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(course.root, other)
    course.change(NOTEBOOK, "return 2 * x", "return 3 * x")
    assert course.tito("test", "01").status == Status.FAILED
    assert main(["--project", str(other), "test", "01"]) == Status.DONE


if sys.platform != "win32":
    import pty
    import signal

    def in_terminal(course: Course, *exercises: str, **environment: str) -> bytes:
        """What `tito test` writes to a real terminal."""
        ours, theirs = pty.openpty()
        env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM")}
        arguments = [sys.executable, "-m", "tito", "test", "01", *exercises]
        process = subprocess.Popen(
            arguments,
            cwd=course.root,
            env=env | {"TERM": "xterm"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 4096):
                written += piece
        except OSError:  # Linux reports the end of a terminal as an error
            pass
        os.close(ours)
        assert process.wait() == 0, written
        return written

    def test_a_terminal_sees_colour_unless_no_color_is_set(course: Course) -> None:
        assert in_terminal(course, "double").startswith(b"\x1b[32mdouble     2 of 2 points  passed\x1b[0m\r\n")
        assert b"\x1b" not in in_terminal(course, "double", NO_COLOR="1")

    def test_a_terminal_sees_how_many_exercises_are_left_below_the_lines_of_those_that_are_done(course: Course) -> None:
        written = in_terminal(course).decode()
        assert "double      2 of 2 points  passed" in written and "counter     3 of 3 points  passed" in written
        assert "tested" in written and "0/2" in written
        assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is seen again"
        assert "tested" not in command(course, "test", "01").stdout.decode()

    def test_ctrl_c_during_a_demo_is_one_sentence(course: Course) -> None:
        course.write(DEMO, "import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
        process = subprocess.Popen(
            [sys.executable, "-m", "tito", "demo", "01"],
            cwd=course.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, b"", b"tito: stopped by Ctrl-C.\n")

    def test_ctrl_c_during_tests_keeps_what_was_found_and_says_how_much(course: Course) -> None:
        course.change("tests/01_toy/test_counter.py", "counter = ", '__import__("time").sleep(600); counter = ')
        arguments = [sys.executable, "-m", "tito", "test", "01"]
        with subprocess.Popen(arguments, cwd=course.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline().startswith(b"double ")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        kept = b"tito: stopped by Ctrl-C: 1 of 2 exercises were tested, and their results are kept\n"
        assert (process.returncode, err) == (130, kept)
        assert "double      2 of 2 points  passed" in course.tito("status").out


def test_ctrl_c_while_the_commands_are_imported_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.delattr("tito.cli")
    monkeypatch.delitem(sys.modules, "tito.cli")
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=interrupted)])
    status = program.main()
    monkeypatch.undo()
    assert (status, capsys.readouterr().err) == (130, "tito: stopped by Ctrl-C.\n")


def test_help_behind_a_module_is_the_demos_and_alone_it_is_ours(course: Course) -> None:
    assert b"--help" in command(course, "demo", "01", "--help").stdout, "the demo gets the option and prints it"
    assert b"Example: tito demo" in command(course, "demo", "--help").stdout


def with_quantizer(root: Path) -> None:
    """Give a course a package in which `tito quantize` finds what it runs."""
    room = root / "tinytorch" / "deployment" / "published"
    room.mkdir(parents=True)
    for folder in (room, room.parent, room.parent.parent):
        (folder / "__init__.py").touch()
    room.joinpath("__main__.py").write_text("import sys\nprint('of the course', *sys.argv[1:])\n", encoding="utf-8")


def test_in_a_course_quantize_runs_the_courses_package(course: Course) -> None:
    with_quantizer(course.root)
    done = command(course, "quantize", "net.onnx", "--out", "x", "--help")
    assert (done.returncode, done.stdout.split()) == (0, b"of the course net.onnx --out x --help".split())
    assert (course.root / "toy" / "sums.py").is_file(), "it is exported before"


def test_quantize_of_what_is_not_written_yet_is_one_sentence(edition: Course) -> None:
    with_quantizer(edition.root)
    edition.tito("quantize", "net.onnx").refuses("`tito quantize` runs what you wrote, but 2 of 2 exercises are not")


def test_where_a_course_has_no_such_package_quantize_runs_what_is_installed(course: Course) -> None:
    done = command(course, "quantize", "no.onnx")
    assert (done.returncode, done.stderr) == (2, b"tito quantize: no.onnx: there is no such file\n")
    assert not (course.root / "toy" / "sums.py").exists(), "nothing is exported for it"


def test_quantize_in_a_course_that_is_not_there_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", str(tmp_path), "quantize", "net.onnx"]) == Status.WRONG_CALL
    assert "no course found in" in capsys.readouterr().err


def test_a_course_without_a_benchmark_says_so(course: Course) -> None:
    done = command(course, "bench", "--quick")
    assert (done.returncode, done.stdout) == (2, b"") and b"has no benchmark: benchmarks/kernels.py" in done.stderr
