"""A whole student: releases a module, solves it exercise by exercise, makes mistakes on the way, and hands it in.

Every command is called as a student calls it, in the released folder and with the `tito` that lies there. Run from the
project's root: `python benchmarks/whole_student.py [MODULE] [--all]`. Of the mistakes in `tests/MODULE/mistakes` one an
exercise is made, with --all every one. Exits 1 at the first thing that is not as `module.toml` and the mistakes say.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tito import course, editions, grafting, notebook, project
from tito.course import Exercise, Module
from tito.project import Project

ROOT = Path(__file__).parent.parent


def wanted(what: str, expected: Any, got: Any) -> None:
    if expected != got:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


@dataclass
class Student:
    """Somebody with a released folder, the reference to copy from, and a keyboard."""

    here: Project
    module: Module
    reference: Project

    def tito(self, *arguments: str, status: int | None = 0) -> str:
        env = os.environ | {"PYTHONPATH": str(self.here.root), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "tito", *arguments]
        done = subprocess.run(command, cwd=self.here.root, env=env, capture_output=True, encoding="utf-8")
        if status is not None and done.returncode != status:
            sys.exit(f"tito {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def report(self, command: str, *arguments: str) -> dict[str, Any]:
        path = self.here.root / "report.json"
        self.tito(command, self.module.name, *arguments, "--json", str(path), status=None)
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def write(self, exercise: Exercise, mistake: dict[str, Any] | None = None) -> None:
        """Write the reference's answer, or a mistake, into the exercise's cells."""
        path = self.module.notebook_of(exercise.id).path
        source = self.reference.root / path.relative_to(self.here.root)
        answer = notebook.load(self.reference, source)
        changes = [mistake, mistake.get("also")] if mistake else []
        sources = {
            cell.number: _answer(cell.source, [change for change in changes if change])
            for cell in grafting.cells_of(answer, exercise.id)
        }
        own = notebook.load(self.here, path)
        numbers = [cell.number for cell in grafting.cells_of(own, exercise.id)]
        text = grafting.replaced(own, dict(zip(numbers, sources.values(), strict=True)))
        path.write_text(text, encoding="utf-8", newline="\n")

    def stands(self, exercise: Exercise) -> tuple[str, str]:
        """How the exercise comes out now: status and message."""
        found = self.report("test", "--exercise", exercise.id)["exercises"][0]
        return found["status"], found["message"]


def _answer(source: str, changes: list[dict[str, str]]) -> str:
    """A cell's source without markers, changed between them."""
    pieces: list[tuple[bool, str]] = []
    for line in editions.lines(source):
        if line.marker is None:
            if pieces and pieces[-1][0] == line.inside:
                pieces[-1] = (line.inside, f"{pieces[-1][1]}\n{line.text}")
            else:
                pieces.append((line.inside, line.text))
    for change in changes:
        pieces = [
            (inside, text.replace(change["instead_of"], change["wrote"]) if inside else text) for inside, text in pieces
        ]
    return "\n".join(text for _, text in pieces)


def mistakes(reference: Project, module: Module, exercise: Exercise) -> list[dict[str, Any]]:
    path = reference.module_tests(module.name) / "mistakes" / f"{exercise.id}.toml"
    return list(tomllib.loads(path.read_text(encoding="utf-8"))["mistake"]) if path.is_file() else []


def err(student: Student, exercise: Exercise, mistake: dict[str, Any]) -> None:
    """Make a mistake, read the message, ask for a hint."""
    student.write(exercise, mistake)
    status, message = student.stands(exercise)
    wanted(f"{exercise.id}, {mistake['slip']}", "failed", status)
    if not re.search(mistake["says"], message):
        sys.exit(f"{exercise.id}, {mistake['slip']}: wanted a message like {mistake['says']!r}, got:\n{message}")
    student.tito("hint", exercise.id)


def main(arguments: list[str]) -> int:
    begun, everything = time.monotonic(), "--all" in arguments
    reference = project.find(ROOT)
    names = [name for name in arguments if not name.startswith("-")] or course.module_names(reference)[:1]
    table = course.load(reference, course.find_name(reference, names[0]))
    made = 0
    with tempfile.TemporaryDirectory(prefix="student ü ") as folder:
        here = Project(Path(folder, "class"))
        command = [sys.executable, "-m", "tito", "release", table.name, "--to", str(here.root)]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        size = sum(path.stat().st_size for path in here.root.rglob("*") if path.is_file())
        wanted("the edition is smaller than 5 MB", True, size < 5_000_000)
        student = Student(here, course.load(here, table.name), reference)
        first = student.report("test")
        wanted("stubs earn nothing", 0, first["points"])
        wanted("and are not started", {"not started"}, {found["status"] for found in first["exercises"]})
        points = 0
        for exercise in student.module.exercises:
            listed = mistakes(reference, table, exercise)
            for mistake in listed if everything else listed[:1]:
                err(student, exercise, mistake)
                made += 1
            student.write(exercise)
            wanted(exercise.id, ("passed", ""), student.stands(exercise))
            points += exercise.points
            wanted(f"points after {exercise.id}", points, student.report("status")["points"])
            print(f"{exercise.id:<24} {points:>4} of {table.points} points", flush=True)
        last = student.module.exercises[-1]
        student.tito("reset", last.id)
        wanted(f"{last.id} after a reset", "not started", student.stands(last)[0])
        student.write(last)
        told = student.tito("submit", "--name", "A whole student")
        with zipfile.ZipFile(here.root / f"{table.name}_submission.zip") as archive:
            manifest = json.loads(archive.read("manifest.json"))
            wanted("what submit says is in it", [], [name for name in archive.namelist() if f"  {name}  " not in told])
        wanted("points handed in", (table.points, table.points), (manifest["points"], manifest["of"]))
    seconds = time.monotonic() - begun
    print(f"handed in with {points} of {table.points} points after {made} mistakes, in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
