"""One exercise that cannot be exported: `tito export` refuses with the place, `tito test` fails that exercise alone."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import jupytext
import pytest

from tito.course import exporting, notebook
from tito.course.module import load_module

from ..toy_course import NOTEBOOK, PAGE, Course, Said

DOUBLE = "#| export\n#| exercise: double\n"
HALF = f"# %%\n{DOUBLE}def half(x):\n    ### BEGIN SOLUTION\n    return x / 2\n    ### END SOLUTION\n\n\n"


@pytest.fixture
def solved(course: Course, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Course:
    """A student's edition, solved. The exercise double has two cells; the exercise counter needs the first."""
    course.change(NOTEBOOK, "# %%\nassert double", f"{HALF}# %%\nassert double")
    course.change(NOTEBOOK, "START = 0", "START = 0\n\n\ndef quarter(x):\n    return half(half(x))")
    tests = "tests/01_toy/test_double.py"
    course.write(tests, course.read(tests) + "\n\ndef test_half(student):\n    assert student.half(4) == 2\n")
    folder = tmp_path / "für die Schüler"
    assert course.tito("release", "01", "--to", str(folder)).status == 0
    edition = Course(folder, capsys)
    text = "\n".join(line for line in course.read(NOTEBOOK).split("\n") if "SOLUTION" not in line)
    edition.write(NOTEBOOK, text)
    return edition


def as_page(course: Course) -> None:
    """Keep only the .ipynb."""
    path = course.root / NOTEBOOK
    cells: list[dict[str, Any]] = [
        {"cell_type": cell.kind, "source": cell.source, "metadata": {}, "id": f"cell-{cell.number}"}
        | ({"outputs": [], "execution_count": None} if cell.kind == "code" else {})
        for cell in notebook.load(course.project, path).cells
    ]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.with_suffix(".ipynb").write_text(json.dumps(book), encoding="utf-8")
    path.unlink()


def outcomes(course: Course) -> tuple[Said, dict[str, Any]]:
    said = course.tito("test", "01", "--json", str(course.root / "out.json"))
    assert said.err == "", said.err
    return said, {row["exercise"]: row for row in json.loads(course.read("out.json"))["exercises"]}


def costs_double_alone(course: Course, refusal: Said) -> None:
    """What `tito test` would charge, and that the rest of the file can be loaded."""
    made = exporting.make(course.project, load_module(course.project, "01_toy"), forgiving=True)
    (fault,) = made[0].broken
    assert fault.exercise == "double" and refusal.err == f"tito: {fault.sentence}\n", (fault, refusal)
    defined = dict[str, Any]()
    exec(compile(made[0].text, "sums.py", "exec"), defined)
    assert defined["Counter"]().add(2) == 4, "what is whole stays the student's"
    assert "quarter" in defined
    with pytest.raises(NotImplementedError, match="exercise double: your code is not written yet"):
        defined["half"](2)


MAGICS = {
    "line magic": "%timeit x",
    "assigned": "x = !ls",
    "help": "half?",
    "cell magic": "%%time",
    "shell": "!ls \\\n  -l",
}


@pytest.mark.parametrize("kind", MAGICS)
def test_a_magic_beside_code_is_a_comment_in_an_ipynb_and_told_in_a_py(solved: Course, kind: str) -> None:
    solved.change(NOTEBOOK, "return x / 2", f"{MAGICS[kind]}\n    return x / 2")
    solved.tito("export", "01").refuses(
        f"`{MAGICS[kind].split(chr(10))[0]}` is an IPython command, which can be neither"
    )
    as_page(solved)
    assert solved.tito("export", "01").err == ""
    assert f"    # {MAGICS[kind].split(chr(10))[0]}\n" in solved.read("toy/sums.py")


@pytest.mark.parametrize("above", ["", "# a comment\n", "import os\n\nHERE = os.curdir\n\n\n"])
def test_an_import_from_the_future_may_stand_at_the_top_of_any_cell(solved: Course, above: str) -> None:
    """As in a notebook, and in grading; below other code Python refuses it there too."""
    future = "from __future__ import annotations\nfrom __future__ import (\n    division,\n)"
    solved.change(NOTEBOOK, "def half(x):", f"{above}{future}\n\n\ndef half(x: no_such_name):")
    said = solved.tito("export", "01")
    if "import" in above:
        said.refuses("from __future__ imports must occur at the beginning of the file")
    else:
        assert said.err == ""
        defined = dict[str, Any]()
        exec(compile(solved.read("toy/sums.py"), "sums.py", "exec"), defined)
        assert defined["half"](4) == 2 and defined["half"].__annotations__ == {"x": "no_such_name"}


