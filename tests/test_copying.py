"""A copy of a course holds no notebook that JupyterLab made, no progress, and no bytecode."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .copying import copy

TRACKED = {"modules/a.py", "modules/hidden/b.py", "pyproject.toml"}
LEFT_BEHIND = {"modules/a.ipynb", "modules/.tito/progress.json", "modules/__pycache__/a.pyc"}


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=root, check=True)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    root = tmp_path / "a course"
    for name in TRACKED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    (root / ".gitignore").write_text("*.ipynb\n.tito/\n__pycache__/\n", encoding="utf-8")
    return root


def leave_behind(root: Path) -> None:
    """What `tito start` and Python write."""
    for name in LEFT_BEHIND:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def copied(root: Path, *without: str) -> set[str]:
    to = root.parent / "copy"
    copy(root, ("modules", "pyproject.toml"), to, without)
    return {file.relative_to(to).as_posix() for file in to.rglob("*") if file.is_file()}


def test_what_git_ignores_is_not_copied(course: Path) -> None:
    git(course, "init", "-q")
    git(course, "add", ".")
    leave_behind(course)
    assert copied(course) == TRACKED


def test_a_new_file_is_copied_and_one_that_was_removed_is_not_missed(course: Path) -> None:
    git(course, "init", "-q")
    git(course, "add", ".")
    (course / "modules/new.py").touch()
    (course / "modules/a.py").unlink()
    assert copied(course) == TRACKED - {"modules/a.py"} | {"modules/new.py"}


def test_what_is_withheld_is_not_copied(course: Path) -> None:
    git(course, "init", "-q")
    assert copied(course, "hidden", "*.toml") == {"modules/a.py"}


def test_an_unpacked_archive_is_copied_though_it_is_no_repository(course: Path) -> None:
    assert copied(course) == TRACKED
