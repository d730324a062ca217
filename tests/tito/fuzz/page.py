"""A solved notebook as a list of cells that can be changed, and as the files that an editor writes of it."""

from __future__ import annotations

import json
import random
import re
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import jupytext
import nbformat

from tito.course import notebook
from tito.course.markers import MARKER
from tito.course.module import Notebook
from tito.course.project import Project

HEADER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@dataclass
class Cell:
    """A cell; `grade_id` is what nbgrader calls it, where nbgrader knows it."""

    kind: str
    source: str
    exercise: str | None = None
    grade_id: str = ""
    id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    count: int | None = None

    @property
    def head(self) -> str:
        """The directive lines."""
        return "".join(line for line in self.source.splitlines(keepends=True) if line.startswith("#|"))

    @property
    def code(self) -> str:
        return self.source[len(self.head) :]


@dataclass
class Page:
    """One notebook of a student's: its cells, and how the file is written."""

    stem: str
    cells: list[Cell]
    suffix: str = ".py"
    minor: int = 5
    metadata: dict[str, Any] = field(default_factory=lambda: {"kernelspec": dict(KERNEL)})
    header: str = HEADER
    marker: str = "# %%"  # above each cell of a .py
    by_jupytext: bool = False  # the .py is jupytext's, from the .ipynb

    @property
    def name(self) -> str:
        return self.stem + self.suffix

    @property
    def exercises(self) -> list[str]:
        return list(dict.fromkeys(cell.exercise for cell in self.cells if cell.exercise))

    def of(self, exercise: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.exercise == exercise]

    def some_exercise(self, rng: random.Random) -> Cell:
        """A cell of an exercise."""
        return rng.choice([cell for cell in self.cells if cell.exercise and cell.kind == "code"])

    def anywhere(self, rng: random.Random) -> int:
        """A place between two cells, below the title."""
        return rng.randint(1, len(self.cells))

    def file(self) -> bytes:
        return (self._as_text() if self.suffix == ".py" else json.dumps(self._as_json(), indent=1)).encode(
            "utf-8", "surrogatepass"
        )

    def as_nbgrader(self, tests: list[dict[str, Any]]) -> dict[str, Any]:
        """The page as nbgrader knows it: its names in the cells' metadata, and its test cells at the end."""
        page = deepcopy(self)
        page.suffix, page.minor = ".ipynb", 5
        for cell in page.cells:
            cell.metadata = {name: value for name, value in cell.metadata.items() if name != "nbgrader"}
            if cell.grade_id:
                known = {"grade": False, "locked": False, "schema_version": 3, "solution": True, "task": False}
                cell.metadata["nbgrader"] = known | {"grade_id": cell.grade_id, "cell_type": "code"}
        written = page._as_json()
        return written | {"cells": [*written["cells"], *tests]}

    def _as_text(self) -> str:
        if self.by_jupytext:
            return twin(json.dumps(self._as_json()))
        parts = []
        for cell in self.cells:
            kind = "" if cell.kind == "code" else f" [{cell.kind}]"
            source = cell.source
            if cell.kind != "code":
                source = "\n".join(f"# {line}".rstrip() for line in source.split("\n"))
            parts.append(f"{self.marker}{kind}\n{source}".rstrip("\n"))
        text = "\n\n".join([self.header.rstrip("\n")] * bool(self.header) + parts)
        return text + "\n"

    def _as_json(self) -> dict[str, Any]:
        cells = [self._cell(number, cell) for number, cell in enumerate(self.cells)]
        return {"cells": cells, "metadata": self.metadata, "nbformat": 4, "nbformat_minor": self.minor}

    def _cell(self, number: int, cell: Cell) -> dict[str, Any]:
        written: dict[str, Any] = {"cell_type": cell.kind}
        if self.minor >= 5:
            written["id"] = cell.id or f"cell-{number}"
        written |= {"metadata": cell.metadata, "source": cell.source.splitlines(keepends=True)}
        if cell.kind == "code":
            written |= {"execution_count": cell.count, "outputs": cell.outputs}
        return written


def solved(project: Project, entry: Notebook) -> Page:
    """The reference's notebook as a student hands it in: solutions without the markers around them."""
    return Page(entry.path.stem, list(_cells(project, entry)))


def _cells(project: Project, entry: Notebook) -> Iterator[Cell]:
    for cell in notebook.load(project, entry.path).cells:
        lines = cell.source.split("\n")
        marked = any(MARKER.match(line) for line in lines)
        source = "\n".join(line for line in lines if not MARKER.match(line))
        grade_id = f"{cell.exercise or 'answer'}-{cell.number}" if marked else ""
        yield Cell(cell.kind, source, cell.exercise, grade_id)


def twin(page: str) -> str:
    """The percent .py that jupytext keeps beside an .ipynb."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about cells without ids
        return str(jupytext.writes(jupytext.reads(page, fmt="ipynb"), fmt="py:percent"))


def through_jupytext(text: str, fmt: str) -> str:
    """A percent .py as jupytext writes it in another form."""
    return str(jupytext.writes(jupytext.reads(text, fmt="py:percent"), fmt=fmt))


def functions(source: str) -> list[str]:
    return re.findall(r"^def (\w+)", source, re.MULTILINE)


def a_plot(rng: random.Random, letters: int) -> dict[str, Any]:
    data = {"image/png": "iVBOR" + "A" * letters, "text/plain": ["<Figure size 640x480 with 1 Axes>"]}
    metadata = {"needs_background": "light", "n": rng.random()}
    return {**nbformat.v4.new_output("display_data", data, metadata=metadata)}
