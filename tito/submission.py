"""The one file that a student hands in: the notebooks, and a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path

from tito import archive, backups, files, notebook, release
from tito.course import Module
from tito.project import Project
from tito.testing import Result

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Submission:
    """What will be written: names and contents, the manifest first."""

    path: Path
    files: dict[str, bytes]


def make(project: Project, module: Module, result: Result | None, name: str = "") -> Submission:
    """The notebooks as `tito test` reads them. The manifest's results are the student's own claim: `None` for none."""
    paths = [notebook.read(project, entry.path).path for entry in module.notebooks]
    contents = {path.name: path.read_bytes() for path in paths}
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
    return Submission(path, {MANIFEST: text.encode()} | contents)


def write(project: Project, submission: Submission) -> Path | None:
    """Write the archive. An earlier one that differs is kept: returns where."""
    data, kept = archive.pack(submission.files), None
    if submission.path.is_file() and submission.path.read_bytes() != data:
        kept = backups.keep(project, submission.path, "earlier")
    files.write_whole([(submission.path, data)])
    return kept
