"""The forms in which a module is given out. Each is a tree of files, made in memory."""

from __future__ import annotations

from pathlib import Path

from tito import processes
from tito.course.module import Module
from tito.course.project import Project
from tito.errors import WrongCall
from tito.releasing.release import Tree, student_edition

NEXT = {
    "student": "Students begin with its README.md.",
    "nbgrader": "Where nbgrader is installed: {enter} && nbgrader generate_assignment {module}",
    "gradescope": "Upload {folder}/autograder.zip as the autograder of a programming assignment.",
    "github-classroom": "Push {folder} as the template repository of a GitHub Classroom assignment.",
}


def then(kind: str, folder: Path, module: Module) -> str:
    """What one does next with a form that was written into a folder."""
    return NEXT[kind].format(folder=folder, enter=processes.typed("cd", str(folder)), module=module.name)


def make(project: Project, module: Module, kind: str) -> Tree:
    """The files of one form of a module; `kind` is a key of NEXT. Raises WrongCall in a student's edition."""
    if any(project.released(entry.path).is_file() for entry in module.notebooks):
        raise WrongCall("this is a student's edition, as `tito release` makes it: release from the instructor's")
    if kind == "nbgrader":
        from tito.releasing import nbgrader

        return nbgrader.course_folder(project, module)
    if kind == "gradescope":
        from tito.releasing import gradescope

        return gradescope.upload(project, module)
    if kind == "github-classroom":
        from tito.releasing import github_classroom

        return github_classroom.repository(project, module)
    return student_edition(project, module)
