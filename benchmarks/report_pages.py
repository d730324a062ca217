"""The reports of a made-up class, as people will see them: how long they take to write, what they weigh, and pictures.

`python -m benchmarks.report_pages OUT [--students 300]` writes the reports into OUT and, where Chromium is installed,
pictures of the pages at a phone's and a desktop's width, light and dark, into OUT/pictures.
The slips are those of tests/17_quantization/mistakes; who makes which is drawn from a seed.
"""

import argparse
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from tests.catalogue import answers
from tito.course.edition import Edition
from tito.course.module import Exercise, Module, load_module
from tito.course.project import find_project
from tito.grading import similarity
from tito.grading.about import About
from tito.grading.conditions import Conditions
from tito.grading.grade import Grade
from tito.grading.handed_in import HandedIn, Source
from tito.grading.intake import collecting
from tito.grading.options import Options, Shard
from tito.grading.reports import adjustments, deadlines_toml, writing
from tito.grading.similarity import Pair
from tito.grading.submission import Submission
from tito.testing.outcome import Finding, Outcome, outcome_of
from tito.testing.record import out_of_time

ROOT = Path(__file__).parent.parent
MODULE = "17_quantization"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RENAMED = re.compile(r"\b(acc|m|lo|hi|fraction|exponent|q31|tiny|wide)\b")
DUE = datetime(2026, 3, 6, 22, 59, tzinfo=UTC)
DEADLINES = """timezone = "Europe/Berlin"
due = 2026-03-06T23:59:00
cutoff = 2026-03-07T23:59:00
penalty = { percent_a_day = 10, at_most = 50 }
"""
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
FIRST = "Ada Alan Barbara Claude Donald Edsger Emmy Frances Grace Hedy Ibn Joan Katherine Leslie Mary Niklaus Søren"
LAST = "Bach Curie Dijkstra Euler Fourier Gauss Hopper Ito Jacobi Kepler Lovelace Müller Noether Oresme Pólya 王"
ODD = [
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "CON",
    "exe\N{RIGHT-TO-LEFT OVERRIDE}gpj.yp",
    "\N{FAMILY} \N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    "x" * 300,
    "jane",
    "JANE",
]


class Class:
    """Submissions that nobody handed in."""

    def __init__(self, module: Module, seed: int = 0) -> None:
        self.module, self.dice = module, random.Random(seed)
        self.hardness = {exercise.id: self.dice.uniform(-0.2, 0.35) for exercise in module.exercises}
        self.mistakes = {exercise.id: list(_mistakes(exercise)) for exercise in module.exercises}

    def grades(self, count: int) -> list[Grade]:
        names = [f"{first} {last}" for last in LAST.split() for first in FIRST.split()]
        made = [self.grade(name) for name in [*ODD, *names][:count]]
        made[9::67] = [Grade(g.submission, (), "machinery", 0.0, ("the sandbox did not start",)) for g in made[9::67]]
        made[11::83] = [self.refused(grade.submission) for grade in made[11::83]]
        return made

    def grade(self, name: str) -> Grade:
        able, patient = self.dice.gauss(0.75, 0.2), self.dice.random() ** 0.3 * len(self.module.exercises) + 3
        outcomes = tuple(self.outcome(place, e, able, patient) for place, e in enumerate(self.module.exercises))
        late = any(outcome.status == "timeout" for outcome in outcomes)
        remarks = ("code outside of the exercises' cells is not graded",) if self.dice.random() < 0.2 else ()
        seconds = self.dice.uniform(1.5, 2.5) + 30 * late
        return Grade(name, outcomes, "graded", seconds, remarks, handed_in=self.handed_in())

    def handed_in(self) -> HandedIn | None:
        """Most hand in during the last two days, some late, some by a mark or a file's date alone."""
        when = DUE - timedelta(hours=self.dice.gauss(20, 24))
        source: Source | Literal[""] = self.dice.choice(
            ["nbgrader", "nbgrader", "nbgrader", "Canvas", "the file's date", ""]
        )
        if not source:
            return None
        return HandedIn(None, "Canvas", when > DUE) if source == "Canvas" else HandedIn(when, source)

    def refused(self, name: str) -> Grade:
        why = "submission.zip is no archive: hand in what `tito submit` writes"
        outcomes = (outcome_of(exercise, Finding("refused", "", why)) for exercise in self.module.exercises)
        return Grade(name, tuple(outcomes), "refused", 0.0, (why,))

    def outcome(self, place: int, exercise: Exercise, able: float, patient: float) -> Outcome:
        findings = [self.finding(place, exercise, able, patient) for _ in exercise.parts or [None]]
        begun = all(found.reason != "unwritten" for found in findings)
        return outcome_of(exercise, *(findings if begun else findings[:1]))

    def finding(self, place: int, exercise: Exercise, able: float, patient: float) -> Finding:
        notebook = self.module.notebook_of(exercise.id).path.name
        if place > patient:
            where = f"modules/source/{MODULE}/{notebook}:310"
            return Finding("unwritten", "", f"not started yet: write your code at {where}")
        if self.dice.random() < able - self.hardness[exercise.id] + 0.15:
            return Finding("passed")
        if self.dice.random() < 0.03:
            return out_of_time(30, "codes never wrap")
        likely = int(self.dice.random() ** 2.5 * len(self.mistakes[exercise.id]))
        return self.mistakes[exercise.id][likely]


