"""Intake: a notebook's cells as `tito test` reads them, each with its exercise, whatever became of its directives."""

from __future__ import annotations

import io
import json
import os
import tokenize
from pathlib import Path
from typing import Any

import pytest

from tito.course import markers, notebook
from tito.course.edition import Edition
from tito.course.module import Module, load_module
from tito.grading.intake import collecting, lexing, reading
from tito.grading.intake.aligning import Aligner, Slot
from tito.releasing import nbgrader

from ..conftest import HandIn
from .handed import NOTEBOOKS, REAL, TEXT, TOY, answer, as_page, solved

# What is read agrees with what `tito test` reads


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("edition", ["solved", "student's"])
@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_cells_of_an_honest_notebook_are_those_that_jupytext_reads(
    path: Path, edition: str, suffix: str, tmp_path: Path
) -> None:
    text = path.read_text(encoding="utf-8")
    text = text if edition == "solved" else markers.stub(text)
    file = tmp_path / path.with_suffix(suffix).name
    file.write_text(text if suffix == ".py" else as_page(text), encoding="utf-8")
    expected = [(cell.number, cell.first_line, cell.source) for cell in notebook.load(REAL, file).code]
    read = reading.page(bytearray(file.read_bytes()), file.name)
    assert [(cell.number, cell.first_line, cell.source) for cell in read.cells] == expected
    assert read.remarks == ()


def test_every_exercise_of_the_module_arrives_whole_and_the_same_from_both_forms(tmp_path: Path) -> None:
    module = load_module(REAL, "17_quantization")
    edition = Edition(REAL, module)
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        for who, name, data in (("a", path.name, text), ("b", f"{path.stem}.ipynb", as_page(text))):
            (tmp_path / who).mkdir(exist_ok=True)
            (tmp_path / who / name).write_text(data, encoding="utf-8")
    first, second = collecting.collect(edition, tmp_path)
    assert first.remarks == second.remarks == ()
    assert list(first.cells) == [exercise.id for exercise in module.exercises]
    assert first.cells == second.cells and first.digest == second.digest
    given = collecting.given_cells(edition)
    assert {key: len(cells) for key, cells in given.items()} == {key: len(cells) for key, cells in first.cells.items()}
    assert all("NotImplementedError" in cells[0] for cells in given.values()), "given cells hold no solution"


# Cells


