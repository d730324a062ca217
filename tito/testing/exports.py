"""What tests load: a module's exports, where given code takes the place of cells that raise when they are run.

That a cell raises is only found out when its module is loaded. Grading runs cell by cell; here the module is exported
once more without that cell, and the tests begin again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace

from tito.course import exporting, given_files, markers, unexported
from tito.course.exporting import Exported
from tito.course.module import Module
from tito.course.notebook import Cell
from tito.course.project import Project
from tito.testing.outcome import Finding
from tito.testing.protocol import Step
from tito.testing.record import Record
from tito.testing.verdicts import Located, Verdicts


def _silent(_: str) -> None:
    """Nobody is told."""


class Exports:
    """A module's exports, as they were written last. Of given code that is broken, `warn` is called.

    `ended` holds the exercises that cannot pass, whatever their tests say, and why.
    """

    def __init__(self, project: Project, module: Module, warn: Callable[[str], None] = _silent) -> None:
        self._project, self._module, self._warn = project, module, warn
        self._is_edition = any(project.released(entry.path).is_file() for entry in module.notebooks)
        self._unloaded = dict[Cell, str]()
        self._warned = set[str]()
        self.ended = dict[str, Finding]()
        self.files = list[Exported]()
        self._write()

    def verdicts(self) -> Verdicts:
        return Verdicts(self._project, self._module, self._locate, about_name=self._about_name)

    def _about_name(self, name: str) -> str:
        return unexported.sentence_about((file.document for file in self.files), name)

    def replaced(self, records: Iterable[Record]) -> bool:
        """Was a cell found that cannot be loaded? Then the files are written anew, with what was given in its place."""
        for record in records:
            if record.loading and record.ended and self._replace((record.loading,), record.ended):
                return True
            for _, failure in record.failures:
                if failure.loading and self._replace(failure.loading, self.verdicts().unloaded(failure)):
                    return True
        return False

    def _replace(self, loading: tuple[Step, ...], finding: Finding) -> bool:
        """Give up the cell of the innermost of these lines of modules. False where none is a cell's."""
        located = [step for file, line in loading if (step := self._cell(file, line))]
        if not located or located[-1][1] in self._unloaded:
            return False
        where, cell, number = located[-1]
        place = f"{where}: {cell.line(number)}"
        if place != finding.where:
            finding = replace(finding, where="\n".join(filter(None, (finding.where, place))))
        if not cell.exercise and not self._is_edition:
            return False  # in the instructor's own, nothing can stand in for given code
        self._unloaded[cell] = finding.message if cell.exercise else f"{where}: given code: {finding.message}"
        if cell.exercise:
            self.ended.setdefault(cell.exercise, finding)
        self._write()
        return True

    def _write(self) -> None:
        given_files.check(self._project, self._module.name)
        self.files = exporting.make(self._project, self._module, forgiving=True, unloaded=self._unloaded)
        exporting.write(self._project, self.files)
        for fault in (fault for file in self.files for fault in file.broken):
            if fault.exercise:
                self.ended.setdefault(fault.exercise, Finding("not exported", "", fault.sentence))
            elif fault.sentence not in self._warned:
                self._warned.add(fault.sentence)
                self._warn(f"{fault.sentence}\nIt was tested with what was given there.\n")

    def _cell(self, path: str, line: int) -> tuple[str, Cell, int] | None:
        found = (file for file in self.files if os.path.realpath(file.target) == os.path.realpath(path))
        file = next(found, None)
        return file.locate(line) if file else None

    def _locate(self, path: str, line: int) -> Located | None:
        found = self._cell(path, line)
        if found is None:
            return None
        where, cell, number = found
        left_over = markers.is_left_over(cell.source, number)
        return Located(where, cell.exercise, cell.line(number), left_over)
