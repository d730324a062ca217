"""Grading from Python: what `tito grade` and `tito merge` do, without a terminal.

report = grade_batch(project, "17_quantization", Path("submissions"), Path("grades"), Options(seed=7))
{grade.submission: grade.points for grade in report.grades}
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tito.course.edition import Edition
from tito.course.module import Module, load_module
from tito.course.project import Project
from tito.errors import Stopped, WrongCall
from tito.grading import changes, local_pool, merging, reasons, similarity
from tito.grading.about import About, roll
from tito.grading.batch import Batch, Pool
from tito.grading.changes import Change, Reported
from tito.grading.conditions import conditions
from tito.grading.grade import Grade
from tito.grading.intake import collecting
from tito.grading.journal import NAME as journal_name
from tito.grading.journal import Journal
from tito.grading.judging.judge import Judge
from tito.grading.options import Options, Several, Shard
from tito.grading.reports import roster_csv, standing, writing
from tito.grading.reports.marking import marks
from tito.grading.reports.marking.serving import Server, Sheet, Site
from tito.grading.sandbox import bubblewrap
from tito.grading.submission import Submission


@dataclass(frozen=True)
class Report:
    """A graded batch, and the folder that holds its journal, tables and pages.

    before: what the report before this one said; None for the first. changes: whose points are others now.
    """

    out: Path
    about: About
    grades: tuple[Grade, ...]  # by name
    before: Reported | None = None
    changes: tuple[Change, ...] = ()
    missing: tuple[Grade, ...] = ()  # of everybody on the roster who handed in nothing

    @property
    def failures(self) -> list[Grade]:
        """Those for whom the grader itself failed: no grades. The same call tries them again."""
        return [grade for grade in self.grades if grade.status == "machinery"]

    def beside_before(self, name: str) -> str:
        """A submission's points in the report before and in this one, in a sentence."""
        grade = next(grade for grade in self.grades if grade.submission == name)
        old = self.before.points(name) if self.before else None
        new = None if grade.status == "machinery" else grade.points
        said = ["no grade" if points is None else f"{points} points" for points in (old, new)]
        return f"{name}: {said[1]}, as before" if old == new else f"{name}: {said[0]} before, {said[1]} now"

    def as_json(self) -> str:
        grades = [grade.as_json() for grade in self.grades]
        changes = [asdict(change) for change in self.changes]
        return json.dumps(self.about.as_json() | {"changes": changes, "grades": grades}, indent=1) + "\n"


@dataclass(frozen=True)
class Start:
    """What is known before anybody is graded."""

    notes: Sequence[str]  # what was found damaged, or names nobody
    total: int
    known: Sequence[Grade]  # the refused among them
    reasons: Sequence[str] = ()  # what is graded again and why


Follow = Callable[[Start], AbstractContextManager[Callable[[Grade], object]]]
"""What shows how far the batch is: entered at the start, and called with every grade that is made."""


Waiting = Callable[[str], AbstractContextManager[object]]
"""What says that something is done which nobody can follow, for as long as its block runs."""


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
    several: Several = "best",
    waiting: Waiting = nullcontext,
) -> Report:
    """Grade what was handed in, into `out`; what its journal knows is not graded again.

    submissions: a folder, or one file. pool: where it is graded, on this machine unless said otherwise. again: names
    that are graded although the journal knows them. several: which counts of what one student handed in several times.
    follow, waiting: what shows a person how far it is; nothing unless said otherwise.
    Raises WrongCall and TitoError, one sentence each, before anybody is graded; later what cannot be graded is among
    `Report.failures`.
    """
    module = load_module(project, module) if isinstance(module, str) else module
    if options.exercise is not None:
        module.notebook_of(options.exercise)
    check_folder(submissions, out)
    make_pool = pool or on_this_machine()
    edition = Edition(project, module)
    if shard.count > 1 and options.seed is None:
        raise WrongCall(f"shard {shard} needs a seed, the same for all shards: add --seed N, N a number of your own")
    with waiting("reading what was handed in"):
        everybody = collecting.collect(edition, submissions, roster_csv.read(out), several)
    roster_csv.attendance(out, everybody, shard)  # what is wrong with it is told now
    mine = [one for one in everybody if shard.holds(one.name)]
    check_names(again, mine)
    answers = writing.answers(options.exercise, mine)
    standing.read(out, module, [one.name for one in mine], answers)  # a wrong line is told now
    with Journal(out) as journal:
        options = options.seeded(journal.seed)
        batch_pool = make_pool(edition, options)
        about = About(conditions(edition, options), shard, roll(everybody))
        merging.check_same(journal, about)
        journal.open_batch(about, mine)
        batch = Batch(journal, module, about.conditions, mine, again)
        return _graded(edition, out, journal, batch, batch_pool, about, follow, waiting)


