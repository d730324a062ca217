"""The commands. Each parses its arguments, calls the nouns, prints; it imports what it runs, and no more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tito.errors import Status, TitoError

if TYPE_CHECKING:
    from tito.project import Project

app = typer.Typer(
    name="tito",
    help="Export a notebook, test it, see it work.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: the same text on every console
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
UsageError = typer.BadParameter.__base__ or Exception

ModuleName = Annotated[str, typer.Argument(metavar="MODULE", help="A folder of modules/source, or how it begins: 17.")]
JsonPath = Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Also write the result to this file.")]


@app.callback()
def common(
    context: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="TITO_PROJECT", help="The course's folder. Default: the one you are in."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    context.obj = project
    if version:
        from importlib.metadata import version as installed

        print(f"tito {installed('tinytorch')}")
        raise typer.Exit


def _project(context: typer.Context) -> Project:
    from tito import project

    return project.find(context.obj)


@app.command()
def export(
    context: typer.Context,
    module: ModuleName,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not up to date.")] = False,
) -> None:
    """Write a module's notebooks into the package. Example: tito export 17_quantization"""
    from tito import course, exporting

    project = _project(context)
    loaded = course.load(project, course.find_name(project, module))
    files = exporting.make(project, loaded)
    changed = [file for file in files if file.changed] if check else exporting.write(project, files)
    for file in files:
        shown = project.shown(file.target)
        if not check:
            print(f"{shown}  {'written' if file in changed else 'unchanged'}")
        elif file in changed:
            print(f"{shown}:{file.first_difference} is not what {file.document.name} exports: run `tito export {loaded.name}`")
        else:
            print(f"{shown}  up to date")
    if check and changed:
        raise typer.Exit(Status.FAILED)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: a person's mistake is one sentence, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot show a letter shows its number
    try:
        status = app(args=argv, prog_name="tito", standalone_mode=False)
        return int(status or Status.DONE)
    except TitoError as error:
        print(f"tito: {error}", file=sys.stderr)
        return error.status
    except UsageError as error:
        error.show()  # type: ignore[attr-defined]
        return Status.WRONG_CALL
    except (typer.Abort, KeyboardInterrupt):
        print("tito: stopped by Ctrl-C.", file=sys.stderr)
        return Status.INTERRUPTED
    except OSError as error:
        what = error.filename or error.filename2
        print(f"tito: {error.strerror or error}" + (f": {what}" if what else ""), file=sys.stderr)
        return Status.FAILED


if __name__ == "__main__":
    raise SystemExit(main())
