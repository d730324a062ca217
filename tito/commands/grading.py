"""The instructor's commands: what was handed in is graded, and the parts of a batch are joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tito.commands.common import LONGEST_SECONDS, JsonPath, ModuleName, between, project_of

Out = Annotated[Path, typer.Option(metavar="DIR", help="Where the reports and the journal go; a rerun goes on there.")]

MOST_JOBS = 512
LARGEST_SEED = 2**32 - 1  # what every generator takes: Python's, NumPy's, hypothesis'


def grade(
    context: typer.Context,
    module: ModuleName,
    submissions: Annotated[Path, typer.Argument(metavar="SUBMISSIONS", help="A folder of what was handed in.")],
    out: Out,
    regrade: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Grade this submission again; may be repeated.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(callback=between(1, MOST_JOBS), help="Submissions at a time. Default: one a core.")
    ] = None,
    limit_seconds: Annotated[
        float, typer.Option(callback=between(1, LONGEST_SECONDS), help="How long one submission may take.")
    ] = 120.0,
    exercise: Annotated[str | None, typer.Option(metavar="ID", help="Grade only this exercise.")] = None,
    seed: Annotated[
        int,
        typer.Option(
            callback=between(0, LARGEST_SEED), help="Of the tests' random inputs; the same seed gives the same grade."
        ),
    ] = 0,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Without a box: only what you would run on this machine yourself.")
    ] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only part I of N, from 1 on; see tito merge.")] = "1/1",
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="On this Dask cluster: tcp://... or tls://...")] = "",
    json_path: JsonPath = None,
) -> None:
    """Grade what students handed in. Example: tito grade 17_quantization submissions --out grades"""
    from tito import course
    from tito.grading import batch, intake, journal, merging, session
    from tito.grading.judging.judge import Judge
    from tito.grading.reports import adjustments

    project = project_of(context)
    loaded = course.load(project, course.find_name(project, module))
    part = batch.shard_of(shard)
    if exercise is not None:
        loaded.notebook_of(exercise)
    batch.check_places(submissions, out, json_path)
    batch.check_address(dask) if dask else batch.check_box(unsafe)
    everybody = intake.collect(loaded, submissions)
    mine = [one for one in everybody if part.holds(one.name)]
    batch.check_names(regrade or (), mine)
    adjustments.read(out / adjustments.FILE, loaded, [one.name for one in mine])  # a wrong line is told now
    conditions = journal.conditions(project, loaded, seed, limit_seconds, exercise, unsafe)
    about = merging.About(conditions, part, merging.roll(everybody))

    def make_judge() -> Judge:
        return Judge(project, loaded, seed, limit_seconds, unsafe=unsafe, exercise=exercise)

    if dask:
        from tito.grading import cluster

        pool = cluster.pool(dask, conditions)
    else:
        pool = batch.local(make_judge, jobs or session.cores(), limit_seconds)
    with journal.Journal(out) as kept:
        merging.check_same(kept, about)
        kept.open_batch(about.as_json(), mine)
        whole = batch.Batch(kept, loaded, conditions, mine, regrade or ())
        session.run(whole, pool, kept.notes)
        status = session.report(loaded, out, whole, about, json_path)
    raise typer.Exit(status)


def merge(
    context: typer.Context,
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="The --out of every shard.")],
    out: Out,
    json_path: JsonPath = None,
) -> None:
    """Join the shards of a batch into one set of reports. Example: tito merge part1 part2 --out grades"""
    from tito import course
    from tito.grading import batch, journal, merging, session

    project = project_of(context)
    with journal.Journal(out) as kept:
        merged = merging.merge(folders, kept)
        loaded = course.load(project, merged.about.conditions.module)
        whole = batch.Batch(kept, loaded, merged.about.conditions, merged.submissions)
        session.run(whole, merged.pool, kept.notes)
        status = session.report(loaded, out, whole, merged.about, json_path)
    raise typer.Exit(status)


COMMANDS = (grade, merge)
