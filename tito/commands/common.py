"""What several commands take, and where they find the course they are called for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def stopped_means(what: str) -> Iterator[None]:
    """Let Ctrl-C in the block end the command with this sentence, which says what there is then."""
    from tito.errors import Stopped

    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped by Ctrl-C: {what}") from None


ModuleName = Annotated[str, typer.Argument(metavar="MODULE", help="A folder of modules/source, or how it begins: 17.")]
MaybeModule = Annotated[
    str | None,
    typer.Argument(metavar="[MODULE]", help="A folder of modules/source. Default: the only one, or the last you used."),
]
ModuleAndExercises = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME", help="A folder of modules/source, exercises of it, or both. Default: the module you used last."
    ),
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


def module_and_exercises_of(project: Project, asked: list[str]) -> tuple[Module, list[Exercise]]:
    """The module that is meant, and the exercises that are named behind it, or alone where only one module has them."""
    from tito.course.module import closest, load_module, module_names
    from tito.errors import WrongCall

    names = module_names(project)
    if not asked or any(name.startswith(Path(asked[0]).name) for name in names):
        module, wanted = module_of(project, asked[0] if asked else None), asked[1:]
    else:
        modules = [load_module(project, name) for name in names]
        holding, wanted = [module for module in modules if asked[0] in module.names], asked
        if len(holding) != 1:
            near = closest(asked[0], [*names, *(name for module in modules for name in module.names)])
            raise WrongCall(f"there is no module or exercise '{asked[0]}'{near}. Modules are: {', '.join(names)}.")
        module = holding[0]
    return module, [module.exercise_of(name) for name in wanted]


def module_of(project: Project, asked: str | None, instead: str = "write {}") -> Module:
    """The module that is meant: the one named, the only one, or the one that was used last.

    instead: what to do where an exercise is named, with `{}` for its module.
    """
    from tito.course.module import find_module_name, load_module, module_names
    from tito.errors import WrongCall
    from tito.learning import progress

    names = module_names(project)
    if asked is None and len(names) > 1:
        asked = progress.read(project).last_module
        if asked not in names:
            raise WrongCall(f"which module? There are: {', '.join(names)}. Name one")
    name = next(iter(names), "") if asked is None else asked
    return load_module(project, find_module_name(project, name, instead))


def module_before(module: str | None, options: list[str]) -> tuple[list[str], str | None]:
    """The options of a command that hands them on, and the module, if one was named before them; no name has a dot."""
    if module and (module.startswith("-") or "." in module):
        return [module, *options], None
    return list(options), module


def module_and_name_of(project: Project, named: list[str], module: str | None) -> tuple[Module, str | None]:
    """The module that is meant, and what of it: [], ["measure"], ["17"], or ["17", "measure"]."""
    from tito.course.module import module_names
    from tito.errors import WrongCall

    if named and any(name.startswith(Path(named[0]).name) for name in module_names(project)):
        module, *named = named
    if len(named) > 1:
        raise WrongCall(f"one at a time, got: {' '.join(named)}. Name one")
    return module_of(project, module), next(iter(named), None)


def check_part(chosen: list[Exercise], name: str) -> None:
    """Raises WrongCall unless one exercise was chosen, and has a part of this name."""
    from tito.errors import WrongCall

    if len(chosen) != 1:
        raise WrongCall(f"--part {name} is of one exercise: name that, too, as in `tito test EXERCISE --part {name}`")
    names = [part.name for part in chosen[0].parts]
    if name not in names:
        has = f"it has: {', '.join(names)}" if names else "its points are not split"
        raise WrongCall(f"{chosen[0].id} has no part '{name}'; {has}")
