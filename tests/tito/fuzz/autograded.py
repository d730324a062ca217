"""The same cases through nbgrader itself, where it is installed: generate_assignment, then autograde of all at once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tito.course.module import Module
from tito.course.project import Project
from tito.releasing import nbgrader, release

from .page import Page

SCORES = """
SELECT student.id, base_cell.name, grade.auto_score FROM grade
JOIN submitted_notebook ON grade.notebook_id = submitted_notebook.id
JOIN submitted_assignment ON submitted_notebook.assignment_id = submitted_assignment.id
JOIN student ON submitted_assignment.student_id = student.id
JOIN base_cell ON grade.cell_id = base_cell.id
WHERE base_cell.name LIKE 'test-%'
"""


def points(
    command: Path, here: Project, module: Module, folder: Path, handed: Mapping[str, list[Page]]
) -> dict[str, dict[str, float]]:
    """Case -> exercise -> points, as nbgrader's gradebook has them. A case that it gave up on has no exercise."""
    release.write(nbgrader.course_folder(here, module), folder, "nbgrader", module)
    _run(command, here, folder, "generate_assignment", module.name)
    for case, pages in handed.items():
        there = folder / "submitted" / case.replace(":", "-") / module.name
        there.mkdir(parents=True)
        for page in pages:
            given = json.loads((folder / "release" / module.name / f"{page.stem}.ipynb").read_text(encoding="utf-8"))
            text = json.dumps(page.as_nbgrader([cell for cell in given["cells"] if _tests(cell)]))
            (there / f"{page.stem}.ipynb").write_text(text, encoding="utf-8")
    _run(command, here, folder, "autograde", module.name, "--force")
    with sqlite3.connect(folder / "gradebook.db") as book:
        rows = book.execute(SCORES).fetchall()
    found: dict[str, dict[str, float]] = {case: {} for case in handed}
    for student, name, score in rows:
        found[student.replace("-", ":")][name.removeprefix("test-")] = score
    return found


def _run(command: Path, here: Project, folder: Path, *arguments: str) -> None:
    """An nbgrader command. It exits with 1 where it gave up on one submission of many."""
    root = Path(__file__).parents[3]
    env = os.environ | {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    env["PYTHONPATH"] = os.pathsep.join([str(root), str(here.root)])
    done = subprocess.run([str(command), *arguments], cwd=folder, env=env, capture_output=True, encoding="utf-8")
    (folder / f"{arguments[0]}.log").write_text(done.stdout + done.stderr, encoding="utf-8")


def _tests(cell: dict[str, Any]) -> bool:
    return bool(cell["metadata"].get("nbgrader", {}).get("locked"))
