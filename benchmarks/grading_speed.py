"""How fast `tito grade` is beside `nbgrader autograde` on the same honest submissions, and what a hostile one adds.

    python -m benchmarks.grading_speed [--count 12] [--jobs 2] [--nbgrader PYTHON]

Whole modules are graded: the reference, other right answers, partial work, mistakes; each submission is another one.
`tito grade` runs before and after nbgrader, and its slower run counts, with its start. Of nbgrader only `autograde` is
timed; it works on one core and runs all cells of a notebook, which is how it grades. Without --nbgrader, or where that
PYTHON has no nbgrader, only our own times are printed. The exit status is 1 where the two disagree on the same code
(see `compare`), where nbgrader is not 10 times slower, or where a hostile submission adds more than its own limit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import counting, graders
from benchmarks.graders import Graded
from tests.catalogue import Kind, answers, solved
from tests.tito.grading.attacks.arena import page_of
from tito.course import notebook
from tito.course.module import Module, load_module
from tito.course.project import Project
from tito.grading.local_pool import cores

ROOT = Path(__file__).resolve().parents[1]
MODULE = "17_quantization"
WANTED_RATIO = 10.0
WITHOUT_SANDBOXES = ", sandboxes not counted"  # they are killed, and with them what they would have told
LIMIT_SECONDS = 20.0  # of a submission, where hostile ones are measured
HOSTILE = {
    "a loop": "while True:\n    pass\n",
    "a loop in every cell": "while True:\n    pass\n",
    "a fork bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n",
    "4 GiB": "ballast = np.ones(4 << 30, np.uint8)\n",
    "1 GB of output": "import os\nfor _ in range(1000):\n    os.write(1, b'x' * 1_000_000)\n",
}
Cells = Mapping[str, tuple[str, ...]]


def rewritten(project: Project, module: Module, exercise: str, kind: Kind, turn: int) -> tuple[str, ...] | None:
    """The exercise's cells with an answer of the catalogue in them; None where it holds none of this kind."""
    found = answers(project, module.name, exercise, kind)
    reference = notebook.load(project, module.notebook_of(exercise).path)
    return found[turn % len(found)].bodies(reference) if found else None


def submissions(project: Project, module: Module, count: int) -> dict[str, Cells]:
    """So many different ones: name -> cells."""
    cells = solved(project, module)
    ids = [exercise.id for exercise in module.exercises]
    found: dict[str, Cells] = {"reference": cells}
    for number in range(count - 1):
        kind, turn = ("other answers", "mistakes", "partial")[number % 3], number // 3
        mine = dict(cells)
        for place, exercise in enumerate(ids):
            if kind == "other answers":
                mine[exercise] = rewritten(project, module, exercise, "alternative", turn) or cells[exercise]
            elif kind == "mistakes" and place % 5 == turn % 5:
                mine[exercise] = rewritten(project, module, exercise, "mistake", turn) or cells[exercise]
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


def tito_grade(folder: Path, out: Path, *options: str) -> Graded:
    """The whole command, its start included."""
    report = out.with_suffix(".json")
    command = [sys.executable, "-m", "tito", "grade", MODULE, str(folder), "--out", str(out)]
    command += ["--json", str(report), "--seed", "0"]
    with graders.timed() as clock:
        done = subprocess.run([*command, *options], cwd=ROOT, env=environment(), capture_output=True, encoding="utf-8")
    if not report.is_file():
        sys.exit(done.stdout + done.stderr)
    grades = json.loads(report.read_text(encoding="utf-8"))["grades"]
    tasks = {grade["submission"]: {o["exercise"]: o["points"] for o in grade["outcomes"]} for grade in grades}
    scores = {name: sum(points.values()) for name, points in tasks.items()}
    return Graded(scores, clock.seconds, done.stdout, tasks, clock.cpu_seconds)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def throughput(module: Module, count: int, jobs: int, python: Path | None, folder: Path) -> bool:
    """Print both graders' rates on the same submissions; whether all is as wanted."""
    project = Project(ROOT)
    who = {re.sub(r"\W+", "-", name): cells for name, cells in submissions(project, module, count).items()}
    hand_in(project, module, who, folder / "handed in")
    print(
        f"{len(who)} submissions of {len(module.exercises)} exercises, {tests_of(project)} tests each; {cores()} cores"
    )
    ours = [tito_grade(folder / "handed in", folder / "ours 1", "--jobs", str(jobs))]
    tell(f"tito grade --jobs {jobs}", ours[0], len(who), WITHOUT_SANDBOXES)
    if not python or not graders.version(python, "nbgrader"):
        for name, points in ours[0].scores.items():
            print(f"  {name:<20} {points:>4g} of {module.points}")
        return True
    ran = folder / "tests that ran"
    env = environment() | {"PYTEST_ADDOPTS": f"-p {counting.__name__}", counting.FILE: str(ran)}
    theirs = graders.nbgrader(python, project, module, who, module.exercises, env)
    tell(f"nbgrader {graders.version(python, 'nbgrader')} autograde", theirs, len(who))
    print(f"  in the cells of the tests {theirs.tests_seconds:.1f} s, in all others {theirs.others_seconds:.1f} s")
    counted = ran.read_text(encoding="utf-8").count("/reference/")
    print(f"  {counted} tests run for the reference: those that the notebooks themselves call for come twice")
    ours.append(tito_grade(folder / "handed in", folder / "ours 2", "--jobs", str(jobs)))  # was it the machine's mood?
    tell(f"tito grade --jobs {jobs}, again", ours[1], len(who), WITHOUT_SANDBOXES)
    slower = max(graded.seconds for graded in ours)
    ratio, least = theirs.seconds / slower, (theirs.seconds - theirs.others_seconds) / slower
    print(f"tito grade is {ratio:.1f} times as fast, wanted {WANTED_RATIO:g}; {least:.1f}, if other cells took no time")
    agree = compare(project, module, who, ours[0], theirs, folder)
    return ratio >= WANTED_RATIO and agree and ours[0].tasks == ours[1].tasks


