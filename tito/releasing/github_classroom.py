"""A template repository for GitHub Classroom: the student's edition, and the workflow that tests every push."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tito.course.module import Module
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
TEST = """\
      - name: {name}
        id: {id}
        uses: classroom-resources/autograding-command-grader@v1
        with:
          test-name: {name}
          command: {command}
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


@dataclass(frozen=True)
class ClassroomTest:
    """One of Classroom's tests. id: as its workflow names it; name: as people do."""

    id: str
    name: str
    command: str
    points: int


def repository(project: Project, module: Module) -> Tree:
    """The student's edition with `.github/`: the workflow, and the older autograding.json."""
    tree = student_edition(project, module)
    tree[".github/workflows/classroom.yml"] = _workflow(module).encode()
    tests = {"tests": [_old_form(test) for test in _tests(module)]}
    tree[".github/classroom/autograding.json"] = (json.dumps(tests, indent=2) + "\n").encode()
    return dict(sorted(tree.items()))


def _workflow(module: Module) -> str:
    tests = _tests(module)
    steps = [TEST.format(minutes=MINUTES, **vars(test)) for test in tests]
    ids = [test.id for test in tests]
    results = [f'          {name.upper()}_RESULTS: "${{{{steps.{name}.outputs.result}}}}"' for name in ids]
    reporter = REPORTER.format(results="\n".join(results), runners=",".join(ids))
    return "".join([HEAD.format(module=module.name), *steps, reporter])


def _tests(module: Module) -> list[ClassroomTest]:
    """Classroom gives a test's points as a whole or not at all, so that each part of an exercise is a test."""
    made = []
    for exercise in module.exercises:
        command = f"tito test {module.name} --exercise {exercise.id}"
        if not exercise.parts:
            made.append(ClassroomTest(exercise.id, exercise.id, command, exercise.points))
        for part in exercise.parts:
            name = "_".join([exercise.id, *part.name.split()])
            made.append(
                ClassroomTest(name, f"{exercise.id}, {part.name}", f'{command} --part "{part.name}"', part.points)
            )
    return made


def _old_form(test: ClassroomTest) -> dict[str, object]:
    return {
        "name": test.name,
        "setup": "python -m pip install -q -e .",
        "run": test.command,
        "input": "",
        "output": "",
        "comparison": "included",
        "timeout": MINUTES,
        "points": test.points,
    }
