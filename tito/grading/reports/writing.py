"""The reports of a batch: tables for other programs, a page for every student, one for the class. The same grades make
the same bytes, so that what changed can be seen; all are written, or none.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tito import files
from tito.course.module import Module
from tito.grading.about import About
from tito.grading.changes import Change
from tito.grading.grade import Grade
from tito.grading.reads import hash_of
from tito.grading.reports import (
    adjustments,
    escaping,
    gradebooks,
    history,
    items,
    roster_csv,
    side_by_side,
    standing,
    statistics,
    templating,
    worksheets,
)
from tito.grading.reports.items import Item
from tito.grading.reports.listings import Cells, listing
from tito.grading.reports.marking import pages as question_pages
from tito.grading.reports.side_by_side import Couple
from tito.grading.reports.standing import Instructions, Standing
from tito.grading.similarity import Pair
from tito.grading.submission import Submission
from tito.testing.outcome import Outcome
from tito.testing.runner import Result

PAGES = (("students", ".html"), ("similar", ".html"), ("questions", ".html"), ("gradescope", ".json"))
OURS = b'"tito grade"'  # is found in the first lines of what we wrote, and may replace or remove
MOST_SLIPS = 3  # of an exercise
NO_QUESTIONS: Mapping[str, str] = MappingProxyType({})
HIGHEST, FOOT, WIDE = 100, 118, 360  # of the histogram


def write(
    out: Path,
    module: Module,
    grades: Sequence[Grade],
    similar: Sequence[Pair],
    about: About,
    submissions: Sequence[Submission] = (),
    asked: Mapping[str, str] = NO_QUESTIONS,
    changes: Sequence[Change] = (),
) -> list[Standing]:
    """Write every report into `out`, and remove the pages of people who are no longer in the batch.

    submissions: whose they are, their cells and answers. asked: what each question asks. changes: of points, from
    the first report on. A grades.csv that is replaced is kept in a folder beside it. Of `about`, `unsafe` makes a
    red band on the class page. Raises TitoError where a file of the instructor's is wrong or the disk says no; what
    was there before is then unchanged.
    """
    adjustments.begin(out)
    present = roster_csv.attendance(out, submissions, about.shard)
    names = [grade.submission for grade in (*grades, *present.missing)]
    told = standing.read(out, module, names, answers(about.conditions.options.exercise, submissions))
    told = replace(told, warnings=(*present.warnings, *told.warnings))
    standings = told.standings((*grades, *present.missing), {one.name: one.person for one in present.submissions})
    made = render(module, standings, similar, about, told, {one.name: one.cells for one in submissions}, changes)
    made |= question_pages.render(module, told.marking, asked, about.conditions.options.seed or 0)
    changed = [(out / name, data) for name, data in made.items() if not _holds(out / name, data)]
    files.write_whole([*history.replaced(out / "grades.csv", made["grades.csv"]), *changed], private=True)
    for path in {path for name in made for path in (out / name, (out / name).parent) if path != out}:
        files.make_private(path)
    _remove_old(out, made)
    return standings


def render(
    module: Module,
    standings: Sequence[Standing],
    similar: Sequence[Pair],
    about: About,
    told: Instructions = Instructions(),  # noqa: B008 - frozen
    cells: Mapping[str, Cells] = MappingProxyType({}),
    changes: Sequence[Change] = (),
) -> dict[str, bytes]:
    """Every report but the questions' pages: its name in the folder -> its bytes.

    told: what the instructor's files say; cells: by the name of the submission what was graded of it.
    """
    pages = _Pages(module, standings, similar, about)
    made = {"grades.csv": gradebooks.grades_csv(module, standings), "changes.csv": history.changes_csv(changes)}
    made["parts.csv"] = gradebooks.parts_csv(module, standings)
    analysed = items.items(module, [entry.grade for entry in standings])
    made["items.csv"], made["items.html"] = gradebooks.items_csv(analysed), pages.items(analysed)
    made["canvas.csv"] = gradebooks.canvas_csv(module, standings)
    made["gradescope.csv"] = worksheets.gradescope_csv(module, standings)
    made["moodle.csv"] = worksheets.moodle_csv(module, standings)
    made["index.html"] = pages.index(told, bool(changes))
    made |= {"changes.html": pages.changes(changes)} if changes else {}
    for couple in pages.couples:
        made[f"similar/{couple.page}.html"] = pages.similar(couple)
    for entry in pages.standings:
        made[f"students/{pages.names[entry.name]}.html"] = pages.student(entry, cells.get(entry.name, {}))
        if entry.points is not None:
            made[f"gradescope/{pages.names[entry.name]}.json"] = gradebooks.gradescope_json(entry)
    return made


def answers(exercise: str | None, submissions: Sequence[Submission]) -> dict[str, dict[str, str]]:
    """What is marked: every answer, but where a single exercise is graded."""
    return {} if exercise else {one.name: one.answers for one in submissions}


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _remove_old(out: Path, made: Mapping[str, bytes]) -> None:
    """Pages of an earlier run that nobody has now. What we did not write stays."""
    for folder, suffix in PAGES:
        for path in sorted((out / folder).glob(f"*{suffix}")):
            if f"{folder}/{path.name}" not in made and not path.is_symlink() and OURS in path.read_bytes()[:1000]:
                with files.naming(path):
                    path.unlink()


class _Pages:
    """The HTML of one batch. Whatever comes from a submission passes `shown` or `one_line`, and Jinja's escaping."""

    def __init__(self, module: Module, standings: Sequence[Standing], similar: Sequence[Pair], about: About) -> None:
        self.module, self.about = module, about
        self.standings = [entry for entry in standings if entry.points is not None or entry.grade.status != "missing"]
        self.missing = [entry for entry in standings if entry not in self.standings]
        self.grades = [entry.grade for entry in self.standings]
        self.names = escaping.file_names(entry.name for entry in standings)
        self.couples = side_by_side.couples(similar, self.names)
        self.max_points = statistics.full_points(module, standings)
        self.templates = templating.environment()
        self.templates.globals["percent"] = statistics.percent

    def index(self, told: Instructions, changed: bool) -> bytes:
        spread = statistics.spread(self.standings, self.max_points)
        return self._page(
            "index.html",
            standings=self.standings,
            missing=self.missing,
            pages=self.names,
            warnings=(*told.warnings, *worksheets.without_participant(self.standings)),
            deadlines=told.deadlines,
            punctual=statistics.punctuality(self.standings),
            changed=changed,
            unsafe=self.about.conditions.options.unsafe,
            about=_how_graded(self.about),
            graded=sum(grade.status == "graded" for grade in self.grades),
            failures=[entry for entry in self.standings if entry.grade.status == "machinery"],
            refused=[entry for entry in self.standings if entry.grade.status == "refused"],
            adjusted=[entry for entry in self.standings if entry.corrections],
            spread=spread,
            bars=_bars(spread.bars, self.max_points) if spread else [],
            tallies=statistics.tallies(self.module, self.grades),
            slips=statistics.slips(self.module, self.grades),
            most=MOST_SLIPS,
            middle=statistics.middle_seconds(self.grades),
            slow=statistics.slowest(self.grades),
            similar=self.couples,
            in_words=bool(told.marking.answers and told.marking.rubrics),
        )

    def student(self, entry: Standing, cells: Cells) -> bytes:
        outcomes = {outcome.exercise: outcome for outcome in entry.grade.outcomes}
        first = Result("", 0.0, entry.grade.outcomes).most_useful if entry.grade.status == "graded" else None
        notebooks = []
        for notebook in self.module.notebooks:
            done = [outcomes[exercise.id] for exercise in notebook.exercises if exercise.id in outcomes]
            if done:
                notebooks.append(_notebook(notebook.path.name, done))
        placed = {mark.rubric.question.id for mark in entry.words}
        placed |= outcomes.keys() if entry.grade.status == "graded" else set()
        return self._page(
            "student.html",
            entry=entry,
            share=statistics.percent(entry.points or 0, self.max_points),
            first=first,
            counted=_counted(entry.grade.outcomes),
            notebooks=notebooks,
            listings={name: listing(cells.get(name, ()), entry.comments, name) for name in outcomes},
            loose=[comment for comment in entry.comments if comment.exercise not in placed],
            said=lambda topic: [said for said in entry.comments if (said.exercise, said.line) == (topic, None)],
        )

    def items(self, analysed: Sequence[Item]) -> bytes:
        by_exercise = groupby(analysed, key=lambda item: item.exercise)
        rows = [(exercise, list(of_it)) for exercise, of_it in by_exercise]
        return self._page("items.html", rows=rows, fewest=items.FEWEST, fewest_each=items.FEWEST_EACH, most=MOST_SLIPS)

    def changes(self, changes: Sequence[Change]) -> bytes:
        return self._page("changes.html", reports=history.by_report(changes), pages=self.names)

    def similar(self, couple: Couple) -> bytes:
        return self._page(
            "similar.html",
            couple=couple,
            titles={exercise.id: exercise.title for exercise in self.module.exercises},
        )

    def _page(self, template: str, **values: Any) -> bytes:
        return (
            self.templates.get_template(template).render(module=self.module, max_points=self.max_points, **values)
            + "\n"
        ).encode()


