"""The module as a student has it: what is given, and the places for what a student writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tito.course import exporting, markers, notebook, replacing
from tito.course.given import Given
from tito.course.module import Exercise, Module, Notebook
from tito.course.notebook import Cell, Document
from tito.course.project import Project
from tito.course.questions import Asked
from tito.errors import TitoError


@dataclass(frozen=True)
class Place:
    """A cell of the student's edition: what is given there, and whose exercise it is."""

    name: str
    exercise: str | None
    given: str
    last: bool  # the last of its exercise: surplus cells of a student's follow it


class Edition:
    """The module as a student has it: for every exported notebook the given cells and the places for the student's.

    Notebooks are read once, as they were released where that is at hand: from those a submission is graded.
    targets: the files that they are exported to. exercises: in which of `modules` each exercise is.
    """

    def __init__(self, project: Project, module: Module) -> None:
        self.project, self.module = project, module
        self._documents = {entry: notebook.read(project, _given_path(project, entry)) for entry in module.notebooks}
        paths = [document.path for document in self._documents.values()]
        self.targets = [exporting.target(project, path, notebook.default_exp(path)) for path in paths]
        for entry, document in self._documents.items():
            _check_questions(entry, document)
        self.exercises = {
            exercise.id: which for which, entry in enumerate(module.notebooks) for exercise in entry.exercises
        }

    @cached_property
    def texts(self) -> dict[Notebook, str]:
        """Each notebook as the text of the .py that students are given."""
        return {
            entry: markers.stub(notebook.percent_text(document), document.name)
            for entry, document in self._documents.items()
        }

    @cached_property
    def modules(self) -> dict[str, list[Place]]:
        """The exported cells, by the dotted name of the Python module that they make."""
        return {
            ".".join(target.relative_to(self.project.root).with_suffix("").parts): [
                _place(document, cell) for cell in document.code if cell.exported
            ]
            for target, document in zip(self.targets, self._documents.values(), strict=True)
        }

    @cached_property
    def reference(self) -> dict[str, tuple[str, ...]]:
        """Of each exercise its own cells, solved; nothing where only the student's edition is at hand."""
        found = {
            exercise.id: _reference(document, exercise)
            for entry, document in self._documents.items()
            for exercise in entry.exercises
        }
        stubs = (markers.is_stub(source, exercise) for exercise, own in found.items() for source in own)
        return {} if any(stubs) else found

    @cached_property
    def package(self) -> Given:
        """What of the package is given beside a student's cells."""
        return Given(self.project, self.module, self.targets)


def _given_path(project: Project, entry: Notebook) -> Path:
    released = project.released(entry.path)
    return released if released.is_file() else entry.path


def _reference(document: Document, exercise: Exercise) -> tuple[str, ...]:
    return tuple(cell.code for cell in replacing.cells_of(document, exercise.id))


def _check_questions(entry: Notebook, document: Document) -> None:
    """Refuse a question that is asked and not in module.toml, or is there and nowhere asked."""
    listed, asked = [question.id for question in entry.questions], Asked(document.cells).ids
    for question in sorted({*listed} ^ {*asked}):
        line = f"`<!-- question: {question} -->`"
        if question in listed:
            raise TitoError(f"{document.name}: no text cell has the line {line}, and module.toml lists that question")
        raise TitoError(f"{document.name} has a cell with {line}: list it in module.toml, under [[notebook.question]]")


def _place(document: Document, cell: Cell) -> Place:
    lines = markers.cell_stub(cell.source, document.name).split("\n")
    text = "\n".join(lines[cell.body[0][0] - 1 :]) if cell.body else ""
    ours = replacing.cells_of(document, cell.exercise) if cell.exercise else []
    return Place(f"{document.path.name}, cell {cell.number}", cell.exercise, text, bool(ours) and cell is ours[-1])
