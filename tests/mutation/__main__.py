"""Mutates the reference solutions and runs each mutant against its exercise's visible and hidden tests.

    python -m tests.mutation [MODULE] [--exercise ID] [--jobs N] [--list]

Prints for each exercise how many mutants there are, how many the visible tests kill, how many more the hidden ones, and
each survivor as a small diff. Survivors that no test can tell from the reference are explained in
tests/MODULE/equivalents/EXERCISE.toml. Exit status 1 where one is not explained, or an explanation is out of date.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, fields

from tito.course.module import find_module_name, load_module, module_names
from tito.course.project import Project, find_project

from ..solutions import joined, pieces_of
from .mutants import Mutant, explained, mutants

COLUMNS = "{:<20}{:>9}{:>11}{:>11}{:>11}{:>13}"


@dataclass
class Count:
    mutants: int = 0
    visible: int = 0
    hidden: int = 0
    explained: int = 0
    unexplained: int = 0

    def __iadd__(self, other: Count) -> Count:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    def row(self, name: str) -> str:
        return COLUMNS.format(name, *(getattr(self, field.name) for field in fields(self)))


def run(project: Project, module: str, exercise: str, jobs: int) -> tuple[Count, list[Mutant], list[str]]:
    """Counts, the survivors without an explanation, and the explanations that explain no survivor."""
    from .running import SURVIVED, judge, seconds_of

    found, reasons = mutants(project, module, exercise), explained(project, module, exercise)
    seconds = seconds_of(project, module, exercise, joined(pieces_of(project, module, exercise)))
    verdicts = judge(project, module, exercise, [mutant.text for mutant in found], jobs, seconds)
    alive = [mutant for mutant, verdict in zip(found, verdicts, strict=True) if verdict.killed_by == SURVIVED]
    left = [mutant for mutant in alive if mutant.key not in reasons]
    hidden = sum(verdict.by_hidden for verdict in verdicts)
    count = Count(len(found), len(found) - hidden - len(alive), hidden, len(alive) - len(left), len(left))
    stale = reasons.keys() - {mutant.key for mutant in alive}
    return count, left, [f"{where}\n{diff}" for where, diff in sorted(stale)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("module", nargs="?", help="a module's name, or its beginning; default: all")
    parser.add_argument("--exercise", metavar="ID", help="one exercise only")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time; default: 2")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    asked = parser.parse_args(argv)
    if not hasattr(os, "fork"):
        print("mutation forks a process for each mutant, which this platform cannot: run it on Linux or macOS")
        return 2
    project = find_project()
    names = [find_module_name(project, asked.module)] if asked.module else module_names(project)
    chosen = [(name, one.id) for name in names for one in load_module(project, name).exercises]
    chosen = [(name, exercise) for name, exercise in chosen if asked.exercise in (None, exercise)]
    if asked.list:
        for name, exercise in chosen:
            for mutant in mutants(project, name, exercise):
                print(f"{exercise}: {mutant.where}\n{mutant.diff}\n")
        return 0
    return report(project, chosen, asked.jobs)


def report(project: Project, chosen: list[tuple[str, str]], jobs: int) -> int:
    total, faults = Count(), 0
    print(COLUMNS.format("exercise", *(field.name for field in fields(Count))), flush=True)
    for name, exercise in chosen:
        count, left, stale = run(project, name, exercise, jobs)
        total += count
        faults += len(left) + len(stale)
        print(count.row(exercise), flush=True)
        for mutant in left:
            print(f"\n    survives in {mutant.where}:\n        " + mutant.diff.replace("\n", "\n        "), flush=True)
        for text in stale:
            print("\n    explained, but no such mutant survives: " + text.replace("\n", "\n        "), flush=True)
    print(total.row("all"))
    return 1 if faults else 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode = True  # of mutants
    sys.exit(main())
