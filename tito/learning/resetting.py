"""What was given, put back: an exercise, a notebook, a file of the package. What is replaced is kept first."""

from __future__ import annotations

from pathlib import Path

from tito import files
from tito.course import backups, given_files, notebook, replacing
from tito.course.module import Module, Notebook
from tito.course.project import Project
from tito.errors import TitoError, WrongCall

Kept = list[tuple[Path, Path | None]]  # what was changed, each with its copy; None: it was missing


def reset(project: Project, module: Module, asked: str) -> Kept:
    """Put back an exercise, a whole notebook, or a given file of the package. Raises WrongCall for anything else."""
    for entry in module.notebooks:
        if Path(asked).name in (entry.path.name, entry.path.with_suffix(".ipynb").name):
            return _reset_notebook(project, entry)
    return given_files.restore(project, module.name, asked) or _reset_exercise(project, module, asked)


def _reset_notebook(project: Project, entry: Notebook) -> Kept:
    """The .py as it was given; an .ipynb beside it would hold other cells, and is put away."""
    released = _released(project, entry)
    there = [path for path in (entry.path, entry.path.with_suffix(".ipynb")) if path.is_file()]
    kept: Kept = [(path, backups.keep(project, path, "reset")) for path in there]
    files.write_whole([(entry.path, released.read_bytes())])
    entry.path.with_suffix(".ipynb").unlink(missing_ok=True)
    return kept or [(entry.path, None)]


def _reset_exercise(project: Project, module: Module, exercise: str) -> Kept:
    """Put the given cells back into the .py, the .ipynb or both; a notebook that is missing comes back whole.

    Surplus cells of the exercise are emptied to nothing but a comment. Raises WrongCall in the instructor's edition.
    """
    entry = module.notebook_of(exercise)
    released = _released(project, entry)
    if not (entry.path.is_file() or entry.path.with_suffix(".ipynb").is_file()):
        return _reset_notebook(project, entry)
    given = replacing.cells_of(notebook.load(project, released), exercise)
    texts = list[tuple[Path, str]]()
    for path in (entry.path, entry.path.with_suffix(".ipynb")):
        if path.is_file():
            document = notebook.load(project, path)
            mine = replacing.cells_of(document, exercise)
            if len(mine) < len(given):
                raise TitoError(
                    f"{project.shown(path)} has {len(mine)} of the {len(given)} cells of '{exercise}': copy the "
                    f"missing ones from {project.shown(released)}, then reset again"
                )
            sources = {cell.number: old.source for cell, old in zip(mine, given, strict=False)}
            surplus = {cell.number: f"# a cell of {exercise} that was not given" for cell in mine[len(given) :]}
            texts.append((path, replacing.replaced(document, sources | surplus)))
    kept: Kept = [(path, backups.keep(project, path, exercise)) for path, _ in texts]
    files.write_whole(texts)
    return kept


def _released(project: Project, entry: Notebook) -> Path:
    """The notebook as it was given. Raises WrongCall where that is not at hand."""
    released = project.released(entry.path)
    if not released.is_file():
        raise WrongCall(
            f"{project.shown(released)} is missing, so there is nothing to go back to: only a student's edition, "
            "as `tito release` makes it, holds the notebooks as they were given"
        )
    return released
