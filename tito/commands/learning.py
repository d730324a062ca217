"""The student's commands: begin, watch, ask for a hint, see where one is, start an exercise again, hand in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tito.commands.common import (
    InModule,
    JsonPath,
    LimitSeconds,
    MaybeModule,
    module_and_name_of,
    module_before,
    module_of,
    project_of,
    stopped_means,
)

GO_TO = "`tito watch {}`, where n goes on to the next exercise, and a change that you save in an exercise goes to it"
NOTHING_WRITTEN = "no file to hand in was written; what was there is unchanged"


def start(
    context: typer.Context,
    module: MaybeModule = None,
    lab: Annotated[bool, typer.Option("--lab/--no-lab", help="Open JupyterLab, or only make the .ipynb.")] = True,
) -> None:
    """Open the notebook you are at in JupyterLab; options go to it. Example: tito start 17_quantization"""
    from tito.learning import starting

    options, module = module_before(module, context.args)
    project = project_of(context)
    loaded = module_of(project, module)
    page, written = starting.pair(project, starting.unfinished(project, loaded))
    shown, text = project.shown(page), page.with_suffix(".py").name
    if written == page:
        print(f"{shown} was written, from {text}.")
    elif written:
        print(f"{project.shown(written)} was written, from {page.name}.")
    else:
        print(f"{shown} is there, and holds what {text} holds.")
    print("The two are one notebook: JupyterLab saves both, tito reads the one you changed.")
    if lab:
        raise typer.Exit(starting.open_lab(project, page, options))
    print(f"Next: tito watch, with {shown} or {text} open in your editor beside it.")


def watch(context: typer.Context, module: MaybeModule = None, limit_seconds: LimitSeconds = 60.0) -> None:
    """Test the exercise you are at whenever you save. Example: tito watch 17_quantization"""
    from tito.learning import watch_loop

    project = project_of(context)
    watch_loop.watch(project, module_of(project, module, GO_TO), limit_seconds)


def hint(
    context: typer.Context,
    named: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODULE] [EXERCISE]", show_default=False, help="Default: the one you are at."),
    ] = None,
    module: InModule = None,
    solution: Annotated[
        bool, typer.Option("--solution", help="The reference, once the exercise passed; in the instructor's course.")
    ] = False,
    beside: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With a student's answer: a notebook or submission."),
    ] = None,
) -> None:
    """Show the next of an exercise's hints. Example: tito hint choose_qparams"""
    from tito import console
    from tito.learning import hints, progress, solutions

    project = project_of(context)
    loaded, exercise = module_and_name_of(project, named or [], module)
    current = progress.read(project).current(loaded)
    chosen = loaded.exercise_of(exercise) if exercise else (current or loaded.exercises[-1])
    head = f"{chosen.id}: {chosen.title}"
    if solution or beside:
        texts = solutions.beside(project, loaded, chosen, beside)
        console.say(f"{head}\n")
        console.beside(texts)
        if beside is None:
            console.say("\n--beside FILE shows the answer in a student's notebook or submission beside it.")
    elif exercise is None and current is None:
        console.say("All exercises passed: there is nothing left to hint at.")
    else:
        console.say("\n".join([head, *hints.ask(project, loaded, chosen)]))


def status(context: typer.Context, module: MaybeModule = None, json_path: JsonPath = None) -> None:
    """Show exercises, points and what is next. Example: tito status"""
    from tito import console, files
    from tito.learning.status import status_of

    project = project_of(context)
    found = status_of(project, module_of(project, module))
    width = max(len(row.exercise) for row in found.rows)
    for row in found.rows:
        earned = console.points(row.points, row.max_points)
        console.say(f"{row.exercise:{width}}  {earned:>16}  {row.note}", console.COLOURS.get(row.status, ""))
    console.say(f"{'total':{width}}  {console.points(found.points, found.max_points):>16}")
    if found.unanswered:
        console.say(found.unanswered)
    for sentence in found.unreadable:
        console.say(f"\n{sentence}", "yellow")
    console.say(f"\n{found.next}")
    if json_path:
        files.write_whole([(json_path, found.as_json())])


