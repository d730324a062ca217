"""How fast `tito grade` is beside `nbgrader autograde` on the same honest submissions, and what a hostile one adds.

    python benchmarks/grading_speed.py [--count 12] [--jobs 2] [--nbgrader PYTHON]

Whole modules are graded: the reference, other right answers, partial work, mistakes; each submission is another one.
Without --nbgrader, or where that PYTHON has no nbgrader, only our own times are printed. The exit status is 1 where the
scores differ, where nbgrader is not 10 times slower, or where a hostile submission adds more than its own limit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import graders
from tests.tito.grading.attacks import solved
from tests.tito.grading.attacks.arena import page_of
from tito import course, notebook
from tito.course import Module
from tito.project import Project

ROOT = Path(__file__).resolve().parents[1]
MODULE = "17_quantization"
WANTED_RATIO = 10.0
LIMIT_SECONDS = 20.0  # of a submission, where hostile ones are measured
HOSTILE = {
    "a loop": "while True:\n    pass\n",
    "a loop in every cell": "while True:\n    pass\n",
    "a fork bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n",
    "4 GiB": "ballast = np.ones(4 << 30, np.uint8)\n",
    "1 GB of output": "import os\nfor _ in range(1000):\n    os.write(1, b'x' * 1_000_000)\n",
}
Cells = Mapping[str, tuple[str, ...]]


def answers(project: Project, kind: str) -> dict[str, list[dict[str, Any]]]:
    """Exercise -> what else may be written for it: kind is "mistake" or "alternative"."""
    folder = project.module_tests(MODULE) / f"{kind}s"
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8"))[kind] for path in sorted(folder.glob("*.toml"))}


def rewritten(sources: tuple[str, ...], entry: dict[str, Any]) -> tuple[str, ...]:
    """An exercise's cells with one of those answers in them."""
    for change in (part for part in (entry, entry.get("also")) if part):
        sources = tuple(source.replace(change["instead_of"], change["wrote"]) for source in sources)
    return sources


def submissions(project: Project, module: Module, count: int) -> dict[str, Cells]:
    """So many different ones: name -> cells."""
    cells, right, wrong = solved(project, module), answers(project, "alternative"), answers(project, "mistake")
    ids = [exercise.id for exercise in module.exercises]
    found: dict[str, Cells] = {"reference": cells}
    for number in range(count - 1):
        kind, turn = ("other answers", "mistakes", "partial")[number % 3], number // 3
        mine = dict(cells)
        for place, exercise in enumerate(ids):
            if kind == "other answers" and right.get(exercise):
                mine[exercise] = rewritten(cells[exercise], right[exercise][turn % len(right[exercise])])
            elif kind == "mistakes" and place % 5 == turn % 5:
                mine[exercise] = rewritten(cells[exercise], wrong[exercise][turn % len(wrong[exercise])])
            elif kind == "partial" and place >= len(ids) - 3 - 4 * (turn % 4):
                mine.pop(exercise)
        found[f"{kind} {turn + 1}"] = mine
    return found


def hand_in(project: Project, module: Module, who: Mapping[str, Cells], folder: Path) -> None:
    """One folder a student, with all notebooks in it."""
    for name, cells in who.items():
        for entry in module.notebooks:
            target = folder / name / entry.path.with_suffix(".ipynb").name
            target.parent.mkdir(parents=True, exist_ok=True)
            page = page_of(notebook.load(project, entry.path), cells)
            target.write_text(json.dumps(page), encoding="utf-8")


def tito_grade(folder: Path, out: Path, *options: str) -> tuple[dict[str, float], float]:
    """Scores and seconds of the whole command, its start included."""
    report = out.with_suffix(".json")
    command = [sys.executable, "-m", "tito", "grade", MODULE, str(folder), "--out", str(out), "--json", str(report)]
    begun = time.monotonic()
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment(), capture_output=True, encoding="utf-8")
    seconds = time.monotonic() - begun
    if not report.is_file():
        sys.exit(done.stdout + done.stderr)
    grades = json.loads(report.read_text(encoding="utf-8"))["grades"]
    return {grade["submission"]: sum(o["points"] for o in grade["outcomes"]) for grade in grades}, seconds


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def throughput(module: Module, count: int, jobs: int, python: Path | None, folder: Path) -> bool:
    """Print both graders' rates on the same submissions; whether all is as wanted."""
    project = Project(ROOT)
    who = {re.sub(r"\W+", "-", name): cells for name, cells in submissions(project, module, count).items()}
    hand_in(project, module, who, folder / "handed in")
    ours, seconds = tito_grade(folder / "handed in", folder / "ours", "--jobs", str(jobs))
    rate = 60 * len(who) / seconds
    print(f"tito grade --jobs {jobs}: {len(who)} submissions in {seconds:.1f} s, {rate:.0f} a minute")
    theirs, ratio = dict[str, float](), WANTED_RATIO
    if python and graders.version(python, "nbgrader"):
        graded = graders.nbgrader(python, project, module, who, module.exercises, environment())
        theirs, ratio = graded.scores, graded.seconds / seconds
        each = f"{60 * len(who) / graded.seconds:.1f} a minute; tito grade is {ratio:.1f} times as fast"
        print(f"nbgrader {graders.version(python, 'nbgrader')} autograde: {graded.seconds:.1f} s, {each}")
    differ = 0
    for name in who:
        beside = f"{theirs.get(name, 0.0):>5g}" if theirs else ""
        different = bool(theirs) and theirs.get(name) != ours[name]
        differ += different
        print(f"  {name:<20} {ours[name]:>4g} of {module.points} {beside}{'  differs' if different else ''}")
    return ratio >= WANTED_RATIO and not differ


def latency(module: Module, jobs: int, folder: Path) -> bool:
    """Print what each hostile submission adds to a batch of honest ones; whether that is within its limit."""
    project, held = Project(ROOT), True
    cells = solved(project, module)
    honest = {name: who for name, who in submissions(project, module, 4).items() if not name.startswith("partial")}
    limit = ["--limit-seconds", str(LIMIT_SECONDS), "--jobs", str(jobs)]
    alone = 0.0
    for number, what in enumerate(["nobody", *HOSTILE]):
        mine = dict(cells)
        if what in HOSTILE:
            for exercise in cells if "every cell" in what else ["choose_qparams"]:
                mine[exercise] = (HOSTILE[what], *cells[exercise][1:])
        who = honest | ({"a hostile one": mine} if what in HOSTILE else {})
        hand_in(project, module, who, folder / f"batch {number}")
        _, seconds = tito_grade(folder / f"batch {number}", folder / f"out {number}", *limit)
        alone = alone or seconds
        held &= seconds - alone <= LIMIT_SECONDS
        print(f"  {what:<22} {seconds:6.1f} s, {max(0.0, seconds - alone):5.1f} s more than {len(honest)} honest ones")
    print(f"each within the hostile submission's own limit of {LIMIT_SECONDS:g} s: {'yes' if held else 'NO'}")
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--nbgrader", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    module = course.load(Project(ROOT), MODULE)
    with tempfile.TemporaryDirectory(prefix="speed_") as temporary:
        right = throughput(module, options.count, options.jobs, options.nbgrader, Path(temporary, "rate"))
        held = latency(module, options.jobs, Path(temporary, "hostile"))
    return 0 if right and held else 1


if __name__ == "__main__":
    sys.exit(main())
