"""Other graders on the same submissions: nbgrader and otter-grader, each from a Python of its own.

Both run the student's notebook in a kernel and then, in that same process, the same tests as ours
(`tito.testing.in_notebook`).
A Python that has one: `python -m venv V && V/bin/pip install nbgrader -e .` and `... otter-grader -e .`
"""

from __future__ import annotations

import csv
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tito import processes
from tito.course import notebook
from tito.course.module import Exercise, Module
from tito.course.project import Project

Page = dict[str, Any]  # a notebook as JSON
Cells = Mapping[str, tuple[str, ...]]  # exercise -> what the student wrote in its cells


@dataclass(frozen=True)
class Graded:
    """What a grader made of a batch."""

    scores: dict[str, float]  # who is missing has no grade
    seconds: float
    said: str = field(repr=False, default="")
    tasks: dict[str, dict[str, float]] = field(default_factory=dict)  # the points of each exercise, where they are told
    cpu_seconds: float = 0.0  # of the command, and of what it started and waited for
    tests_seconds: float = 0.0  # of `seconds`, in the cells that hold the tests
    others_seconds: float = 0.0  # of `seconds`, in all other cells


@dataclass
class Clock:
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """What passes in the block, and what its child processes compute."""
    clock, begun, used = Clock(), time.monotonic(), _children()
    yield clock
    clock.seconds, clock.cpu_seconds = time.monotonic() - begun, _children() - used


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def version(python: Path, package: str) -> str:
    """The version of a package there; empty where it is not installed."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, encoding="utf-8")
    return done.stdout.strip()


def nbgrader(
    python: Path,
    project: Project,
    module: Module,
    who: Mapping[str, Cells],
    exercises: tuple[Exercise, ...],
    env: dict[str, str],
    limit: float | None = None,
) -> Graded:
    """Scores by `nbgrader autograde`, in a course that `tito release --format nbgrader` makes.

    exercises: which ones are tested; where these are not all, cells that are not exported are left out.
    limit: seconds a submission, after which the batch is given up; whom nbgrader did not come to has no grade.
    """
    with tempfile.TemporaryDirectory(prefix="nbgrader_") as temporary:
        folder = Path(temporary, "course")
        command = [sys.executable, "-m", "tito", "release", module.name, "--to", str(folder), "--format", "nbgrader"]
        subprocess.run(command, cwd=project.root, env=env, check=True, stdout=subprocess.DEVNULL)
        source = folder / "source" / module.name
        for path in source.glob("*.ipynb") if exercises != module.exercises else ():
            page = _tested(json.loads(path.read_text(encoding="utf-8")), exercises)
            path.write_text(json.dumps(page), encoding="utf-8") if page["cells"] else path.unlink()
        _run(python, "nbgrader", ["generate_assignment", module.name], folder, env, must=True)
        for name, cells in who.items():
            for path in (folder / "release" / module.name).glob("*.ipynb"):
                target = folder / "submitted" / name / module.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(
                    json.dumps(_written(json.loads(path.read_text(encoding="utf-8")), cells)), encoding="utf-8"
                )
        with timed() as clock:  # nothing but the grading: the assignment was made before, the grades are read after
            said = _run(python, "nbgrader", ["autograde", module.name], folder, env, limit=limit and limit * len(who))
        said += _run(python, "nbgrader", ["export"], folder, env)
        if not (folder / "grades.csv").is_file():  # an attack got at the grade book: nobody has a grade
            return Graded({}, clock.seconds, said)
        with (folder / "grades.csv").open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["assignment"] == module.name]
        scores = {row["student_id"]: float(row["score"] or 0) for row in rows}
        tests, others = _cell_seconds(folder / "autograded")
        return Graded(scores, clock.seconds, said, _tasks(folder / "gradebook.db"), clock.cpu_seconds, tests, others)


def _tasks(gradebook: Path) -> dict[str, dict[str, float]]:
    """Student -> exercise -> points, from nbgrader's grade book; empty where an attack got at it."""
    found = dict[str, dict[str, float]]()
    try:
        with closing(sqlite3.connect(gradebook)) as book:
            for student, cell, points in book.execute(POINTS_OF_CELLS):
                found.setdefault(student, {})[cell.removeprefix("test-")] = points or 0.0
    except sqlite3.Error:
        return {}
    return found


POINTS_OF_CELLS = """
select submitted_assignment.student_id, base_cell.name, grade.auto_score
from grade join base_cell on base_cell.id = grade.cell_id
join submitted_notebook on submitted_notebook.id = grade.notebook_id
join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id
where base_cell.name like 'test-%'
"""


