"""What was given, put back: an exercise, a notebook, a file of the package. What is replaced is kept first."""

from __future__ import annotations

from pathlib import Path

from tito import files
from tito.course import backups, given_files, notebook, pairing, replacing
from tito.course.module import Module, Notebook
from tito.course.notebook import Cell, Document
from tito.course.project import Project
from tito.errors import TitoError, WrongCall
from tito.learning import starting

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

    Both forms then hold what the newer one held of everything else. Raises WrongCall in the instructor's edition, and
    TitoError, before anything is changed, where both were changed.
    """
    entry = module.notebook_of(exercise)
    released = _released(project, entry)
    if not (entry.path.is_file() or entry.path.with_suffix(".ipynb").is_file()):
        return _reset_notebook(project, entry)
    given = replacing.cells_of(notebook.load(project, released), exercise)
    newer = notebook.read(project, entry.path)
    texts = [(newer.path, _as_given(newer, exercise, given, project.shown(released)))]
    page = entry.path.with_suffix(".ipynb")
    both = entry.path.is_file() and page.is_file()
    if both:
        starting.pair(project, entry)
        forms = (notebook.load(project, path) for path in (entry.path, page))
        texts = [(form.path, _as_given(form, exercise, given, project.shown(released))) for form in forms]
    kept: Kept = [(path, backups.keep(project, path, exercise)) for path, _ in texts]
    files.write_whole(texts)
    if both:  # a cell of one form may be two of the other: then the .py is what counts
        pairing.remember(project, entry.path, notebook.load(project, page).digest)
        starting.pair(project, entry)
    return kept


def _as_given(document: Document, exercise: str, given: list[Cell], released: str) -> str:
    """The text with an exercise's given cells; surplus ones are emptied to nothing but a comment."""
    mine = replacing.cells_of(document, exercise)
    if len(mine) < len(given):
        raise TitoError(
            f"{document.name} has {len(mine)} of the {len(given)} cells of '{exercise}': copy the "
            f"missing ones from {released}, then reset again"
        )
    sources = {cell.number: old.source for cell, old in zip(mine, given, strict=False)}
    surplus = {cell.number: f"# a cell of {exercise} that was not given" for cell in mine[len(given) :]}
    return replacing.replaced(document, sources | surplus)


def _released(project: Project, entry: Notebook) -> Path:
    """The notebook as it was given. Raises WrongCall where that is not at hand."""
    released = project.released(entry.path)
    if not released.is_file():
        raise WrongCall(
            f"{project.shown(released)} is missing, so there is nothing to go back to: only a student's edition, "
            "as `tito release` makes it, holds the notebooks as they were given"
        )
    return released
