"""Grades a class of 1 000 with the real `tito grade` and compares every point with what `tito test` gives.

The class is made up from partial work, mistakes and other right answers. Many people have the same answers, and the
grader runs those once; signed, every cell has a comment of its author's own, so that all differ, and it runs every one.
The count that it is compared with owes the grader nothing: each set of answers is written into a copy of the course and
tested there as on a student's machine, in one process with the tests, without intake, sandbox, channel or judge.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tito.course.module import Module, load_module
from tito.course.project import PYPROJECT, Project
from tito.testing import runner

from .. import copying
from .made_up_class import Answers, MadeUp
from .process_tree import below, memory

PEOPLE, DISTINCT = 1000, 100
JOBS = os.cpu_count() or 1
MEMORY = 500_000_000  # bytes
Points = dict[str, int]  # exercise -> points


def copy(here: Project, module: Module, folder: Path) -> Project:
    """The course with its hidden tests, for one process that writes into it."""
    names = ("modules", here.package_name, "tito", f"tests/{module.name}", PYPROJECT)
    copying.copy(here.root, names, folder, without=["mistakes", "alternatives"])
    return Project(folder)


def by_its_tests(mine: Project, module: Module) -> Points:
    """What `tito test` gives."""
    return {outcome.exercise: outcome.points for outcome in runner.whole(mine, module).exercises}


def counted(made_up: MadeUp, everything: set[Answers], folder: Path) -> dict[Answers, Points]:
    """The points of each set of answers as a student would see them."""
    name = made_up.module.name
    free = [copy(made_up.project, made_up.module, folder / f"copy {number}") for number in range(JOBS)]

    def count(answers: Answers) -> Points:
        mine = free.pop()
        for file, text in made_up.notebooks(answers).items():
            (mine.module(name) / file).write_text(text, encoding="utf-8")
        points = by_its_tests(mine, load_module(mine, name))
        free.append(mine)
        return points

    with ThreadPoolExecutor(JOBS) as pool:
        return dict(zip(everything, pool.map(count, everything), strict=True))


class Watch(threading.Thread):
    """The most memory that a process and all below it held at a time."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process, self.most = process, Counter[str]()

    def run(self) -> None:
        while Path(f"/proc/{self._process}/stat").exists():
            found = [self._process, *below(self._process)]
            resident, proportional = memory(found)
            self.most |= {"processes": len(found), "resident": resident, "proportional": proportional}
            time.sleep(0.1)


def graded(here: Project, module: Module, folder: Path) -> tuple[dict[str, Points], Counter[str]]:
    """Run the real command; its grades.csv, and the most that it held."""
    command = [sys.executable, "-m", "tito", "--project", str(here.root), "grade", module.name, str(folder / "in")]
    options = ["--out", str(folder / "out"), "--jobs", str(JOBS), "--seed", "0"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    watch = Watch(process.pid)
    watch.start()
    assert process.wait() == 0
    ids = [exercise.id for exercise in module.exercises]
    with (folder / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["submission"]: {name: int(row[name]) for name in ids} for row in csv.DictReader(stream)}
    return rows, watch.most


@pytest.mark.nightly
@pytest.mark.sandbox
@pytest.mark.parametrize("signed", [False, True], ids=["many alike", "all different"])
def test_a_class_of_a_thousand_gets_the_points_that_tito_test_gives(
    signed: bool, here: Project, module: Module, tmp_path: Path
) -> None:
    made_up = MadeUp(here, module)
    people = dict(made_up.people(PEOPLE, DISTINCT, seed=0))
    for name, answers in people.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        for file, text in made_up.notebooks(answers, name if signed else "").items():
            (tmp_path / "in" / name / file).write_text(text, encoding="utf-8")
    begun = time.monotonic()
    grades, most = graded(here, module, tmp_path)
    print(f"graded {len(grades)} of {len(people)} submissions in {time.monotonic() - begun:.0f} s", flush=True)
    begun = time.monotonic()
    points = counted(made_up, set(people.values()), tmp_path / "counted")
    print(f"counted {len(points)} sets of answers in process in {time.monotonic() - begun:.0f} s")
    wrong = {name: (grades.get(name), points[answers]) for name, answers in people.items()}
    wrong = {name: (got, wanted) for name, (got, wanted) in wrong.items() if got != wanted}
    print(f"compared {len(people) * len(module.exercises)} exercises: {len(wrong)} people with other points")
    print(f"at most {most['processes']} processes at a time; at most {most['resident'] / 1e6:.0f} MB in all of them,")
    print(f"or {most['proportional'] / 1e6:.0f} MB where memory that several share is counted once")
    assert wrong == {} and grades.keys() == people.keys()
    assert most["proportional"] < MEMORY
