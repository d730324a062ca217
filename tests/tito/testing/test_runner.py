"""`tito test` on the toy course, and on a zoo of exercises that each misbehave in one way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tito.course.markers import stub
from tito.testing.outcome import Outcome, Reason
from tito.testing.runner import Result

from ..toy_course import NOTEBOOK, Course, Solve

LIMIT = 4.0


@dataclass(frozen=True)
class Animal:
    """An exercise: what its cell holds, what its tests hold, and how it must come out."""

    id: str
    cell: str
    tests: str | None
    status: str
    message: str
    hidden: str = ""


def calls(name: str, claim: str = "it_works") -> str:
    return f"def test_{claim}(student):\n    assert student.{name}() == 1, f'expected 1 from {name}'\n"


ZOO = [
    Animal(
        "prints",
        'def prints():\n    import os, sys\n    print(\'{"event": "end", "message": "forged"}\')\n'
        "    os.write(1, b'forged\\n')\n    sys.__stdout__.write('forged')\n    os.system('echo forged')\n    return 1",
        "print('while it is loaded')\n" + calls("prints"),
        "passed",
        "",
    ),
    Animal(
        "wrong",
        "def wrong():\n    return 2",
        calls("wrong", "one_is_one").replace("expected 1", "expected 1, got 2") + calls("wrong", "later"),
        "failed",
        "one is one:\nexpected 1, got 2 from wrong",
    ),
    Animal(
        "raises",
        "def raises():\n    x = 0\n    return 1 / x",
        calls("raises"),
        "failed",
        "it works:\nZeroDivisionError: division by zero\nNOTEBOOK:{return 1 / x}: return 1 / x",
    ),
    Animal(
        "asserts",
        "def asserts():\n    assert False, 'the student says so'",
        calls("asserts"),
        "failed",
        "it works:\nthe student says so\nNOTEBOOK:{assert False}: assert False, 'the student says so'",
    ),
    Animal(
        "bare",
        "def bare():\n    return 2",
        "def test_bare(student):\n    got = student.bare()\n    assert got == 1\n",
        "failed",
        "bare:\nassert 2 == 1",
    ),
    Animal(
        "arguments",
        "def arguments(x):\n    return 1",
        calls("arguments"),
        "failed",
        "it works:\nTypeError: arguments() missing 1 required positional argument: 'x'\n"
        "tests/01_toy/test_arguments.py:2",
    ),
    Animal(
        "no_error",
        "def no_error():\n    return 1",
        "import pytest\ndef test_it_refuses(student):\n    with pytest.raises(ValueError):\n"
        "        student.no_error()\n",
        "failed",
        "it refuses:\nDID NOT RAISE",
    ),
    Animal(
        "deep",
        "def deep():\n    return deep()",
        calls("deep"),
        "failed",
        "it works:\nRecursionError: maximum recursion depth exceeded\nNOTEBOOK:{return deep()}: return deep()",
    ),
    Animal(
        "skips",
        "def skips():\n    return 1",
        calls("skips") + "import pytest\ndef test_not_here():\n    pytest.skip('later')\n",
        "failed",
        "not here:\nwas skipped or expected to fail, so the exercise cannot pass",
    ),
    Animal(
        "xfails",
        "def xfails():\n    return 2",
        "import pytest\n@pytest.mark.xfail\n" + calls("xfails"),
        "failed",
        "it works:\nwas skipped or expected to fail, so the exercise cannot pass",
    ),
    Animal(
        "xpasses",
        "def xpasses():\n    return 1",
        "import pytest\n@pytest.mark.xfail\n" + calls("xpasses"),
        "failed",
        "it works:\nwas skipped or expected to fail, so the exercise cannot pass",
    ),
    Animal(
        "empty",
        "def empty(): ...",
        "import pytest\n",
        "failed",
        "tests/01_toy/test_empty.py holds no test, so the exercise cannot pass",
    ),
    Animal(
        "missing",
        "def missing(): ...",
        None,
        "failed",
        "tests/01_toy/test_missing.py is missing: an exercise without its tests cannot pass; restore the file",
    ),
    Animal(
        "unloadable",
        "def unloadable(): ...",
        "import no_such_module\n" + calls("unloadable"),
        "failed",
        "tests/01_toy/test_unloadable.py cannot be run: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    Animal(
        "in_hiding",
        "def in_hiding():\n    return 1",
        calls("in_hiding"),
        "failed",
        "it hides:\nseen",
        hidden="def test_it_hides(student):\n    assert student.in_hiding() == 2, 'seen'\n",
    ),
    Animal(
        "exits",
        "def exits():\n    import os\n    os._exit(0)",
        calls("exits"),
        "failed",
        "it works:\nSystemExit: os._exit(0)",
    ),
    Animal(
        "scribbles",
        "def scribbles():\n    import os\n    for fd in range(3, 30):\n        try:\n"
        "            os.write(fd, b'junk\\n')\n        except OSError:\n            continue",
        calls("scribbles"),
        "failed",
        "it works:\nPython itself ended (its report cannot be read)",
    ),
    Animal(
        "sys_exits",
        "def sys_exits():\n    raise SystemExit(0)",
        calls("sys_exits"),
        "failed",
        "it works:\nSystemExit: 0",
    ),
    Animal(
        "interrupts",
        "def interrupts():\n    raise KeyboardInterrupt",
        calls("interrupts"),
        "failed",
        "it works:\nRuntimeError: KeyboardInterrupt",
    ),
    Animal(
        "quits",
        "def quits():\n    import pytest\n    pytest.exit('all is well', returncode=0)",
        calls("quits"),
        "failed",
        "it works:\nException: all is well\nNOTEBOOK:{pytest.exit}: pytest.exit('all is well', returncode=0)",
    ),
    Animal(
        "hangs",
        "def hangs():\n    while True:\n        pass",
        calls("hangs"),
        "timeout",
        f"it works:\nstopped after {LIMIT:g} seconds: is there a loop that never ends?",
    ),
    Animal("after", "def after():\n    return 1", calls("after") + calls("after", "again"), "passed", ""),
    Animal(
        "unwritten",
        "def unwritten():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION",
        "def test_a_slip_is_refused(student):\n    assert 1 == 2, 'another reason'\n" + calls("unwritten"),
        "not started",
        "not started yet: write your code at NOTEBOOK:{exercise unwritten}",
    ),
    Animal(
        "unnamed",
        "def unnamed():\n    raise NotImplementedError",
        calls("unnamed"),
        "not started",
        "not started yet: write your code at NOTEBOOK:{raise NotImplementedError}",
    ),
    Animal("needs", "def needs():\n    return unwritten()", calls("needs"), "not started", "needs unwritten first"),
    Animal(
        "swallowed",
        "def swallowed():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION",
        "import pytest\ndef test_it_refuses(student):\n    with pytest.raises(Exception):\n"
        "        student.swallowed()\n",
        "not started",
        "not started yet: write your code at NOTEBOOK:{exercise swallowed}",
    ),
    Animal(
        "given",
        "class given_base:\n    def forward(self):\n        raise NotImplementedError('for those below')\n\n"
        "def given():\n    return given_base()",
        "import pytest\ndef test_the_base_has_none(student):\n    with pytest.raises(NotImplementedError):\n"
        "        student.given().forward()\n",
        "passed",
        "",
    ),
]


Zoo = tuple[Path, subprocess.CompletedProcess[str], dict[str, Any]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """The report of one run over all of them: (course folder, finished process, outcomes by id)."""
    root = tmp_path_factory.mktemp("zoo") / "tous les élèves"
    folder, tests = root / "modules" / "source" / "01_toy", root / "tests" / "01_toy"
    for path in (folder, root / "toy", tests / "hidden"):
        path.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[tool.tito]\npackage = "toy"\n', encoding="utf-8")
    (root / "toy" / "__init__.py").touch()
    table = ['title = "A zoo"', "[[notebook]]", 'file = "zoo_dev.py"']
    cells = ["# %%\n#| default_exp zoo\n"]
    for animal in ZOO:
        table += ["[[notebook.exercise]]", f'id = "{animal.id}"', f'title = "The {animal.id}"', "points = 2"]
        table += ['hints = ["a", "b", "c"]']
        cells.append(f"# %%\n#| export\n#| exercise: {animal.id}\n{animal.cell}\n")
        if animal.tests is not None:
            (tests / f"test_{animal.id}.py").write_text(animal.tests, encoding="utf-8")
        if animal.hidden:
            (tests / "hidden" / f"test_{animal.id}.py").write_text(animal.hidden, encoding="utf-8")
    (folder / "module.toml").write_text("\n".join(table), encoding="utf-8")
    (folder / "zoo_dev.py").write_text(stub("\n".join(cells)), encoding="utf-8")
    command = [sys.executable, "-m", "tito", "--project", str(root), "test", "01", "--limit-seconds", str(LIMIT)]
    env = os.environ | {"PYTHONIOENCODING": "utf-8", "PYTEST_ADDOPTS": "--collect-only"}
    done = subprocess.run([*command, "--json", str(root / "out.json")], env=env, capture_output=True, encoding="utf-8")
    assert (root / "out.json").is_file(), done.stderr
    report = json.loads((root / "out.json").read_text(encoding="utf-8"))
    return root, done, report


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.id)
def test_every_kind_of_end_is_told_for_what_it_is(zoo: Zoo, animal: Animal) -> None:
    root, _, report = zoo
    outcome = next(row for row in report["exercises"] if row["exercise"] == animal.id)
    notebook = (root / "modules" / "source" / "01_toy" / "zoo_dev.py").read_text(encoding="utf-8").split("\n")
    expected = animal.message.replace("NOTEBOOK", "modules/source/01_toy/zoo_dev.py")
    if "{" in expected:
        before, rest = expected.split("{", 1)
        part, after = rest.split("}", 1)
        exact = [number for number, text in enumerate(notebook, 1) if text.strip() == part]
        line = (exact + [number for number, text in enumerate(notebook, 1) if part in text])[0]
        expected = f"{before}{line}{after}"
    assert outcome["status"] == animal.status, outcome
    assert outcome["message"].startswith(expected), f"expected {expected!r}, got {outcome['message']!r}"
    assert (outcome["points"], outcome["max_points"]) == (2 if animal.status == "passed" else 0, 2)


def test_the_report_holds_every_exercise_in_order_and_adds_up(zoo: Zoo) -> None:
    _, done, report = zoo
    assert [row["exercise"] for row in report["exercises"]] == [animal.id for animal in ZOO]
    assert (report["module"], report["points"], report["max_points"]) == ("01_toy", 6, 2 * len(ZOO))
    assert report["seconds"] > LIMIT and done.returncode == 1


def test_people_see_one_line_an_exercise_then_the_total_then_the_first_failure(zoo: Zoo) -> None:
    _, done, _ = zoo
    lines = done.stdout.split("\n")
    assert done.stderr == "" and "\x1b" not in done.stdout
    assert lines[0] == "prints         2 of 2 points  passed"
    assert [line.split()[0] for line in lines[: len(ZOO)]] == [animal.id for animal in ZOO]
    assert lines[len(ZOO)].startswith("total         6 of 54 points  in ")
    first, printed, lacking, end = lines[len(ZOO) + 1 : -6], lines[-6:-3], lines[-3:-1], lines[-1]
    assert first == ["", "wrong: The wrong", "  one is one:", "  expected 1, got 2 from wrong"]
    forged = '  {"event": "end", "message": "forged"}'  # as a line that was printed, and as no event
    assert (
        printed == ["", "prints: what the code printed in the test 'it works':", forged]
        and done.stdout.count("forged") == 1
    )
    assert lacking[0] == end == "" and lacking[1].startswith("quits imports pytest, which grading does not have:")


def test_nothing_is_left_in_the_course_but_the_export_the_report_and_the_progress(zoo: Zoo) -> None:
    root, _, _ = zoo
    found = {path.name for path in root.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".toml")}
    assert found == {"out.json", "progress.json", "lock", ".gitignore"}, "the latter three in .tito"


def test_the_reference_earns_all_points_and_the_exit_status_says_so(course: Course) -> None:
    said = course.tito("test", "01", "--json", str(course.root / "out" / "report.json"))
    assert said.status == 0, said
    lines = said.out.split("\n")
    assert lines[:2] == ["double      2 of 2 points  passed", "counter     3 of 3 points  passed"]
    assert lines[2].startswith("total       5 of 5 points  in ") and lines[3:] == [""]
    report = json.loads(course.read("out/report.json"))
    assert list(report) == ["module", "points", "max_points", "seconds", "exercises", "lacking"]
    first = {"exercise": "double", "title": "Twice a number", "points": 2, "max_points": 2, "status": "passed"}
    first |= {"reason": "passed", "parts": [], "remarks": []} | dict.fromkeys(
        ("claim", "detail", "where", "message"), ""
    )
    assert report["exercises"][0] == first


def test_the_stub_edition_earns_nothing_and_says_where_to_begin(course: Course) -> None:
    course.write(NOTEBOOK, stub(course.read(NOTEBOOK)))
    said = course.tito("test", "01")
    line = course.line_of(NOTEBOOK, "exercise double:")
    assert said.status == 1
    split = "adds up (0 of 2), own total (0 of 1)"
    table = (
        f"double      0 of 2 points  not started\ncounter     0 of 3 points  not started: {split}\ntotal       0 of 5"
    )
    assert table in said.out
    assert said.out.endswith(f"\ndouble: Twice a number\n  not started yet: write your code at {NOTEBOOK}:{line}\n")


def test_what_lies_in_front_of_the_person_is_tested_not_an_older_export(course: Course) -> None:
    course.tito("export", "01")
    course.change(NOTEBOOK, "return 2 * x", "return 3 * x")
    said = course.tito("test", "01", "--exercise", "double")
    assert said.status == 1 and "expected 6, got 9: is it x + x?" in said.out
    assert "counter" not in said.out, "only the exercise that was asked for"


def test_a_cell_that_cannot_be_exported_is_the_result_of_its_exercise(course: Course) -> None:
    course.change(NOTEBOOK, "return 2 * x", "return 2 *")
    said = course.tito("test", "01")
    sentence = f"{NOTEBOOK}:{course.line_of(NOTEBOOK, 'return 2 *')}: invalid syntax: `return 2 *`"
    assert said.status == 1 and said.out.endswith(f"\ndouble: Twice a number\n  {sentence}\n")


def test_an_error_while_the_module_is_loaded_names_the_notebook_line(course: Course) -> None:
    course.change(NOTEBOOK, "START = 0", "START = double(None)")
    said = course.tito("test", "01")
    line = course.line_of(NOTEBOOK, "return 2 * x")
    assert (
        said.status == 1
        and f"  TypeError: unsupported operand type(s) for *: 'int' and 'NoneType'\n  {NOTEBOOK}:{line}:" in said.out
    )


def test_pytest_that_cannot_start_is_no_pass(course: Course) -> None:
    course.write("tests/01_toy/conftest.py", "raise RuntimeError('the conftest is broken')\n")
    course.tito("test", "01").refuses("the tests could not be run: exit status 4", "the conftest is broken")


def test_a_failure_of_pytest_itself_is_no_pass(course: Course) -> None:
    course.write("tests/01_toy/conftest.py", "def pytest_collection_modifyitems():\n    raise RuntimeError('inside')\n")
    course.tito("test", "01").refuses("the tests could not be run:", "inside")


def test_the_first_failure_is_more_useful_than_what_is_not_started() -> None:
    reasons: tuple[Reason, ...] = ("passed", "unwritten", "timeout", "claim")
    rows = [Outcome(reason, exercise=reason, title="", points=0, max_points=1) for reason in reasons]
    assert Result("m", 1.0, tuple(rows)).most_useful == rows[2]
    assert Result("m", 1.0, tuple(rows[:2])).most_useful == rows[1]
    assert Result("m", 1.0, tuple(rows[:1])).most_useful is None
    assert not Result("m", 1.0, ()).passed, "nothing tested is nothing passed"


if sys.platform != "win32":
    import signal

    HANG = "import os, pathlib, time\n    pathlib.Path('pid').write_text(str(os.getpid()))\n    time.sleep(600)"

    @pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGKILL", -9)])
    def test_a_stopped_run_leaves_no_process_and_no_half_written_file(course: Course, name: str, status: int) -> None:
        course.change(NOTEBOOK, "return 2 * x", HANG)
        command = [sys.executable, "-m", "tito", "--project", str(course.root), "test", "01"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        marker = course.root / "pid"
        wait_for(lambda: marker.is_file() and bool(marker.read_text(encoding="ascii")))
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (status, "")
        said = "tito: stopped by Ctrl-C: 0 of 2 exercises were tested\n"
        assert err == (said if name == "SIGINT" else "")
        wait_for(lambda: not is_running(int(marker.read_text(encoding="ascii"))))
        assert not [file for file in course.files() if file.endswith(".new")]

    def wait_for(condition: Callable[[], bool]) -> None:
        """Until it holds; a minute is patience with a busy machine, not a measurement."""
        import time

        for _ in range(600):
            if condition():
                return
            time.sleep(0.1)
        raise AssertionError("waited a minute in vain")

    def is_running(pid: int) -> bool:
        """A zombie is not running; only /proc tells it apart, and macOS has none."""
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except ProcessLookupError:
            return False
        except FileNotFoundError:
            return not Path("/proc/self").exists()
        return stat.rsplit(")", 1)[1].split()[0] != "Z"


def test_a_loop_that_never_ends_is_shown_where_it_is(course: Course) -> None:
    course.change(NOTEBOOK, "    return 2 * x", "    while True:\n        x = x + 0")
    said = course.tito("test", "01", "--exercise", "double", "--limit-seconds", "1")
    line = course.line_of(NOTEBOOK, "while True:")
    assert "stopped after 1 seconds: is there a loop that never ends?" in said.out
    assert f"{NOTEBOOK}:{line}: while True:" in said.out or f"{NOTEBOOK}:{line + 1}: x = x + 0" in said.out, said.out


def test_a_result_that_is_none_asks_for_the_return(course: Course) -> None:
    course.change(NOTEBOOK, "        return self.total\n", "        pass\n")
    course.write(
        "tests/01_toy/test_counter.py", "def test_it_adds(student):\n    assert student.Counter().add(1) + 1 == 3\n"
    )
    said = course.tito("test", "01", "--exercise", "counter")
    assert "TypeError" in said.out and "is a `return` missing? What your function gave back is None" in said.out


def test_an_error_in_given_code_is_shown_at_the_students_line(course: Course) -> None:
    course.change(NOTEBOOK, "START = 0", "START = 0\n\n\ndef refuse(x):\n    raise ValueError('no scale')")
    course.change(NOTEBOOK, "return 2 * x", "return refuse(x)")
    line = course.line_of(NOTEBOOK, "return refuse(x)")
    said = course.tito("test", "01", "--exercise", "double").out
    assert "ValueError: no scale" in said and f"{NOTEBOOK}:{line}: return refuse(x)" in said


def answered(course: Course, body: str) -> str:
    """What `tito test` says of an answer whose body this is."""
    course.change(NOTEBOOK, "return 2 * x", body)
    return course.tito("test", "01", "--exercise", "double").out


@pytest.mark.parametrize(
    "exits", ["exit()", "quit(1)", "import sys; sys.exit('bye')", "raise SystemExit(2)", "import os; os._exit(0)"]
)
def test_exit_is_told_with_its_line(course: Course, exits: str) -> None:
    out = answered(course, exits)
    assert "SystemExit" in out and f"{NOTEBOOK}:{course.line_of(NOTEBOOK, exits)}: {exits}" in out


def test_an_exercise_may_be_named_where_a_module_is_expected(course: Course) -> None:
    lines = course.tito("test", "double").out.split("\n")
    assert " ".join(lines[0].split()) == "double 2 of 2 points passed" and "counter" not in "".join(lines)
    both = course.tito("test", "double", "--exercise", "counter").out
    assert "5 of 5 points" in both
    course.tito("test", "doubel").refuses("no module or exercise 'doubel'", status=2)


LEFT = 'raise NotImplementedError("exercise double: your code is not written yet")'


@pytest.mark.parametrize(
    "body",
    {
        "above": f"    y = 2 * x\n    {LEFT}",
        "between": f"    # YOUR CODE HERE\n    return 2 * x\n    {LEFT}",
    }.values(),
)
def test_a_finished_function_that_still_raises_is_told_which_line_to_remove(edition: Course, body: str) -> None:
    edition.change(NOTEBOOK, f"    # YOUR CODE HERE\n    {LEFT}", body)
    said = edition.tito("test", "double").out
    if "return 2 * x" in body and body.index("return") < body.index("raise"):
        assert "double  " in said and "2 of 2 points  passed" in said, "it returns before"
    else:
        line = edition.line_of(NOTEBOOK, LEFT)
        assert f"above this line, which still ends the function: remove it\n  {NOTEBOOK}:{line}: {LEFT}" in said


@pytest.mark.parametrize(
    "stub",
    [
        f"    # YOUR CODE HERE\n    {LEFT}",
        f"    {LEFT}",
        f"    # tomorrow\n    {LEFT}",
        f"    # YOURS\n    {LEFT}\n    return x",
    ],
    ids=["as given", "without its comment", "with another", "what is given goes on below"],
)
def test_an_untouched_stub_is_not_started(edition: Course, stub: str) -> None:
    edition.change(NOTEBOOK, f"    # YOUR CODE HERE\n    {LEFT}", stub)
    assert "not started yet: write your code at" in edition.tito("test", "double").out


CRASHES = {
    "a read of address 0": "import ctypes; ctypes.string_at(0)",
    "a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "SIGKILL": "import os; os.kill(os.getpid(), 9)",
    "in a function": "import ctypes\ndef wrong(): ctypes.string_at(0)\nx = wrong()",
    "in a loop, the second time": "import ctypes\nfor address in (id(0), 0):\n    ctypes.string_at(address)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("crash", CRASHES)
def test_a_cell_that_ends_python_by_a_signal_costs_its_exercise_and_is_named(
    edition: Course, solve: Solve, crash: str
) -> None:
    """As in grading, though no exception tells where: the lines that are loaded are told before they run."""
    solve(edition, "double")
    solve(edition, "counter")
    last = edition.read(NOTEBOOK).rstrip("\n").split("\n")[-1]
    edition.change(NOTEBOOK, last, f"{last}\n\n\n{CRASHES[crash]}")
    said = edition.tito("test", "01")
    assert "double      2 of 2 points  passed\ncounter     0 of 3 points  failed" in said.out
    line = CRASHES[crash].split("\n")[-1]
    assert "  while its cell was loaded:\n  Python itself ended (exit status -" in said.out
    assert f"{NOTEBOOK}:{edition.line_of(NOTEBOOK, line)}: {line.strip()}" in said.out


@pytest.mark.parametrize("asks", ["input()", "input('x? ')", "import sys; return input() + sys.stdin.readline()"])
def test_input_is_told_in_words_of_our_own(course: Course, asks: str) -> None:
    out = answered(course, asks)
    assert "the code calls input(), but while tests run there is nobody who could type" in out and "pytest" not in out
    assert f"{NOTEBOOK}:{course.line_of(NOTEBOOK, asks)}: {asks}" in out
