"""The folder that a sandbox is made of: our own part of what runs inside, and what the course gives."""

from __future__ import annotations

import py_compile
import shutil
from pathlib import Path

import tito
from tito.course.given import Given
from tito.course.project import Project

HERE = ("__init__.py", "channel.py", "child.py", "confinement.py")
OURS: tuple[str, ...] = ("__init__.py", "testing/__init__.py", "testing/proxies.py", "grading/__init__.py")
OURS += tuple(f"grading/sandbox/{name}" for name in HERE)


def lay_out(project: Project, given: Given, folder: Path) -> None:
    """Write into `folder` what a sandbox needs."""
    for name in OURS:
        _copy(Path(tito.__file__).parent / name, folder / "tito" / name)
    for file in given.files:
        _copy(file, folder / project.package_name / file.relative_to(project.package))
    for file in folder.rglob("*.py"):
        py_compile.compile(str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
