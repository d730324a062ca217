"""Which of the two forms of a notebook, .py and .ipynb, was changed since they last agreed.

`.tito/pairs.json` holds a hash of the cells that both held. Where it is missing, the notebook as it was given serves.

Where one form is ahead of the other, its text is copied to `.tito/ahead` whenever it is read: JupyterLab writes both
forms from what it shows, and does not look whether an editor has saved the .py meanwhile. When both forms were saved
since, and agree on other cells than those, the copy goes to the backups, and the next command that exports says so.
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


def note_ahead(project: Project, form: Path, text: str, digest: str) -> None:
    """A form holds cells that the other does not: keep its text."""
    copy = _ahead(project) / digest[:16] / form.name
    if copy.is_file():
        return
    with suppress(TitoError, OSError), backups.alone(project):
        files.write_whole([(copy, text)])
        for earlier in _copies(project, form):  # the editor itself has replaced it
            if earlier != copy:
                earlier.unlink()


def note_agreed(project: Project, path: Path, digest: str) -> None:
    """Both forms hold the same cells. What one held before, and is in neither now, goes to the backups."""
    page = path.with_suffix(".ipynb")
    for form, other in ((path, page), (page, path)):
        for copy in _copies(project, form):
            with suppress(TitoError, OSError), backups.alone(project):
                both_saved = other.stat().st_mtime_ns >= copy.stat().st_mtime_ns  # else a person undid it in one editor
                if copy.parent.name != digest[:16] and both_saved:
                    kept = backups.keep(project, copy, "overwritten")
                    with _untold(project).open("a", encoding="utf-8") as sentences:
                        sentences.write(_overwritten(project, form, kept) + "\n")
                copy.unlink()


def note_single(project: Project, path: Path) -> None:
    """One form is missing: a person put it away, and knows. What either held before goes to the backups, untold."""
    for copy in (*_copies(project, path), *_copies(project, path.with_suffix(".ipynb"))):
        with suppress(TitoError, OSError), backups.alone(project):
            backups.keep(project, copy, "put_away")
            copy.unlink()


def tell(project: Project) -> list[str]:
    """The sentences about texts that were overwritten, each told once."""
    try:
        sentences = _untold(project).read_text(encoding="utf-8").splitlines()
        _untold(project).unlink()
    except OSError:
        return []
    return sentences


def _overwritten(project: Project, form: Path, kept: Path) -> str:
    other = form.with_suffix(".py" if form.suffix == ".ipynb" else ".ipynb").name
    return (
        f"{project.shown(form)} was saved with other cells before both it and {other} were saved again, as JupyterLab "
        f"does: the earlier text is kept in {project.shown(kept)}; copy from it what you miss."
    )


def _ahead(project: Project) -> Path:
    return project.personal / "ahead"


def _copies(project: Project, form: Path) -> list[Path]:
    return list(_ahead(project).glob(f"*/{form.name}"))


def _untold(project: Project) -> Path:
    return project.personal / "overwritten.txt"


def _read(project: Project) -> dict[str, str]:
    try:
        known = files.parsed(_file(project).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in known.items()} if isinstance(known, dict) else {}


def _file(project: Project) -> Path:
    return project.personal / "pairs.json"
