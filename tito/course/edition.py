"""The module as a student has it: what is given, and the places for what a student writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tito.course import exporting, markers, notebook, replacing
from tito.course.given import Given
from tito.course.module import Exercise, Module
from tito.course.notebook import Cell, Document
from tito.course.project import Project


@dataclass(frozen=True)
class Place:
    """A cell of the student's edition: what is given there, and whose exercise it is."""

    name: str
    exercise: str | None
    given: str
    last: bool  # the last of its exercise: surplus cells of a student's follow it


class Edition:
    """The module as a student has it: for every exported notebook the given cells and the places for the student's."""

    def __init__(self, project: Project, module: Module) -> None:
        self._project, self._module = project, module
        self.targets: list[Path] = []
        self.modules: dict[str, list[Place]] = {}
        self.exercises: dict[str, int] = {}  # exercise -> which of the modules
        self.reference: dict[str, tuple[str, ...]] = {}  # exercise -> its own cells; empty in a student's edition
        for which, entry in enumerate(module.notebooks):
            document = notebook.read(project, entry.path)
            target = exporting.target(project, entry.path, notebook.default_exp(entry.path))
            self.targets.append(target)
            name = ".".join(target.relative_to(project.root).with_suffix("").parts)
            self.modules[name] = [_place(document, cell) for cell in document.code if cell.exported]
            self.exercises |= {exercise.id: which for exercise in entry.exercises}
            self.reference |= {exercise.id: _reference(document, exercise) for exercise in entry.exercises}
        if any(markers.is_stub(source, exercise) for exercise, own in self.reference.items() for source in own):
            self.reference = {}

    @property
    def package(self) -> Given:
        """What of the package is given beside a student's cells."""
        return Given(self._project, self._module, self.targets)


def _reference(document: Document, exercise: Exercise) -> tuple[str, ...]:
    return tuple(cell.code for cell in replacing.cells_of(document, exercise.id))


def _place(document: Document, cell: Cell) -> Place:
    lines = markers.stub(cell.source, document.name).split("\n")
    text = "\n".join(lines[cell.body[0][0] - 1 :]) if cell.body else ""
    ours = replacing.cells_of(document, cell.exercise) if cell.exercise else []
    return Place(f"{document.path.name}, cell {cell.number}", cell.exercise, text, bool(ours) and cell is ours[-1])


def as_released(project: Project, module: Module) -> Module:
    """The module with the notebooks as they were released, where they are at hand: from those it is graded."""
    released = {entry: project.released(entry.path) for entry in module.notebooks}
    return replace(module, notebooks=tuple(replace(e, path=r) if r.is_file() else e for e, r in released.items()))
