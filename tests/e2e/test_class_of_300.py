"""A class of 300 from the release to published grades, in nine layouts: every figure equals an independent count.

The class is made up: partial work, slips, other right answers, some late by what their platform says, some with a
second attempt, some with an extension, an adjustment, or answers in words that two graders marked. Sections of it hand
in as the platforms do; each is graded by the real command. What is counted beside it owes the grader nothing: points by
`tito test` in one process, days and cents by arithmetic in whole hundredths here.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tito.course.module import Module
from tito.course.project import Project
from tito.grading.reports.marking.marks import blind

from ..tito.grading.intake.layouts import LAYOUTS, login
from .made_up_class import Answers, MadeUp
from .test_thousand_submissions import JOBS, Points, counted

pytestmark = [pytest.mark.nightly, pytest.mark.sandbox]
PEOPLE, DISTINCT = 300, 12
DUE = datetime(2026, 3, 6, 12, tzinfo=UTC)
EXTENDED = DUE + timedelta(days=3)
CUTOFF = DUE + timedelta(days=10)
PERCENT_A_DAY, AT_MOST, FREE_DAYS = 10, 30, 1
HOURS = (-30, -1, 1, 20, 25, 60, 100, 500)  # after the deadline
DEADLINES = f"""
due = {DUE.isoformat()}
late_days = {FREE_DAYS}
penalty = {{ percent_a_day = {PERCENT_A_DAY}, at_most = {AT_MOST} }}
cutoff = {CUTOFF.isoformat()}
file_dates = true
"""
HERE = "*Your answer here.*"
QUESTION = "acceptable_loss"
RUBRIC = f"""
[{QUESTION}]
points = 3
items.example = {{ points = 2, text = "an example" }}
items.number = {{ points = 1, text = "a number" }}
"""
WORDS = {  # an answer -> what both graders find in it in the end
    "": (),
    "When a life depends on it, never.": ("example",),
    "Below the 4 % that 500 images can tell, for a menu.": ("example", "number"),
    "It depends.": (),
}
WORTH = {"example": 2, "number": 1}
FIRST, LAST = ("Ada", "Bo", "Cem", "Dana", "Eli", "Fay", "Gus", "Hal", "Ida", "Jo"), "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Student:
    name: str
    answers: Answers
    handed_in: datetime
    words: str
    extended: bool
    adjusted: int  # points

    @property
    def words_points(self) -> int:
        return sum(WORTH[item] for item in WORDS[self.words])


@dataclass
class Section:
    """Those who hand in through one platform."""

    layout: str
    students: list[Student]
    names: dict[str, str] = field(default_factory=dict)  # full name -> what the submission is called

    @property
    def told_by_a_mark(self) -> bool:
        """Canvas says that somebody is late, and not by how much."""
        return self.layout == "Canvas"


def sections(made_up: MadeUp) -> Iterator[Section]:
    chance = random.Random(300)
    everybody = [
        Student(
            f"{chance.choice(FIRST)} {LAST[number // 26].upper()}{LAST[number % 26]}",
            answers,
            DUE + timedelta(hours=chance.choice(HOURS)),
            chance.choice([*WORDS]),
            extended=chance.random() < 0.1,
            adjusted=chance.choice([0] * 9 + [2]),
        )
        for number, (_, answers) in enumerate(made_up.people(PEOPLE, DISTINCT, seed=1))
    ]
    for number, layout in enumerate(LAYOUTS):
        yield Section(layout, everybody[number :: len(LAYOUTS)])


def hand_in(section: Section, made_up: MadeUp, top: Path) -> None:
    """Write the section's folder, and what its platform says of when each came."""

    def files(student: Student) -> dict[str, str]:
        given = made_up.notebooks(student.answers)
        asked = next(name for name, text in given.items() if f"question: {QUESTION}" in text)
        before, mark, after = given[asked].partition(f"question: {QUESTION}")
        return given | {asked: before + mark + after.replace(HERE, student.words or HERE, 1)}

    section.names = LAYOUTS[section.layout](top, {student.name: files(student) for student in section.students})
    for student in section.students:
        DATED.get(section.layout, by_files)(top, student, section.names[student.name])
    if section.layout == "a zip a student":
        for student in section.students[::4]:  # a first attempt, in which nothing is written
            path = top / f"{login(student.name)}.zip"
            path.rename(path.with_name(f"{path.stem}-2.zip"))
            LAYOUTS[section.layout](top, {student.name: made_up.notebooks(())})
            os.utime(path, (DUE.timestamp() - 500_000,) * 2)


