"""The instructor's notebook earns every point, the student's stubs none: told by `tito test`, in a copy of the tree."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tito.course.edition import Edition
from tito.course.markers import stub
from tito.course.module import Exercise, load_module, module_names
from tito.course.notebook import load
from tito.course.project import PYPROJECT, Project
from tito.errors import Status
from tito.grading.judging.judge import Judge
from tito.grading.options import Options
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission

from . import catalogue, copying

PROJECT = Project(Path(__file__).parent.parent)
MODULES = module_names(PROJECT)
SPLIT = [(module, entry) for module in MODULES for entry in load_module(PROJECT, module).exercises if entry.parts]
NEEDS = {  # part -> the other part that its tests cannot do without: its function calls that one, or follows it
    "split_groups": "value_range",
    "requantize": "quantize_multiplier",
    "convert": "FakeQuantized",
    "lost_share": "to_bfloat16",
    "update": "step",
    "assign_bits": "pareto_front",
}


@pytest.fixture
def copy(tmp_path: Path) -> Project:
    """The project as a student has it, hidden tests withheld."""
    tests = (f"tests/{name}" for name in MODULES)
    copying.copy(
        PROJECT.root, ("modules", PROJECT.package_name, "tito", *tests, PYPROJECT), tmp_path, without=["hidden"]
    )
    return Project(tmp_path)


def tito_test(project: Project, module: str) -> tuple[int, dict[str, Any]]:
    """The exit status of `tito test MODULE` and its report."""
    file = project.root / "report.json"
    command = [sys.executable, "-m", "tito", "--project", str(project.root), "test", module, "--json", str(file)]
    env = os.environ | {"PYTHONPATH": str(project.root)}
    done = subprocess.run(command, cwd=project.root, env=env, capture_output=True, text=True, encoding="utf-8")
    assert file.is_file(), f"tito test wrote no report:\n{done.stdout}\n{done.stderr}"
    return done.returncode, json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_earns_every_point(copy: Project, module: str) -> None:
    status, report = tito_test(copy, module)
    table = load_module(PROJECT, module)
    assert [(e["exercise"], e["points"]) for e in report["exercises"]] == [(e.id, e.points) for e in table.exercises], (
        report
    )
    assert {e["status"] for e in report["exercises"]} == {"passed"}
    assert (report["points"], report["max_points"]) == (table.points, table.points)
    assert status == Status.DONE


@pytest.mark.parametrize("module", MODULES)
def test_stubs_earn_nothing_and_are_called_not_started(copy: Project, module: str) -> None:
    for notebook in load_module(copy, module).notebooks:
        notebook.path.write_text(stub(notebook.path.read_text(encoding="utf-8")), encoding="utf-8")
    status, report = tito_test(copy, module)
    table = load_module(PROJECT, module)
    told = {e["exercise"]: (e["points"], e["status"]) for e in report["exercises"]}
    assert told == {e.id: (0, "not started") for e in table.exercises}
    assert (report["points"], report["max_points"]) == (0, table.points)
    assert status == Status.FAILED


@pytest.mark.parametrize("module", MODULES)
def test_one_exercise_solved_earns_its_points_alone(copy: Project, module: str) -> None:
    table = load_module(copy, module)
    first = table.exercises[0]
    notebook = table.notebook_of(first.id).path
    solved = notebook.read_text(encoding="utf-8")
    for other in table.notebooks:
        other.path.write_text(stub(other.path.read_text(encoding="utf-8")), encoding="utf-8")
    cells = re.split(r"\n(?=# %%)", solved)
    kept = [cell if f"#| exercise: {first.id}\n" in cell else stub(cell) for cell in cells]
    notebook.write_text("\n".join(kept), encoding="utf-8")
    _, report = tito_test(copy, module)
    assert {e["exercise"] for e in report["exercises"] if e["status"] == "passed"} == {first.id}
    assert report["points"] == first.points


def functions_at(source: str, line: int) -> set[str]:
    """The names of the functions and classes around a line."""
    around = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return {node.name for node in around if node.lineno <= line <= (node.end_lineno or 0)}


def written(source: str, parts: set[str], instead: str) -> str:
    """A cell with the solutions of these parts, and one line in the place of every other one."""
    lines = list[str]()
    right = True
    for number, line in enumerate(source.split("\n"), 1):
        if "### BEGIN SOLUTION" in line:
            right = bool(functions_at(source, number) & parts)
            if not right:
                lines.append(line[: len(line) - len(line.lstrip())] + instead)
        elif "### END SOLUTION" in line:
            right = True
        elif right:
            lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.nightly
@pytest.mark.parametrize(("module", "exercise"), [pytest.param(*one, id=one[1].id) for one in SPLIT])
def test_a_part_alone_earns_its_points_beside_what_is_not_written_or_wrong(module: str, exercise: Exercise) -> None:
    """All tests judge, the hidden ones too; where a part needs another one, both are right, and earn theirs."""
    table = load_module(PROJECT, module)
    reference = load(PROJECT, table.notebook_of(exercise.id).path)
    cells = ["\n".join(line for _, line in cell.body) for cell in reference.code if cell.exercise == exercise.id]
    others, unsafe = catalogue.solved(PROJECT, table), bubblewrap.protection().kind == "none"
    with Judge(Edition(PROJECT, table), Options(exercise=exercise.id, unsafe=unsafe)) as judge:
        unwritten = f'raise NotImplementedError("exercise {exercise.id}: not written")'
        for part, instead in zip(exercise.parts, itertools.cycle((unwritten, "return None"))):
            right = {part.name, NEEDS.get(part.name, part.name)}
            mine = tuple(written(cell, right, instead) for cell in cells)
            done = Submission("anna", others | {exercise.id: mine})
            outcome = judge.grade(done).outcomes[0]
            passed = {one.name for one in outcome.parts if one.status == "passed"}
            assert passed == right, f"{part.name}, beside {instead!r}: {outcome.parts}"
            assert outcome.points == sum(one.points for one in exercise.parts if one.name in right)
