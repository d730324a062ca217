"""Gradescope's round, played where its container is not: the zip of `tito release --format gradescope` is unpacked,
`setup.sh` run once, then `run_autograder` for four submissions, with the folders and files that Gradescope makes.

Needs Linux, and what pip needs: setup.sh installs the course into an environment of its own. Every results.json must be
as Gradescope defines it: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import jupytext
import pytest

from tito.course import markers, notebook, replacing
from tito.course.module import Module
from tito.course.project import Project

from .commands import released

HEAD = {"score", "execution_time", "output", "visibility", "stdout_visibility", "tests"}
TEST = {"number", "name", "score", "max_score", "status", "output", "output_format", "visibility"}
VISIBLE = {"hidden", "after_due_date", "after_published", "visible"}


def run(home: Path, script: Path) -> float:
    """Run a script as the container does: in its folder, with next to nothing in the environment. Returns seconds."""
    begun = time.monotonic()
    env = {name: os.environ[name] for name in ("PATH", "PIP_CONFIG_FILE", "PIP_INDEX_URL") if name in os.environ}
    env |= {"HOME": str(home), "AUTOGRADER": str(home)}
    done = subprocess.run([str(script)], cwd=home, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{script.name}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return time.monotonic() - begun


def unpack(archive: Path, home: Path) -> None:
    """The zip in source/, run_autograder beside it; what the zip says may be executed may be."""
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            Path(packed.extract(entry, home / "source")).chmod(entry.external_attr >> 16)
    shutil.copy(home / "source" / "run_autograder", home)


def submissions(here: Project, module: Module) -> dict[str, tuple[dict[str, str], int]]:
    """Who hands in -> the files, and the points they should earn."""
    reference = {entry.path.name: entry.path.read_text(encoding="utf-8") for entry in module.notebooks}
    stubs = {name: markers.stub(text) for name, text in reference.items()}
    pages = {
        name.replace(".py", ".ipynb"): jupytext.writes(jupytext.reads(text, fmt=notebook.PERCENT), fmt="ipynb")
        for name, text in reference.items()
    }
    book, first = module.notebooks[0].path, module.exercises[0]
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, book.name)
        given.write_text(stubs[book.name], encoding="utf-8")
        solved = replacing.graft(notebook.load(here, given), notebook.load(here, book), (first,))
    return {
        "nobody": (stubs, 0),
        "first": (stubs | {book.name: solved}, first.points),
        "reference": (reference, module.points),
        "in Jupyter": (pages, module.points),
    }


def problems(result: dict[str, Any], module: Module) -> list[str]:
    """Where a results.json is not what Gradescope's definition says, or not about this module."""
    tests = result["tests"]
    found = [f"unknown key {key}" for key in sorted(result.keys() - HEAD)]
    found += [f"unknown key {key} of a test" for test in tests for key in sorted(test.keys() - TEST)]
    found += [f"{test['name']}: {test['status']}" for test in tests if test["status"] not in ("passed", "failed")]
    found += [f"{test['name']}: no text" for test in tests if not (test["output"] and isinstance(test["output"], str))]
    found += [f"visibility {shown}" for shown in {result["visibility"], result["stdout_visibility"]} - VISIBLE]
    if [test["max_score"] for test in tests] != [exercise.points for exercise in module.exercises]:
        found.append("the tests are not the exercises")
    if result["score"] != sum(test["score"] for test in tests):
        found.append("the score is not the sum of the tests' scores")
    return found


@pytest.mark.nightly
def test_gradescope_shows_the_points_of_every_submission(here: Project, module: Module, tmp_path: Path) -> None:
    made, home = tmp_path / "made", tmp_path / "autograder"
    released(here, module, made, "--format", "gradescope")
    unpack(made / "autograder.zip", home)
    print(f"setup.sh: {run(home, home / 'source' / 'setup.sh'):.0f} s")
    for who, (files, points) in submissions(here, module).items():
        shutil.rmtree(home / "submission", ignore_errors=True)
        (home / "submission").mkdir()
        for name, text in files.items():
            (home / "submission" / name).write_text(text, encoding="utf-8")
        seconds = run(home, home / "run_autograder")
        result = json.loads((home / "results" / "results.json").read_text(encoding="utf-8"))
        print(f"{who:<10} {result['score']:>3} of {module.points} points, wanted {points}, {seconds:.0f} s")
        assert problems(result, module) == [], who
        assert result["score"] == points and "output" not in result, who
