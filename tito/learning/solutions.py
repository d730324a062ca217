"""The reference answer of an exercise, beside somebody's, in the edition that holds it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from tito.course import notebook
from tito.course.module import Exercise, Module
from tito.course.notebook import Document
from tito.course.project import Project
from tito.errors import TitoError, WrongCall
from tito.learning import hints, progress


def beside(project: Project, module: Module, exercise: Exercise, theirs: Path | None) -> dict[str, str]:
    """Titles and texts: the reference, and the answer in `theirs`: a notebook, an archive of `tito submit`, or an
    edition's folder.

    Raises WrongCall in a student's edition, and before the exercise passed here.
    """
    entry = module.notebook_of(exercise.id)
    document = notebook.read(project, entry.path)
    reference = hints.solution(document, exercise.id)
    if not reference:
        raise WrongCall(
            "this edition holds no solutions, only the instructor's course does: "
            f"`tito hint {exercise.id}` shows the next hint instead"
        )
    if progress.read(project).get(module.name, exercise.id).status != "passed":
        raise WrongCall(f"the solution is shown after the exercise passed: tito test {module.name}")
    if theirs is None:
        return {"reference": reference}
    answer = hints.answer(document, _document(project, entry.path, theirs), exercise.id)
    return {"reference": reference, theirs.name: answer}


def _document(project: Project, path: Path, theirs: Path) -> Document:
    if theirs.is_dir():
        return notebook.read(Project(theirs), theirs / path.relative_to(project.root))
    if not theirs.is_file():
        raise WrongCall(f"{theirs} does not exist: name a .py, an .ipynb, an archive of `tito submit`, or an edition")
    if theirs.suffix != ".zip":
        return notebook.load(project, theirs)
    with TemporaryDirectory() as folder:
        return notebook.load(project, _unpacked(path, theirs, Path(folder)))


def _unpacked(path: Path, theirs: Path, folder: Path) -> Path:
    """The notebook of this name out of an archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(theirs.read_bytes())) as archive:
            for name in archive.namelist():
                if PurePosixPath(name).stem == path.stem and name.endswith((".py", ".ipynb")):
                    copy = folder / PurePosixPath(name).name
                    copy.write_bytes(archive.read(name))
                    return copy
    except Exception as error:  # zipfile and what unpacks for it raise many kinds
        raise TitoError(
            f"{theirs} cannot be unpacked ({error}): it is damaged or encrypted; ask for it again"
        ) from None
    raise WrongCall(f"{theirs} holds no {path.name} (or .ipynb)")
