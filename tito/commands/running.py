"""Commands that run a program in a process of its own, a module's or the package's, and hand their options on to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tito import processes
from tito.commands.common import MaybeModule, module_before, module_of, project_of
from tito.errors import Status, TitoError

if TYPE_CHECKING:
    from tito.course.module import Module
    from tito.course.project import Project

HELP = {"-h", "--help"}
QUANTIZER = "tinytorch.deployment.published"  # what `tito quantize` runs


def demo(context: typer.Context, module: MaybeModule = None) -> None:
    """Show what a module can do; options go to its demo. Example: tito demo 17 --seed 0 --json result.json"""
    _run_script(context, module, "demo")


def deploy(context: typer.Context, module: MaybeModule = None) -> None:
    """Write a module's network for another engine; options go on. Example: tito deploy 17 --to onnx --out net.onnx"""
    _run_script(context, module, "deploy")


def _run_script(context: typer.Context, module: str | None, what: str) -> None:
    """Run a program that the module brings, on what the student wrote."""
    from tito import console
    from tito.errors import WrongCall

    asks = module in HELP  # and for ours, before the program's
    options, module = module_before(module, context.args)
    try:
        project = _course_to_run(context)
        loaded = module_of(project, module)
    except WrongCall:
        if not asks:
            raise
        console.say(context.get_help())
        raise typer.Exit(Status.DONE) from None
    if asks:
        console.say(f"{context.get_help()}\n")
        sys.stdout.flush()
    script = project.script(loaded.name, what)
    if not script.is_file():
        raise WrongCall(f"{loaded.name} has no {what}: {project.shown(script)} does not exist")
    _export_whole(project, loaded, what, options)
    raise typer.Exit(processes.run_script(project, script, options))


def _course_to_run(context: typer.Context) -> Project:
    """The course that is meant; in none, the one that a wheel's `tito` carries. Raises WrongCall without either."""
    from tito.course.project import CARRIED, Project, is_project_root

    project = _course_here(context)
    if project is None and is_project_root(CARRIED):
        return Project(CARRIED)
    return project or project_of(context)  # which says what is wrong


def _course_here(context: typer.Context) -> Project | None:
    """The course that is meant; None where the person stands in none. Raises WrongCall where they named one wrongly."""
    from tito.errors import WrongCall

    try:
        return project_of(context)
    except WrongCall:
        if context.obj is not None:
            raise
        return None


def _export_whole(project: Project, module: Module, what: str, options: list[str]) -> None:
    """Write a module's package files for a command that runs them. TitoError if exercises are not written yet."""
    from tito.course import exporting, markers
    from tito.course.project import CARRIED

    if project.root == CARRIED:  # its package is installed beside it
        return
    made = exporting.make(project, module)
    unwritten = [item.id for item in module.exercises if any(markers.is_stub(file.text, item.id) for file in made)]
    if unwritten and not HELP & set(options):
        left = f"{len(unwritten)} of {len(module.exercises)} exercises are not written yet, the first is {unwritten[0]}"
        raise TitoError(f"`tito {what}` runs what you wrote, but {left}; `tito watch` leads through them")
    exporting.write(project, made)


def quantize(context: typer.Context) -> None:
    """Write anybody's ONNX model in int8; options go on. Example: tito quantize net.onnx --calibrate photos"""
    from tito.course.module import load_module, module_names

    project = _course_with(QUANTIZER, context)
    if project is not None:
        for name in module_names(project):
            _export_whole(project, load_module(project, name), "quantize", context.args)
    raise typer.Exit(processes.run_module(project, QUANTIZER, context.args))


def _course_with(module: str, context: typer.Context) -> Project | None:
    """The course whose package has this module; None: the installed one is meant, in no course or in another's."""
    project = _course_here(context)
    return project if project and (project.root / Path(*module.split("."))).is_dir() else None


def bench(context: typer.Context) -> None:
    """Time the compiled kernels beside their peers; options go on. Example: tito bench --quick"""
    from tito.errors import WrongCall

    project = _course_to_run(context)
    if not project.benchmark.is_file():
        raise WrongCall(f"this course has no benchmark: {project.shown(project.benchmark)} does not exist")
    raise typer.Exit(processes.run_script(project, project.benchmark, context.args))


COMMANDS = (demo, deploy, quantize, bench)