def _mistakes(exercise: Exercise) -> Iterator[Finding]:
    """What the tests say of the exercise's known mistakes, under the claims of its tests."""
    tests = ROOT / "tests" / MODULE
    text = (tests / f"test_{exercise.id}.py").read_text(encoding="utf-8")
    claims = re.findall(r"^def test_(\w+)", text, re.MULTILINE)
    for number, mistake in enumerate(answers(find_project(ROOT), MODULE, exercise.id, "mistake")):
        claim = claims[number % len(claims)].replace("_", " ")
        where = f"modules/source/{MODULE}/quantization_dev.py:{300 + number}"
        source = mistake.changes[0].wrote.strip().split("\n")[0]
        says = re.sub(r"\\(.)", r"\1", mistake.says)  # a pattern
        yield Finding("claim", claim, says, f"{where}: {source}")


def alike(edition: Edition, names: list[str]) -> list[Pair]:
    """What the grader finds where the second of these people took over the first's solutions and renamed things."""
    (solved,) = collecting.collect(edition, ROOT / "modules" / "source" / MODULE)
    chosen = {name: solved.cells[name] for name in ("requantize", "observers", "integer_matmul")}
    renamed = {name: tuple(RENAMED.sub(r"the_\1", cell) for cell in cells) for name, cells in chosen.items()}
    given = collecting.given_cells(edition)
    return similarity.pairs([Submission(names[0], chosen), Submission(names[1], renamed)], given)


def pictures(out: Path, pages: list[str]) -> None:
    """Every page at every width, in the light; the first three in the dark as well."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("pictures: none, there is no Chromium here")
        return
    (out / "pictures").mkdir(exist_ok=True)
    for place, page in enumerate(pages):
        for size, (width, height) in SIZES.items():
            for dark in (False, True)[: 2 if place < 3 else 1]:
                name = f"{Path(page).parent.name or 'class'}-{place}-{size}{'-dark' if dark else ''}.png"
                target = out / "pictures" / name
                command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
                command += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
                command += [f"--window-size={width},{height}", f"--screenshot={target}"]
                command.append((out / page).resolve().as_uri())
                subprocess.run(command, check=True, capture_output=True, timeout=60)
                print(f"picture: {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--students", type=int, default=300)
    parser.add_argument("--no-pictures", action="store_true")
    parser.add_argument("--unsafe", action="store_true")
    asked = parser.parse_args()
    module = load_module(find_project(ROOT), MODULE)
    grades = Class(module).grades(asked.students)
    asked.out.mkdir(parents=True, exist_ok=True)
    own = f'[student."{grades[8].submission}"]\nlate_days = 1\nreason = "ill, certificate seen"\n'
    (asked.out / deadlines_toml.FILE).write_text(DEADLINES + own, encoding="utf-8")
    line = f"{grades[8].submission},quantize,2.5,wrote a second solution on paper"
    (asked.out / adjustments.FILE).write_text(f"submission,exercise,points,reason\n{line}\n", encoding="utf-8")
    similar = alike(Edition(find_project(ROOT), module), [grades[8].submission, grades[10].submission])
    begun = time.perf_counter()
    about = About(Conditions(MODULE, Options(unsafe=asked.unsafe), {}, {}, {}), Shard(), "")
    writing.write(asked.out, module, grades, similar, about)
    seconds = time.perf_counter() - begun
    found = [path for path in asked.out.rglob("*") if path.suffix in (".html", ".csv", ".json")]
    weight = sum(path.stat().st_size for path in found)
    print(f"{len(grades)} submissions, {len(found)} files, {weight / 1e6:.1f} MB, written in {seconds:.2f} s")
    print(f"class page {(asked.out / 'index.html').stat().st_size / 1e3:.0f} kB")
    if not asked.no_pictures:
        beside = next((asked.out / "similar").iterdir()).name
        pictures(asked.out, ["index.html", "items.html", f"students/{grades[8].submission}.html", f"similar/{beside}"])


if __name__ == "__main__":
    main()
