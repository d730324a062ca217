"""What `tito release --format` makes for nbgrader, Gradescope and GitHub Classroom, on the toy course.

That nbgrader itself takes the first is shown by `tests/e2e/test_nbgrader_round.py`.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
import nbclient
import nbformat
import pytest

from tito.course import markers
from tito.course.module import load_module
from tito.course.project import Project
from tito.errors import Status
from tito.releasing import gradescope_autograder
from tito.testing.in_notebook import passes

from ..toy_course import NOTEBOOK, Course, add_questions

Made = Callable[[str], Path]  # a format -> the folder


@pytest.fixture
def made(course: Course, tmp_path: Path) -> Made:
    """Release in a format -> the folder."""

    def release(kind: str) -> Path:
        said = course.tito("release", "01", "--to", str(tmp_path / kind), "--format", kind)
        assert said.status == Status.DONE, said.err
        return tmp_path / kind

    return release


def cells(folder: Path) -> dict[str, Any]:
    page = json.loads((folder / "source/01_toy/toy_dev.ipynb").read_text(encoding="utf-8"))
    return {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in page["cells"] if cell["metadata"]}


def test_nbgrader_gets_solution_cells_and_test_cells_with_points(made: Made) -> None:
    found = cells(made("nbgrader"))
    tests = {name: cell["metadata"]["nbgrader"] for name, cell in found.items() if name.startswith("test-")}
    assert {name: meta["points"] for name, meta in tests.items()} == {
        "test-double": 2, "test-counter-adds-up": 2, "test-counter-own-total": 1,
    }  # fmt: skip
    assert all(meta["grade"] and meta["locked"] and not meta["solution"] for meta in tests.values())
    solved = [cell for name, cell in found.items() if not name.startswith("test-")]
    assert len(solved) == 2 and all(cell["metadata"]["nbgrader"]["solution"] for cell in solved)


def test_nbgrader_names_the_cell_of_a_question_by_which_intake_knows_it(course: Course, tmp_path: Path) -> None:
    add_questions(course)
    assert course.tito("release", "01", "--to", str(tmp_path / "made"), "--format", "nbgrader").status == 0
    found = cells(tmp_path / "made")
    asked = {name.split("-")[0]: cell for name, cell in found.items() if cell["cell_type"] == "markdown"}
    assert sorted(asked) == ["overflow", "state"]
    assert all("<!-- question: " in "".join(cell["source"]) for cell in asked.values())


def test_a_cell_that_ends_python_does_not_end_nbgraders_kernel(made: Made) -> None:
    config = SimpleNamespace(**{name: SimpleNamespace() for name in ("CourseDirectory", "ClearSolutions", "Execute")})
    exec((made("nbgrader") / "nbgrader_config.py").read_text(encoding="utf-8"), {"get_config": lambda: config})
    sources = ["exit()", "quit(1)", "import sys\nsys.exit(3)", "print(1 + 1)"]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    arguments = config.Execute.extra_arguments
    nbclient.NotebookClient(page, allow_errors=True, extra_arguments=arguments, timeout=120).execute()
    assert page.cells[-1].outputs[0]["text"] == "2\n"


def test_nbgraders_test_cells_judge_what_the_notebook_defines(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made("nbgrader")
    monkeypatch.chdir(folder / "source/01_toy")
    test = "".join(cells(folder)["test-double"]["source"])
    exec(test, {"double": lambda x: 2 * x})
    with pytest.raises(AssertionError, match=r"double: a number comes back twice:\nexpected 6, got 9: is it x \+ x"):
        exec(test, {"double": lambda x: 3 * x})
    with pytest.raises(AssertionError, match="'double' is not defined in this notebook"):
        exec(test, {})


def test_nbgraders_test_cells_do_not_count_what_was_imported_from_the_package(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made("nbgrader")
    monkeypatch.chdir(folder / "source/01_toy")

    def double(x: int) -> int:
        return 2 * x

    double.__module__ = "toy.sums"
    with pytest.raises(AssertionError, match="double was imported from toy.sums: write it in this notebook"):
        exec("".join(cells(folder)["test-double"]["source"]), {"double": double})


def test_nbgraders_hidden_tests_stand_between_its_markers_only(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made("nbgrader")
    monkeypatch.chdir(folder / "source/01_toy")
    test = "".join(cells(folder)["test-counter-own-total"]["source"])
    before, hidden = test.split("### BEGIN HIDDEN TESTS")
    assert "do_not_share" in hidden and "do_not_share" not in before
    assert not list(folder.rglob("hidden")), (
        "the hidden tests must not lie beside the notebook: nbgrader gives that out"
    )

    class Shared:
        total = 0
        seen = []

        def add(self, x: int) -> int:
            self.seen.append(x)
            self.__class__.total = 2 * sum(self.seen)
            return self.total

    exec(before, {"Counter": Shared})
    Shared.total, Shared.seen = 0, []
    with pytest.raises(AssertionError, match="is total kept in the class"):
        exec(test.replace(before, ""), {"Counter": Shared, "passes": passes})


def test_a_test_file_without_tests_is_no_pass(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made("nbgrader")
    monkeypatch.chdir(folder / "source/01_toy")
    (folder / "source/01_toy/tests/test_double.py").write_text("", encoding="utf-8")
    with pytest.raises(AssertionError, match="could not be run"):
        passes("double", {"double": lambda x: 2 * x})


def unpacked(made: Made, tmp_path: Path) -> Path:
    """Gradescope's container, as far as this machine has it: /autograder in a folder, Python where setup.sh puts it."""
    home = tmp_path / "auto grader"
    with zipfile.ZipFile(made("gradescope") / "autograder.zip") as archive:
        assert all(
            entry.external_attr >> 16 == 0o100755 for entry in archive.infolist() if entry.filename[-3:] == ".sh"
        )
        archive.extractall(home / "source")
    python = home / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return home


