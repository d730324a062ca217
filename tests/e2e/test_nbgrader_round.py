"""nbgrader takes what `tito release --format nbgrader` makes: generate, validate, autograde, feedback, three students.

Needs nbgrader beside this course in one environment: `pip install nbgrader`.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tito.course.module import Module
from tito.course.project import Project
from tito.releasing import release

from .commands import released

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(folder: Path, *command: str) -> str:
    """What an nbgrader command printed, that is, logged."""
    program = shutil.which("nbgrader", path=str(BIN))
    assert program, f"nbgrader is not in this environment: {sys.executable} -m pip install nbgrader"
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([program, *command], cwd=folder, env=env, capture_output=True, encoding="utf-8")
    print(f"nbgrader {' '.join(command)}: exit status {done.returncode}")
    assert done.returncode == 0, f"nbgrader {' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def solve(page: dict[str, Any], source: dict[str, Any], exercises: set[str]) -> dict[str, Any]:
    """The released notebook with the solution cells of these exercises put in, as a student would write them."""
    answers = {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in source["cells"] if cell["metadata"]}
    for cell in page["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if re.sub(r"-\d+$", "", name) in exercises and cell["metadata"]["nbgrader"]["solution"]:
            cell["source"] = answers[name]["source"]
    return page


def hand_in(folder: Path, module: Module, student: str, exercises: set[str]) -> None:
    """Submit the released notebooks with these exercises solved."""
    for path in sorted((folder / "release" / module.name).glob("*.ipynb")):
        source = json.loads((folder / "source" / module.name / path.name).read_text(encoding="utf-8"))
        page = solve(json.loads(path.read_text(encoding="utf-8")), source, exercises)
        target = folder / "submitted" / student / module.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(page), encoding="utf-8")


@pytest.fixture(scope="session")
def course(here: Project, module: Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder of nbgrader, its assignment generated."""
    folder = released(here, module, tmp_path_factory.mktemp("nbgrader") / "course", "--format", "nbgrader").root
    run(folder, "generate_assignment", module.name)
    return folder


@pytest.mark.nightly
def test_what_nbgrader_gives_out_holds_no_solution_and_no_hidden_test(
    here: Project, module: Module, course: Path
) -> None:
    given = course / "release" / module.name
    tree = {str(path): path.read_bytes() for path in given.rglob("*") if path.is_file()}
    assert tree and list(release.leaks(release.solutions(here), tree)) == []
    assert [name for name, data in tree.items() if b"hidden=" in data or b"SOLUTION" in data] == []


@pytest.mark.nightly
def test_nbgrader_validates_the_source_and_not_the_stubs(module: Module, course: Path) -> None:
    for book in sorted(path.name for path in (course / "release" / module.name).glob("*.ipynb")):
        assert "Success" in run(course / "source" / module.name, "validate", book)
        assert "failed" in run(course / "release" / module.name, "validate", book)


@pytest.mark.nightly
def test_nbgrader_gives_every_student_the_points_and_a_page(module: Module, course: Path) -> None:
    first = module.exercises[0]
    solved = {"nobody": set[str](), "first": {first.id}, "reference": {exercise.id for exercise in module.exercises}}
    for student, exercises in solved.items():
        hand_in(course, module, student, exercises)
    for command in ("autograde", "generate_feedback"):
        run(course, command, module.name)
    run(course, "export")
    with (course / "grades.csv").open(encoding="utf-8", newline="") as stream:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(stream)}
    wanted = {"nobody": 0, "first": first.points, "reference": module.points}
    for student, points in wanted.items():
        print(f"{student:<10} {scores[student]:>5g} of {module.points} points, wanted {points}")
    assert scores == wanted
    pages = len(list((course / "feedback").rglob("*.html")))
    print(f"feedback: {pages} pages for {len(solved)} students and {len(module.notebooks)} notebooks")
    assert pages == len(solved) * len(module.notebooks)