def changed(*changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text, f"the toy notebook does not hold {old!r}: the test is out of date"
        text = text.replace(old, new, 1)
    return text


def test_the_cells_are_the_text_without_directives_and_nothing_else_of_the_notebook(hand_in: HandIn) -> None:
    evil = "\n# %%\n#| default_exp os\nraise SystemExit\n"
    (found,) = hand_in({"ada/toy_dev.py": TEXT + evil})
    assert set(found.cells) == {"double", "counter"}
    assert found.cells["double"][0].startswith("def double(") and found.cells["counter"][0].startswith("class Counter:")
    assert "SystemExit" not in json.dumps(found.cells)


def test_edited_points_directives_and_metadata_change_nothing(hand_in: HandIn) -> None:
    plain, edited = hand_in(
        {
            "a.py": TEXT,
            "b.py": changed(
                ("#| export\n#| exercise: double", "#| export\n#| exercise: double\n#| points: 1000\n#| hide"),
                ("#| default_exp sums", "#| default_exp numpy"),
            ),
        }
    )
    assert plain.cells == edited.cells and plain.digest == edited.digest


@pytest.mark.parametrize("line", ["", "#| exercise: dubble\n", "# exercise: double\n", "#|exercise\n"])
def test_a_cell_that_lost_its_directive_is_found_by_its_def(hand_in: HandIn, line: str) -> None:
    text = changed(("#| export\n#| exercise: double\n", line))
    (found,) = hand_in({"ada.py": text})
    assert found.cells["double"][0].removeprefix("# exercise: double\n").startswith("def double(")
    assert any("double: cell 5 lost its line `#| exercise: double`" in remark for remark in found.remarks)


def without_double(more: str = "") -> str:
    """The toy notebook without the cell of `double`, and with other cells at its end."""
    begin = TEXT.index("# %%\n#| export\n#| exercise: double")
    return TEXT[:begin] + TEXT[TEXT.index("# %%\nassert double") :] + more


NO_DEFINITIONS = {
    "an import": "from toy.sums import double",
    "an import under its name": "from other import twice as double",
    "an import of all": "from toy.sums import *",
    "a module of its name": "import double",
    "a call": "double(2)",
    "a call whose answer is changed": "double(x)[0] = 3",
    "an attribute": "double.calls = 1",
    "an index": "table[double] = 1",
    "a keyword": "f = g(double=1)",
    "a deletion": "del double",
    "a comment": "# def double(x): return 2 * x",
    "a text": '"""\ndef double(x):\n    return 2 * x\n"""',
    "a function inside a function": "def outer():\n    def double(x):\n        return 2 * x",
    "a method": "class Other:\n    def double(self, x):\n        return 2 * x",
    "a loop's variable": "for double in (1, 2): pass",
    "a manager's variable": "with open('x') as double: pass",
    "a caught exception": "try: f()\nexcept ValueError as double: pass",
    "a walrus": "print(double := 3)",
    "a parameter": "def f(double=1): return double",
    "an alias of it": "twice = double",
    "a comparison": "double == 3",
}


@pytest.mark.parametrize("what", NO_DEFINITIONS)
def test_a_cell_is_not_taken_for_an_exercise_that_it_does_not_define(hand_in: HandIn, what: str) -> None:
    (found,) = hand_in({"ada/toy_dev.py": without_double(f"\n# %%\n{NO_DEFINITIONS[what]}\n")})
    assert set(found.cells) == {"counter"}
    assert "double: no cell of it is in toy_dev.py" in found.remarks


DEFINITIONS = {
    "a def": "def double(x):\n    return 2 * x",
    "a decorated def": "@cache\ndef double(x):\n    return 2 * x",
    "an async def": "async def double(x):\n    return 2 * x",
    "a def in a condition": "if True:\n    def double(x):\n        return 2 * x",
    "a def after an attempt": "try: import double\nexcept ImportError:\n    def double(x):\n        return 2 * x",
    "a def below a nested one": "def helper():\n    def inner(): pass\ndef double(x):\n    return 2 * x",
    "a lambda": "double = lambda x: 2 * x",
    "an annotated name": "double: Callable[[int], int] = partial(mul, 2)",
    "one of several names": "double, treble = make(2), make(3)",
}


@pytest.mark.parametrize("what", DEFINITIONS)
@pytest.mark.parametrize("scratch", NO_DEFINITIONS)
def test_a_cell_that_lost_its_line_is_found_among_cells_that_only_use_its_name(
    toy_edition: Edition, what: str, scratch: str
) -> None:
    given = collecting.given_cells(toy_edition)["double"]
    sources = (NO_DEFINITIONS[scratch], DEFINITIONS[what], NO_DEFINITIONS[scratch])
    cells = [notebook.Cell("code", source, number, None) for number, source in enumerate(sources, 1)]
    aligner = Aligner(cells, {}, frozenset({"double"}))
    assert aligner.fit("double", [Slot(source) for source in given], []) == (DEFINITIONS[what],)


def test_a_scratch_cell_that_assigns_the_name_does_not_make_the_def_doubtful(hand_in: HandIn) -> None:
    text = changed(("#| export\n#| exercise: double\n", "")) + "\n# %%\ndouble = slow_double\n"
    (found,) = hand_in({"ada/toy_dev.py": text})
    assert answer(found) == "return 2 * x"


def test_where_a_notebook_is_missing_no_import_of_another_takes_its_place(tmp_path: Path) -> None:
    """qat_dev imports from quantization_dev; two exercises may not be taken from such a cell."""
    module = load_module(REAL, "17_quantization")
    edition = Edition(REAL, module)
    (tmp_path / "ada").mkdir()
    for path in NOTEBOOKS:
        if path.stem != "quantization_dev":
            (tmp_path / "ada" / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (found,) = collecting.collect(edition, tmp_path)
    gone = next(entry for entry in module.notebooks if entry.path.stem == "quantization_dev")
    assert not {exercise.id for exercise in gone.exercises} & found.cells.keys()
    assert not [remark for remark in found.remarks if "lost its line" in remark]


def test_of_two_cells_that_lost_their_directive_none_is_guessed(hand_in: HandIn) -> None:
    cell = "\n# %%\ndef double(x):\n    return x\n"
    (found,) = hand_in({"ada.py": changed(("#| export\n#| exercise: double\n", "")) + cell})
    assert "double" not in found.cells and "counter" in found.cells
    assert any("2 cells define double, none under the line" in remark for remark in found.remarks)


def test_nbgraders_metadata_decides_between_cells_that_lost_their_directive(
    tmp_path: Path, module: Module, toy_edition: Edition
) -> None:
    page = json.loads(nbgrader.course_folder(TOY, module)["source/01_toy/toy_dev.ipynb"])
    for cell in page["cells"]:
        cell["source"] = [line for line in cell["source"] if not line.startswith("#| exercise: double")]
    page["cells"].append({"cell_type": "code", "metadata": {}, "source": "def double(x):\n    return 'a sketch'"})
    folder = tmp_path / "course" / "submitted" / "ada" / "01_toy"
    folder.mkdir(parents=True)
    (folder / "toy_dev.ipynb").write_text(json.dumps(page), encoding="utf-8")
    (found,) = collecting.collect(toy_edition, tmp_path / "course")
    assert found.name == "ada" and answer(found) == "return 2 * x"


def test_of_several_cells_of_an_exercise_the_last_definition_counts_as_in_the_notebook(hand_in: HandIn) -> None:
    again = "\n# %%\n#| export\n#| exercise: double\ndef double(x):\n    return 'the later'\n"
    (found,) = hand_in({"ada.py": TEXT + again})
    (source,) = found.cells["double"]
    space = dict[str, Any]()
    exec(source.replace("np.ndarray", "object"), space)
    assert space["double"](2) == "the later"
    assert found.remarks == ("double: several cells define double; as in the notebook, the last one counts",)


def test_a_helper_in_a_cell_of_its_own_comes_with_the_exercise(hand_in: HandIn) -> None:
    helper = "#| export\n#| exercise: double\nTWO = 2\n\n# %%\n#| export\n#| exercise: double\ndef double("
    (found,) = hand_in({"ada.py": changed(("#| export\n#| exercise: double\ndef double(", helper))})
    assert len(found.cells["double"]) == 1
    assert found.cells["double"][0].startswith("TWO = 2\n\n\ndef double(")
    assert found.remarks == ()


def test_each_source_stands_in_the_place_of_one_given_cell(tmp_path: Path) -> None:
    """`quantize` has two cells; without the first, the second must not be taken for it."""
    edition = Edition(REAL, load_module(REAL, "17_quantization"))
    text = NOTEBOOKS[-1].read_text(encoding="utf-8")
    cells = text.split("\n# %%")
    first, second = [number for number, cell in enumerate(cells) if "\n#| exercise: quantize\n" in cell]
    given = collecting.given_cells(edition)["quantize"]
    merged = cells[first] + cells[second].partition("#| exercise: quantize\n")[2]
    for who, edit in (
        ("first gone", {first: None}),
        ("merged", {first: merged, second: None}),
        ("swapped", {first: cells[second], second: cells[first]}),
    ):
        (tmp_path / who).mkdir()
        kept = [edit.get(number, cell) for number, cell in enumerate(cells)]
        (tmp_path / who / "quantization_dev.py").write_text("\n# %%".join(c for c in kept if c is not None), "utf-8")
    by_name = {one.name: one for one in collecting.collect(edition, tmp_path)}
    gone, merged_cells, swapped = (by_name[name].cells["quantize"] for name in ("first_gone", "merged", "swapped"))
    assert gone[0] == given[0] and "def dequantize(" in gone[1] and gone[1] != given[1]
    assert "quantize: the cell that defines quantize is missing" in by_name["first_gone"].remarks
    assert "def quantize(" in merged_cells[0] and "def dequantize(" in merged_cells[0] and merged_cells[1] == ""
    assert "def quantize(" in swapped[0] and "def dequantize(" in swapped[1]
    assert all(
        "nothing of qat_dev (.ipynb or .py) can be graded: its exercises earn no points" in one.remarks
        for one in by_name.values()
    )


def test_code_outside_of_exercises_is_named_where_an_exercise_needs_it(hand_in: HandIn) -> None:
    text = changed(
        ("#| export\n#| exercise: double\n", "TWO = 2\nx = unused = 3\n\n# %%\n#| export\n#| exercise: double\n"),
        ("return 2 * x", "return TWO * x"),
    )
    (found,) = hand_in({"ada.py": text})
    assert found.remarks == (
        "ada.py: double uses TWO, which only cell 5 defines: that is a cell of no exercise and is not graded; move it "
        "into the exercise's cell",
    )


def test_given_code_that_was_changed_is_named(hand_in: HandIn) -> None:
    (found,) = hand_in({"ada.py": changed(("START = 0", "START = 100"))})
    assert found.remarks == ("ada.py: cell 7 is of no exercise and is not as it was given: what it says is not graded",)


def test_of_two_files_of_a_notebook_the_newer_in_which_something_was_written_is_graded(
    tmp_path: Path, toy_edition: Edition
) -> None:
    (tmp_path / "all" / "ada").mkdir(parents=True)
    for age, (name, text) in enumerate(
        [
            ("toy_dev.ipynb", as_page(markers.stub(TEXT))),
            ("toy_dev.py", solved()),
            ("toy_dev (1).py", solved("return 7")),
        ]
    ):
        path = tmp_path / "all" / "ada" / name
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1_000_000_000 - age * 1_000,) * 2)
    (found,) = collecting.collect(toy_edition, tmp_path / "all")
    assert answer(found) == "return 2 * x", "the untouched .ipynb is newest, and holds nothing"
    assert sorted(found.remarks) == [
        "toy_dev (1).py differs from toy_dev.py, the newer, which is graded",
        "toy_dev.ipynb differs from toy_dev.py, in which more is written, which is graded",
    ]


