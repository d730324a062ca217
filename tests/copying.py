"""Copies of a course for tests that write into it: what git tracks, and nothing that a person's work left beside it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

LS_FILES = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")  # and what may yet be added


def copy(root: Path, names: Iterable[str], to: Path, without: Iterable[str] = ()) -> None:
    """Copy these files and folders of a course, without files and folders of a name that matches one of `without`."""
    for name in names:
        for file in files_of(root, name):
            if not any(fnmatch(part, pattern) for part in file.relative_to(root).parts for pattern in without):
                target = to / file.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)


def files_of(root: Path, name: str) -> Iterator[Path]:
    """The files of a folder that git knows or would take; where git knows nothing, as in an unpacked archive, all."""
    known = [file for file in _known(root, name) if file.is_file()]
    everything = (root / name).rglob("*") if (root / name).is_dir() else (root / name,)
    yield from known or (file for file in everything if file.is_file() and "__pycache__" not in file.parts)


def _known(root: Path, name: str) -> list[Path]:
    try:
        listed = subprocess.run([*LS_FILES, "--", name], cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository of this user's
        return []
    return [root / part for part in listed.decode("utf-8").split("\0") if part]
