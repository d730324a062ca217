"""The folder that a sandbox is made of: our own part of what runs inside, and what the course gives."""

from __future__ import annotations

import os
import py_compile
import shutil
import stat
from pathlib import Path

import numpy as np

import tito
from tito.course.given import Given
from tito.course.project import Project
from tito.testing.environment import PACKAGES

SITE = "site"  # the folder of a sandbox in which NumPy lies
HERE = ("__init__.py", "channel.py", "child.py", "confinement.py", "system_calls.py")
OURS: tuple[str, ...] = ("__init__.py", "grading/__init__.py")
OURS += ("testing/__init__.py", "testing/arguments.py", "testing/proxies.py")
OURS += tuple(f"grading/sandbox/{name}" for name in HERE)


def lay_out(project: Project, given: Given, folder: Path) -> None:
    """Write into `folder` what a sandbox needs."""
    lay_out_ours(folder)
    for file in given.files:
        _copy(file, folder / project.package_name / file.relative_to(project.package))
    for file in folder.rglob("*.py"):
        py_compile.compile(str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    lay_out_packages(folder)


def lay_out_ours(folder: Path) -> None:
    """Our own part of what runs inside."""
    for name in OURS:
        _copy(Path(tito.__file__).parent / name, folder / "tito" / name)


def lay_out_packages(folder: Path) -> None:
    """What other users may not read, as after an installation by root with umask 077, is copied; and all in `folder`
    can be read by them: where root grades, another user is in the sandbox."""
    for package in packages():
        if not all(is_open(path) for path in (package, *package.rglob("*"))):
            shutil.copytree(package, folder / SITE / package.name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def packages() -> list[Path]:
    """The folders of installed packages that a sandbox has."""
    site = Path(np.__file__).parents[1]
    wanted = [site / name for package in PACKAGES for name in (package, f"{package}.libs")]
    return [folder for folder in wanted if folder.is_dir()]


def is_open(path: Path) -> bool:
    """Can every user read this file, or enter this folder?"""
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    return os.name != "posix" or path.stat().st_mode & wanted == wanted


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
