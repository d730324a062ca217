"""Lets attacks loose on `tito grade`, each batch with an honest student in it, and reads what everybody earned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tito.course import notebook
from tito.course.module import Module

from ....catalogue import solved
from . import Attack, handed_in
from .scene import Scene

HONEST = "honest"
SLOW_SECONDS = 12.0  # the limit of attacks that only a limit ends; the honest student needs one, on a machine at rest
SECONDS = 20.0  # and of all others: they end by themselves
GRADED = (0, 1)  # exit statuses: everybody passed, or not


@dataclass(frozen=True)
class Row:
    """What became of one submission."""

    name: str
    family: str
    earned: int
    may_earn: set[int]
    status: str
    seconds: float
    told: list[str]  # secrets that the report gives away
    message: str

    @property
    def held(self) -> bool:
        return self.status == "graded" and self.earned in self.may_earn and not self.told


def fight(scene: Scene, module: Module, attacks: list[Attack], jobs: int = 2) -> Iterator[Row]:
    """Every attack's row, and one row HONEST for every batch; a batch is an exercise, the slow apart."""

    def batch(attack: Attack) -> tuple[bool, str]:
        return attack.slow, attack.exercise

    for number, ((slow, exercise), some) in enumerate(groupby(sorted(attacks, key=batch), key=batch)):
        known = {attack.name: attack for attack in some}
        folder, out = scene.out / f"handed in {number}", scene.out / f"grades {number}"
        _hand_in(scene, module, exercise, known, folder)
        limit = SLOW_SECONDS if slow else SECONDS
        told = _graded(scene, ["--limit-seconds", str(limit), "--jobs", str(jobs), "--exercise", exercise], folder, out)
        points = next(item.points for item in module.exercises if item.id == exercise)
        for grade in told:
            name, text = grade["submission"], json.dumps(grade, ensure_ascii=False)
            earned = sum(outcome["points"] for outcome in grade["outcomes"])
            family, may = ("", {points}) if name == HONEST else (known[name].family, known[name].may_earn(points))
            message = "; ".join(outcome["message"] for outcome in grade["outcomes"])
            yield Row(name, family, earned, may, grade["status"], grade["seconds"], scene.told(text), message)


def _hand_in(scene: Scene, module: Module, exercise: str, attacks: dict[str, Attack], folder: Path) -> None:
    """One folder a student, with the notebook of the attacked exercise; the honest student's is the reference."""
    cells = solved(scene.project, module)
    entry = module.notebook_of(exercise)
    given = notebook.load(scene.project, entry.path)
    for name in [HONEST, *attacks]:
        mine = handed_in(attacks[name], cells, scene.fill) if name in attacks else cells
        page = page_of(given, mine)
        place = folder / name / entry.path.with_suffix(".ipynb").name
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(page), encoding="utf-8")


def page_of(given: notebook.Document, cells: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """A notebook as a student hands it in, with these cells; an exercise without any is missing."""
    written, left = list[str](), {exercise: list(sources) for exercise, sources in cells.items()}
    for cell in given.code:
        if cell.exercise is None:
            written.append(cell.source)
        elif left.get(cell.exercise):
            written.append(f"#| export\n#| exercise: {cell.exercise}\n{left[cell.exercise].pop(0)}")
    code: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    found = [code | {"id": f"cell-{number}", "source": source} for number, source in enumerate(written)]
    return {"cells": found, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _graded(scene: Scene, options: list[str], folder: Path, out: Path) -> list[dict[str, Any]]:
    report = out.with_suffix(".json")
    command = [sys.executable, "-m", "tito", "--project", str(scene.project.root), "grade", "17_quantization"]
    command += [str(folder), "--out", str(out), "--json", str(report), *options]
    env = os.environ | {"PYTHONPATH": str(scene.project.root)}
    done = subprocess.run(command, cwd=scene.out, env=env, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode not in GRADED:
        raise RuntimeError(f"tito grade ended with status {done.returncode}: {done.stdout}{done.stderr}")
    return list(json.loads(report.read_text(encoding="utf-8"))["grades"])