def test_a_notebook_under_another_name_is_known_by_its_exercises(hand_in: HandIn) -> None:
    (found,) = hand_in({"ada/Homework (final).ipynb": as_page(solved()), "ada/notes.ipynb": as_page("# %%\nx = 1\n")})
    assert answer(found) == "return 2 * x" and found.remarks == ()


# The lexer


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tokens_of_honest_code_are_pythons_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = [0, *(place + 1 for place, letter in enumerate(text) if letter == "\n")]
    left_out = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER)
    expected, begun = list[str](), list[int]()
    for item in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[item.type]
        (line, column), (last, end) = item.start, item.end
        if kind.endswith("STRING_START"):  # from Python 3.12 on an f-string is several tokens
            begun.append(lines[line - 1] + column)
        elif kind.endswith("STRING_END") and begun:
            start = begun.pop()
            expected += [] if begun else [text[start : lines[last - 1] + end]]
        elif not begun and item.type not in left_out:
            expected.append(item.string)
    assert [token.text for token in lexing.tokens(text, 10**6) if token.kind != "newline"] == expected


def test_names_that_a_cell_defines_and_needs() -> None:
    text = "import a.b as c\nfrom d import e, f as g\nh, i = 1, 2\ndef j(k, *, l=m):\n    return n(o for o in k)\n"
    text += "class P(Q):\n    r = 1"
    assert lexing.defined(text) >= {"c", "e", "g", "h", "i", "j", "P"}
    assert not lexing.defined(text) & {"k", "l", "m", "n", "o", "r", "Q"}
    assert lexing.free(text) == {"m", "n", "Q"}
