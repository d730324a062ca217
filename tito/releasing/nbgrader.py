"""A course folder for nbgrader: notebooks with its metadata, and at their ends a cell that tests each exercise.

nbgrader makes the student's version itself (`generate_assignment`), from the same solution markers. A test cell asks
`tito.testing.in_notebook` to run the exercise's test file on what the notebook has defined; the hidden tests stand in
it as text, between nbgrader's own markers.
"""

from __future__ import annotations

import json
from typing import Any

from tito.course import markers, notebook, questions
from tito.course.module import Exercise, Module, Notebook, Part
from tito.course.project import Project
from tito.releasing import release
from tito.releasing.release import Tree

CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "{module}"
c.ClearSolutions.code_stub = {{"python": {code!r}}}
c.ClearSolutions.text_stub = {text!r}
c.Execute.timeout = 300  # seconds a cell: some train a network
c.Execute.extra_arguments = [  # a student's exit() would end the kernel, and with it the grading of the notebook
    "--HistoryManager.hist_file=:memory:",
    "--IPKernelApp.exec_lines=import sys; exit = quit = sys.exit",
]
"""
STUB = f'{markers.YOURS}\nraise NotImplementedError("{markers.UNWRITTEN}")'
PLAIN = {"grade": False, "locked": False, "schema_version": 3, "solution": False, "task": False}


def course_folder(project: Project, module: Module) -> Tree:
    """Everything that nbgrader needs, the solutions included: this folder is the instructor's."""
    folder = f"source/{module.name}"
    tree = {"nbgrader_config.py": CONFIG.format(module=module.name, code=STUB, text=markers.ANSWER).encode()}
    tree["README.md"] = release.readme(project, module, "nbgrader.md").encode()
    tests = project.module_tests(module.name)
    for path in sorted(tests.glob("*.py")):
        tree[f"{folder}/tests/{path.name}"] = path.read_bytes()
    for entry in module.notebooks:
        page = _page(project, module, entry)
        text = json.dumps(page, indent=1, ensure_ascii=False, sort_keys=True)
        tree[f"{folder}/{entry.path.with_suffix('.ipynb').name}"] = f"{text}\n".encode()
    return tree


def _page(project: Project, module: Module, entry: Notebook) -> dict[str, Any]:
    document = notebook.read(project, entry.path)
    cells: list[dict[str, Any]] = []
    for cell in document.cells:
        cells.append(_cell(cell.kind, cell.source, f"cell-{cell.number}"))
        if any(markers.marker(line) for line in cell.source.split("\n")):
            question = next((name for name, _ in questions.pieces(cell.source) if name), "answer")
            cells[-1]["metadata"] = _graded(cell.kind, f"{cell.exercise or question}-{cell.number}")
    cells.append(
        _cell("markdown", "## Points\n\nRun these last: they test what the cells above have defined.", "points")
    )
    own = f"{project.package_name}.{notebook.default_exp(entry.path)}"
    for exercise in entry.exercises:  # at the end: some tests need given cells that stand below the exercise
        whole = (Part("", exercise.points),)
        cells += [_test_cell(project, module, exercise, part, own) for part in exercise.parts or whole]
    return {"cells": cells, "metadata": notebook.PYTHON, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str, name: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": name, "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _graded(kind: str, name: str) -> dict[str, Any]:
    """A solution cell. A text's answer must be graded by a person, says nbgrader: it earns 0 points."""
    meta = PLAIN | {"grade_id": name, "solution": True, "cell_type": kind}
    return {"nbgrader": meta | ({"grade": True, "points": 0} if kind == "markdown" else {})}


def _test_cell(project: Project, module: Module, exercise: Exercise, part: Part, own: str) -> dict[str, Any]:
    """part: without a name it is the whole exercise."""
    asked = f'"{exercise.id}", globals(), "{own}"' + (f', part="{part.name}"' if part.name else "")
    of = f", {part.name}" if part.name else ""
    lines = [
        f"# The tests of exercise {exercise.id}{of}: {exercise.title}.",
        "from tito.testing.in_notebook import passes",
        "",
        f"passes({asked})",
    ]
    hidden = project.test_files(module.name, exercise.id)[1]
    if hidden.is_file():
        texts = {
            path.name: path.read_text(encoding="utf-8")
            for path in (hidden, hidden.with_name("conftest.py"))
            if path.is_file()
        }
        call = f"passes({asked}, hidden={texts!r})"
        lines += ["### BEGIN HIDDEN TESTS", call, "### END HIDDEN TESTS"]
    name = "-".join(["test", exercise.id, *part.name.split()])
    cell = _cell("code", "\n".join(lines), name)
    meta = PLAIN | {"grade": True, "locked": True, "points": part.points}
    cell["metadata"] = {"nbgrader": meta | {"grade_id": name, "cell_type": "code"}}
    return cell
