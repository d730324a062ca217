"""An exercise back to how it was given, the student's text kept first."""

from __future__ import annotations

from pathlib import Path

from tito import files
from tito.course import backups, notebook, replacing
from tito.course.module import Module
from tito.course.project import Project
from tito.errors import TitoError, WrongCall


def reset(project: Project, module: Module, exercise: str) -> list[tuple[Path, Path]]:
    """Put the given cells back into the .py, the .ipynb or both; return what was changed, each with its copy.

    Surplus cells of the exercise are emptied to nothing but a comment. Raises WrongCall in the instructor's edition.
    """
    entry = module.notebook_of(exercise)
    released = project.released(entry.path)
    if not released.is_file():
        raise WrongCall(
            f"{project.shown(released)} is missing, so there is nothing to go back to: only a student's edition, "
            "as `tito release` makes it, holds the notebooks as they were given"
        )
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
    kept = [(path, backups.keep(project, path, exercise)) for path, _ in texts]
    files.write_whole(texts)
    return kept