def cell_text(course: Course, part: str) -> str:
    text = course.read(NOTEBOOK)
    start = text.rindex("# %%", 0, text.index(part))
    end = text.find("\n# %%", text.index(part)) + 1 or len(text)
    return text[start:end]


BODIES = {
    # what stands instead of `return x / 2`, and what is said of which line
    "parser": ("return x /", "invalid syntax: `return x /`"),
    "indentation": ("x = 1\n  return x", "unindent does not match any outer indentation level: `return x`"),
    "dedented return": ("pass\nreturn x / 2", "'return' outside function: `return x / 2`"),
    "break": ("pass\nbreak", "'break' outside loop: `break`"),
    "continue": ("pass\ncontinue", "'continue' not properly in loop: `continue`"),
    "yield": ("pass\nyield 1", "'yield' outside function: `yield 1`"),
    "await": ("pass\nawait half(2)", "'await' outside function: `await half(2)`"),
    "async for": ("pass\n[y async for y in x]", "`[y async for y in x]`"),
    "duplicate argument": ("return lambda a, a: x", "duplicate argument 'a' in function definition"),
    "duplicate keyword": ("return dict(a=1, a=2)", "keyword argument repeated: a"),
    "late future": ("from __future__ import annotations", "must occur at the beginning of the file"),
    "nonlocal": ("pass\nnonlocal x", "nonlocal declaration not allowed at module level: `nonlocal x`"),
    "global after use": ("x = 1\n    global x", "name 'x' is parameter and global"),
    "debug": ("__debug__ = 1", "cannot assign to __debug__"),
    "walrus": ("return [y := 1 for y in x]", "assignment expression cannot rebind comprehension iteration variable"),
    "star": ("*x", "can't use starred expression here: `*x`"),
    "null byte": ("return x \0", "null bytes"),
    "too deep": (f"return {'(' * 300}x{')' * 300}", "too many nested parentheses"),
    "deep operators": (f"return {'-' * 20_000}x", "nested too deeply"),
    "open quote": ('return """x', "unterminated triple-quoted string literal"),
    "open bracket": ("return (x", "'(' was never closed"),
    "type comment": ("return 1 if x", "expected 'else' after 'if' expression"),
    "relative import": ("from . import x", "a relative import does not run in a notebook"),
    "marker": ("### BEGIN SOLUTION", "this BEGIN SOLUTION has no END SOLUTION in its cell"),
    "second definition": ("return x\n\n\ndef double(x):\n    return 0", "'double' is exported twice"),
}


@pytest.mark.parametrize(("form", "kind"), [*zip(cycle(["py", "ipynb"]), BODIES, strict=False)])
def test_a_cell_that_cannot_be_compiled_costs_its_exercise_and_no_other(solved: Course, kind: str, form: str) -> None:
    body, sentence = BODIES[kind]
    solved.change(NOTEBOOK, "return x / 2", body)
    if form == "ipynb":
        as_page(solved)
    refusal = solved.tito("export", "01")
    refusal.refuses(NOTEBOOK if form == "py" else PAGE, sentence)
    if kind != "second definition":  # of two definitions both are there, and the later one counts
        costs_double_alone(solved, refusal)


