"""Copies of what is about to be replaced, in `.tito/backups`, named by time: nothing of a person's is ever lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from tito import files
from tito.course.project import Project


def keep(project: Project, path: Path, why: str) -> Path:
    """Copy a file and return where to. Raises TitoError where that cannot be done: then nothing may be replaced."""
    make_private(project)
    stamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    folder = project.personal / "backups"
    names = (folder / f"{stamp}{f'-{n}' if n else ''}_{why}_{path.name}" for n in count())
    with files.naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for target in names:
            with suppress(FileExistsError):
                target.touch(exist_ok=False)
                shutil.copymode(path, target)
                files.write_whole([(target, path.read_bytes())])
                return target
    raise AssertionError("there is no end to names")


def make_private(project: Project) -> None:
    """The folder of a person's own, which git leaves alone."""
    ignore = project.personal / ".gitignore"
    if not ignore.is_file():
        files.write_whole([(ignore, "*\n")])


@contextmanager
def alone(project: Project) -> Iterator[None]:
    """Change what lies in that folder while no other command, and no other thread of this one, does."""
    make_private(project)
    with files.locked(project.personal / "lock"):
        yield
