"""`check` in a notebook's cell: the words of `tito test`, without leaving the notebook."""

from __future__ import annotations

import linecache
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from tito.testing.in_notebook import check

from ..toy_course import ODD_NAMES, Course, add_ends

BROKEN = "#| exercise: double\ndef double(x):\n    return 2 * y\n"


@pytest.fixture
def here(course: Course, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.chdir(course.root / "modules/source/01_toy")
    return course


def test_it_says_what_tito_test_says(here: Course, capsys: pytest.CaptureFixture[str]) -> None:
    check("double", {"double": lambda x: 3 * x})
    assert "expected 6, got 9: is it x + x?" in capsys.readouterr().out
    check("double", {"double": lambda x: 2 * x})
    assert capsys.readouterr().out == "double: passed\n"


def test_what_did_not_pass_looks_otherwise_and_after_a_restart_it_says_what_to_run(
    here: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    check("double", {"double": lambda x: 3 * x})
    assert capsys.readouterr().out.startswith("double: NOT PASSED\na number comes back twice:\nexpected 6")
    check("double", {})
    assert "run the cell that defines it; after a restart of the kernel, all cells above this one" in (
        capsys.readouterr().out
    )


def test_a_function_may_be_given_for_its_name(here: Course, capsys: pytest.CaptureFixture[str]) -> None:
    def double(x: int) -> int:
        return 2 * x

    check(double, {"double": double})
    assert capsys.readouterr().out == "double: passed\n"
    check(len, {})
    assert "no exercise 'len'" in capsys.readouterr().out


def test_a_function_that_is_a_part_is_checked_as_its_exercise(here: Course, capsys: pytest.CaptureFixture[str]) -> None:
    add_ends(here)

    def lowest(numbers: list[int]) -> int:
        return min(numbers)

    for asked in (lowest, "highest", "ends"):
        check(asked, {"lowest": lowest, "highest": max})
        assert capsys.readouterr().out == "ends: passed\n"
    check(defined={})
    assert "no exercise ''. It has: double, counter, ends" in capsys.readouterr().out


def test_a_stub_is_not_started(here: Course, capsys: pytest.CaptureFixture[str]) -> None:
    def double(x: int) -> NoReturn:
        raise NotImplementedError("exercise double: your code is not written yet")

    check("double", {"double": double})
    assert capsys.readouterr().out == "double: not started yet\n"


@pytest.mark.parametrize("between", ["", "    # YOUR CODE HERE\n", "\n    # YOUR CODE HERE\n\n"])
def test_a_stubs_line_below_finished_code_is_to_be_removed(
    here: Course, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    left = "raise NotImplementedError('exercise double: your code is not written yet')"
    source = f"def double(x):\n    y = 2 * x\n{between}    {left}\n"
    cell, defined = "/tmp/ipykernel_1/3.py", dict[str, object]()
    monkeypatch.setitem(linecache.cache, cell, (len(source), None, source.splitlines(keepends=True), cell))
    exec(compile(source, cell, "exec"), defined)
    check("double", defined)
    said, line = capsys.readouterr().out, 3 + between.count("\n")
    assert "there is code above this line, which still ends the function: remove it\n" in said
    assert f"line {line} of your cell: raise" in said


def test_an_exception_is_shown_with_its_line_in_the_cell(
    here: Course, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, defined = "/tmp/ipykernel_1/2.py", dict[str, object]()
    monkeypatch.setitem(linecache.cache, cell, (len(BROKEN), None, BROKEN.splitlines(keepends=True), cell))
    exec(compile(BROKEN, cell, "exec"), defined)
    check("double", defined)
    said = capsys.readouterr().out
    assert "name 'y' is not defined" in said and "line 3 of your cell: return 2 * y" in said


def test_an_unknown_exercise_is_answered_with_the_nearest(here: Course, capsys: pytest.CaptureFixture[str]) -> None:
    check("duoble", {})
    assert "no exercise 'duoble' (the nearest is 'double')" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows few of these names")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_tests_are_copied_to_a_folder_of_any_name_and_run_where_the_notebook_stands(
    here: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    (tmp_path / name).mkdir()
    stands, seen = Path.cwd(), list[Path]()

    def double(x: int) -> int:
        seen.append(Path.cwd())
        return 2 * x

    check("double", {"double": double})
    assert capsys.readouterr().out == "double: passed\n"
    assert set(seen) == {stands} and Path.cwd() == stands


@pytest.mark.parametrize("name", ["PYTEST_PLUGINS", "PYTEST_ADDOPTS"])
def test_a_persons_own_settings_of_pytest_reach_no_test(
    here: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(name, "-no_such_plugin")
    check("double", {"double": lambda x: 2 * x})
    assert capsys.readouterr().out == "double: passed\n"
    assert os.environ[name] == "-no_such_plugin"


INTERRUPTED = "double: interrupted before its tests had ended\n"


@pytest.mark.parametrize("where", ["in the exercise", "in a test", "while a test is collected"])
def test_an_interrupted_check_says_one_line(
    here: Course, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder, where: str
) -> None:
    def double(x: int) -> int:
        print("printed before")
        if where == "in the exercise":
            raise KeyboardInterrupt
        return 2 * x

    raises = "    raise KeyboardInterrupt\n" if where == "in a test" else "    student.double(1)\n"
    first = "raise KeyboardInterrupt\n" if where == "while a test is collected" else ""
    here.write("tests/01_toy/test_double.py", f"{first}def test_it(student):\n{raises}")
    check("double", {"double": double})
    out, err = capsys.readouterr()
    assert (out, err, list(recwarn)) == (INTERRUPTED, "", [])


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_an_interrupted_kernel_says_one_line_and_works_on(here: Course) -> None:
    import nbclient
    import nbformat

    hang = "import os, signal, threading, time\ndef double(x):\n"
    hang += "    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n    time.sleep(60)\n"
    cells = [hang, "from tito.testing.in_notebook import check\ncheck('double')", "def double(x): return 2 * x", ""]
    cells[-1] = "check('double')"
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    where = {"metadata": {"path": str(Path.cwd())}}
    nbclient.NotebookClient(page, timeout=120, resources=where, kernel_name="python3").execute()
    said = ["".join(output.get("text", str(output)) for output in cell.outputs) for cell in page.cells]
    assert said == ["", INTERRUPTED, "", "double: passed\n"]
