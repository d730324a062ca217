"""Everything that decides a grade but the submission, as fingerprints: same conditions and same cells, same grade."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tito
from tito import files
from tito.course import notebook
from tito.course.module import Module
from tito.course.project import PYPROJECT, Project
from tito.grading.options import Options
from tito.grading.submission import Submission

LIBRARIES = ("numpy", "pytest", "hypothesis")  # what decides a grade besides our own text


@dataclass(frozen=True)
class Conditions:
    """options.unsafe is among them: a grade made without a sandbox must not stand in for one that was made inside."""

    module: str
    options: Options
    course: str  # hash of the tests, the notebooks and the package that is given
    grader: str  # hash of tito's own text, and the versions of what it uses

    def key(self, submission: Submission) -> str:
        """Under which the journal keeps the grade."""
        return _hash(json.dumps([submission.digest, asdict(self)], sort_keys=True))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Conditions:
        """The inverse of `dataclasses.asdict`."""
        return cls(**(data | {"options": Options(**data["options"])}))


def conditions(project: Project, module: Module, options: Options) -> Conditions:
    """The conditions that hold now, in this course, with this tito."""
    tests = [*project.tests.glob("conftest.py"), *_files(project.module_tests(module.name))]
    given = [*_files(project.package), project.module_toml(module.name), project.root / PYPROJECT]
    cells = (notebook.read(project, entry.path).digest for entry in module.notebooks)  # outputs decide nothing
    ours = _files(Path(tito.__file__).parent, ".py")
    versions = [platform.python_version(), *(f"{name} {metadata.version(name)}" for name in LIBRARIES)]
    course = _hash(*cells, *(_fingerprint(project.root, file) for file in tests + given))
    grader = _hash(*versions, *(_fingerprint(Path(tito.__file__).parent, file) for file in ours))
    return Conditions(module.name, options, course, grader)


def _files(folder: Path, suffix: str = "") -> list[Path]:
    """What lies below a folder and can decide a grade: not what Python or a notebook's server left there."""
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sorted(path for path in found if not any(_left_behind(part) for part in path.relative_to(folder).parts))


def _left_behind(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


def _fingerprint(root: Path, file: Path) -> str:
    """A file as one string: where it is, and what it holds, alike on every system."""
    return f"{file.relative_to(root).as_posix()} {files.digest(file.read_bytes())}"


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
