"""nbgrader takes what `tito release --format nbgrader` makes: generate, validate, autograde, feedback, three students.

Needs nbgrader beside this course in one environment: `pip install nbgrader`, then `python benchmarks/nbgrader_round.py`
[MODULE]. Exits 1 unless nobody (the stubs) earns 0, first (the first exercise solved) its points, and reference all.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tito import course, project, release

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
STUDENTS = ("nobody", "first", "reference")


def run(folder: Path, *command: str) -> str:
    """What an nbgrader command printed, that is, logged; its failure ends the script."""
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(BIN / "nbgrader"), *command], cwd=folder, env=env, capture_output=True, encoding="utf-8")
    print(f"nbgrader {' '.join(command)}: exit status {done.returncode}")
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def solve(page: dict[str, Any], source: dict[str, Any], exercises: set[str]) -> dict[str, Any]:
    """The released notebook with the solution cells of these exercises put in, as a student would write them."""
    answers = {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in source["cells"] if cell["metadata"]}
    for cell in page["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if re.sub(r"-\d+$", "", name) in exercises and cell["metadata"]["nbgrader"]["solution"]:
            cell["source"] = answers[name]["source"]
    return page


def main() -> int:
    here = project.find(ROOT)
    module = course.load(
        here, course.find_name(here, sys.argv[1] if len(sys.argv) > 1 else course.module_names(here)[0])
    )
    all_ids = {exercise.id for exercise in module.exercises}
    solved = {"nobody": set[str](), "first": {module.exercises[0].id}, "reference": all_ids}
    wanted = {"nobody": 0, "first": module.exercises[0].points, "reference": module.points}
    with tempfile.TemporaryDirectory(prefix="nbgrader_") as temporary:
        folder = Path(temporary, "course")
        command = [sys.executable, "-m", "tito", "release", module.name, "--to", str(folder), "--format", "nbgrader"]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        run(folder, "generate_assignment", module.name)
        given = folder / "release" / module.name
        tree = {str(path): path.read_bytes() for path in given.rglob("*") if path.is_file()}
        leaks = list(release.leaks(release.solutions(here), tree))
        hidden = [name for name, data in tree.items() if b"hidden=" in data or b"SOLUTION" in data]
        print(f"released: {len(tree)} files, {len(leaks)} lines of solutions, {len(hidden)} files with hidden tests")
        for student in STUDENTS:
            for path in sorted(given.glob("*.ipynb")):
                source = json.loads((folder / "source" / module.name / path.name).read_text(encoding="utf-8"))
                page = solve(json.loads(path.read_text(encoding="utf-8")), source, solved[student])
                target = folder / "submitted" / student / module.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(page), encoding="utf-8")
        books = [path.name for path in sorted(given.glob("*.ipynb"))]
        verdicts = {
            name: [run(folder / at / module.name, "validate", book) for book in books]
            for name, at in {"source": "source", "release": "release"}.items()
        }
        valid = all("Success" in text for text in verdicts["source"])
        failing = all("failed" in text for text in verdicts["release"])
        print(f"validate: the source passes: {valid}; the stubs do not: {failing}")
        run(folder, "autograde", module.name)
        run(folder, "generate_feedback", module.name)
        pages = len(list((folder / "feedback").rglob("*.html")))
        run(folder, "export")
        with (folder / "grades.csv").open(encoding="utf-8", newline="") as stream:
            scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(stream)}
        for student in STUDENTS:
            print(f"{student:<10} {scores[student]:>5g} of {module.points} points, wanted {wanted[student]}")
        print(f"feedback: {pages} pages for {len(STUDENTS)} students and {len(books)} notebooks")
    right = scores == wanted and valid and failing and not leaks and not hidden
    return 0 if right and pages == len(STUDENTS) * len(books) else 1


if __name__ == "__main__":
    sys.exit(main())
