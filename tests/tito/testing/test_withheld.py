"""What of the package may do an exercise earns nothing: in `tito test`, in a notebook and in grading alike."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from tito.course.edition import Edition
from tito.course.module import load_module
from tito.course.project import Project
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.submission import Submission
from tito.testing import in_notebook, runner, withheld

from ..toy_course import copy_toy

NOTEBOOK = "modules/source/01_toy/toy_dev.py"
COUNTER = """
class Counter:
    def __init__(self):
        self.total = START

    def add(self, x):
        self.total += double(x)
        return self.total
"""
DOES_IT = "def quick(x):\n    return 2 * x\n"
BORROWED = {
    "a function that was imported": "from toy.fast import quick\ndef double(x):\n    return quick(x)",
    "a function of a module below": "from toy.fast.inner import quick\ndef double(x):\n    return quick(x)",
    "a module": "import toy.fast.inner as inner\ndef double(x):\n    return inner.quick(x)",
    "imported in the function": "def double(x):\n    from toy.fast import quick\n    return quick(x)",
    "by name": "import importlib\ndef double(x):\n    return importlib.import_module('toy.fast').quick(x)",
    "as the answer itself": "from toy.fast import quick as double",
}
OWN = "try:\n    from toy.fast import quick\nexcept ImportError:\n    def quick(x):\n        return x + x\n"
OWN += "def double(x):\n    return quick(x)"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The toy course, whose package has a part that does the exercise."""
    project = Project(copy_toy(tmp_path))
    (project.package / "fast").mkdir()
    for name in ("__init__.py", "inner.py"):
        (project.package / "fast" / name).write_text(DOES_IT, encoding="utf-8")
    return project


def with_double(project: Project, code: str) -> None:
    path, head = project.root / NOTEBOOK, "#| export\n#| exercise: double\n"
    text = path.read_text(encoding="utf-8")
    begin = text.index(head)
    path.write_text(text[:begin] + head + code + "\n\n" + text[text.index("\n# %%", begin) :], encoding="utf-8")


def on_ones_machine(project: Project, code: str) -> tuple[int, str]:
    with_double(project, code)
    outcome = runner.whole(project, load_module(project, "01_toy")).exercises[0]
    return outcome.points, outcome.message


def graded(project: Project, code: str) -> tuple[int, str]:
    options = Options(seed=0, limit_seconds=40, unsafe=True)
    with Judge(Edition(project, load_module(project, "01_toy")), options) as judge:
        grade = judge.grade(Submission("anna", {"double": (code,), "counter": (COUNTER,)}))
    return grade.outcomes[0].points, grade.outcomes[0].message


@pytest.mark.parametrize("name", BORROWED)
def test_given_code_that_does_the_exercise_earns_nothing_in_a_test_and_in_grading(name: str, project: Project) -> None:
    assert graded(project, BORROWED[name])[0] == 0
    points, said = on_ones_machine(project, BORROWED[name])
    assert points == 0 and "may do the exercise" in said and "write it with NumPy" in said, said


def test_code_that_goes_without_it_earns_its_points(project: Project) -> None:
    assert graded(project, OWN) == on_ones_machine(project, OWN) == (2, "")


@pytest.mark.parametrize("name", BORROWED)
def test_in_a_notebook_it_is_not_there_while_an_exercise_is_checked_and_is_there_again(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.root / "modules/source/01_toy")
    monkeypatch.syspath_prepend(str(project.root))
    for module in [known for known in sys.modules if known == "toy" or known.startswith("toy.")]:
        monkeypatch.delitem(sys.modules, module)
    kernel: dict[str, Any] = {"__name__": "__main__", "START": 0}
    exec(BORROWED[name], kernel)
    before = {key: value for key, value in kernel.items()}
    in_notebook.check("double", kernel)
    said = capsys.readouterr().out
    assert "double: NOT PASSED" in said and "may do the exercise" in said, said
    assert kernel == before and kernel["double"](3) == 6, "what was taken away must be back"
    assert importlib.import_module("toy.fast.inner").quick(2) == 4
    exec(OWN.replace("from toy.fast import quick", "raise ImportError"), kernel)
    in_notebook.check("double", kernel)
    assert "double: passed" in capsys.readouterr().out


def test_of_this_course_compiled_kernels_and_files_for_engines_are_withheld() -> None:
    here = Project(Path(__file__).parents[3])
    names = withheld.withheld(here, load_module(here, "17_quantization"))
    assert {name.split(".")[1] for name in names} == {"acceleration", "deployment"}
    assert "tinytorch.acceleration.operations.bf16" in names