CELLS = {
    # what becomes of the cell of `half`, and what is said
    "deleted": (lambda cell: "", "exercise double: the notebook defines no `half`: was its cell deleted"),
    "emptied": (lambda cell: "# %%\n\n", "exercise double: the notebook defines no `half`"),
    "only its directives": (lambda cell: cell[: cell.index("def")], "the notebook defines no `half`"),
    "renamed": (lambda cell: cell.replace("def half", "def halve"), "the notebook defines no `half`"),
    "commented out": (lambda cell: cell.replace("def ", "# def ").replace("    return", "#   return"), "no `half`"),
    "indented": (lambda cell: cell.replace("def half", "if 0:\n    pass\ndef halve"), "no `half`"),
    "without directives": (
        lambda cell: cell.replace(DOUBLE, ""),
        "`half` is defined in a cell that does not begin with `#| export` and `#| exercise: double`",
    ),
    "without export": (lambda cell: cell.replace("#| export\n", ""), "exercise 'double' is not exported"),
    "code above its directives": (lambda cell: cell.replace(DOUBLE, f"import os\n{DOUBLE}"), "does not begin with"),
    "another exercise's": (lambda cell: cell.replace("exercise: double", "exercise: duoble"), "no exercise 'duoble'"),
    "markdown": (
        lambda cell: "# %% [markdown]\n" + "".join(f"# {line}\n" for line in cell.strip().split("\n")[1:]) + "\n",
        "`half` is defined in a markdown cell: make it a code cell",
    ),
    "raw": (
        lambda cell: "# %% [raw]\n" + "".join(f"# {line}\n" for line in cell.strip().split("\n")[1:]) + "\n",
        "`half` is defined in a raw cell: make it a code cell",
    ),
    "split": (lambda cell: cell.replace("def half", "x = 1\n\n# %%\ndef half"), "does not begin with `#| export`"),
    "split in its middle": (
        lambda cell: cell.replace("    return x / 2", "\n# %%\n    return x / 2"),
        "expected an indented",
    ),
}


@pytest.mark.parametrize("form", ["py", "ipynb"])
@pytest.mark.parametrize("kind", CELLS)
def test_one_of_several_cells_that_is_lost_is_named_and_costs_its_exercise_alone(
    solved: Course, kind: str, form: str
) -> None:
    change, sentence = CELLS[kind]
    cell = cell_text(solved, "def half")
    solved.change(NOTEBOOK, cell, change(cell))
    if form == "ipynb":
        as_page(solved)
    refusal = solved.tito("export", "01")
    if kind == "another exercise's":  # the cell counts, whoever's it says it is
        refusal.refuses(sentence)
        return
    refusal.refuses(NOTEBOOK if form == "py" else PAGE, sentence)
    costs_double_alone(solved, refusal)


def test_the_broken_exercise_fails_with_that_sentence_and_the_others_are_tested(solved: Course) -> None:
    solved.change(NOTEBOOK, "return x / 2", "pass\nreturn x / 2")
    refusal = solved.tito("export", "01")
    said, found = outcomes(solved)
    assert (found["double"]["status"], found["counter"]["status"]) == ("failed", "passed")
    assert refusal.err == f"tito: {found['double']['message']}\n" and "3 of 5 points" in said.out


@pytest.mark.parametrize("form", ["py", "ipynb"])
@pytest.mark.parametrize(
    "above", ["# my notes", "# my notes\n# and more", "\n# mine\n", "%%time", "%%capture out", "#%%time"]
)
def test_a_comment_or_time_above_the_directives_changes_nothing(solved: Course, above: str, form: str) -> None:
    solved.change(NOTEBOOK, f"{DOUBLE}def half", f"{above}\n{DOUBLE}def half")
    if form == "ipynb":
        as_page(solved)
    assert solved.tito("export", "01").status == 0
    assert "def half(x):\n    return x / 2" in solved.read("toy/sums.py") and "time" not in solved.read("toy/sums.py")


def test_the_only_cell_of_an_exercise_may_be_missing(solved: Course) -> None:
    solved.change(NOTEBOOK, cell_text(solved, "class Counter"), "")
    solved.tito("export", "01").refuses("no cell begins with `#| exercise: counter`")
    _, found = outcomes(solved)
    assert (found["double"]["status"], found["counter"]["status"]) == ("passed", "failed")
    assert found["counter"]["message"].startswith(f"{NOTEBOOK}: no cell begins with `#| exercise: counter`")


def test_an_exercise_that_needs_the_broken_one_waits_for_it(solved: Course) -> None:
    solved.change(NOTEBOOK, "return 2 * x", "return 2 *")
    _, found = outcomes(solved)
    line = solved.line_of(NOTEBOOK, "return 2 *")
    assert found["double"]["message"] == f"{NOTEBOOK}:{line}: invalid syntax: `return 2 *`"
    assert (found["counter"]["status"], found["counter"]["message"]) == ("not started", "needs double first")


def test_given_code_that_is_broken_or_gone_is_told_and_stood_in_for(solved: Course) -> None:
    for old, new, sentence in (
        ("START = 0", "START = (", "'(' was never closed"),
        ("START = (", "BEGIN = 0", "given code: the notebook defines no `START`"),
        ("BEGIN = 0", "START = 0\nreturn", "'return' outside function: `return`"),
    ):
        solved.change(NOTEBOOK, old, new)
        solved.tito("export", "01").refuses(sentence)
        said, found = outcomes(solved)
        assert sentence in said.out and "It was tested with what was given there." in said.out
        assert [row["status"] for row in found.values()] == ["passed", "passed"]


