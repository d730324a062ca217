"""A Gradescope autograder: the zip that is uploaded, and what runs in Gradescope's container.

There, `python -m tito.formats.gradescope MODULE SUBMISSION RESULTS` takes the exercises' cells out of the submitted
notebooks, puts them into those that were given, tests, and writes results.json as Gradescope defines it.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

from tito import archive, course, exporting, files, grafting, notebook, project, release, testing
from tito.course import Exercise, Module, Notebook
from tito.errors import TitoError
from tito.project import Project
from tito.release import Tree
from tito.testing import Outcome

SCRIPTS = ("setup.sh", "run_autograder")
WITHHELD = "withheld"  # hidden tests, beside the course: put in place once the visible ones have passed


def upload(here: Project, module: Module) -> Tree:
    """autograder.zip, and a README that says where it goes."""
    inside: Tree = {name: _script(name, module) for name in SCRIPTS}
    inside |= {f"course/{name}": data for name, data in release.student_edition(here, module).items()}
    hidden = here.test_files(module.name, "any")[1].parent
    for path in sorted(hidden.glob("*.py")):
        inside[f"{WITHHELD}/{path.name}"] = path.read_bytes()
    packed = archive.pack(inside, frozenset(SCRIPTS))
    return {"README.md": release.readme(here, module, "gradescope.md").encode(), "autograder.zip": packed}


def _script(name: str, module: Module) -> bytes:
    text = resources.files("tito").joinpath("templates", f"gradescope_{name}").read_text(encoding="utf-8")
    return text.replace("MODULE_NAME", module.name).encode()


def grade(here: Project, module: Module, submission: Path, withheld: Path) -> dict[str, Any]:
    """Gradescope's results for one submission. What a hidden test asks, and what came, is not told."""
    begun = time.monotonic()
    missing = _take_over(here, module, submission)
    outcomes = {outcome.id: outcome for outcome in _test(here, module, list(module.exercises))}
    passed = [exercise for exercise in module.exercises if outcomes[exercise.id].status == "passed"]
    target = here.test_files(module.name, "any")[1].parent
    if withheld.is_dir() and passed:
        shutil.copytree(withheld, target, dirs_exist_ok=True)
        for outcome in _test(here, module, passed):
            if outcome.status != "passed":
                told = "The tests that you have pass, but a hidden one does not: which inputs did you not think of?"
                outcomes[outcome.id] = Outcome(outcome.id, outcome.title, 0, outcome.of, outcome.status, told)
        shutil.rmtree(target)
    tests = [entry(number, outcome) for number, outcome in enumerate(outcomes.values(), 1)]
    head: dict[str, Any] = {"score": sum(test["score"] for test in tests)}
    head |= {"execution_time": round(time.monotonic() - begun), "stdout_visibility": "hidden", "visibility": "visible"}
    return head | ({"output": missing} if missing else {}) | {"tests": tests}


def entry(number: int, outcome: Outcome) -> dict[str, Any]:
    return {
        "number": str(number),
        "name": f"{outcome.id}: {outcome.title}",
        "score": outcome.points,
        "max_score": outcome.of,
        "status": "passed" if outcome.status == "passed" else "failed",
        "output": outcome.message or "passed",
        "output_format": "text",
        "visibility": "visible",
    }


def _test(here: Project, module: Module, exercises: list[Exercise]) -> list[Outcome]:
    made = exporting.make(here, module)
    exporting.write(here, made)
    return list(testing.run(here, module, made, exercises))


def _take_over(here: Project, module: Module, submission: Path) -> str:
    """Put the submitted exercises into the given notebooks, and tell what is missing or does not fit."""
    told = []
    for entry in module.notebooks:
        given = here.released(entry.path).read_text(encoding="utf-8")
        files.write_whole([(entry.path, given)])
        found = [path for path in sorted(submission.rglob("*")) if _is(path, entry)]
        if not found:
            told.append(f"{entry.path.name} (or .ipynb) is not in the submission.")
            continue
        told += _take_exercises(here, module, entry, found[0])
    return "\n".join(told)


def _is(path: Path, entry: Notebook) -> bool:
    return path.is_file() and path.stem == entry.path.stem and path.suffix in (".py", ".ipynb")


def _take_exercises(here: Project, module: Module, entry: Notebook, path: Path) -> list[str]:
    told = []
    try:
        student = notebook.load(here, path)
    except TitoError as error:
        return [str(error)]
    for exercise in entry.exercises:
        before = entry.path.read_text(encoding="utf-8")
        files.write_whole([(entry.path, grafting.graft(notebook.load(here, entry.path), student, (exercise,)))])
        try:
            exporting.make(here, module)
        except TitoError as error:
            files.write_whole([(entry.path, before)])
            told.append(f"{exercise.id} is left out: {error}")
    return told


def main(arguments: list[str]) -> int:
    """MODULE SUBMISSION RESULTS, called in the course's folder."""
    name, submission, results = arguments
    here = project.find()
    try:
        told = grade(here, course.load(here, name), Path(submission), here.root.parent / WITHHELD)
    except TitoError as error:
        told = {"score": 0, "output": f"The autograder could not run: {error}", "stdout_visibility": "hidden"}
    files.write_whole([(Path(results), json.dumps(told, indent=2) + "\n")])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