def tests_of(project: Project) -> str:
    """How many tests there are, and how many of them are hidden, as pytest counts them."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", str(project.module_tests(MODULE))]
    said = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, encoding="utf-8").stdout
    tests = [line for line in said.splitlines() if "::" in line]
    return f"{len(tests)} ({sum('/hidden/' in test for test in tests)} hidden)"


def tell(what: str, graded: Graded, count: int, of_whom: str = "") -> None:
    rate = f"{60 * count / graded.seconds:.1f} a minute"
    print(f"{what}: {graded.seconds:.1f} s, {rate}, {graded.cpu_seconds:.1f} s of CPU{of_whom}")


def compare(
    project: Project, module: Module, who: Mapping[str, Cells], ours: Graded, theirs: Graded, folder: Path
) -> bool:
    """Print both graders' points; whether they agree on every exercise where they judge the same code.

    In nbgrader a notebook is judged by itself: what it imports from the module's other notebooks is the instructor's.
    In `tito grade` it is the student's own. So where the two differ, that notebook is put among the reference's, which
    is what nbgrader saw, and graded again: tito must then give what nbgrader gave.
    """
    differing = {
        name: [item.id for item in module.exercises if tasks[item.id] != theirs.tasks.get(name, {}).get(item.id)]
        for name, tasks in ours.tasks.items()
    }
    cells, alone = solved(project, module), dict[str, Cells]()
    for name, exercises in differing.items():
        for exercise in exercises:
            own = {item.id for item in module.notebook_of(exercise).exercises}
            others = {one: cells[one] for one in cells.keys() - own}
            alone[f"{name}-{exercise}"] = others | {one: mine for one, mine in who[name].items() if one in own}
    again = dict[str, dict[str, float]]()
    if alone:
        hand_in(project, module, alone, folder / "alone")
        again = tito_grade(folder / "alone", folder / "ours alone").tasks
    agree = True
    print(f"  {'points':<20} tito nbgrader")
    for name, points in ours.scores.items():
        print(f"  {name:<20} {points:>4g} {theirs.scores.get(name, 0.0):>8g} of {module.points}")
        for exercise in differing[name]:
            same = again[f"{name}-{exercise}"][exercise] == theirs.tasks.get(name, {}).get(exercise)
            reason = "builds on a mistake in another notebook, of which nbgrader took the instructor's"
            print(f"    {exercise}: {reason if same else 'DIFFERS, and for no known reason'}")
            agree &= same
    return agree


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
        seconds = tito_grade(folder / f"batch {number}", folder / f"out {number}", *limit).seconds
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
    module = load_module(Project(ROOT), MODULE)
    with tempfile.TemporaryDirectory(prefix="speed_") as temporary:
        right = throughput(module, options.count, options.jobs, options.nbgrader, Path(temporary, "rate"))
        held = latency(module, options.jobs, Path(temporary, "hostile"))
    return 0 if right and held else 1


if __name__ == "__main__":
    sys.exit(main())