def test_a_missing_target_is_told_and_taken_from_what_was_given(solved: Course) -> None:
    solved.change(NOTEBOOK, "#| default_exp sums", "")
    solved.tito("export", "01").refuses("no `#| default_exp` cell")
    said, _ = outcomes(solved)
    assert "no `#| default_exp` cell" in said.out and "5 of 5 points" in said.out


def test_what_a_helper_is_called_is_the_students_own_affair(solved: Course) -> None:
    """A name that nothing else needs may be missing: an import of the given cell, or a helper in it."""
    released = "modules/source/01_toy/released/toy_dev.py"
    solved.change(released, "def half", "HELPER = 1\n\n\ndef half")
    assert solved.tito("export", "01").status == 0


@pytest.mark.parametrize(
    "defining",
    [
        "half = lambda x: x / 2",
        "if True:\n    def half(x):\n        return x / 2",
        "try:\n    half = no_such_name\nexcept NameError:\n    half = (2).__rtruediv__",
        "from operator import truediv\nhalf, third = lambda x: truediv(x, 2), None",
        "for half in [lambda x: x / 2]:\n    pass",
        "globals()['half'] = lambda x: x / 2",
        "exec('def half(x): return x / 2')",
        "(half := lambda x: x / 2)",
        "import operator as half\nhalf = lambda x: x / 2",
    ],
)
def test_a_name_may_be_defined_in_any_way_that_python_knows(solved: Course, defining: str) -> None:
    solved.change(NOTEBOOK, "def half(x):\n    return x / 2", defining)
    assert solved.tito("export", "01").err == ""
    defined = dict[str, Any]()
    exec(compile(solved.read("toy/sums.py"), "sums.py", "exec"), defined)
    assert defined["half"](4) == 2


UNLOADED = {
    # what stands below `half`, what is said of it, and how the exercise ended
    "a number": ("1 / 0", "ZeroDivisionError: division by zero", "failed"),
    "sys.exit": ("import sys; sys.exit('bye')", "SystemExit: bye", "failed"),
    "an assertion": ("assert half(4) == 3, 'I thought so'", "AssertionError: I thought so", "failed"),
    "a name": ("print(halve(2))", "NameError: name 'halve' is not defined", "failed"),
    "a decorator": ("@half", "TypeError: unsupported operand", "failed"),
    "an import": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", "failed"),
    "a loop": ("while True: pass", "stopped after 2 seconds", "timeout"),
}


@pytest.mark.parametrize("kind", UNLOADED)
def test_a_cell_that_cannot_be_loaded_costs_its_exercise_and_no_other(solved: Course, kind: str) -> None:
    code, sentence, status = UNLOADED[kind]
    below = "\ndef last(): ..." if kind == "a decorator" else ""
    solved.change(NOTEBOOK, "return x / 2", f"return x / 2\n\n\n{code}{below}")
    limit = ["--limit-seconds", "2"] if status == "timeout" else []
    said = solved.tito("test", "01", "--json", str(solved.root / "out.json"), *limit)
    found = {row["exercise"]: row for row in json.loads(solved.read("out.json"))["exercises"]}
    assert (found["double"]["status"], found["counter"]["status"]) == (status, "passed"), said.out
    message = found["double"]["message"]
    assert sentence in message and f"{NOTEBOOK}:{solved.line_of(NOTEBOOK, code)}: {code}" in message, message


def test_two_cells_that_cannot_be_loaded_cost_two_exercises(solved: Course) -> None:
    solved.change(NOTEBOOK, "return x / 2", "return x / 2\n\n\n1 / 0")
    solved.change(NOTEBOOK, "class Counter:", "1 + 'a'\n\n\nclass Counter:")
    _, found = outcomes(solved)
    assert [row["status"] for row in found.values()] == ["failed", "failed"]
    assert "ZeroDivisionError" in found["double"]["message"] and "TypeError" in found["counter"]["message"]


def test_what_needs_a_cell_that_cannot_be_loaded_waits_for_its_exercise(solved: Course) -> None:
    solved.change(NOTEBOOK, "return 2 * x", "return 2 * x\n\n\n1 / 0")
    _, found = outcomes(solved)
    assert "ZeroDivisionError" in found["double"]["message"]
    assert (found["counter"]["status"], found["counter"]["message"]) == ("not started", "needs double first")


