"""A whole student: releases a module, solves it exercise by exercise, makes mistakes on the way, and hands it in.

Every command is called as a student calls it, in the released folder and with the `tito` that lies there.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tito.course import notebook, replacing
from tito.course.module import Exercise, Module, load_module
from tito.course.project import Project

from ..catalogue import Answer, answers
from .commands import released, tito

ANY = (0, 1)  # exit statuses of `tito test`: everything passed, or not


@dataclass
class Student:
    """Somebody with a released folder, the reference to copy from, and a keyboard."""

    here: Project
    module: Module
    reference: Project

    def report(self, command: str, *arguments: str) -> dict[str, Any]:
        path = self.here.root / "report.json"
        tito(self.here, command, self.module.name, *arguments, "--json", path, may_end_with=ANY)
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def write(self, answer: Answer) -> None:
        """Write an answer into the exercise's cells."""
        path = self.module.notebook_of(answer.exercise).path
        reference = notebook.load(self.reference, self.reference.root / path.relative_to(self.here.root))
        own = notebook.load(self.here, path)
        numbers = [cell.number for cell in replacing.cells_of(own, answer.exercise)]
        sources = answer.cells(reference).values()
        text = replacing.replaced(own, dict(zip(numbers, sources, strict=True)))
        path.write_text(text, encoding="utf-8", newline="\n")

    def stands(self, exercise: Exercise) -> tuple[str, str]:
        """How the exercise comes out now: status and message."""
        found = self.report("test", "--exercise", exercise.id)["exercises"][0]
        return found["status"], found["message"]

    def err(self, exercise: Exercise, mistake: Answer) -> None:
        """Make a mistake, read the message, ask for a hint."""
        self.write(mistake)
        status, message = self.stands(exercise)
        assert status == "failed", f"{mistake.name}: {mistake.slip}"
        assert re.search(mistake.says, message), f"{mistake.slip}: wanted {mistake.says!r}, got:\n{message}"
        tito(self.here, "hint", exercise.id)


@pytest.mark.parametrize(
    "most",
    [pytest.param(1, marks=pytest.mark.e2e), pytest.param(None, marks=pytest.mark.nightly)],
    ids=["one mistake an exercise", "every mistake"],
)
def test_a_whole_student_earns_every_point_and_hands_it_in(
    most: int | None, here: Project, module: Module, tmp_path: Path
) -> None:
    folder = released(here, module, tmp_path / "student ü" / "class")
    assert sum(path.stat().st_size for path in folder.root.rglob("*") if path.is_file()) < 5_000_000
    student = Student(folder, load_module(folder, module.name), here)
    begun = student.report("test")
    assert (begun["points"], {found["status"] for found in begun["exercises"]}) == (0, {"not started"})

    points = 0
    for exercise in module.exercises:
        for mistake in answers(here, module.name, exercise.id, "mistake")[:most]:
            student.err(exercise, mistake)
        student.write(Answer(exercise.id))
        assert student.stands(exercise) == ("passed", "")
        points += exercise.points
        assert student.report("status")["points"] == points, f"after {exercise.id}"

    last = student.module.exercises[-1]
    tito(folder, "reset", last.id)
    assert student.stands(last)[0] == "not started"
    student.write(Answer(last.id))
    _hand_in(student, points)


def _hand_in(student: Student, points: int) -> None:
    told = tito(student.here, "submit", "--name", "A whole student")
    with zipfile.ZipFile(Path(student.here.root, f"{student.module.name}_submission.zip")) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert [name for name in archive.namelist() if f"  {name}  " not in told] == [], "submit says what is in it"
    assert (manifest["points"], manifest["max_points"]) == (points, student.module.points)
