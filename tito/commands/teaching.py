"""What is given out: a course, laid down or released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tito.commands.common import ModuleName, project_of, stopped_means

KINDS = ("student", "nbgrader", "gradescope", "github-classroom")


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    module: Annotated[str | None, typer.Option("--module", metavar="MODULE", help="Default: the only one.")] = None,
    instructor: Annotated[
        bool, typer.Option("--instructor", help="The whole course: solutions and hidden tests, to teach and grade.")
    ] = False,
) -> None:
    """Lay down the exercises in a new folder. Example: tito new quantization"""
    import importlib.util

    from tito import console, processes
    from tito.course.module import load_module
    from tito.course.project import Project
    from tito.learning import starting
    from tito.releasing import new_course

    lay_down = new_course.instructor if instructor else new_course.student
    with stopped_means(f"nothing was put into {folder}"), console.waiting("laying the course down"):
        name, count = lay_down(folder, module)
    laid = load_module(Project(folder), name)
    print(f"{folder}: {laid.title}, {len(laid.exercises)} exercises, {laid.points} points, {count} files")
    enter = processes.typed("cd", str(folder))
    if instructor:
        print(f"Next: {enter} && tito release {laid.name} --to ../class")
    elif importlib.util.find_spec("jupyterlab"):
        print(f"Next: {enter} && tito start")
    else:
        notebook = Project(folder).shown(laid.notebooks[0].path)
        print(f"Next: {enter} && tito watch, with {notebook} open in your editor beside it.")
        print(f"In JupyterLab instead: {starting.GET_JUPYTER}, then tito start.")


def release(
    context: typer.Context,
    module: ModuleName,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="A new or empty folder, or one that an earlier release made.")
    ],
    kind: Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(KINDS)}.")] = KINDS[0],
) -> None:
    """Write what students are given, without a solution. Example: tito release 17_quantization --to ../class"""
    from tito import console
    from tito.course.module import find_module_name, load_module
    from tito.errors import WrongCall
    from tito.releasing import formats
    from tito.releasing import release as releasing

    if kind not in KINDS:
        raise WrongCall(f"--format must be one of {', '.join(KINDS)}, got '{kind}'")
    project = project_of(context)
    loaded = load_module(project, find_module_name(project, module))
    releasing.check_place(project, to)
    with stopped_means(f"{to} is as it was"), console.waiting("taking the solutions out, looking whether any is left"):
        tree = formats.make(project, loaded, kind)
        written = releasing.write(tree, to, kind, loaded)
    size = sum(len(data) for data in tree.values())
    print(f"{to}: {len(written)} files, {size / 1e6:.1f} MB, {kind} format of {loaded.name}")
    print(formats.then(kind, to, loaded))


COMMANDS = (release,)  # `new` is a learner's first command