def by_files(top: Path, student: Student, called: str) -> None:
    """The date of every file that carries the student's name, in its path."""
    own = {called.casefold(), login(student.name), student.name.casefold()}
    for path in (path for path in top.rglob("*") if path.is_file()):
        if any(name in str(path.relative_to(top)).casefold() for name in own):
            os.utime(path, (student.handed_in.timestamp(),) * 2)


def by_canvas(top: Path, student: Student, called: str) -> None:
    if student.handed_in > DUE:
        squeezed = login(student.name)
        for path in top.glob(f"{squeezed}_*"):
            path.rename(path.with_name(path.name.replace(f"{squeezed}_", f"{squeezed}_LATE_", 1)))


def by_nbgrader(top: Path, student: Student, called: str) -> None:
    for path in top.rglob(f"submitted/{login(student.name)}/*/timestamp.txt"):
        path.write_text(f"{student.handed_in:%Y-%m-%d %H:%M:%S.%f} UTC", encoding="utf-8")


def by_gradescope(top: Path, student: Student, called: str) -> None:
    (path,) = top.rglob("submission_metadata.yml")
    before, name, after = path.read_text(encoding="utf-8").partition(f":name: {student.name}\n")
    stamp = ":created_at: 2026-03-06 12:00:00.000000000 Z"
    after = after.replace(stamp, f":created_at: {student.handed_in:%Y-%m-%d %H:%M:%S.%f}000 Z", 1)
    path.write_text(before + name + after, encoding="utf-8")


DATED: dict[str, Callable[[Path, Student, str], None]] = {
    "Canvas": by_canvas,
    "nbgrader": by_nbgrader,
    "Gradescope's export": by_gradescope,
}


