"""What waits for somebody to type says in one sentence what happened and what to do, in `check` and `tito test`."""

from __future__ import annotations

import builtins
import pdb
import sys

import pytest

from tito.testing.typing_in import DEBUGGER, INPUT, SENTENCES

from ..toy_course import NOTEBOOK, Course
from .both import by_check, by_tito_test, exercise

CALLS = {
    "breakpoint()": DEBUGGER,
    "import pdb; pdb.set_trace()": DEBUGGER,
    "from pdb import set_trace; set_trace()": DEBUGGER,
    "import pdb; pdb.Pdb().set_trace()": DEBUGGER,
    "import pdb; pdb.run('1 + 1')": DEBUGGER,
    "from IPython.core.debugger import set_trace; set_trace()": DEBUGGER,
    "input()": INPUT,
    "input('x? ')": INPUT,
    "import sys; sys.stdin.readline()": INPUT,
}


@pytest.mark.parametrize("call", CALLS)
def test_it_is_told_in_one_sentence_with_its_line(
    course: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    monkeypatch.chdir(course.root / "modules/source/01_toy")
    cell = exercise(f"{call}\n    return 2 * x")
    tested, checked = by_tito_test(course, cell), by_check(monkeypatch, capsys, cell)
    assert f"{NOTEBOOK}:{course.line_of(NOTEBOOK, call)}: {call}" in tested, tested
    assert f"line 4 of your cell: {call}" in checked, checked
    for said in (tested, checked):
        assert said.count(CALLS[call]) == 1 and sum(sentence in said for sentence in SENTENCES) == 1, said
        assert "pytest" not in said and "(Pdb)" not in said, said


def test_what_python_has_is_there_again_afterwards(
    course: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(course.root / "modules/source/01_toy")
    before = (builtins.input, sys.breakpointhook, pdb.set_trace, sys.stdout)
    by_check(monkeypatch, capsys, exercise("breakpoint()"))
    assert (builtins.input, sys.breakpointhook, pdb.set_trace, sys.stdout) == before
