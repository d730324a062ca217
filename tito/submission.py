"""The one file that a student hands in: the notebooks, and a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tito import archive, backups, files, notebook, release
from tito.course import Module
from tito.grading.intake.outside import ungraded
from tito.notebook import Document
from tito.project import Project
from tito.testing import Result

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Submission:
    """What will be written: names and contents, the manifest first; and what of it will not be graded."""

    path: Path
    files: dict[str, bytes]
    ungraded: tuple[str, ...]


def make(project: Project, module: Module, result: Result | None, name: str = "") -> Submission:
    """The notebooks as `tito test` reads them. The manifest's results are the student's own claim: `None` for none."""
    documents = [notebook.read(project, entry.path) for entry in module.notebooks]
    contents = {document.path.name: document.path.read_bytes() for document in documents}
    listed = [
        {"name": key, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for key, data in contents.items()
    ]
    record = project.root / release.RECORD
    manifest = {
        "made_by": "tito submit",
        "module": module.name,
        "student": name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),  # of a console in no locale
        "files": listed,
        "points": result.points if result else None,
        "of": module.points,
        "exercises": {outcome.id: outcome.status for outcome in result.exercises} if result else {},
        "release": hashlib.sha256(record.read_bytes()).hexdigest() if record.is_file() else "",
        "python": platform.python_version(),
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    path = project.root / f"{module.name}_submission.zip"
    return Submission(path, {MANIFEST: text.encode()} | contents, tuple(_ungraded(project, module, documents)))


def _ungraded(project: Project, module: Module, documents: Sequence[Document]) -> Iterator[str]:
    """Code that counts nothing, found by comparing with what was given; where that is not at hand, nothing is said."""
    released = [project.released(entry.path) for entry in module.notebooks]
    given = [cell for path in released if path.is_file() for cell in notebook.load(project, path).cells]
    for document in documents if given else ():
        told = ungraded(given, document.cells, [exercise.id for exercise in module.exercises])
        yield from (f"{document.name}: {sentence}" for sentence in told)


def write(project: Project, submission: Submission) -> Path | None:
    """Write the archive. An earlier one that differs is kept: returns where."""
    data, kept = archive.pack(submission.files), None
    if submission.path.is_file() and submission.path.read_bytes() != data:
        kept = backups.keep(project, submission.path, "earlier")
    files.write_whole([(submission.path, data)])
    return kept
