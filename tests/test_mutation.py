"""Mutants of reference solutions: what is made, that survivors are told, and that explanations are up to date."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tito.course.module import load_module, module_names
from tito.course.project import Project

from .mutation.mutants import Mutant, explained, mutants
from .solutions import joined, pieces_of
from .tito.toy_course import copy_toy

ROOT = Path(__file__).parent.parent
PROJECT = Project(ROOT)
EXERCISES = [(name, one.id) for name in module_names(PROJECT) for one in load_module(PROJECT, name).exercises]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="mutation forks a process for each mutant")


@pytest.fixture(scope="module")
def all_mutants() -> dict[tuple[str, str], list[Mutant]]:
    return {(module, exercise): mutants(PROJECT, module, exercise) for module, exercise in EXERCISES}


def test_there_are_fifteen_hundred_mutants_and_some_of_every_exercise(
    all_mutants: dict[tuple[str, str], list[Mutant]],
) -> None:
    assert sum(map(len, all_mutants.values())) >= 1500
    assert min(map(len, all_mutants.values())) >= 20


def test_mutants_are_python_and_differ_from_the_reference_and_from_each_other() -> None:
    module, exercise = EXERCISES[0]
    reference = ast.dump(ast.parse(joined(pieces_of(PROJECT, module, exercise))))
    trees = [ast.dump(ast.parse(mutant.text)) for mutant in mutants(PROJECT, module, exercise)]
    assert len({reference, *trees}) == 1 + len(trees)


def test_a_place_and_a_diff_name_one_mutant(all_mutants: dict[tuple[str, str], list[Mutant]]) -> None:
    for exercise, made in all_mutants.items():
        keys = [mutant.key for mutant in made]
        twice = {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else set()
        assert not twice, f"{exercise}: {twice}"


def test_every_explanation_is_of_a_mutant(all_mutants: dict[tuple[str, str], list[Mutant]]) -> None:
    for (module, exercise), made in all_mutants.items():
        stale = explained(PROJECT, module, exercise).keys() - {mutant.key for mutant in made}
        assert not stale, f"{exercise}: no mutant is like {stale}"


def mutation(
    root: Path, *arguments: str, python: tuple[str, ...] = ("-m", "tests.mutation")
) -> subprocess.CompletedProcess[str]:
    """Run the command in a course's folder. Its folder of tests and ours are one namespace package."""
    command = [sys.executable, *python, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, encoding="utf-8", timeout=300)


@needs_fork
def test_survivors_are_told_until_they_are_explained(tmp_path: Path) -> None:
    root = copy_toy(tmp_path)
    weak = root / "tests" / "01_toy" / "test_double.py"
    weak.write_text("def test_2(student):\n    assert student.double(2) == 4\n", encoding="utf-8")
    said = mutation(root, "01", "--exercise", "double")
    assert said.returncode == 1, said.stderr
    survivor = "- return 2 * x\n        + return 2 + x"
    assert f"survives in double:\n        {survivor}" in said.stdout
    assert said.stdout.splitlines()[-1].split()[-1] != "0"

    table = root / "tests" / "01_toy" / "equivalents" / "double.toml"
    table.parent.mkdir()
    diffs = [part.split("\n\n")[0] for part in said.stdout.split("survives in double:\n")[1:]]
    entries = "".join(f"'''\n{_unindented(diff)}\n''',\n" for diff in diffs)
    table.write_text(
        f'[[equivalent]]\nwhere = "double"\nwhy = "only 2 is tried"\ndiffs = [{entries}]\n', encoding="utf-8"
    )
    said = mutation(root, "01", "--exercise", "double")
    assert said.returncode == 0, said.stdout
    assert said.stdout.splitlines()[-1].split()[-1] == "0"

    weak.write_text("def test_3(student):\n    assert student.double(3) == 6\n", encoding="utf-8")
    said = mutation(root, "01", "--exercise", "double")
    assert said.returncode == 1 and "explained, but no such mutant survives" in said.stdout


def _unindented(diff: str) -> str:
    lines = (line.strip() for line in diff.split("\n"))
    return "\n".join(line for line in lines if line.startswith(("+", "-", "@")))


@needs_fork
def test_a_mutant_without_end_is_killed_by_its_time(tmp_path: Path) -> None:
    asked = "judge(find_project(), '01_toy', 'double', ['while True: pass'], jobs=1, seconds=1)"
    code = f"from tests.mutation.running import judge; from tito.course.project import find_project; print({asked})"
    said = mutation(copy_toy(tmp_path), python=("-c", code))
    assert "killed_by='the limit of time or memory'" in said.stdout, said.stderr
