"""The reference answer of an exercise, beside somebody's, in the edition that holds it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from tito import hints, notebook, progress
from tito.course import Exercise, Module
from tito.errors import WrongCall
from tito.notebook import Document
from tito.project import Project


def beside(project: Project, module: Module, exercise: Exercise, theirs: Path | None) -> str:
    """The reference, and below it the answer in `theirs`: a notebook, or what `tito submit` wrote.

    Raises WrongCall in a student's edition, and before the exercise passed here.
    """
    entry = module.notebook_of(exercise.id)
    reference = hints.solution(notebook.read(project, entry.path), exercise.id)
    if not reference:
        raise WrongCall("the solutions stay with your instructor: this edition does not hold them")
    if progress.read(project).of(module.name, exercise.id).status != "passed":
        raise WrongCall(f"the solution is shown after the exercise passed: tito test {module.name}")
    told = f"\nreference:\n\n{reference}\n"
    if theirs is None:
        return told
    return f"{told}\n{theirs.name}:\n\n{hints.code(_document(project, entry.path, theirs), exercise.id)}"


def _document(project: Project, path: Path, theirs: Path) -> Document:
    if not theirs.is_file():
        raise WrongCall(f"{theirs} is not a file: name a .py, an .ipynb, or an archive of `tito submit`")
    if theirs.suffix != ".zip":
        return notebook.load(project, theirs)
    with zipfile.ZipFile(io.BytesIO(theirs.read_bytes())) as archive, TemporaryDirectory() as folder:
        for name in archive.namelist():
            if PurePosixPath(name).stem == path.stem and name.endswith((".py", ".ipynb")):
                copy = Path(folder, PurePosixPath(name).name)
                copy.write_bytes(archive.read(name))
                return notebook.load(project, copy)
    raise WrongCall(f"{theirs} holds no {path.name} (or .ipynb)")