def instruct(section: Section, out: Path) -> None:
    """What the instructor and two graders write into the folder of the reports."""
    (out / "scores").mkdir(parents=True)
    extensions = [
        f'[student."{section.names[student.name]}"]\ndue = {EXTENDED.isoformat()}\nreason = "ill"\n'
        for student in section.students
        if student.extended
    ]
    (out / "deadlines.toml").write_text(DEADLINES + "\n".join(extensions), encoding="utf-8")
    (out / "rubric.toml").write_text(RUBRIC, encoding="utf-8")
    adjusted = [f"{section.names[one.name]},,{one.adjusted},kind" for one in section.students if one.adjusted]
    (out / "adjustments.csv").write_text("\n".join(["submission,exercise,points,reason", *adjusted]), encoding="utf-8")
    for grader in ("Noor", "Pia"):
        rows = ["grader,question,answer,items,comment"]
        rows += [
            f"{grader},{QUESTION},{blind(QUESTION, words)},{' '.join(items) or 'none'},"
            for words, items in WORDS.items()
            if words and any(student.words == words for student in section.students)
        ]
        (out / "scores" / f"{grader}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def hundredths(student: Student, points: Points, section: Section) -> int:
    """What a student has in the end, in hundredths of a point, counted without the grader's own arithmetic."""
    due = EXTENDED if student.extended else DUE
    seconds = round((student.handed_in - due).total_seconds())
    days, cut = -(-seconds // 86_400) if seconds > 0 else 0, student.handed_in > CUTOFF + (due - DUE)
    if section.told_by_a_mark:
        days, cut = (1 if student.handed_in > DUE else 0), False
    earned = 100 * (sum(points.values()) + student.words_points + student.adjusted)
    percent = min(AT_MOST, PERCENT_A_DAY * max(0, days - FREE_DAYS))
    return 0 if cut else earned - earned * percent // 100


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def in_hundredths(text: str) -> int:
    return round(float(text) * 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("class of 300 ü ")


def test_every_figure_of_a_class_is_what_an_independent_count_gives(
    here: Project, module: Module, folder: Path
) -> None:
    command = [sys.executable, "-m", "tito", "--project", str(here.root)]
    subprocess.run([*command, "release", module.name, "--to", str(folder / "given")], check=True, capture_output=True)
    given = Project(folder / "given")
    assert all((given.module(module.name) / book.path.name).is_file() for book in module.notebooks)
    made_up = MadeUp(here, module)
    cut = [*sections(made_up)]
    assert sum(len(section.students) for section in cut) == PEOPLE and len(cut) >= 8
    points = counted(made_up, {one.answers for section in cut for one in section.students}, folder / "counted")
    compared = 0
    for number, section in enumerate(cut):
        top, out = folder / f"in {number}", folder / f"out {number}"
        hand_in(section, made_up, top)
        instruct(section, out)
        begun = time.monotonic()
        graded = [*command, "grade", module.name, str(top), "--out", str(out), "--jobs", str(JOBS)]
        done = subprocess.run(graded, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, f"{section.layout}: {done.stdout}{done.stderr}"
        compared += compare(section, module, points, out)
        seconds = time.monotonic() - begun
        print(f"{section.layout}: {len(section.students)} students, {seconds:.0f} s", flush=True)
    print(f"compared {compared} figures of {PEOPLE} students in {len(cut)} layouts: all equal")


def compare(section: Section, module: Module, points: dict[Answers, Points], out: Path) -> int:
    """Compare what was published with the count; returns how many figures."""
    rows = {row["submission"]: row for row in table(out / "grades.csv")}
    canvas = {tuple(row.values())[0]: tuple(row.values())[-1] for row in table(out / "canvas.csv")[1:]}
    parts = table(out / "parts.csv")
    assert rows.keys() == set(section.names.values()), f"{section.layout}: {rows.keys() ^ set(section.names.values())}"
    assert len(canvas) == len(section.students)
    figures = 0
    for student in section.students:
        name, mine = section.names[student.name], points[student.answers]
        row, wanted = rows[name], hundredths(student, mine, section)
        got = {exercise.id: int(row[exercise.id]) for exercise in module.exercises}
        assert got == mine, f"{section.layout}, {name}: {got} is not {mine}"
        said = f"{section.layout}, {name}, {student}: {row}"
        assert in_hundredths(row["points"]) == wanted, f"wanted {wanted / 100}: {said}"
        results = json.loads((out / "gradescope" / f"{name}.json").read_text(encoding="utf-8"))
        assert round(results["score"] * 100) == wanted, said
        split = {exercise.id for exercise in module.exercises if exercise.parts}
        summed = dict.fromkeys(split, 0)
        for part in (part for part in parts if part["submission"] == name and part["exercise"] in split):
            summed[part["exercise"]] += int(part["points"])
        assert summed == {exercise: mine[exercise] for exercise in split}, said
        page = (out / "students" / f"{name}.html").read_text(encoding="utf-8")
        assert student.name not in page or section.layout.startswith(("Moodle", "Google", "Gradescope"))
        figures += len(got) + len(summed) + 3
    assert sorted(in_hundredths(value) for value in canvas.values()) == sorted(
        hundredths(student, points[student.answers], section) for student in section.students
    )
    items = {row["exercise"]: row for row in table(out / "items.csv") if not row.get("part")}
    for exercise in module.exercises:
        right = sum(points[one.answers][exercise.id] == exercise.points for one in section.students)
        assert int(items[exercise.id]["right"]) == right, f"{section.layout}: {exercise.id}: {items[exercise.id]}"
        figures += 1
    return figures