def _cell_seconds(folder: Path) -> tuple[float, float]:
    """How long the cells with tests ran, and all others, as nbgrader's own notes in the notebooks say."""
    spent = {True: 0.0, False: 0.0}
    for path in folder.rglob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            noted = cell["metadata"].get("execution", {})
            if {"iopub.execute_input", "shell.execute_reply"} <= noted.keys():
                begun, ended = (
                    datetime.fromisoformat(noted[name]) for name in ("iopub.execute_input", "shell.execute_reply")
                )
                spent[cell["id"].startswith("test-")] += (ended - begun).total_seconds()
    return spent[True], spent[False]


def otter(
    python: Path,
    project: Project,
    module: Module,
    who: Mapping[str, Cells],
    exercise: Exercise,
    env: dict[str, str],
    limit: float,
) -> Graded:
    """Scores by `otter run`, which is otter-grader without Docker, for one exercise.

    limit: seconds after which a submission is given up, for otter itself waits for ever: it then has no grade.
    """
    scores, said, begun = dict[str, float](), "", time.monotonic()
    with tempfile.TemporaryDirectory(prefix="otter_") as temporary:
        folder = Path(temporary)
        _autograder(project, module, exercise, folder / "autograder.zip")
        begun = time.monotonic()
        for name, cells in who.items():
            place = folder / "submitted" / name
            place.mkdir(parents=True)
            page = _plain(project, module, exercise, cells)
            (place / "submission.ipynb").write_text(json.dumps(page), encoding="utf-8")
            arguments = ["run", "-a", str(folder / "autograder.zip"), "-o", str(place), "submission.ipynb"]
            said += _run(python, "otter", arguments, place, env, limit=limit)
            if (result := place / "results.json").is_file():
                scores[name] = sum(
                    test.get("score") or 0 for test in json.loads(result.read_text(encoding="utf-8"))["tests"]
                )
    return Graded(scores, time.monotonic() - begun, said)


def _run(
    python: Path,
    tool: str,
    arguments: list[str],
    folder: Path,
    env: dict[str, str],
    must: bool = False,
    limit: float | None = None,
) -> str:
    """What a command said; it is ended after `limit` seconds."""
    path = f"{python.parent}{os.pathsep}{env['PATH']}"
    command = [str(python.parent / tool), *arguments]
    with tempfile.TemporaryFile() as said:  # and no pipe: what a student left running would keep it open
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            processes.end(process)
            status = process.returncode
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    if must and status:
        sys.exit(text)
    return text


def _tested(page: Page, exercises: tuple[Exercise, ...]) -> Page:
    """An nbgrader notebook with the tests of these exercises only, and of the other cells those that are exported."""
    names = {f"test-{exercise.id}" for exercise in exercises}
    if not any(cell["id"] in names for cell in page["cells"]):
        return page | {"cells": []}
    return page | {"cells": [c for c in page["cells"] if c["id"] in names or c["source"][:1] == ["#| export\n"]]}


def _written(page: Page, cells: Cells) -> Page:
    """The released notebook as a student hands it in."""
    left = {exercise: list(sources) for exercise, sources in cells.items()}
    for cell in page["cells"]:
        meta = cell["metadata"].get("nbgrader", {})
        exercise = meta.get("grade_id", "").rpartition("-")[0]
        if meta.get("solution") and left.get(exercise):
            cell["source"] = left[exercise].pop(0)
    return page


def _plain(project: Project, module: Module, exercise: Exercise, cells: Cells) -> Page:
    """A notebook without anybody's metadata: the given code that is exported, and the student's."""
    left, found = {name: list(sources) for name, sources in cells.items()}, list[Page]()
    for cell in notebook.load(project, module.notebook_of(exercise.id).path).code:
        if not cell.exported and not cell.exercise:
            continue
        source = left[cell.exercise].pop(0) if cell.exercise and left.get(cell.exercise) else cell.source
        found.append(
            {
                "cell_type": "code",
                "id": f"c{cell.number}",
                "metadata": {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _autograder(project: Project, module: Module, exercise: Exercise, path: Path) -> None:
    hidden = project.test_files(module.name, exercise.id)[1]
    texts = {file.name: file.read_text(encoding="utf-8") for file in (hidden, hidden.with_name("conftest.py"))}
    tests = str(project.module_tests(module.name))
    lines = [
        "from otter.test_files import test_case",
        "OK_FORMAT = False",
        f"name = {exercise.id!r}",
        f"points = {exercise.points}",
        "",
    ]
    for part, more in (("visible", ""), ("hidden", f", hidden={texts!r}")):
        lines += [
            f"@test_case(points={exercise.points / 2}, hidden={bool(more)})",
            f"def test_{part}(env):",
            "    from tito.testing.in_notebook import passes",
            f"    passes({exercise.id!r}, env, tests={tests!r}{more})",
            "",
        ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"tests/{exercise.id}.py", "\n".join(lines))
        archive.writestr("otter_config.json", json.dumps({"lang": "python", "show_stdout": True}))
