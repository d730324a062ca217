"""What several commands take, and where they find the course they are called for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tito.course.module import Exercise, Module
    from tito.course.project import Project

LONGEST_SECONDS = 86_400.0  # a day


def between(lowest: float, highest: float) -> Callable[[typer.CallbackParam, Any], Any]:
    """A callback that refuses a number outside of these bounds, and what is no number, in one sentence."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        from tito.errors import WrongCall

        if value is None or lowest <= value <= highest:
            return value
        raise WrongCall(f"{param.opts[0]} must be from {lowest:.15g} to {highest:.15g}, got {value}")

    return check


ModuleName = Annotated[str, typer.Argument(metavar="MODULE", help="A folder of modules/source, or how it begins: 17.")]
MaybeModule = Annotated[
    str | None,
    typer.Argument(metavar="[MODULE]", help="A folder of modules/source. Default: the only one, or the last you used."),
]
ModuleOrExercise = Annotated[
    str | None,
    typer.Argument(metavar="[MODULE]", help="A folder of modules/source, or an exercise. Default: the last you used."),
]
InModule = Annotated[
    str | None, typer.Option("--module", metavar="MODULE", help="Where the exercise is. Default: the last you used.")
]
JsonPath = Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Also write the result to this file.")]
LimitSeconds = Annotated[
    float, typer.Option(callback=between(0.1, LONGEST_SECONDS), help="How long one test may take.")
]


def project_of(context: typer.Context) -> Project:
    from tito.course.project import find_project

    return find_project(context.obj)


def module_or_exercise_of(project: Project, asked: str | None) -> tuple[Module, tuple[str, ...]]:
    """The module that is meant, and the exercise, where an exercise of one module alone was named instead."""
    from tito.course.module import load_module, module_names

    names = module_names(project)
    if asked and not any(name.startswith(Path(asked).name) for name in names):
        modules = [load_module(project, name) for name in names]
        holding = [module for module in modules if any(exercise.id == asked for exercise in module.exercises)]
        if len(holding) == 1:
            return holding[0], (asked,)
    return module_of(project, asked), ()


def module_of(project: Project, asked: str | None) -> Module:
    """The module that is meant: the one named, the only one, or the one that was used last."""
    from tito.course.module import find_module_name, load_module, module_names
    from tito.errors import WrongCall
    from tito.learning import progress

    names = module_names(project)
    if asked is None and len(names) > 1:
        asked = progress.read(project).last_module
        if asked not in names:
            raise WrongCall(f"which module? There are: {', '.join(names)}. Name one")
    return load_module(project, find_module_name(project, next(iter(names), "") if asked is None else asked))


def check_part(chosen: list[Exercise], name: str) -> None:
    """Raises WrongCall unless one exercise was chosen, and has a part of this name."""
    from tito.errors import WrongCall

    if len(chosen) != 1:
        raise WrongCall(f"--part {name} is of one exercise: name that, too, as in `tito test EXERCISE --part {name}`")
    names = [part.name for part in chosen[0].parts]
    if name not in names:
        has = f"it has: {', '.join(names)}" if names else "its points are not split"
        raise WrongCall(f"{chosen[0].id} has no part '{name}'; {has}")