def test_given_code_that_cannot_be_loaded_is_told_and_stood_in_for(solved: Course) -> None:
    solved.change(NOTEBOOK, "START = 0", "START = 0\n1 / 0")
    said, found = outcomes(solved)
    assert "given code: its cell cannot be loaded" in said.out
    assert "ZeroDivisionError" in said.out and "It was tested with what was given there." in said.out
    assert [row["status"] for row in found.values()] == ["passed", "passed"]


def test_watch_submit_and_grade_agree_on_a_cell_that_cannot_be_loaded(solved: Course) -> None:
    from tito.learning import watch_state

    solved.change(NOTEBOOK, "return x / 2", "return x / 2\n\n\n1 / 0")
    said = solved.tito("submit", "01")
    assert said.status == 0 and "3 of 5 points by the tests that you have" in said.out
    assert "would not where it is graded" not in said.out
    module = load_module(solved.project, "01_toy")
    rounds = [watch_state.play(solved.project, module, exercise) for exercise in module.exercises]
    assert [done.outcome and done.outcome.status for done in rounds] == ["failed", "passed"]
    assert "ZeroDivisionError: division by zero" in str(rounds[0].outcome and rounds[0].outcome.message)


def test_watch_and_submit_let_the_other_exercises_go_on(solved: Course) -> None:
    from tito.learning import watch_state

    solved.change(NOTEBOOK, "return x / 2", "return x /")
    said = solved.tito("submit", "01")
    assert said.status == 0 and "3 of 5 points by the tests that you have" in said.out
    module = load_module(solved.project, "01_toy")
    rounds = [watch_state.play(solved.project, module, exercise) for exercise in module.exercises]
    assert [done.outcome and done.outcome.status for done in rounds] == ["failed", "passed"]
    assert "invalid syntax: `return x /`" in str(rounds[0].outcome and rounds[0].outcome.message)


def test_the_instructors_edition_without_a_given_text_goes_on_with_a_stub_of_its_own(course: Course) -> None:
    course.change(NOTEBOOK, "        return self.total\n", "        return self.total +\n")
    course.tito("export", "01").refuses("invalid syntax: `return self.total +`")
    _, found = outcomes(course)
    assert (found["double"]["status"], found["counter"]["status"]) == ("passed", "failed")
    course.change(NOTEBOOK, "START = 0", "START = (")
    course.tito("test", "01").refuses("'(' was never closed")


SCRATCH = [
    "x = !ls", "x = %timeit -o 1", "pip install x", "!ls \\\n  -l", "%cd ..", "cd ..", "ls", "half?", "half??", "?half",
    "??half", "%%bash\necho $PATH\nfor x in y; do", "%%html\n<b>", "%%writefile a.txt\nfree text", "%%js\nalert(1)",
    "this is no Python", "x = (", 'x = """', "return 1", "def f(", "\tx = 1\n  y = 2", "### BEGIN SOLUTION", "x \0 y",
    "$$", "await half(2)", "from . import x", "print 'two'", "for i in range(3): !echo {i}", "a = %%x", "help half",
    ",half 1 2", ";half 1 2", "/half 1", "%load_ext x\n%x?", "(" * 300, "-" * 20_000 + "1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "scratch"), [*zip(cycle(["py", "ipynb"]), SCRATCH, strict=False)], ids=range(len(SCRATCH))
)
def test_a_cell_that_is_not_exported_never_blocks(solved: Course, scratch: str, form: str) -> None:
    before = notebook.load(solved.project, solved.root / NOTEBOOK)
    book = json.loads(notebook.page_text(before))
    book["cells"].insert(4, {"cell_type": "code", "source": scratch, "metadata": {}, "outputs": [], "id": "scratch"})
    (solved.root / PAGE).write_text(json.dumps(book), encoding="utf-8")
    if form == "ipynb":
        (solved.root / NOTEBOOK).unlink()
    else:
        page = jupytext.reads(json.dumps(book), "ipynb")
        solved.write(NOTEBOOK, jupytext.writes(page, "py:percent"))
    said = solved.tito("export", "01")
    assert said.status == 0, said.err
    assert "def half(x):\n    return x / 2" in solved.read("toy/sums.py")