def graded(home: Path, submission: Mapping[str, bytes], may_fail: bool = False) -> dict[str, Any]:
    for name, data in submission.items():
        (home / "submission" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "submission" / name).write_bytes(data)
    command = ["bash", str(home / "source/run_autograder")]
    done = subprocess.run(command, env=os.environ | {"AUTOGRADER": str(home)}, capture_output=True, encoding="utf-8")
    assert may_fail or done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads((home / "results/results.json").read_text(encoding="utf-8"))
    return results


SHARED = """
class Counter:
    total = 0
    def add(self, x):
        Counter.total += double(x)
        return Counter.total
"""

BROKEN = {  # what stands in place of the class Counter
    "an unfinished line": "class Counter:\n    total = 1 +",
    "exit": SHARED.lstrip() + "exit()",
    "an exit of the process": SHARED.lstrip() + "import os\nos._exit(0)",
    "a loop at import": SHARED.lstrip() + "while True: pass",
    "a question": SHARED.lstrip() + "input('how many? ')",
}

if sys.platform != "win32":  # Gradescope's container is Linux, and so are its scripts

    def test_gradescope_scores_the_reference_in_full_in_its_own_words(
        course: Course, made: Made, tmp_path: Path
    ) -> None:
        result = graded(unpacked(made, tmp_path), {"toy_dev.py": course.read(NOTEBOOK).encode()})
        assert result["score"] == 5 and result["stdout_visibility"] == "hidden" and "output" not in result
        assert result["tests"][0] == {
            "number": "1",
            "name": "double: Twice a number",
            "score": 2,
            "max_score": 2,
            "status": "passed",
            "output": "passed",
            "output_format": "text",
            "visibility": "visible",
        }

    def test_gradescope_runs_hidden_tests_and_does_not_tell_what_they_ask(
        course: Course, made: Made, tmp_path: Path
    ) -> None:
        text = course.read(NOTEBOOK)
        cut = text.index("class Counter")
        result = graded(unpacked(made, tmp_path), {"x/toy_dev.py": (text[:cut] + SHARED.lstrip()).encode()})
        assert result["score"] == 4
        told = result["tests"][1]
        assert (told["status"], told["score"], told["max_score"]) == ("failed", 2, 3)
        assert told["output"].startswith("failed: own total (0 of 1)\n") and "a hidden one does not" in told["output"]
        assert "share" not in told["output"] and "kept in the class" not in told["output"]

    def test_gradescope_takes_nothing_but_the_exercises_from_a_submission(
        course: Course, made: Made, tmp_path: Path
    ) -> None:
        text = course.read(NOTEBOOK).replace("START = 0", "START = 100").replace("assert double(2) == 4", "1 / 0")
        assert graded(unpacked(made, tmp_path), {"toy_dev.py": text.encode()})["score"] == 5

    @pytest.mark.parametrize("broken", BROKEN)
    def test_gradescope_lets_a_broken_exercise_cost_that_exercise(
        course: Course, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        begin = (text := course.read(NOTEBOOK)).index("class Counter")
        here = Project(unpacked(made, tmp_path) / "source/course")
        monkeypatch.setattr(gradescope_autograder, "LIMIT_SECONDS", 40.0)
        (tmp_path / "submission").mkdir()
        (tmp_path / "submission/toy_dev.py").write_text(f"{text[:begin]}{BROKEN[broken]}\n", encoding="utf-8")
        result = gradescope_autograder.grade(
            here, load_module(here, "01_toy"), tmp_path / "submission", here.root.parent / "withheld"
        )
        assert [test["score"] for test in result["tests"]] == [2, 0] and result["score"] == 2

    def test_gradescope_tells_of_a_missing_notebook(made: Made, tmp_path: Path) -> None:
        result = graded(unpacked(made, tmp_path), {"other.txt": b""})
        assert (
            result["score"] == 0 and result["output"] == "no notebook was handed in: wanted toy_dev, as .ipynb or .py"
        )

    def test_gradescope_reads_what_tito_grade_reads(course: Course, made: Made, tmp_path: Path) -> None:
        """Without nbformat, with half a surrogate in an output, below a folder, beside a stub and another copy."""
        page = json.loads(jupytext.writes(jupytext.reads(course.read(NOTEBOOK), fmt="py:percent"), fmt="ipynb"))
        page["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["\ud800"]}]
        files = {"toy_dev.py": markers.stub(course.read(NOTEBOOK)).encode(), "other.md": b"?"}
        files["work/toy_dev-Copy1.ipynb"] = json.dumps({"cells": page["cells"]}).encode()
        result = graded(unpacked(made, tmp_path), files)
        assert result["score"] == 5, result
        expected = "toy_dev.py differs from work/toy_dev-Copy1.ipynb, in which more is written, which is graded"
        assert result["output"] == expected

    def test_gradescope_opens_the_archive_of_tito_submit(course: Course, made: Made, tmp_path: Path) -> None:
        assert course.tito("submit", "--name", "Ada").status == Status.DONE
        data = (course.root / "01_toy_submission.zip").read_bytes()
        result = graded(unpacked(made, tmp_path), {"01_toy_submission.zip": data})
        assert result["score"] == 5 and "output" not in result

    def test_the_autograder_removes_no_hidden_tests_that_are_not_its_own(course: Course, tmp_path: Path) -> None:
        before = course.files()
        (tmp_path / "withheld").mkdir()
        with gradescope_autograder._in_place(
            course.project, load_module(course.project, "01_toy"), tmp_path / "withheld"
        ):
            assert course.files() == before
        assert course.files() == before and any("hidden/" in name for name in before)

    FAULTS = {
        "a table that is damaged": ("modules/source/01_toy/module.toml", "not toml", "is not valid TOML"),
        "a test that is missing": ("tests/01_toy/test_double.py", None, "nobody can be graded without it"),
        "a test that cannot be run": (
            "tests/01_toy/test_double.py",
            "import nothing_of_this_name",
            "nothing_of_this_name",
        ),
        "a given notebook that is damaged": (
            "modules/source/01_toy/released/toy_dev.py",
            "{",
            "modules/source/01_toy/released/toy_dev.py: no `#| default_exp` cell",
        ),
        "a grader that does not start": ("tito/__init__.py", "raise SystemExit(3)", "did not come to its end"),
    }

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_failure_of_the_autograders_own_is_told_and_is_no_ones_zero(
        course: Course, made: Made, tmp_path: Path, fault: str
    ) -> None:
        home = unpacked(made, tmp_path)
        file, text, said = FAULTS[fault]
        path = home / "source/course" / file
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text, encoding="utf-8")
        result = graded(home, {"toy_dev.py": course.read(NOTEBOOK).encode()}, may_fail=True)
        assert "score" not in result and "tests" not in result
        assert result["output"].startswith("The autograder itself ") and said in result["output"]
        assert "is no grade: tell your instructor" in result["output"]


def test_the_autograder_holds_hidden_tests_but_no_solution(made: Made) -> None:
    data = (made("gradescope") / "autograder.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        assert "withheld/test_counter.py" in names and {"setup.sh", "run_autograder"} <= set(names)
        assert not [name for name in names if b"return 2 * x\n" in archive.read(name)]


def test_github_gets_a_step_and_points_for_each_exercise(made: Made) -> None:
    folder = made("github-classroom")
    workflow = (folder / ".github/workflows/classroom.yml").read_text(encoding="utf-8")
    assert "tito test 01_toy --json report.json" in workflow
    for name, points in (("double", 2), ('counter --part "adds up"', 2), ('counter --part "own total"', 1)):
        command = f"          command: tito test 01_toy --exercise {name}\n"
        assert f"{command}          timeout: 10\n          max-score: {points}\n" in workflow
    assert '          COUNTER_OWN_TOTAL_RESULTS: "${{steps.counter_own_total.outputs.result}}"\n' in workflow
    assert "          runners: double,counter_adds_up,counter_own_total\n" in workflow
    tests = json.loads((folder / ".github/classroom/autograding.json").read_text(encoding="utf-8"))["tests"]
    assert [(test["name"], test["points"]) for test in tests] == [
        ("double", 2), ("counter, adds up", 2), ("counter, own total", 1),
    ]  # fmt: skip
    assert (folder / "README.md").is_file() and not (folder / ".git").exists()


def test_nbgraders_cell_of_a_part_runs_the_tests_that_bear_on_it(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made("nbgrader")
    monkeypatch.chdir(folder / "source/01_toy")
    adds_up, own_total = ("".join(cells(folder)[f"test-counter-{part}"]["source"]) for part in ("adds-up", "own-total"))

    class Forgets:
        total = 0

        def add(self, x: int) -> int:
            self.total = 2 * x
            return self.total

    exec(own_total, {"Counter": Forgets})
    with pytest.raises(AssertionError, match="expected 6, got 4"):
        exec(adds_up, {"Counter": Forgets})
