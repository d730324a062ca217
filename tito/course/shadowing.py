"""Files of a person's whose names are those of Python's own modules, or of a package: they are imported instead."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

from tito.course.project import Project, is_project_root

NOT_IMPORTED = frozenset({"test", "this", "antigravity"})  # modules of Python's own that nothing here imports


def found(project: Project) -> list[Path]:
    """The files and packages in the course's folder that Python finds before what others mean by their names."""
    files = [path for path in project.root.glob("*.py") if path.is_file()]
    packages = [path.parent for path in project.root.glob("*/__init__.py")]
    ours = NOT_IMPORTED | {project.package_name, "tito", project.tests.name}
    return sorted(path for path in (*files, *packages) if path.stem not in ours and _is_taken(project, path.stem))


def _is_taken(project: Project, name: str) -> bool:
    """Is it the name of a module of Python's own, or of a package that is installed, and not of another course's?"""
    here = project.root.resolve()
    elsewhere = [
        entry for entry in sys.path if entry and Path(entry).resolve() != here and not is_project_root(Path(entry))
    ]
    return name in sys.stdlib_module_names or PathFinder.find_spec(name, elsewhere) is not None


def warning(project: Project) -> str:
    """What to do about them, in one sentence; empty where there are none."""
    names = [f"{project.shown(path)}{'/' if path.is_dir() else ''}" for path in found(project)]
    if not names:
        return ""
    modules = ", ".join(path.stem for path in found(project))
    many = len(names) > 1
    return (
        f"{', '.join(names)} in the course's folder {'are' if many else 'is'} imported by everything that asks for "
        f"{modules}: rename {'them' if many else 'it'}, and try again."
    )
