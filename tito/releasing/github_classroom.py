"""A template repository for GitHub Classroom: the student's edition, and the workflow that tests every push."""

from __future__ import annotations

import json

from tito.course.module import Exercise, Module
from tito.course.project import Project
from tito.releasing.release import Tree, student_edition

MINUTES = 10  # an exercise may take

HEAD = """\
# Made by `tito release --format github-classroom`: tests every push, and tells GitHub Classroom the points.
name: Autograding Tests
on: [push, repository_dispatch]
permissions:
  checks: write
  actions: read
  contents: read
jobs:
  run-autograding-tests:
    runs-on: ubuntu-latest
    if: github.actor != 'github-classroom[bot]'
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install
        run: python -m pip install -q -e .
      - name: All exercises
        run: tito test {module} --json report.json || true
      - uses: actions/upload-artifact@v4
        with:
          name: report
          path: report.json
"""
EXERCISE = """\
      - name: {id}
        id: {id}
        uses: classroom-resources/autograding-command-grader@v1
        with:
          test-name: {id}
          command: tito test {module} --exercise {id}
          timeout: {minutes}
          max-score: {points}
"""
REPORTER = """\
      - name: Autograding Reporter
        uses: classroom-resources/autograding-grading-reporter@v1
        env:
{results}
        with:
          runners: {runners}
"""


def repository(project: Project, module: Module) -> Tree:
    """The student's edition with `.github/`: the workflow, and the older autograding.json."""
    tree = student_edition(project, module)
    tree[".github/workflows/classroom.yml"] = _workflow(module).encode()
    tests = {"tests": [_test(module, exercise) for exercise in module.exercises]}
    tree[".github/classroom/autograding.json"] = (json.dumps(tests, indent=2) + "\n").encode()
    return dict(sorted(tree.items()))


def _workflow(module: Module) -> str:
    steps = [
        EXERCISE.format(id=exercise.id, module=module.name, minutes=MINUTES, points=exercise.points)
        for exercise in module.exercises
    ]
    ids = [exercise.id for exercise in module.exercises]
    results = [f'          {name.upper()}_RESULTS: "${{{{steps.{name}.outputs.result}}}}"' for name in ids]
    reporter = REPORTER.format(results="\n".join(results), runners=",".join(ids))
    return "".join([HEAD.format(module=module.name), *steps, reporter])


def _test(module: Module, exercise: Exercise) -> dict[str, object]:
    return {
        "name": exercise.id,
        "setup": "python -m pip install -q -e .",
        "run": f"tito test {module.name} --exercise {exercise.id}",
        "input": "",
        "output": "",
        "comparison": "included",
        "timeout": MINUTES,
        "points": exercise.points,
    }
