"""Intake: every layout that people get submissions in, every cell to its exercise, and nothing of the student's run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tokenize
import zipfile
from contextlib import ExitStack
from pathlib import Path

import jupytext
import pytest

from tito import course, editions, notebook
from tito.errors import TitoError, WrongCall
from tito.formats import nbgrader
from tito.grading import intake, lexing, reading, unpacking
from tito.grading.arrivals import safe
from tito.grading.unpacking import Budget, Refused
from tito.project import Project

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import malformed  # noqa: E402

ROOT = HERE.parents[2]
TOY = Project(HERE.parent / "toy")
REAL = Project(ROOT)
NOTEBOOKS = sorted(REAL.module("17_quantization").glob("*_dev.py"))
TEXT = (TOY.module("01_toy") / "toy_dev.py").read_text(encoding="utf-8")
MIB = 2**20


def as_page(text: str) -> str:
    return str(jupytext.writes(jupytext.reads(text, fmt=notebook.PERCENT), fmt="ipynb"))


@pytest.fixture
def toy():
    return course.load(TOY, "01_toy")


@pytest.fixture
def hand_in(tmp_path, toy):
    """Files by path -> what intake makes of the folder."""

    def hand_in(files: dict[str, str | bytes]) -> list[intake.Submission]:
        for name, data in files.items():
            path = tmp_path / "handed in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        return intake.collect(toy, tmp_path / "handed in")

    return hand_in


def solved(answer: str = "return 2 * x") -> str:
    assert "    return 2 * x\n" in TEXT
    return TEXT.replace("return 2 * x", answer)


def names(found: list[intake.Submission]) -> list[str]:
    return [submission.name for submission in found]


def answer(submission: intake.Submission) -> str:
    """The line that `solved` wrote."""
    assert not submission.refused, f"{submission.name} should have been read, but: {submission.refused}"
    lines = [line for line in submission.cells["double"][0].split("\n") if "SOLUTION" not in line]
    return lines[-1].strip()


# What is read agrees with what `tito test` reads


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("edition", ["solved", "student's"])
@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_cells_of_an_honest_notebook_are_those_that_jupytext_reads(path, edition, suffix, tmp_path):
    text = path.read_text(encoding="utf-8")
    text = text if edition == "solved" else editions.stub(text)
    file = tmp_path / path.with_suffix(suffix).name
    file.write_text(text if suffix == ".py" else as_page(text), encoding="utf-8")
    expected = [(cell.number, cell.first_line, cell.source) for cell in notebook.load(REAL, file).code]
    read = reading.page(bytearray(file.read_bytes()), file.name)
    assert [(cell.number, cell.first_line, cell.source) for cell in read.cells] == expected
    assert read.remarks == ()


def test_every_exercise_of_the_module_arrives_whole_and_the_same_from_both_forms(tmp_path):
    module = course.load(REAL, "17_quantization")
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        for who, name, data in (("a", path.name, text), ("b", f"{path.stem}.ipynb", as_page(text))):
            (tmp_path / who).mkdir(exist_ok=True)
            (tmp_path / who / name).write_text(data, encoding="utf-8")
    first, second = intake.collect(module, tmp_path)
    assert first.remarks == second.remarks == ()
    assert list(first.cells) == [exercise.id for exercise in module.exercises]
    assert first.cells == second.cells and first.digest == second.digest
    given = intake.given_cells(module)
    assert {key: len(cells) for key, cells in given.items()} == {key: len(cells) for key, cells in first.cells.items()}
    assert all("NotImplementedError" in cells[0] for cells in given.values()), "given cells hold no solution"


# Layouts


def test_a_folder_a_student_zips_and_plain_files_are_all_submissions(hand_in):
    found = hand_in(
        {
            "ada/toy_dev.py": solved("return x + x"),
            "bob/deep/down/toy_dev.ipynb": as_page(solved("return x * 2")),
            "cem.zip": malformed.zipped({"hw/toy_dev.py": solved("return 2.0 * x").encode()}),
            "dora.ipynb": as_page(solved("return 4 * x / 2")),
            "emil_toy_dev.py": solved("return sum([x, x])"),
            "fay/hw.zip": malformed.zipped({"toy_dev.ipynb": as_page(solved("return x - -x")).encode()}),
            ".DS_Store": b"\0",
            "ada/.ipynb_checkpoints/toy_dev-checkpoint.ipynb": as_page(solved("return 0")),
        }
    )
    assert {one.name: answer(one) for one in found} == {
        "ada": "return x + x",
        "bob": "return x * 2",
        "cem": "return 2.0 * x",
        "dora": "return 4 * x / 2",
        "emil": "return sum([x, x])",
        "fay": "return x - -x",
    }
    assert not any(one.remarks for one in found)


def test_an_archive_of_tito_submit_is_one_submission_whose_manifest_is_shown_and_not_believed(course, tmp_path, toy):
    assert course.tito("submit", "--name", 'Ada "the first"').status == 0
    (tmp_path / "all").mkdir()
    (course.root / "01_toy_submission.zip").rename(tmp_path / "all" / "bob.zip")
    for path in (tmp_path / "all", tmp_path / "all" / "bob.zip"):
        (found,) = intake.collect(toy, path)
        assert found.name == "bob" and answer(found) == "return 2 * x"
        assert found.remarks == ('the archive names its author: Ada \\"the first\\" (not checked)',)


def test_a_manifest_that_is_damaged_or_forged_costs_nothing(hand_in):
    bomb = b'{"student": "' + b"a" * 5_000_000
    forged = json.dumps({"student": "\x1b[31mBob\n", "points": 10**9, "exercises": {"double": "passed"}}).encode()
    found = hand_in(
        {
            f"{who}.zip": malformed.zipped({"manifest.json": it, "toy_dev.py": TEXT.encode()})
            for who, it in (("bomb", bomb), ("forged", forged), ("none", b""))
        }
    )
    assert [answer(one) for one in found] == ["return 2 * x"] * 3
    assert found[0].remarks == ("manifest.json unpacks to more than 200 times its size",)
    assert all(remark.isprintable() for one in found for remark in one.remarks)


CANVAS = {
    "lovelaceada_101_5001_toy_dev.py": solved("return x + x"),
    "babbagecharles_LATE_102_5002_toy_dev-1.ipynb": as_page(solved("return x * 2")),
    "smithbob_103_5003_toy_dev.py": solved("return 0"),
    "smithbob_103_5009_toy_dev-1.py": solved("return 2 * x"),
    "smithbob_104_5004_01_toy_submission.zip": malformed.zipped({"toy_dev.py": solved("return 2.0 * x").encode()}),
    "anon_x7Yb2_5005_toy_dev.py": solved("return x - -x"),
    "noetheremmy_105_text.html": b"<p>I forgot the file",
}


@pytest.mark.parametrize("carrier", ["folder", "zip", "zip in a folder"])
def test_canvas_download_tells_people_of_one_name_apart_and_keeps_who_was_late(carrier, tmp_path, toy):
    (tmp_path / "x").mkdir()
    if carrier == "folder":
        for name, data in CANVAS.items():
            (tmp_path / "x" / name).write_bytes(data.encode() if isinstance(data, str) else data)
    else:
        with zipfile.ZipFile(tmp_path / "x" / "submissions.zip", "w") as archive:
            for name, data in CANVAS.items():
                archive.writestr(name, data)
    found = intake.collect(toy, tmp_path / "x" / "submissions.zip" if carrier == "zip" else tmp_path / "x")
    by_name = {one.name: one for one in found}
    assert list(by_name) == [
        "anon_x7Yb2",
        "babbagecharles_102",
        "lovelaceada_101",
        "noetheremmy_105",
        "smithbob_103",
        "smithbob_104",
    ]
    assert by_name["babbagecharles_102"].remarks == ("Canvas marks this submission as late",)
    assert answer(by_name["smithbob_103"]) == "return 2 * x"
    assert by_name["smithbob_103"].remarks == ("toy_dev.py differs from toy_dev-1.py, the newer, which is graded",)
    assert answer(by_name["smithbob_104"]) == "return 2.0 * x"
    assert by_name["noetheremmy_105"].refused == "text.html is neither .ipynb, .py nor .zip"


def test_a_zip_named_like_canvas_files_cannot_hand_in_for_someone_else(hand_in):
    forged = malformed.zipped({"lovelaceada_101_9999_toy_dev.py": solved("return 0").encode()})
    found = hand_in({"lovelaceada_101_5001_toy_dev.py": solved("return x + x"), "mallory.zip": forged})
    assert {one.name: answer(one) for one in found} == {"lovelaceada_101": "return x + x", "mallory": "return 0"}


@pytest.mark.parametrize("top", ["", "course/submitted/"])
def test_nbgraders_tree_names_students_by_the_folder_below_submitted(top, tmp_path, toy):
    for who in ("ada", "bob"):
        folder = tmp_path / "t" / top / who / "01_toy"
        folder.mkdir(parents=True)
        (folder / "toy_dev.ipynb").write_text(as_page(solved()), encoding="utf-8")
        (folder / "timestamp.txt").write_text("2026-01-01", encoding="utf-8")
    found = intake.collect(toy, tmp_path / "t" / top.partition("/")[0])
    assert names(found) == ["ada", "bob"] and not any(one.remarks + (one.refused or ()) for one in found)


def test_a_students_whole_course_folder_is_one_submission(edition, solve, toy):
    solve(edition, "double")
    (found,) = intake.collect(toy, edition.root)
    assert answer(found) == "return 2 * x", "the notebook, not the untouched copy in released/"
    assert found.remarks == ()


def test_two_of_one_name_are_named_apart_even_where_only_capitals_differ(hand_in):
    found = hand_in(
        {"ada/toy_dev.py": solved("return x + x"), "ADA.zip": malformed.zipped({"toy_dev.py": TEXT.encode()})}
    )
    assert names(found) == ["ADA", "ada~2"]
    assert any("another submission is called ada too" in remark for one in found for remark in one.remarks)
    assert len({answer(one) for one in found}) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace", "Ada_Lovelace"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("...", "unnamed"),
        ("", "unnamed"),
        ("con", "con_"),
        ("NUL.txt", "NUL.txt_"),
        ("a\x1b[31mb\nc", "a_[31mb_c"),
        ("<script>alert(1)</script>", "_script_alert(1)_script_"),
        ("José", "José"),
        ("भारत", "भारत"),
        ("x" * 500, "x" * 80),
        ("\udcff\ud800!", "_!"),
    ],
)
def test_names_become_file_names_on_every_system(name, expected):
    assert safe(name) == expected


def test_what_is_not_a_submission_at_all_is_refused_by_its_name_and_the_others_go_on(hand_in):
    found = hand_in({"ada.py": solved(), "bob.rar": b"Rar!", "cem/notes.txt": b"sorry", "dora.ipynb": b"{"})
    refused = {one.name: one.refused for one in found}
    broken = refused.pop("dora")
    assert refused == {
        "ada": "",
        "bob": "bob.rar is neither .ipynb, .py nor .zip",
        "cem": "no notebook was handed in: wanted toy_dev, as .ipynb or .py",
    }
    assert broken.startswith("dora.ipynb is not a notebook: its JSON breaks off at line 1 (")
    assert [bool(one.cells) for one in found] == [True, False, False, False]


def test_only_a_wrong_path_is_an_error_of_the_call(tmp_path, toy):
    for path, told in (
        (tmp_path / "nowhere", "cannot be found"),
        (Path(__file__).with_suffix(".txt"), "cannot be found"),
    ):
        with pytest.raises(WrongCall, match=told):
            intake.collect(toy, path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(WrongCall, match="neither a folder nor a .zip"):
        intake.collect(toy, tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TitoError, match="holds no submission"):
        intake.collect(toy, tmp_path / "empty")


# Cells


def changed(*changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text, f"the toy notebook does not hold {old!r}: the test is out of date"
        text = text.replace(old, new, 1)
    return text


def test_the_cells_are_the_text_without_directives_and_nothing_else_of_the_notebook(hand_in):
    evil = "\n# %%\n#| default_exp os\nraise SystemExit\n"
    (found,) = hand_in({"ada/toy_dev.py": TEXT + evil})
    assert set(found.cells) == {"double", "counter"}
    assert found.cells["double"][0].startswith("def double(") and found.cells["counter"][0].startswith("class Counter:")
    assert "SystemExit" not in json.dumps(found.cells)


def test_edited_points_directives_and_metadata_change_nothing(hand_in):
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
def test_a_cell_that_lost_its_directive_is_found_by_its_def(hand_in, line):
    text = changed(("#| export\n#| exercise: double\n", line))
    (found,) = hand_in({"ada.py": text})
    assert found.cells["double"][0].removeprefix("# exercise: double\n").startswith("def double(")
    assert any("double: cell 5 lost its line `#| exercise: double`" in remark for remark in found.remarks)


def test_of_two_cells_that_lost_their_directive_none_is_guessed(hand_in):
    cell = "\n# %%\ndef double(x):\n    return x\n"
    (found,) = hand_in({"ada.py": changed(("#| export\n#| exercise: double\n", "")) + cell})
    assert "double" not in found.cells and "counter" in found.cells
    assert any("2 cells define double, none under the line" in remark for remark in found.remarks)


def test_nbgraders_metadata_decides_between_cells_that_lost_their_directive(tmp_path, toy):
    page = json.loads(nbgrader.course_folder(TOY, toy)["source/01_toy/toy_dev.ipynb"])
    for cell in page["cells"]:
        cell["source"] = [line for line in cell["source"] if not line.startswith("#| exercise: double")]
    page["cells"].append({"cell_type": "code", "metadata": {}, "source": "def double(x):\n    return 'a sketch'"})
    folder = tmp_path / "submitted" / "ada" / "01_toy"
    folder.mkdir(parents=True)
    (folder / "toy_dev.ipynb").write_text(json.dumps(page), encoding="utf-8")
    (found,) = intake.collect(toy, tmp_path)
    assert found.name == "ada" and answer(found) == "return 2 * x"


def test_of_several_cells_of_an_exercise_the_last_definition_counts_as_in_the_notebook(hand_in):
    again = "\n# %%\n#| export\n#| exercise: double\ndef double(x):\n    return 'the later'\n"
    (found,) = hand_in({"ada.py": TEXT + again})
    (source,) = found.cells["double"]
    space = dict[str, object]()
    exec(source.replace("np.ndarray", "object"), space)
    assert space["double"](2) == "the later"
    assert found.remarks == ("double: several cells define double; as in the notebook, the last one counts",)


def test_a_helper_in_a_cell_of_its_own_comes_with_the_exercise(hand_in):
    helper = "#| export\n#| exercise: double\nTWO = 2\n\n# %%\n#| export\n#| exercise: double\ndef double("
    (found,) = hand_in({"ada.py": changed(("#| export\n#| exercise: double\ndef double(", helper))})
    assert len(found.cells["double"]) == 1
    assert found.cells["double"][0].startswith("TWO = 2\n\n\ndef double(")
    assert found.remarks == ()


def test_each_source_stands_in_the_place_of_one_given_cell(tmp_path):
    """`quantize` has two cells; without the first, the second must not be taken for it."""
    module = course.load(REAL, "17_quantization")
    text = NOTEBOOKS[-1].read_text(encoding="utf-8")
    cells = text.split("\n# %%")
    first, second = [number for number, cell in enumerate(cells) if "\n#| exercise: quantize\n" in cell]
    given = intake.given_cells(module)["quantize"]
    merged = cells[first] + cells[second].partition("#| exercise: quantize\n")[2]
    for who, edit in (
        ("first gone", {first: None}),
        ("merged", {first: merged, second: None}),
        ("swapped", {first: cells[second], second: cells[first]}),
    ):
        (tmp_path / who).mkdir()
        kept = [edit.get(number, cell) for number, cell in enumerate(cells)]
        (tmp_path / who / "quantization_dev.py").write_text("\n# %%".join(c for c in kept if c is not None), "utf-8")
    by_name = {one.name: one for one in intake.collect(module, tmp_path)}
    gone, merged_cells, swapped = (by_name[name].cells["quantize"] for name in ("first_gone", "merged", "swapped"))
    assert gone[0] == given[0] and "def dequantize(" in gone[1] and gone[1] != given[1]
    assert "quantize: the cell that defines quantize is missing" in by_name["first_gone"].remarks
    assert "def quantize(" in merged_cells[0] and "def dequantize(" in merged_cells[0] and merged_cells[1] == ""
    assert "def quantize(" in swapped[0] and "def dequantize(" in swapped[1]
    assert all(
        "nothing of qat_dev (.ipynb or .py) can be graded: its exercises earn no points" in one.remarks
        for one in by_name.values()
    )


def test_code_outside_of_exercises_is_named_where_an_exercise_needs_it(hand_in):
    text = changed(
        ("#| export\n#| exercise: double\n", "TWO = 2\nx = unused = 3\n\n# %%\n#| export\n#| exercise: double\n"),
        ("return 2 * x", "return TWO * x"),
    )
    (found,) = hand_in({"ada.py": text})
    assert found.remarks == (
        "double uses TWO, which only cell 5 defines: that is a cell of no exercise and is not graded; move it into the "
        "exercise's cell",
    )


def test_given_code_that_was_changed_is_named(hand_in):
    (found,) = hand_in({"ada.py": changed(("START = 0", "START = 100"))})
    assert found.remarks == ("cell 7 is of no exercise and is not as it was given: what it says is not graded",)


def test_of_two_files_of_a_notebook_the_newer_in_which_something_was_written_is_graded(tmp_path, toy):
    (tmp_path / "ada").mkdir()
    for age, (name, text) in enumerate(
        [
            ("toy_dev.ipynb", as_page(editions.stub(TEXT))),
            ("toy_dev.py", solved()),
            ("toy_dev (1).py", solved("return 7")),
        ]
    ):
        path = tmp_path / "ada" / name
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1_000_000_000 - age * 1_000,) * 2)
    (found,) = intake.collect(toy, tmp_path)
    assert answer(found) == "return 2 * x", "the untouched .ipynb is newest, and holds nothing"
    assert found.remarks == ("toy_dev (1).py differs from toy_dev.py, the newer, which is graded",)


def test_a_notebook_under_another_name_is_known_by_its_exercises(hand_in):
    (found,) = hand_in({"ada/Homework (final).ipynb": as_page(solved()), "ada/notes.ipynb": as_page("# %%\nx = 1\n")})
    assert answer(found) == "return 2 * x" and found.remarks == ()


# The lexer


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tokens_of_honest_code_are_pythons_own(path):
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


def test_names_that_a_cell_defines_and_needs():
    text = "import a.b as c\nfrom d import e, f as g\nh, i = 1, 2\ndef j(k, *, l=m):\n    return n(o for o in k)\n"
    text += "class P(Q):\n    r = 1"
    assert lexing.defined(text) >= {"c", "e", "g", "h", "i", "j", "P"}
    assert not lexing.defined(text) & {"k", "l", "m", "n", "o", "r", "Q"}
    assert lexing.free(text) == {"m", "n", "Q"}


# Malformed input


@pytest.mark.skipif(sys.platform == "win32", reason="links need no rights on Unix only")
def test_a_file_that_becomes_a_link_or_a_pipe_after_it_was_listed_is_not_opened(tmp_path):
    secret, file = tmp_path / "secret", tmp_path / "toy_dev.py"
    secret.write_text("secret", encoding="utf-8")
    for become in (lambda: file.symlink_to(secret), lambda: os.mkfifo(file)):
        file.write_text("x = 1", encoding="utf-8")
        (entry,) = (entry for entry in unpacking.walk(tmp_path) if entry.name == file.name)
        file.unlink()
        become()
        with ExitStack() as stack, pytest.raises(Refused, match="cannot be opened|neither a file nor a folder"):
            unpacking.read(entry, Budget(stack))
        file.unlink()


def test_of_two_archives_the_newer_attachment_counts_whatever_dates_are_inside(hand_in):
    def dated(text: str, year: int) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(zipfile.ZipInfo("toy_dev.py", (year, 1, 1, 0, 0, 0)), text)
        return stream.getvalue()

    (found,) = hand_in(
        {
            "ada_1_200_hw-1.zip": dated(solved("return x + x"), 1990),
            "ada_1_100_hw.zip": dated(solved("return 0"), 2100),
        }
    )
    assert answer(found) == "return x + x"


RUN = """
import json, sys
from pathlib import Path
from tito import course
from tito.grading import intake
from tito.project import Project
found = intake.collect(course.load(Project(Path(sys.argv[1])), "01_toy"), Path(sys.argv[2]))
status = Path("/proc/self/status")
peak = status.read_text().partition("VmHWM:")[2].split()[0] if status.exists() else "0"
json.dump({"peak_kib": int(peak), "found": [[s.name, s.refused, s.remarks, s.cells] for s in found]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """All malformed submissions in one folder between honest ones, taken in by a process of its own."""
    folder = tmp_path_factory.mktemp("malformed")
    page = json.loads(as_page(TEXT))
    fates = dict[str, malformed.Case]()
    for case in malformed.cases(page, TEXT):
        student = folder / "all" / f"{len(fates):03}"
        student.mkdir(parents=True)
        case.write(student)
        fates[student.name] = case
    for who in ("000 honest", "an honest one", "zz honest"):
        (folder / "all" / who).mkdir()
        (folder / "all" / who / "toy_dev.py").write_text(TEXT, encoding="utf-8")
    before = _state(folder)
    command = [sys.executable, "-c", RUN, str(TOY.root), str(folder / "all")]
    done = subprocess.run(
        command, capture_output=True, timeout=300, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    told = json.loads(done.stdout)
    yield fates, {name: rest for name, *rest in told["found"]}, told["peak_kib"], (before, _state(folder))
    for path in (folder / "all").glob("*/toy_dev.ipynb"):
        path.unlink() if path.is_symlink() or path.is_fifo() else None


def _state(folder: Path) -> list[tuple[str, int, int]]:
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return sorted((str(path), status.st_size, status.st_mtime_ns) for path, status in found)


def test_there_are_hundreds_of_malformed_submissions_and_each_has_its_own_name(fuzzed):
    fates = fuzzed[0]
    assert len(fates) >= 200 and len({case.name for case in fates.values()}) == len(fates)


def test_every_malformed_submission_is_refused_or_graded_as_what_remains_with_a_sentence(fuzzed):
    fates, found, _, _ = fuzzed
    honest = found["an_honest_one"][2]
    wrong = []
    for number, case in fates.items():
        refused, remarks, cells = found[number]
        became = {"refused": bool(refused), "remarked": bool(cells and remarks), "harmless": cells == honest}
        told = any(case.says in sentence for sentence in (refused, *remarks))
        if not told or not (became[case.fate] if case.fate != "any" else refused or cells):
            wrong.append(f"{case.name}: expected {case.fate} {case.says!r}, got {refused=} {remarks=} {sorted(cells)=}")
    assert not wrong, "\n".join(wrong)


def test_what_is_said_about_malformed_submissions_is_one_printable_line_that_is_not_endless(fuzzed):
    for refused, remarks, _ in fuzzed[1].values():
        for sentence in (refused, *remarks):
            assert sentence.isprintable() and len(sentence) < 500, f"{sentence[:600]!r}"
        assert len(remarks) <= intake.MOST_REMARKS + 1
        assert "cannot be read (" not in refused, f"an exception that nobody thought of: {refused}"


def test_malformed_submissions_do_not_harm_the_honest_ones_among_them(fuzzed):
    fates, found, _, _ = fuzzed
    honest = [found.pop(name) for name in ("000_honest", "an_honest_one", "zz_honest")]
    assert all(one == honest[0] and one[:2] == ["", []] and set(one[2]) == {"double", "counter"} for one in honest)
    assert found.keys() == fates.keys(), "each is one submission, and none was lost"
    found |= dict(zip(("000_honest", "an_honest_one", "zz_honest"), honest, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="a process's own peak is read from /proc")
def test_malformed_submissions_take_less_than_300_mb_of_memory(fuzzed):
    assert fuzzed[2] * 1024 < 300e6, f"the peak was {fuzzed[2] / 1024:.0f} MiB"


def test_intake_writes_nothing(fuzzed):
    before, after = fuzzed[3]
    assert before == after
