"""Commands, called as people call them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tito.course.module import Module
from tito.course.project import Project


def tito(project: Project, *arguments: str | Path, may_end_with: Sequence[int] = (0,)) -> str:
    """What `tito` of the project's own folder prints. Fails unless it ends with one of these statuses."""
    env = os.environ | {"PYTHONPATH": str(project.root), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "tito", *map(str, arguments)]
    done = subprocess.run(command, cwd=project.root, env=env, capture_output=True, encoding="utf-8")
    shown = f"tito {' '.join(map(str, arguments))}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode in may_end_with, shown
    return done.stdout


def released(here: Project, module: Module, folder: Path, *options: str) -> Project:
    """What `tito release` makes, in a new folder."""
    tito(here, "release", module.name, "--to", folder, *options)
    return Project(folder)
