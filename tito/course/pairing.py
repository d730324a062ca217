"""Which of the two forms of a notebook, .py and .ipynb, was changed since they last agreed.

`.tito/pairs.json` holds a hash of the cells that both held. Where it is missing, the notebook as it was given serves.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from tito import files
from tito.course import backups
from tito.course.project import Project
from tito.errors import TitoError


def agreed(project: Project, path: Path) -> str:
    """The hash of the cells that both forms last held; empty where that is not known."""
    return _read(project).get(project.shown(path), "")


def remember(project: Project, path: Path, digest: str) -> None:
    """Both forms hold these cells. Where that cannot be written down, it is found out again the next time."""
    if agreed(project, path) == digest:
        return
    with suppress(TitoError, OSError), backups.alone(project):
        text = json.dumps(_read(project) | {project.shown(path): digest}, indent=1)
        files.write_whole([(_file(project), text + "\n")])


def _read(project: Project) -> dict[str, str]:
    try:
        known = files.parsed(_file(project).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in known.items()} if isinstance(known, dict) else {}


def _file(project: Project) -> Path:
    return project.personal / "pairs.json"
