"""A notebook's .ipynb, paired with its .py, and JupyterLab opened on it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from tito import files, processes
from tito.course import backups, notebook, pairing
from tito.course.module import Module, Notebook
from tito.course.project import Project
from tito.doctor import PIP
from tito.errors import TitoError
from tito.learning import progress

GET_JUPYTER = f'{PIP} install "jupyterlab>=4.2" "ipywidgets>=8.1"'


def unfinished(project: Project, module: Module) -> Notebook:
    """The notebook of the exercise one is at; the last where all are passed."""
    current = progress.read(project).current(module)
    return module.notebook_of(current.id) if current else module.notebooks[-1]


def pair(project: Project, entry: Notebook) -> tuple[Path, Path | None]:
    """Make both forms of a notebook hold the same cells, from the one that was changed.

    Returns the .ipynb, and the form that was written, if one was. What is replaced is kept first. Raises TitoError
    where both were changed.
    """
    page = entry.path.with_suffix(".ipynb")
    document = notebook.read(project, entry.path)
    if page.is_file() and entry.path.is_file() and _same(project, entry):
        return _not_newer(page, entry.path), None
    target = page if document.path.suffix == ".py" else entry.path
    made = notebook.page_text(document) if target is page else notebook.percent_text(document)
    if target.is_file():
        backups.keep(project, target, "replaced")
    files.write_whole([(target, made)])
    agreed = notebook.load(project, entry.path).digest
    pairing.note_agreed(project, entry.path, agreed)
    pairing.remember(project, entry.path, agreed)
    return _not_newer(page, entry.path), target


def _not_newer(page: Path, text: Path) -> Path:
    """Date the .ipynb no later than the .py that it agrees with: jupytext refuses to open it where it seems ahead."""
    when = min(page.stat().st_mtime_ns, text.stat().st_mtime_ns)
    with suppress(OSError):  # in a folder that can only be read, nothing can be ahead for long
        os.utime(page, ns=(when, when))
    return page


def _same(project: Project, entry: Notebook) -> bool:
    page = entry.path.with_suffix(".ipynb")
    return notebook.load(project, entry.path).digest == notebook.load(project, page).digest


def open_lab(project: Project, page: Path, options: list[str]) -> int:
    """Run JupyterLab in the course's folder until it is closed; return its exit status."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise TitoError(
            f"JupyterLab is not installed: {GET_JUPYTER}, then `tito start` again. "
            f"Or open {project.shown(page)} in VS Code, or its .py in any editor"
        )
    arguments = [
        "-m",
        "tito.learning.lab",
        f"--ServerApp.root_dir={project.root}",
        f"--LabApp.default_url=/lab/tree/{quote(project.shown(page))}",
        *options,
    ]
    env = processes.environment(project)
    if sys.platform == "win32":
        return subprocess.call([sys.executable, *arguments], env=env, cwd=project.root)
    sys.stdout.flush()
    os.chdir(project.root)
    os.execve(sys.executable, [sys.executable, *arguments], env)  # in our place: Ctrl-C and a closed terminal end it
