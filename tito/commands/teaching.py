"""The instructor's commands: what is given out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tito.commands.common import ModuleName, project_of

KINDS = ("student", "nbgrader", "gradescope", "github-classroom")


def release(
    context: typer.Context,
    module: ModuleName,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="A new or empty folder, or one that an earlier release made.")
    ],
    kind: Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(KINDS)}.")] = KINDS[0],
) -> None:
    """Write what students are given, without a solution. Example: tito release 17_quantization --to ../class"""
    from tito.course.module import find_module_name, load_module
    from tito.errors import WrongCall
    from tito.releasing import formats
    from tito.releasing import release as releasing

    if kind not in KINDS:
        raise WrongCall(f"--format must be one of {', '.join(KINDS)}, got '{kind}'")
    project = project_of(context)
    loaded = load_module(project, find_module_name(project, module))
    releasing.check_place(project, to)
    tree = formats.make(project, loaded, kind)
    written = releasing.write(tree, to, kind, loaded)
    size = sum(len(data) for data in tree.values())
    print(f"{to}: {len(written)} files, {size / 1e6:.1f} MB, {kind} format of {loaded.name}")
    print(formats.then(kind, to, loaded))


COMMANDS = (release,)
