"""Grades a class of 1 000 with the real `tito grade` and compares every point with what `tito test` gives.

The class is made up from partial work, the mistakes in `tests/MODULE/mistakes` and other right answers. Many people
have the same answers, but each signs the cells with a comment: to the grader all differ, and it grades every one. The
count it is compared with owes it nothing: each set of answers is written into a copy of the course and tested there as
on a student's machine, in one process with the tests, without intake, box, channel or judge; once, for a comment
changes no answer. Run from the project's root, on Linux: `python benchmarks/thousand_submissions.py [--people N]`.
Exits 1 unless all points are equal and the memory of all processes stays below MEMORY.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from made_up_class import Answers, MadeUp
from process_tree import below, memory

from tito import course, project, testing
from tito.project import PYPROJECT, Project

ROOT = Path(__file__).parent.parent
MODULE = "17_quantization"
MEMORY = 500_000_000  # bytes
Points = dict[str, int]  # exercise -> points


def copy(here: Project, folder: Path) -> Project:
    """The course with its hidden tests, for one process that writes into it."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*", "mistakes", "alternatives")
    for name in ("modules", here.package_name, "tito", f"tests/{MODULE}"):
        shutil.copytree(here.root / name, folder / name, ignore=unwanted)
    shutil.copy(here.root / PYPROJECT, folder / PYPROJECT)
    return Project(folder)


def counted(made_up: MadeUp, everything: set[Answers], folder: Path, jobs: int) -> dict[Answers, Points]:
    """The points of each set of answers as a student would see them."""
    copies = [copy(made_up.project, folder / f"copy {number}") for number in range(jobs)]
    free, points = list(copies), dict[Answers, Points]()

    def count(answers: Answers) -> None:
        mine = free.pop()
        module = course.load(mine, MODULE)
        for name, text in made_up.notebooks(answers).items():
            (mine.module(MODULE) / name).write_text(text, encoding="utf-8")
        points[answers] = {outcome.id: outcome.points for outcome in testing.whole(mine, module).exercises}
        free.append(mine)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(count, sorted(everything)))
    return points


class Watch(threading.Thread):
    """The most memory that a process and all below it hold at a time."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.resident, self.proportional = process, 0, 0
        self.most_processes = 0

    def run(self) -> None:
        while Path(f"/proc/{self.process}/stat").exists():
            found = [self.process, *below(self.process)]
            resident, proportional = memory(found)
            self.resident = max(self.resident, resident)
            self.proportional = max(self.proportional, proportional)
            self.most_processes = max(self.most_processes, len(found))
            time.sleep(0.1)


def graded(here: Project, folder: Path, options: list[str]) -> tuple[dict[str, Points], Watch, float]:
    """Run the real command; its grades.csv, what it held, how long it took."""
    command = [sys.executable, "-m", "tito", "--project", str(here.root), "grade", MODULE, str(folder / "in")]
    begun = time.monotonic()
    process = subprocess.Popen([*command, "--out", str(folder / "out"), *options], stdout=subprocess.DEVNULL)
    watch = Watch(process.pid)
    watch.start()
    status = process.wait()
    watch.join()
    if status != 0:
        sys.exit(f"tito grade ended with status {status}")
    ids = [exercise.id for exercise in course.load(here, MODULE).exercises]
    with (folder / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["submission"]: {name: int(row[name]) for name in ids} for row in csv.DictReader(stream)}
    return rows, watch, time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--distinct", type=int, default=100, help="sets of answers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--unsafe", action="store_true", help="without a box")
    asked = parser.parse_args()
    here = project.find(ROOT)
    made_up = MadeUp(here, course.load(here, MODULE))
    people = dict(made_up.people(asked.people, asked.distinct, asked.seed))
    with tempfile.TemporaryDirectory(prefix="thousand ü ") as temporary:
        folder = Path(temporary)
        for name, answers in people.items():
            (folder / "in" / name).mkdir(parents=True)
            for file, text in made_up.notebooks(answers, name).items():
                (folder / "in" / name / file).write_text(text, encoding="utf-8")
        options = ["--jobs", str(asked.jobs), *(["--unsafe"] if asked.unsafe else [])]
        grades, watch, seconds = graded(here, folder, options)
        print(f"graded {len(grades)} of {len(people)} submissions in {seconds:.0f} s", flush=True)
        begun = time.monotonic()
        points = counted(made_up, set(people.values()), folder, asked.jobs)
        print(f"counted {len(points)} sets of answers in process in {time.monotonic() - begun:.0f} s")
    wrong = [
        (name, exercise)
        for name, answers in people.items()
        for exercise, earned in points[answers].items()
        if grades.get(name, {}).get(exercise) != earned
    ]
    total = sum(len(earned) for earned in points.values())
    compared = sum(len(points[answers]) for answers in people.values())
    print(f"{compared} exercises compared, of {total} that differ; {len(wrong)} with other points")
    for name, exercise in wrong[:20]:
        print(f"  {name}, {exercise}: {grades.get(name, {}).get(exercise)}, counted {points[people[name]][exercise]}")
    print(f"at most {watch.most_processes} processes at a time, which held {watch.resident / 1e6:.0f} MB,")
    print(f"or {watch.proportional / 1e6:.0f} MB where pages that they share are counted once")
    return int(bool(wrong) or len(grades) != len(people) or watch.proportional >= MEMORY)


if __name__ == "__main__":
    sys.exit(main())
