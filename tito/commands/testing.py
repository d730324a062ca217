"""`tito test`: a line for each exercise, then the one failure worth reading."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated

import typer

from tito.commands import leading
from tito.commands.common import (
    JsonPath,
    LimitSeconds,
    ModuleAndExercises,
    check_part,
    module_and_exercises_of,
    project_of,
)
from tito.errors import Status, Stopped

if TYPE_CHECKING:
    from tito.course.project import Project
    from tito.testing.outcome import Outcome
    from tito.testing.runner import Result


def test(
    context: typer.Context,
    named: ModuleAndExercises = None,
    exercise: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this one; may be repeated.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of an exercise's parts, the one that must pass.")
    ] = None,
    limit_seconds: LimitSeconds = 60.0,
    json_path: JsonPath = None,
) -> None:
    """Export a module, run its tests, say what to do next. Example: tito test choose_qparams"""
    import time

    from tito import console, files
    from tito.course import pairing
    from tito.learning import progress
    from tito.testing import runner
    from tito.testing.exports import Exports

    begun = time.monotonic()
    project = project_of(context)
    loaded, wanted = module_and_exercises_of(project, named or [])
    wanted += [loaded.exercise_of(name) for name in exercise or ()]
    chosen = [item for item in loaded.exercises if not wanted or item in wanted]
    if part is not None:
        check_part(chosen, part)
    width = max(len(item.id) for item in chosen)
    exports = Exports(project, loaded, lambda sentence: console.say(sentence, "yellow"))
    for sentence in pairing.tell(project):
        console.say(f"{sentence}\n", "yellow")
    outcomes = _followed(runner.run(project, loaded, exports, chosen, limit_seconds), len(chosen), width)
    kept = progress.record(project, loaded, outcomes, progress.digests(file.document for file in exports.files))
    if len(outcomes) < len(chosen):
        results = ", and their results are kept" if kept and outcomes else ""
        raise Stopped(f"stopped by Ctrl-C: {len(outcomes)} of {len(chosen)} exercises were tested{results}")
    lacking = runner.lacking(project, loaded, (file.document for file in exports.files), chosen)
    result = runner.Result(loaded.name, time.monotonic() - begun, tuple(outcomes), lacking)
    console.say(f"{'total':{width}}  {console.points(result.points, result.max_points):>16}  in {result.seconds:.1f} s")
    passed = _tell(project, result, part)
    if not kept:
        console.say(f"\n{project.shown(project.personal)} cannot be written, so `tito status` will not know of this.")
    elif passed:
        leading.lead_on(project, loaded)
    if json_path:
        files.write_whole([(json_path, result.as_json())])
    if not passed:
        raise typer.Exit(Status.FAILED)


def _followed(running: Generator[Outcome], count: int, width: int) -> list[Outcome]:
    """Show each outcome as it comes. Fewer than `count` of them: Ctrl-C was pressed, and nothing runs any longer."""
    from contextlib import closing, suppress

    from tito import console
    from tito.testing.outcome import in_words

    outcomes: list[Outcome] = []
    with suppress(KeyboardInterrupt), closing(running) as finished, console.progress("tested", count) as done:
        for outcome in finished:
            outcomes.append(outcome)
            earned = console.points(outcome.points, outcome.max_points)
            stands = in_words(outcome.status, outcome.parts)
            done(f"{outcome.exercise:{width}}  {earned:>16}  {stands}", console.COLOURS[outcome.status])
    return outcomes


def _tell(project: Project, result: Result, part: str | None) -> bool:
    """Say what is to be done, and what was printed. Returns whether everything, or the part, has passed."""
    import textwrap

    from tito import console
    from tito.course import shadowing

    if part is None:
        passed, first = result.passed, result.most_useful
        head, message = (f"{first.exercise}: {first.title}", first.message) if first else ("", "")
    else:
        of_part = result.part(part)
        passed, head, message = of_part.status == "passed", f"{result.exercises[0].exercise}: {part}", of_part.message
    if not passed:
        console.say(f"\n{head}\n{textwrap.indent(message, '  ')}")
        if cause := shadowing.warning(project):
            console.say(cause, "yellow")
    for outcome in result.exercises:
        if outcome.printed:
            console.say(f"\n{outcome.exercise}: {outcome.printed}")
    for sentence in result.lacking:
        console.say(f"\n{sentence}", "yellow")
    return passed
