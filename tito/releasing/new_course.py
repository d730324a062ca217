"""A course laid down from what an installed `tito` carries: a student's edition, or the instructor's whole.

A wheel has the course's own files in `tito/course_files`, and the package beside `tito`; a clone is the course.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tito import files
from tito.course.module import load_module, module_names
from tito.course.project import CARRIED, Project, is_project_root
from tito.errors import WrongCall
from tito.releasing import release
from tito.releasing.release import Tree

INSTALLED = CARRIED.parents[1]  # the folder that `tito` lies in, and beside it the course's package


def student(folder: Path, asked: str | None = None) -> tuple[str, int]:
    """Lay down the student's edition of a module. Returns its name and the number of files. Raises WrongCall."""
    check_folder(folder)
    with _whole_course() as project:
        module = load_module(project, _module_name(project, asked))
        tree = release.student_edition(project, module, installed=is_project_root(CARRIED))
    return module.name, len(release.write(tree, folder, "student", module))


def instructor(folder: Path, asked: str | None = None) -> tuple[str, int]:
    """Lay down the whole course, solutions and hidden tests among it; returns and raises as `student` does."""
    check_folder(folder)
    if not is_project_root(CARRIED):
        raise WrongCall(f"this `tito` runs from {INSTALLED}, which is the instructor's course already: work there")
    with _whole_course() as project:
        module = load_module(project, _module_name(project, asked))
        tree = carried() | {"README.md": release.readme(project, module, "instructor.md").encode()}
    with files.whole_folder(folder) as made:
        files.write_whole([(made / name, data) for name, data in tree.items()])
    return module.name, len(tree)


def check_folder(folder: Path) -> None:
    """Raises WrongCall unless the folder is new or empty."""
    if folder.is_dir() and any(folder.iterdir()):
        raise WrongCall(f"{folder} is not empty: name a folder that is new or empty")
    if folder.exists() and not folder.is_dir():
        raise WrongCall(f"{folder} is a file: name a folder that is new or empty")


def carried() -> Tree:
    """The instructor's course as a wheel carries it, the package among it."""
    package = INSTALLED / Project(CARRIED).package_name
    found = [(path, CARRIED) for path in CARRIED.rglob("*")] + [(path, INSTALLED) for path in package.rglob("*")]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path, root in sorted(found)
        if path.is_file() and path.parent.name != "__pycache__"
    }


@contextmanager
def _whole_course() -> Iterator[Project]:
    """The instructor's course, for as long as the block runs. Raises WrongCall where this `tito` carries none."""
    if is_project_root(INSTALLED):
        yield Project(INSTALLED)
        return
    if not is_project_root(CARRIED):
        raise WrongCall(f"this `tito`, in {CARRIED.parent}, carries no course: install it from a wheel")
    with tempfile.TemporaryDirectory(prefix="tito_new_") as temporary:
        for name, data in carried().items():
            path = Path(temporary, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield Project(Path(temporary))


def _module_name(project: Project, asked: str | None) -> str:
    names = module_names(project)
    chosen = [name for name in names if name.startswith(asked or "")]
    if len(chosen) != 1:
        raise WrongCall(f"which module? There are: {', '.join(names)}. Name one with --module")
    return chosen[0]
