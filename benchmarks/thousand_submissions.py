"""Grades a class of 1 000 with the real `tito grade` and compares every point with what `tito test` gives.

The class is made up from partial work, the mistakes in `tests/MODULE/mistakes` and other right answers. Many people
have the same answers, and the grader runs those once; with --signed every cell has a comment of its author's own, so
that all differ, and it runs every one. The count that it is compared with owes the grader nothing: each set of answers
is written into a copy of the course and tested there as on a student's machine, in one process with the tests, without
intake, box, channel or judge. Run from the project's root, on Linux: `python benchmarks/thousand_submissions.py`.
Exits 1 unless all points are equal and the memory of all processes stays below MEMORY.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from made_up_class import Answers, MadeUp
from process_tree import below, memory

from tito import course, exporting, files, project, testing
from tito.course import Exercise, Module
from tito.project import PYPROJECT, Project

ROOT = Path(__file__).parent.parent
MODULE = "17_quantization"
MEMORY = 500_000_000  # bytes
Points = dict[str, int]  # exercise -> points


def copy(here: Project, folder: Path) -> Project:
    """The course with its hidden tests, for one process that writes into it."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*", "mistakes", "alternatives")
    for name in ("modules", here.package_name, "tito", f"tests/{MODULE}"):
        shutil.copytree(here.root / name, folder / name, ignore=unwanted, dirs_exist_ok=True)
    shutil.copy(here.root / PYPROJECT, folder / PYPROJECT)
    return Project(folder)


def tested(mine: Project, module: Module, chosen: list[Exercise]) -> Points:
    """What `tito test` gives for these exercises."""
    made = exporting.make(mine, module)
    exporting.write(mine, made)
    return {outcome.id: outcome.points for outcome in testing.run(mine, module, made, chosen)}


def counted(
    made_up: MadeUp, everything: set[Answers], chosen: list[Exercise], folder: Path, jobs: int
) -> dict[Answers, Points]:
    """The points of each set of answers as a student would see them. What an earlier call has counted is read."""
    free = [copy(made_up.project, folder / f"copy {number}") for number in range(jobs)]
    points = dict[Answers, Points]()

    def count(answers: Answers) -> None:
        kept = folder / f"{hashlib.sha256(repr((answers, chosen)).encode()).hexdigest()}.json"
        if not kept.is_file():
            mine = free.pop()
            module = course.load(mine, MODULE)
            for name, text in made_up.notebooks(answers).items():
                (mine.module(MODULE) / name).write_text(text, encoding="utf-8")
            files.write_whole([(kept, json.dumps(tested(mine, module, chosen)))])
            free.append(mine)
        points[answers] = json.loads(kept.read_text(encoding="utf-8"))

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(count, sorted(everything)))
    return points


class Watch(threading.Thread):
    """The most memory that a process and all below it held at a time, now or in an earlier call."""

    def __init__(self, process: int, kept: Path) -> None:
        super().__init__(daemon=True)
        self._process, self._kept = process, kept
        self.most = Counter[str](json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {})

    def run(self) -> None:
        while Path(f"/proc/{self._process}/stat").exists():
            found = [self._process, *below(self._process)]
            resident, proportional = memory(found)
            before = self.most.copy()
            self.most |= {"processes": len(found), "resident": resident, "proportional": proportional}
            if self.most != before:
                files.write_whole([(self._kept, json.dumps(self.most))])
            time.sleep(0.1)


def graded(
    here: Project, chosen: list[Exercise], folder: Path, options: list[str]
) -> tuple[dict[str, Points], Counter[str], float]:
    """Run the real command; its grades.csv, what it held, how long it took."""
    command = [sys.executable, "-m", "tito", "--project", str(here.root), "grade", MODULE, str(folder / "in")]
    begun = time.monotonic()
    process = subprocess.Popen([*command, "--out", str(folder / "out"), *options], stdout=subprocess.DEVNULL)
    watch = Watch(process.pid, folder / "memory.json")
    watch.start()
    status = process.wait()
    if status != 0:
        sys.exit(f"tito grade ended with status {status}")
    ids = [exercise.id for exercise in chosen]
    with (folder / "out" / "grades.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["submission"]: {name: int(row[name]) for name in ids} for row in csv.DictReader(stream)}
    return rows, watch.most, time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--distinct", type=int, default=100, help="sets of answers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--signed", action="store_true", help="let all differ")
    parser.add_argument("--exercise", help="only this one, which takes a tenth of the time")
    parser.add_argument("--folder", type=Path, help="work here, and go on from what is there")
    parser.add_argument("--unsafe", action="store_true", help="without a box")
    asked = parser.parse_args()
    if asked.folder:
        return compare(asked, asked.folder)
    with tempfile.TemporaryDirectory(prefix="thousand ü ") as temporary:
        return compare(asked, Path(temporary))


def compare(asked: argparse.Namespace, folder: Path) -> int:
    here = project.find(ROOT)
    made_up = MadeUp(here, course.load(here, MODULE))
    people = dict(made_up.people(asked.people, asked.distinct, asked.seed))
    shared = {} if asked.signed else {answers: made_up.notebooks(answers) for answers in set(people.values())}
    for name, answers in people.items():
        (folder / "in" / name).mkdir(parents=True, exist_ok=True)
        for file, text in (shared.get(answers) or made_up.notebooks(answers, name)).items():
            (folder / "in" / name / file).write_text(text, encoding="utf-8")
    options = ["--jobs", str(asked.jobs), *(["--unsafe"] if asked.unsafe else [])]
    options += ["--exercise", asked.exercise] if asked.exercise else []
    chosen = [item for item in made_up.module.exercises if asked.exercise in (None, item.id)]
    grades, most, seconds = graded(here, chosen, folder, options)
    print(f"graded {len(grades)} of {len(people)} submissions, this call in {seconds:.0f} s", flush=True)
    begun = time.monotonic()
    points = counted(made_up, set(people.values()), chosen, folder / "counted", asked.jobs)
    print(f"counted {len(points)} sets of answers in process, this call in {time.monotonic() - begun:.0f} s")
    wrong = [
        f"{name}, {exercise}: {grades.get(name, {}).get(exercise)}, counted {earned}"
        for name, answers in people.items()
        for exercise, earned in points[answers].items()
        if grades.get(name, {}).get(exercise) != earned
    ]
    compared = sum(len(points[answers]) for answers in people.values())
    earned = sum(sum(points[answers].values()) for answers in people.values())
    print(f"compared {compared} exercises, which earn {earned} points: {len(wrong)} differ")
    print("\n".join(wrong[:20]))
    print(f"at most {most['processes']} processes at a time; at most {most['resident'] / 1e6:.0f} MB in all of them,")
    print(f"or {most['proportional'] / 1e6:.0f} MB where memory that several share is counted once")
    return int(bool(wrong) or len(grades) != len(people) or most["proportional"] >= MEMORY)


if __name__ == "__main__":
    sys.exit(main())