def merge_batches(
    project: Project, folders: Sequence[Path], out: Path, follow: Follow = unseen, waiting: Waiting = nullcontext
) -> Report:
    """Join the shards of a batch, each the `out` of a `grade_batch`, into one."""
    with Journal(out) as journal:
        merged = merging.merge(folders, journal)
        edition = Edition(project, load_module(project, merged.about.conditions.module))
        batch = Batch(journal, edition.module, merged.about.conditions, merged.submissions)
        return _graded(edition, out, journal, batch, merged.pool, merged.about, follow, waiting)


def marking_server(project: Project, out: Path, grader: str, port: int = 0) -> Server:
    """What serves the pages of a batch's questions to a grader, and keeps the scores in a table below `out`."""
    if not (out / journal_name).is_file():
        raise WrongCall(f"{out} holds no {journal_name}: name the --out of `tito grade`")
    with Journal(out) as journal:
        about, submissions = journal.about(), journal.submissions()
    if about is None:
        raise WrongCall(f"{out} was not begun: run `tito grade` there again")
    edition = Edition(project, load_module(project, about.conditions.module))
    asked = collecting.questions(edition)
    if not asked:
        raise WrongCall(f"{edition.module.name} asks no question in words: its module.toml lists none")
    marking = marks.read(out, edition.module, {one.name: one.answers for one in submissions})
    sheet = Sheet(out, marking, grader)
    return Server(Site.make(edition.module, marking, asked, about.conditions.options.seed or 0, sheet), port)


def on_this_machine(jobs: int | None = None) -> Callable[[Edition, Options], Pool]:
    """So many submissions at a time; one a core unless said otherwise. Raises WrongCall where there is no sandbox."""

    def pool(edition: Edition, options: Options) -> Pool:
        bubblewrap.check(options.unsafe)
        judge = partial(Judge, edition, options)
        return local_pool.pool(judge, jobs or local_pool.cores(), options.limit_seconds)

    return pool


def _graded(
    edition: Edition,
    out: Path,
    journal: Journal,
    batch: Batch,
    pool: Pool,
    about: About,
    follow: Follow,
    waiting: Waiting,
) -> Report:
    total = len(batch.submissions)
    present = roster_csv.attendance(out, batch.submissions, about.shard)
    names = [one.name for one in present.submissions]
    told = standing.read(
        out, edition.module, names, writing.answers(about.conditions.options.exercise, batch.submissions)
    )
    notes = (*journal.notes, *present.warnings, *told.warnings)
    before = journal.reported(about.conditions.options.exercise)
    why = reasons.announced(before, batch) if before else []
    try:
        with (
            follow(Start(notes, total, tuple(batch.grades), why)) as show,
            closing(batch.run(pool)) as graded,
        ):
            for grade in graded:
                show(grade)
    except KeyboardInterrupt:
        graded_now = [grade for grade in batch.grades if grade.status != "refused"]
        done = f"{len(graded_now)} of {total} submissions are graded and kept"
        others = ", the others' grades of before, too" if batch.again else ""
        raise Stopped(f"stopped by Ctrl-C: {done}{others}; the same command goes on from there") from None
    with waiting("comparing submissions, writing reports"):
        given = collecting.given_cells(edition)
        alike = similarity.pairs(batch.submissions, {name: given[name] for name in about.conditions.judged})
        asked = collecting.questions(edition)
        now = changes.reported(about.conditions, batch.grades, before)
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        found = changes.between(before, now, batch.again, when) if before else []
        history = [*journal.history(), *found]
        writing.write(out, edition.module, batch.grades, alike, about, batch.submissions, asked, history)
        journal.report(now, found)
    return Report(out, about, tuple(batch.grades), before, tuple(found), present.missing)


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