def _how_graded(about: About) -> list[tuple[str, str]]:
    """For the foot of the class page, and for people who look at it later."""
    conditions, options = about.conditions, about.conditions.options
    shown = [("seed", str(options.seed)), ("limit seconds", str(options.limit_seconds))]
    shown += [("exercise", options.exercise)] if options.exercise else []
    shown += [("shard", str(about.shard))] if about.shard.count > 1 else []
    course, grader = hash_of([conditions.course, conditions.exercises]), hash_of(conditions.grader)
    shown += [("tests and notebooks", course[:12]), ("grader", grader[:12])]
    return [*shown, ("python", platform.python_version()), ("numpy", metadata.version("numpy"))]


def _notebook(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    earned, most = sum(outcome.points for outcome in outcomes), sum(outcome.max_points for outcome in outcomes)
    return {"name": name, "outcomes": outcomes, "points": earned, "max_points": most}


def _counted(outcomes: Sequence[Outcome]) -> str:
    """`5 exercises: 3 passed, 1 failed, 1 not started.`"""
    counts = Counter(outcome.status for outcome in outcomes)
    return f"{len(outcomes)} exercise{'' if len(outcomes) == 1 else 's'}: {', '.join(statistics.counted(counts))}."


def _bars(counts: Sequence[int], max_points: int) -> list[dict[str, Any]]:
    """The histogram's bars, in the chart's units, each with the points at which it begins."""
    bars, step = [], WIDE / len(counts)
    for place, count in enumerate(counts):
        height = round(HIGHEST * count / max(counts), 1)
        edge, width = round(step * place, 1), round(step * 0.84, 1)
        bar = {"edge": edge, "x": round(edge + step * 0.08, 1), "middle": round(edge + step / 2, 1), "width": width}
        first = -(-place * max_points // len(counts))
        bars.append(bar | {"y": round(FOOT - height, 1), "height": height, "count": count, "first": first})
    return bars
