"""The commands. Each parses its arguments, calls the nouns, prints; it imports what it runs, and no more."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tito import processes
from tito.commands import grading, leading, learning, running, teaching, testing
from tito.commands.common import (
    JsonPath,
    MaybeModule,
    module_of,
    project_of,
)
from tito.commands.leading import LEARN, TEACH, USE
from tito.errors import Status, TitoError

app = typer.Typer(
    name="tito",
    help="Learn quantization, teach it, use it. `tito` alone says what is next.",
    cls=leading.GroupedCommands,
    invoke_without_command=True,
    rich_markup_mode=None,  # plain help: the same text on every console
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}  # for commands that hand options on
UsageError: Any = typer.BadParameter.__base__  # of click, which Typer carries inside


def _print_version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        try:
            print(f"tito {metadata.version('tinytorch')}")
        except metadata.PackageNotFoundError:
            print("tito, run from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="TITO_PROJECT", help="The course's folder. Default: the one you are in."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = project
    if context.invoked_subcommand is None:
        print(f"{leading.next_step(project)}\n\n{context.get_help()}")


app.command(rich_help_panel=LEARN)(teaching.new)  # help lists the commands of a group in this order
app.command(context_settings=OPEN, rich_help_panel=LEARN)(learning.start)
for command in learning.COMMANDS:
    app.command(rich_help_panel=LEARN)(command)


@app.command(rich_help_panel=LEARN)
def export(
    context: typer.Context,
    module: MaybeModule = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not up to date.")] = False,
) -> None:
    """Write a module's notebooks into the package. Example: tito export 17_quantization"""
    from tito import console
    from tito.course import exporting, pairing, shadowing

    project = project_of(context)
    loaded = module_of(project, module)
    with console.waiting("reading the notebooks"):
        files = exporting.make(project, loaded)
        changed = [file for file in files if file.changed] if check else exporting.write(project, files)
    for file in files:
        shown = project.shown(file.target)
        if not check:
            print(f"{shown}  {'written' if file in changed else 'unchanged'}")
        elif file in changed:
            where = f"{shown}:{file.first_difference}"
            print(f"{where} is not what {file.document.name} exports: run `tito export {loaded.name}`")
        else:
            print(f"{shown}  up to date")
    for sentence in pairing.tell(project):
        console.say(sentence, "yellow")
    if cause := shadowing.warning(project):
        console.say(cause, "yellow")
    if not check:
        leading.lead_on(project, loaded)
    if check and changed:
        raise typer.Exit(Status.FAILED)


app.command(rich_help_panel=LEARN)(testing.test)
for program in running.COMMANDS:
    app.command(add_help_option=False, context_settings=OPEN, rich_help_panel=USE)(
        program
    )  # behind a module's name --help is the program's


@app.command(rich_help_panel=USE)
def doctor(context: typer.Context, json_path: JsonPath = None) -> None:
    """Say what this machine and this course lack, and how to mend it. Example: tito doctor"""
    from tito import console, files
    from tito import doctor as examination

    with console.waiting("looking, and trying every kernel: the first time they are compiled"):
        checks = examination.examine(context.obj)
    width = max(len(check.what) for check in checks)
    for check in checks:
        console.say(f"{check.what:{width}}  {check.found}", "red" if check.problem else "")
        if check.problem:
            console.say(f"{'':{width}}  {check.problem}. Fix: {check.fix}", "yellow")
    if json_path:
        files.write_whole([(json_path, examination.as_json(checks))])
    if any(check.problem for check in checks):
        raise typer.Exit(Status.FAILED)


for instructors in (*teaching.COMMANDS, *grading.COMMANDS):
    app.command(rich_help_panel=TEACH)(instructors)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: a person's mistake is one sentence, never a traceback."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot show a letter shows its number
    with processes.ended_with_care():
        return _run(argv)


def _run(argv: list[str] | None) -> int:
    try:
        status = int(app(args=argv, prog_name="tito", standalone_mode=False) or Status.DONE)
        if status == Status.INTERRUPTED:  # newer Typers turn Ctrl-C into this status, older ones into Abort
            raise KeyboardInterrupt
        sys.stdout.flush()
        return status
    except TitoError as error:
        print(f"tito: {error}", file=sys.stderr)
        return error.status
    except UsageError as error:
        error.show()
        return Status.WRONG_CALL
    except (typer.Abort, KeyboardInterrupt):
        print("tito: stopped by Ctrl-C.", file=sys.stderr)
        return Status.INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `tito test 17 | head`: nobody listens, which is no mistake
            what = error.filename or error.filename2
            print(f"tito: {error.strerror or error}" + (f": {what}" if what else ""), file=sys.stderr)
        _give_up_output()
        return Status.FAILED


def _open_closed_streams() -> None:
    """Where a standard stream was closed (`tito status >&-`) it leads nowhere; no file may get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _give_up_output() -> None:
    """Where standard output cannot be written, let Python not try again, with a complaint, when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