def reset(
    context: typer.Context,
    named: Annotated[list[str], typer.Argument(metavar="[MODULE] EXERCISE")],
    module: InModule = None,
) -> None:
    """Put an exercise, or a given file, back as it was; your text is kept. Example: tito reset choose_qparams"""
    from tito import console
    from tito.errors import WrongCall
    from tito.learning import resetting

    project = project_of(context)
    loaded, exercise = module_and_name_of(project, named, module)
    if exercise is None:
        raise WrongCall(f"what of {loaded.name}? Name an exercise, a notebook or a given file of it")
    for path, copy in resetting.reset(project, loaded, exercise):
        kept = f"your text is in {project.shown(copy)}" if copy else "it was missing"
        console.say(f"{project.shown(path)}  {exercise} is as it was given; {kept}")
        if path.suffix == ".ipynb":
            console.say("Is it open in JupyterLab? Then choose File, Reload Notebook from Disk there.")


def submit(
    context: typer.Context,
    module: MaybeModule = None,
    name: Annotated[str, typer.Option(help="Your name, for the manifest.")] = "",
    untested: Annotated[
        bool, typer.Option("--untested", help="Hand in as it is, even if it cannot be tested.")
    ] = False,
    limit_seconds: LimitSeconds = 60.0,
) -> None:
    """Test, then write the one file to hand in. Example: tito submit 17_quantization"""
    from functools import partial

    from tito import console
    from tito.course import notebook
    from tito.learning import progress, rehearsal, submission
    from tito.learning.status import unanswered
    from tito.testing import runner
    from tito.testing.outcome import in_words

    project = project_of(context)
    loaded = module_of(project, module)
    count, result = len(loaded.exercises), None
    if not untested:
        console.say(f"testing {count} exercises, here and as they will be graded ...")
        with stopped_means(NOTHING_WRITTEN), console.progress("tested here", count) as done:
            result = runner.whole(project, loaded, limit_seconds, partial(done, "", ""))
    with console.waiting("putting it together"):
        made, remarks = submission.make(project, loaded, result, name), rehearsal.lacking(project, loaded)
    if result:
        with stopped_means(NOTHING_WRITTEN), console.progress("tested as graded", count) as done:
            tried = rehearsal.rehearse(project, loaded, made, result, partial(done, "", ""))
        result, remarks = tried.result, [*remarks, *tried.remarks]
        documents = (notebook.read(project, entry.path) for entry in loaded.notebooks)
        progress.record(project, loaded, result.exercises, progress.digests(documents))
        made = submission.make(project, loaded, result, name)
    earlier = submission.write(project, made)
    left = [outcome for outcome in (result.exercises if result else ()) if outcome.status != "passed"]
    width = max((len(outcome.exercise) for outcome in left), default=0)
    for outcome in left:
        why = "" if outcome.status == "not started" else f": {outcome.message.split(chr(10))[0].rstrip(':')}"
        stands = in_words(outcome.status, outcome.parts)
        console.say(f"{outcome.exercise:{width}}  {stands}{why}", console.COLOURS[outcome.status])
    for sentence in remarks:
        console.say(sentence, "yellow")
    points = (
        f"{console.points(result.points, result.max_points)} by the tests that you have" if result else "not tested"
    )
    console.say(f"\n{project.shown(made.path)}  {points}. It holds:")
    width = max(map(len, made.files))
    for inside, data in made.files.items():
        console.say(f"  {inside:{width}}  {len(data):>8} bytes")
    for exercise in made.missing:
        console.say(f"{exercise} is not in it, and earns no points: no cell of it was found", "yellow")
    if untested and made.unwritten:
        console.say(f"not written yet: {', '.join(made.unwritten)}", "yellow")
    if questions := unanswered(made.answered):
        console.say(questions)
    for sentence in made.remarks:
        console.say(sentence, "yellow")
    if earlier:
        console.say(f"The archive that was there is kept as {project.shown(earlier)}.")
    console.say(f"\nHand in this one file: {made.path}")


COMMANDS = (watch, hint, status, reset, submit)
