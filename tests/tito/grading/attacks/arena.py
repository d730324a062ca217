"""Lets attacks loose on `tito grade`, each batch with an honest student in it, and reads what everybody earned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

from tito.course import notebook
from tito.course.module import Module

from ....catalogue import solved
from . import Attack, handed_in
from .scene import Scene, answers_to_it

HONEST = "honest"
SLOW_SECONDS = 12.0  # the limit of attacks that only a limit ends; the honest student needs one, on a machine at rest
SECONDS = 20.0  # and of all others: they end by themselves
UNSEEN = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
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
    acted: bool = True  # whether anything shows that the attack was made

    @property
    def held(self) -> bool:
        return self.status in ("graded", "refused") and self.earned in self.may_earn and not self.told and self.acted


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
            acted = name == HONEST or _acted(known[name], scene, message)
            secrets = scene.told(text) + _unseen(out, name)
            yield Row(name, family, earned, may, grade["status"], grade["seconds"], secrets, message, acted)


def _unseen(out: Path, name: str) -> list[str]:
    """The pages that hold what nobody sees: of the honest student the one about all."""
    pages = [out / "students" / f"{name}.html"] + [out / "index.html"] * (name == HONEST)
    return [f"unseen characters in {page.name}" for page in pages if UNSEEN.search(page.read_text(encoding="utf-8"))]


def _acted(attack: Attack, scene: Scene, message: str) -> bool:
    proof, answers = f"acted-{scene.token}", answers_to_it(scene.project)
    witnessed = answers.read_text(encoding="utf-8").splitlines() if answers.exists() else []
    told = f"{proof} {attack.name}" in witnessed or proof in message
    return told or bool(attack.shows and re.search(attack.shows, message))


def _hand_in(scene: Scene, module: Module, exercise: str, attacks: dict[str, Attack], folder: Path) -> None:
    """One folder a student, with the notebook of the attacked exercise; the honest student's is the reference."""
    cells = solved(scene.project, module)
    entry = module.notebook_of(exercise)
    given = notebook.load(scene.project, entry.path)
    for name in [HONEST, *attacks]:
        mine = handed_in(attacks[name], cells, scene.fill) if name in attacks else cells
        attack = attacks.get(name)
        page = json.dumps(page_of(given, mine) | json.loads(attack.notebook if attack else "{}"))
        place = folder / name / entry.path.with_suffix(".ipynb").name
        place.parent.mkdir(parents=True)
        if attack and attack.files:
            _zipped(place, page, [scene.fill(file, name) for file in attack.files], scene.fill(attack.code, name))
        else:
            place.write_text(page, encoding="utf-8")


def _zipped(notebook: Path, page: str, names: list[str], content: str) -> None:
    """The notebook in a zip, with entries of these names beside it."""
    with warnings.catch_warnings(), ZipFile(notebook.with_suffix(".zip"), "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # that a name comes twice
        archive.writestr(notebook.name, page)
        for name in names:
            member = ZipInfo(name.removeprefix("LINK "))
            member.external_attr = (0o120777 if name.startswith("LINK ") else 0o100644) << 16
            archive.writestr(member, content)


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
