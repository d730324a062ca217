"""Grading from Python: what `tito grade` and `tito merge` do, without a terminal.

report = grade_batch(project, "17_quantization", Path("submissions"), Path("grades"), Options(seed=7))
{grade.submission: grade.points for grade in report.grades}
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tito.course.edition import Edition
from tito.course.module import Module, load_module
from tito.course.project import Project
from tito.errors import Status, TitoError, WrongCall
from tito.grading import local_pool, merging, similarity
from tito.grading.about import About, roll
from tito.grading.batch import Batch, Pool
from tito.grading.conditions import conditions
from tito.grading.grade import Grade
from tito.grading.intake import collecting
from tito.grading.journal import Journal
from tito.grading.judging.judge import Judge
from tito.grading.options import Options, Shard
from tito.grading.reports import adjustments, writing
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission


class Stopped(TitoError):
    """Ctrl-C, after everything that was started has been ended."""

    status = Status.INTERRUPTED


@dataclass(frozen=True)
class Report:
    """A graded batch, and the folder that holds its journal, tables and pages."""

    out: Path
    about: About
    grades: tuple[Grade, ...]  # by name

    @property
    def failures(self) -> list[Grade]:
        """Those for whom the grader itself failed: no grades. The same call tries them again."""
        return [grade for grade in self.grades if grade.status == "machinery"]

    def as_json(self) -> str:
        grades = [grade.as_json() for grade in self.grades]
        return json.dumps(self.about.as_json() | {"grades": grades}, indent=1) + "\n"


@dataclass(frozen=True)
class Start:
    """What is known before anybody is graded."""

    notes: Sequence[str]  # what was found damaged
    total: int
    known: Sequence[Grade]  # the refused among them


Follow = Callable[[Start], AbstractContextManager[Callable[[Grade], object]]]
"""What shows how far the batch is: entered at the start, and called with every grade that is made."""


def unseen(_: Start) -> AbstractContextManager[Callable[[Grade], object]]:
    return nullcontext(lambda grade: None)


def grade_batch(
    project: Project,
    module: Module | str,
    submissions: Path,
    out: Path,
    options: Options = Options(),  # noqa: B008 - frozen
    pool: Callable[[Edition, Options], Pool] | None = None,
    shard: Shard = Shard(),  # noqa: B008 - frozen
    again: Iterable[str] = (),
    follow: Follow = unseen,
) -> Report:
    """Grade what was handed in, into `out`; what its journal knows is not graded again.

    submissions: a folder, or one file. pool: where it is graded, on this machine unless said otherwise. again: names
    that are graded although the journal knows them. Raises WrongCall and TitoError, one sentence each, before anybody
    is graded; later what cannot be graded is among `Report.failures`.
    """
    module = load_module(project, module) if isinstance(module, str) else module
    if options.exercise is not None:
        module.notebook_of(options.exercise)
    check_folder(submissions, out)
    make_pool = pool or on_this_machine()
    edition = Edition(project, module)
    batch_pool = make_pool(edition, options)
    everybody = collecting.collect(edition, submissions)
    mine = [one for one in everybody if shard.holds(one.name)]
    check_names(again, mine)
    adjustments.read(out / adjustments.FILE, module, [one.name for one in mine])  # a wrong line is told now
    about = About(conditions(project, module, options), shard, roll(everybody))
    with Journal(out) as journal:
        merging.check_same(journal, about)
        journal.open_batch(about, mine)
        batch = Batch(journal, module, about.conditions, mine, again)
        return _graded(edition, out, journal, batch, batch_pool, about, follow)


def merge_batches(project: Project, folders: Sequence[Path], out: Path, follow: Follow = unseen) -> Report:
    """Join the shards of a batch, each the `out` of a `grade_batch`, into one."""
    with Journal(out) as journal:
        merged = merging.merge(folders, journal)
        edition = Edition(project, load_module(project, merged.about.conditions.module))
        batch = Batch(journal, edition.module, merged.about.conditions, merged.submissions)
        return _graded(edition, out, journal, batch, merged.pool, merged.about, follow)


def on_this_machine(jobs: int | None = None) -> Callable[[Edition, Options], Pool]:
    """So many submissions at a time; one a core unless said otherwise. Raises WrongCall where there is no sandbox."""

    def pool(edition: Edition, options: Options) -> Pool:
        bubblewrap.check(options.unsafe)
        judge = partial(Judge, edition, options)
        return local_pool.pool(judge, jobs or local_pool.cores(), options.limit_seconds)

    return pool


def _graded(
    edition: Edition, out: Path, journal: Journal, batch: Batch, pool: Pool, about: About, follow: Follow
) -> Report:
    total = len(batch.submissions)
    try:
        with (
            follow(Start(tuple(journal.notes), total, tuple(batch.grades))) as show,
            closing(batch.run(pool)) as graded,
        ):
            for grade in graded:
                show(grade)
    except KeyboardInterrupt:
        done = f"{len(batch.grades)} of {total} submissions are graded and kept"
        raise Stopped(f"stopped by Ctrl-C: {done}; the same command goes on from there") from None
    given = collecting.given_cells(edition)
    judged = [about.conditions.options.exercise] if about.conditions.options.exercise else list(given)
    alike = similarity.pairs(batch.submissions, {name: given[name] for name in judged})
    writing.write(out, edition.module, batch.grades, alike, about)
    return Report(out, about, tuple(batch.grades))


def check_folder(submissions: Path, out: Path) -> None:
    """Refuse reports that cannot be written, or lie among the submissions: the next run would take them for one."""
    if out.exists() and not out.is_dir():
        raise WrongCall(f"--out {out} is a file: name a folder for the reports")
    if submissions.is_dir() and out.resolve().is_relative_to(submissions.resolve()):
        raise WrongCall(f"--out {out} lies inside {submissions}, where it would be taken for a submission: move it out")


def check_names(names: Iterable[str], submissions: Iterable[Submission]) -> None:
    """Refuse a --regrade of nobody, with the nearest name."""
    known = [one.name for one in submissions]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f" (the nearest is '{near[0]}')" if near else ""
            raise WrongCall(f"--regrade '{name}': no submission has this name{hint}; grades.csv lists all names")
