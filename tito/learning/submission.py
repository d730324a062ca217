"""The one file that a student hands in: the notebooks, and a manifest that says what they are.

Before it is written it is read as a grader will read it, by `tito.grading.intake`, and what that says is passed on.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tito import archive, files
from tito.course import backups, markers, notebook, release_record
from tito.course.edition import Edition
from tito.course.module import Module
from tito.course.notebook import Document
from tito.course.project import Project
from tito.errors import TitoError
from tito.grading.intake import collecting, unpacking
from tito.grading.intake.unpacking import NOTEBOOKS, Entry, Refused
from tito.testing.runner import Result

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class SubmissionArchive:
    """What will be written: names and contents, the manifest first; and what a grader will say of it."""

    path: Path
    files: dict[str, bytes]
    remarks: tuple[str, ...]
    unwritten: tuple[str, ...]  # exercises that are as they were given
    missing: tuple[str, ...]  # exercises of which a grader finds nothing
    answered: dict[str, bool]  # each question: does a grader find an answer in words?

    @property
    def packed(self) -> bytes:
        return archive.pack(self.files)


def make(project: Project, module: Module, result: Result | None, name: str = "") -> SubmissionArchive:
    """The notebooks as `tito test` reads them. The manifest's results are the student's own claim: `None` for none.

    Raises TitoError where a grader could not read any of it.
    """
    documents = [notebook.read(project, entry.path) for entry in module.notebooks]
    contents = {document.path.name: _without_outputs(document) for document in documents}
    listed = [
        {"name": key, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for key, data in contents.items()
    ]
    record = project.root / release_record.NAME
    manifest = {
        "made_by": "tito submit",
        "module": module.name,
        "student": name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),  # of a console in no locale
        "files": listed,
        "points": result.points if result else None,
        "max_points": module.points,
        "exercises": {outcome.exercise: outcome.status for outcome in result.exercises} if result else {},
        "release": files.digest(record.read_bytes()) if record.is_file() else "",
        "python": platform.python_version(),
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    path = project.root / f"{module.name}_submission.zip"
    return _as_graded(Edition(project, module), path, {MANIFEST: text.encode()} | contents, documents)


def _without_outputs(document: Document) -> bytes:
    """A notebook's file; of an .ipynb without what its cells printed and drew: it is not graded, and may be large."""
    data = document.path.read_bytes()
    if document.path.suffix != ".ipynb":
        return data
    page = json.loads(data.decode("utf-8-sig"))
    for cell in page.get("cells", ()):
        if cell.get("cell_type") == "code":
            cell |= {"outputs": [], "execution_count": None}
    page.get("metadata", {}).pop("widgets", None)
    return (json.dumps(page, indent=1) + "\n").encode("ascii")


def _as_graded(
    edition: Edition, path: Path, contents: dict[str, bytes], documents: list[Document]
) -> SubmissionArchive:
    """What intake makes of the archive."""
    packed = Entry(path.name, lambda: io.BytesIO(archive.pack(contents)))
    read = collecting.one(edition, path.stem, lambda: [packed])
    if read.refused:
        raise TitoError(f"nothing was written, for a grader could not read it: {read.refused}")
    remarks = [remark for remark in read.remarks if not remark.startswith(collecting.CLAIM)]
    with suppress(Refused):  # more files than anybody looks at
        remarks += collecting.elsewhere(edition, read, list(_others(documents)))
    given = collecting.given_cells(edition)
    unwritten = [
        exercise
        for exercise, sources in read.cells.items()
        if sources == given[exercise] or any(markers.is_stub(source, exercise) for source in sources)
    ]
    missing = [exercise.id for exercise in edition.module.exercises if exercise.id not in read.cells]
    answered = {question.id: question.id in read.answers for question in edition.module.questions}
    return SubmissionArchive(path, contents, tuple(remarks), tuple(unwritten), tuple(missing), answered)


def _others(documents: list[Document]) -> Iterator[Entry]:
    """Notebooks that lie beside those that are handed in: copies, drafts. Of one in two forms the other is no copy."""
    own = {(document.path.parent, document.path.stem) for document in documents}
    for folder in dict.fromkeys(document.path.parent for document in documents):
        for entry in unpacking.walk(folder):
            file = folder / entry.path
            if entry.suffix in NOTEBOOKS and (file.parent, file.stem) not in own:
                yield entry


def write(project: Project, submission: SubmissionArchive) -> Path | None:
    """Write the archive. An earlier one that differs is kept: returns where."""
    data, kept = submission.packed, None
    if submission.path.is_file() and submission.path.read_bytes() != data:
        kept = backups.keep(project, submission.path, "earlier")
    files.write_whole([(submission.path, data)])
    return kept
