"""Hand-written files of the package that were given and are gone: which they are, and how they come back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tito import files
from tito.course import backups
from tito.course.project import Project
from tito.errors import TitoError


def archive_of(given: Mapping[str, bytes]) -> bytes:
    """Files in an archive whose bytes depend on nothing but theirs."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(given.items()):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def missing(project: Project, module: str) -> list[str]:
    """The files that were given with a module and are not there. Nothing is known of the instructor's edition."""
    return [name for name in _names(project, module) if not (project.root / name).is_file()]


def check(project: Project, module: str) -> None:
    """Raise TitoError where a given file of the package is missing: no test of a student's would tell why."""
    if names := missing(project, module):
        raise TitoError(f"{lost(names)}: {mend(project, module, names)}")


def lost(names: list[str]) -> str:
    more = len(names) - 1
    return f"{names[0]} is missing" + (f", and {more} more file{'' if more == 1 else 's'}" if more else "")


def mend(project: Project, module: str, names: list[str]) -> str:
    asked = names[0] if len(names) == 1 else names[0].partition("/")[0]
    archive = project.shown(project.released_package(module))
    return f"`tito reset {asked}` puts back as it was given what is missing, from {archive}"


def restore(project: Project, module: str, asked: str) -> list[tuple[Path, Path | None]]:
    """Put back a given file, or those of a folder that are missing. Returns each, with the copy of what it replaced.

    Nothing is done, and nothing returned, where the archive holds no such file.
    """
    wanted = Path(asked).as_posix()
    names = [name for name in _names(project, module) if name == wanted]
    names += [name for name in missing(project, module) if name.startswith(f"{wanted}/")]
    if not names:
        return []
    with zipfile.ZipFile(project.released_package(module)) as archive:
        texts = [(project.root / name, archive.read(name)) for name in names]
    changed = [(path, data) for path, data in texts if not path.is_file() or path.read_bytes() != data]
    kept = [(path, backups.keep(project, path, "reset") if path.is_file() else None) for path, _ in changed]
    files.write_whole(changed, imported=True)
    return kept


def _names(project: Project, module: str) -> list[str]:
    try:
        with zipfile.ZipFile(project.released_package(module)) as archive:
            return [name for name in archive.namelist() if (project.root / name).is_relative_to(project.package)]
    except (OSError, zipfile.BadZipFile):
        return []
