"""The instructor's commands: what was handed in is graded, and the parts of a batch are joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tito.commands.common import JsonPath, ModuleName, between, project_of
from tito.errors import Status, Stopped, WrongCall
from tito.grading.options import LARGEST_SEED, LONGEST_SECONDS, Options, Several, Shard

if TYPE_CHECKING:
    from tito.grading.api import Report, Start
    from tito.grading.grade import Grade, GradeStatus

Out = Annotated[Path, typer.Option(metavar="DIR", help="Where the reports and the journal go; a rerun goes on there.")]

MOST_JOBS = 512
MOST_CHANGES = 20  # that are listed on the terminal
MOST_MISSING = 50  # that are named
MOST_REFUSED = 20
WORDS: dict[GradeStatus, str] = {
    "graded": "graded",
    "refused": "could not be read",
    "machinery": "not graded, for the grader itself failed",
    "missing": "missing: nothing was handed in",
}


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
    exercise: Annotated[list[str] | None, typer.Option(metavar="ID", help="Grade only this exercise.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            callback=between(0, LARGEST_SEED),
            help="Of the tests' random inputs; the same seed gives the same grade. Default: drawn, and kept in --out.",
        ),
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Without a sandbox: only what you would run on this machine yourself.")
    ] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only part I of N, from 1 on; see tito merge.")] = "1/1",
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="On this Dask cluster: tcp://... or tls://...")] = "",
    several: Annotated[
        Several, typer.Option(help="Which counts of what one student handed in several times.")
    ] = "best",
    json_path: JsonPath = None,
) -> None:
    """Grade what students handed in. Example: tito grade 17_quantization submissions --out grades"""
    from tito import console
    from tito.course.module import find_module_name
    from tito.grading import api

    if exercise and len(exercise) > 1:
        raise WrongCall(f"--exercise takes one exercise, got {', '.join(exercise)}: leave it out to grade all")
    project = project_of(context)
    name, part = find_module_name(project, module), Shard.from_text(shard)
    options = Options(seed, limit_seconds, exercise[0] if exercise else None, unsafe)
    _check(json_path)
    if dask:
        from tito.grading.dask_pool import on_cluster

        pool = on_cluster(dask)
    else:
        pool = api.on_this_machine(jobs)
    again = regrade or ()
    report = api.grade_batch(
        project, name, submissions, out, options, pool, part, again, following, several, console.waiting
    )
    raise typer.Exit(_show(report, json_path, again))


def merge(
    context: typer.Context,
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="The --out of every shard.")],
    out: Out,
    json_path: JsonPath = None,
) -> None:
    """Join the shards of a batch into one set of reports. Example: tito merge part1 part2 --out grades"""
    from tito import console
    from tito.grading import api

    _check(json_path)
    report = api.merge_batches(project_of(context), folders, out, following, console.waiting)
    raise typer.Exit(_show(report, json_path))


def mark(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of tito grade.")],
    grader: Annotated[
        str, typer.Option(metavar="NAME", help="Who marks. Without a name the scores are what counts in the end.")
    ] = "",
    port: Annotated[int, typer.Option(callback=between(0, 65535), help="Of this machine; 0: any that is free.")] = 0,
) -> None:
    """Mark answers in words, in a browser on this machine. Example: tito mark grades --grader ada"""
    from tito import console
    from tito.grading import api

    with api.marking_server(project_of(context), out, grader.strip(), port) as server:
        table = server.site.sheet.path
        console.say(f"Open {server.address}\nThe scores go to {table} at every change. Ctrl-C ends it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            marked = f"what was marked is in {table}" if table.is_file() else "nothing was marked"
            raise Stopped(f"stopped by Ctrl-C: {marked}") from None


def _check(json_path: Path | None) -> None:
    if json_path is not None and json_path.is_dir():
        raise WrongCall(f"--json {json_path} is a folder: name a file")


@contextmanager
def following(start: Start) -> Iterator[Callable[[Grade], None]]:
    """Say what is known already, then show how far the batch is."""
    from tito import console
    from tito.grading import progress_display

    for note in start.notes:
        console.say(note, "yellow")
    refused = [grade for grade in start.known if grade.status == "refused"]
    counted = [(len(refused), "cannot be read"), (len(start.known) - len(refused), "graded already")]
    if summary := ", ".join(f"{count} {what}" for count, what in counted if count):
        console.say(f"{start.total} submissions: {summary}")
    for grade in refused[:MOST_REFUSED]:
        console.say(f"{grade.submission}: {grade.remarks[0]}", "yellow")
    for reason in start.reasons:
        console.say(f"to be graded: {reason}")
    with progress_display.following(len(start.known), start.total) as show:
        yield show


def _show(report: Report, json_path: Path | None, regraded: Iterable[str] = ()) -> Status:
    """Say what there is and what changed; FAILED where the grader itself failed for somebody."""
    from tito import console, files

    if json_path:
        files.write_whole([(json_path, report.as_json())], private=True)
    counts = Counter(grade.status for grade in (*report.grades, *report.missing))
    summary = ", ".join(f"{counts[status]} {word}" for status, word in WORDS.items() if counts[status])
    console.say(summary or "no submissions")
    if report.missing:
        names, more = [grade.submission for grade in report.missing], len(report.missing) - MOST_MISSING
        console.say(f"missing: {', '.join(names[:MOST_MISSING])}{f' and {more} more' if more > 0 else ''}")
    for name in regraded:
        console.say(report.beside_before(name))
    for change in report.changes[:MOST_CHANGES]:
        console.say(f"changed: {change}")
    if (more := len(report.changes) - MOST_CHANGES) > 0:
        console.say(f"and {more} more: {report.out / 'changes.html'}")
    for failure in report.failures:
        console.say(f"{failure.submission}: {failure.remarks[-1]}", "red")
    console.say(f"{report.out / 'index.html'}  {report.out / 'grades.csv'}")
    return Status.FAILED if report.failures else Status.DONE


COMMANDS = (grade, merge, mark)
