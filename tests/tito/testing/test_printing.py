"""What a student prints is shown by `check` and `tito test`: its first lines, and a count of the others."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tito.testing.printing import LONGEST_LINE, MOST_LINES, FirstLines, Printed

from ..toy_course import Course
from .both import by_check, by_tito_test, exercise

Judge = Callable[[Course, str], str]
PRINTED = "what the code printed in the test 'a number comes back twice':\n"


@pytest.fixture(params=["check", "tito test"])
def judge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Judge:
    def judged(course: Course, cell: str) -> str:
        monkeypatch.chdir(course.root / "modules/source/01_toy")
        return by_check(monkeypatch, capsys, cell) if request.param == "check" else by_tito_test(course, cell)

    return judged


def test_what_an_exercise_prints_is_shown_whether_it_passes_or_not(course: Course, judge: Judge) -> None:
    said = judge(course, exercise("print('x is', x)\n    return 2 * x"))
    assert "passed" in said and f"{PRINTED}  x is 3\n  ... and 1 more line, there and in other tests\n" in said
    said = judge(course, exercise("print('x is', x)\n    return 3 * x"))
    assert "expected 6, got 9" in said and f"{PRINTED}  x is 3\n" in said


def test_what_the_failing_test_printed_is_shown_and_not_what_others_did(course: Course, judge: Judge) -> None:
    said = judge(course, exercise("print('x is', x)\n    return 2 * x if isinstance(x, int) else x"))
    assert "':\n  x is [ 1. -2.]\n  ... and 1 more line, there and in other tests\n" in said
    assert "what the code printed in the test '" in said and PRINTED not in said and "x is 3" not in said


def test_of_many_lines_the_first_are_shown_and_the_others_counted(course: Course, judge: Judge) -> None:
    said = judge(course, exercise("for i in range(300_000): print('line', i)\n    return 0"))
    shown = [line for line in said.split("\n") if line.startswith("  line ")]
    assert shown == [f"  line {number}" for number in range(MOST_LINES)]
    tests = 1 if "NOT PASSED" in said else 2  # check ends at the first failure
    assert f"  ... and {tests * 300_000 - MOST_LINES} more lines" in said


@pytest.mark.parametrize(
    "prints, line",
    [
        ("print(1, end=' ')", "1"),
        ("import sys; sys.stderr.write('to stderr')", "to stderr"),
        ("import sys; sys.stdout.write('written')", "written"),
        ("print('y' * 10**6)", f"{'y' * LONGEST_LINE} ..."),
    ],
    ids=["a line without an end", "standard error", "write", "a long line"],
)
def test_every_way_to_print_is_shown(course: Course, judge: Judge, prints: str, line: str) -> None:
    said = judge(course, exercise(f"{prints}\n    return 0"))
    assert f"{PRINTED}  {line}" in said


def test_what_was_printed_before_a_loop_that_never_ends_is_shown(course: Course) -> None:
    said = by_tito_test(course, exercise("print('begun')\n    while True: print('again')"), limit_seconds=1)
    assert "is there a loop that never ends?" in said
    assert f"{PRINTED}  begun\n  again\n" in said and " more lines\n" in said


def test_what_was_printed_before_python_ended_is_shown(course: Course) -> None:
    said = by_tito_test(course, exercise("print('begun')\n    import os, signal\n    os.kill(os.getpid(), 9)"))
    assert f"{PRINTED}  begun\n" in said


def test_no_report_holds_what_was_printed(course: Course) -> None:
    by_tito_test(course, exercise("print('secret')\n    return 2 * x"))
    course.tito("test", "double", "--json", str(course.root / "out.json"))
    assert "secret" not in json.dumps(json.loads(course.read("out.json")))


def test_a_stream_keeps_no_more_than_it_shows() -> None:
    printed = Printed()
    stream = FirstLines(lambda lines, more: printed.add("tests/test_a.py::test_all", lines, more))
    for _ in range(1000):
        print("z" * 1000, end="", file=stream)
    assert len(stream._line) == LONGEST_LINE + 1
    stream.write("\n" * 50)
    stream.tell_rest()
    ((test, lines),) = printed.lines.items()
    assert (test, len(lines), printed.count) == ("tests/test_a.py::test_all", MOST_LINES, 50)
    assert str(printed).endswith(f"... and {50 - MOST_LINES} more lines") and str(Printed()) == ""
