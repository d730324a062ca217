"""What `tito` says without a command: the next step for whoever stands here, then the commands by what they are for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.core

if TYPE_CHECKING:
    from tito.course.module import Module
    from tito.course.project import Project

LEARN, TEACH, USE = "Learn", "Teach", "Use"
NO_COURSE = """\
You are in no course.
  To learn: tito new quantization          the exercises, in a new folder
  To teach: tito new course --instructor   with solutions and hidden tests
  To use:   tito quantize net.onnx         anybody's ONNX model in int8"""


class GroupedCommands(typer.core.TyperGroup):
    """Its help lists commands under the group that each was registered with, its `rich_help_panel`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = formatter.width - 6 - max(map(len, self.commands))
        for group in (LEARN, TEACH, USE):
            found = [(name, each) for name, each in self.commands.items() if _group(each) == group]
            with formatter.section(group):
                formatter.write_dl([(name, each.get_short_help_str(width)) for name, each in found])


def _group(command: Any) -> str:
    return str(getattr(command, "rich_help_panel", ""))


def next_step(start: Path | None) -> str:
    """Where one stands, and the command that leads on. Nothing is run, and only what is small is read."""
    from tito.commands.common import module_of
    from tito.course.module import module_names
    from tito.course.project import find_project
    from tito.errors import TitoError, WrongCall

    try:
        project = find_project(start)
    except WrongCall as error:
        return NO_COURSE if start is None else str(error)
    try:
        names = module_names(project)
        module = module_of(project, None if len(names) == 1 else _last(project, names))
    except TitoError as error:
        return f"{error}\nNext: tito doctor"
    return _students(project, module) if _is_students(project, module) else _instructors(module)


def lead_on(project: Project, module: Module) -> None:
    """Say which exercise is next; nothing to an instructor, who solves none."""
    from tito import console
    from tito.learning import progress

    if _is_students(project, module):
        console.say(f"\n{progress.next_step(project, module, progress.read(project))}")


def _is_students(project: Project, module: Module) -> bool:
    return any(project.released(entry.path).is_file() for entry in module.notebooks)


def _last(project: Project, names: list[str]) -> str | None:
    """The module that was used last; the first, where none was."""
    from tito.learning import progress

    last = progress.read(project).last_module
    return last if last in names else next(iter(names), None)


def _instructors(module: Module) -> str:
    return f"""\
You are in the instructor's course, {module.title}.
  Give out: tito release {module.name} --to ../class
  Grade:    tito grade {module.name} SUBMISSIONS --out grades"""


def _students(project: Project, module: Module) -> str:
    from tito import console
    from tito.learning import progress

    kept = progress.read(project)
    rows = [kept.get(module.name, exercise.id) for exercise in module.exercises]
    passed = sum(row.status == "passed" for row in rows)
    points = console.points(sum(row.points for row in rows), module.points)
    here = f"{module.title}: {passed} of {len(rows)} exercises passed, {points}."
    exercise = kept.current(module)
    if exercise is None:
        return f"{here}\nNext: tito submit"
    command = "start" if not kept.last_module and importlib.util.find_spec("jupyterlab") else "watch"
    return f"{here}\nNext: tito {command}    {progress.named(project, module, exercise)}"
