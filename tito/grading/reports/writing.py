"""The reports of a batch: tables for other programs, a page for every student, one for the class. The same grades make
the same bytes, so that what changed can be seen; all are written, or none.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tito import files
from tito.course.module import Module
from tito.grading.about import About
from tito.grading.grade import Grade
from tito.grading.reports import adjustments, escaping, gradebooks, side_by_side, statistics
from tito.grading.reports.adjustments import Standing
from tito.grading.reports.side_by_side import Couple
from tito.grading.similarity import Pair
from tito.testing.outcome import Outcome
from tito.testing.runner import Result

PAGES = (("students", ".html"), ("similar", ".html"), ("gradescope", ".json"))
OURS = b'"tito grade"'  # is found in the first lines of what we wrote, and may replace or remove
MOST_SLIPS = 3  # of an exercise
HIGHEST, FOOT, WIDE = 100, 118, 360  # of the histogram


def write(out: Path, module: Module, grades: Sequence[Grade], similar: Sequence[Pair], about: About) -> list[Standing]:
    """Write every report into `out`, and remove the pages of people who are no longer in the batch.

    Of `about`, `unsafe` makes a red band on the class page, and the seed is told to students. Raises TitoError where
    adjustments.csv is wrong or the disk says no; what was there before is then unchanged.
    """
    adjustments.begin(out)
    standings = adjustments.standings(out, module, grades)
    made = render(module, standings, similar, about)
    changed = [(out / name, data) for name, data in made.items() if not _holds(out / name, data)]
    files.write_whole(changed)
    _remove_old(out, made)
    return standings


def render(module: Module, standings: Sequence[Standing], similar: Sequence[Pair], about: About) -> dict[str, bytes]:
    """Every report: its name in the folder -> its bytes."""
    pages = _Pages(module, standings, similar, about)
    made = {"grades.csv": gradebooks.grades_csv(module, standings)}
    made["canvas.csv"] = gradebooks.canvas_csv(module, standings)
    made["index.html"] = pages.index()
    for couple in pages.couples:
        made[f"similar/{couple.page}.html"] = pages.similar(couple)
    for entry in standings:
        made[f"students/{pages.names[entry.name]}.html"] = pages.student(entry)
        if entry.points is not None:
            made[f"gradescope/{pages.names[entry.name]}.json"] = gradebooks.gradescope_json(entry)
    return made


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
        self.module, self.standings, self.about = module, standings, about
        self.grades = [entry.grade for entry in standings]
        self.names = escaping.file_names(entry.name for entry in standings)
        self.couples = side_by_side.couples(similar, self.names)
        self.max_points = statistics.full_points(module, self.grades)
        self.templates = _templates()

    def index(self) -> bytes:
        spread = statistics.spread(self.standings, self.max_points)
        return self._page(
            "index.html",
            standings=self.standings,
            pages=self.names,
            unsafe=self.about.conditions.options.unsafe,
            about=_how_graded(self.about),
            graded=sum(grade.status == "graded" for grade in self.grades),
            failures=[entry for entry in self.standings if entry.grade.status == "machinery"],
            refused=[entry for entry in self.standings if entry.grade.status == "refused"],
            adjusted=[entry for entry in self.standings if entry.adjustments],
            spread=spread,
            bars=_bars(spread.bars, self.max_points) if spread else [],
            tallies=statistics.tallies(self.module, self.grades),
            slips=statistics.slips(self.module, self.grades),
            most=MOST_SLIPS,
            middle=statistics.middle_seconds(self.grades),
            slow=statistics.slowest(self.grades),
            similar=self.couples,
        )

    def student(self, entry: Standing) -> bytes:
        outcomes = {outcome.exercise: outcome for outcome in entry.grade.outcomes}
        first = Result("", 0.0, entry.grade.outcomes).most_useful if entry.grade.status == "graded" else None
        notebooks = []
        for notebook in self.module.notebooks:
            done = [outcomes[exercise.id] for exercise in notebook.exercises if exercise.id in outcomes]
            if done:
                notebooks.append(_notebook(notebook.path.name, done))
        return self._page(
            "student.html",
            entry=entry,
            share=statistics.percent(entry.points or 0, self.max_points),
            first=first,
            counted=_counted(entry.grade.outcomes),
            notebooks=notebooks,
            seed=self.about.conditions.options.seed,
        )

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


def _templates() -> Environment:
    style = resources.files("tito.grading.reports").joinpath("templates", "style.css").read_text(encoding="utf-8")
    templates = Environment(
        loader=PackageLoader("tito.grading.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {
        "shown": escaping.shown,
        "one_line": escaping.one_line,
        "number": lambda value: adjustments.number(Decimal(value)),
    }
    digest = hashlib.sha256(style.encode()).digest()
    templates.globals |= {
        "style": Markup(style),
        "style_hash": base64.b64encode(digest).decode(),
        "percent": statistics.percent,
    }
    return templates


def _how_graded(about: About) -> list[tuple[str, str]]:
    """For the foot of the class page, and for people who look at it later."""
    conditions, options = about.conditions, about.conditions.options
    shown = [("seed", str(options.seed)), ("limit seconds", str(options.limit_seconds))]
    shown += [("exercise", options.exercise)] if options.exercise else []
    shown += [("shard", str(about.shard))] if about.shard.count > 1 else []
    shown += [("tests and notebooks", conditions.course[:12]), ("grader", conditions.grader[:12])]
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
