"""What goes into the source distribution and the wheel: the files that git tracks, and no others.

The wheel holds the two packages and, for `tito new`, the course's own files in `tito/course_files`.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("tinytorch", "tito")
COURSE_FILES = "tito/course_files"
LEFT_BEHIND = re.compile(r"__pycache__|\.(git|venv.*|nox|tito|.+_cache)|build|dist|.+\.(pyc|egg-info)|PKG-INFO")


def tracked(root: Path) -> list[str]:
    """The files that git tracks; without git, as in an unpacked source distribution, all but what tools leave behind.

    Raises CalledProcessError where git cannot say.
    """
    names = list[str]()
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z"]
        listed = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
        names = [name for name in listed.split("\0") if name and (root / name).is_file()]
    return names or [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if _is_ours(path, root)]


def _is_ours(path: Path, root: Path) -> bool:
    return path.is_file() and not any(LEFT_BEHIND.fullmatch(part) for part in path.relative_to(root).parts)


class TrackedFiles(BuildHookInterface[Any]):
    """Names every file to Hatch. `course` in its table of pyproject.toml: files and folders that `tito new` needs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if not (root / "tito").is_dir():
            raise RuntimeError("this folder is a course that `tito new` made: there is nothing to install in it")
        if version == "editable":
            return
        if self.target_name == "sdist":
            places = {name: name for name in tracked(root)}
        else:
            places = {name: place for name in tracked(root) if (place := self._place(name))}
        build_data["force_include"].update({str(root / name): place for name, place in places.items()})

    def _place(self, name: str) -> str:
        """Where a file lies in the wheel; empty where it is no part of it."""
        if name.startswith(tuple(f"{package}/" for package in PACKAGES)):
            return name
        course = self.config["course"]
        in_course = any(name == part or name.startswith(f"{part}/") for part in course)
        return f"{COURSE_FILES}/{name}" if in_course else ""
