"""The lessons as pages: the student's text, with the plots and the outputs of the solved notebook, and no solution."""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbclient

from tito.course import markers

NOTE = """\
!!! note
    This is the lesson as students get it, without solutions. What stands below a cell was printed by the solved
    notebook when this page was built; times are those of that machine. [Learn it](../README.md#learn-it) says how to
    get the notebooks.
"""
DIRECTIVE = re.compile(r"^#\s*\|.*\n?", re.MULTILINE)
EXERCISE = re.compile(r"^#\s*\|\s*exercise(?:\s*:)?\s*(\S+)", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def write_lesson(source: Path, folder: Path) -> None:
    """Run the notebook, and write NAME.md and its pictures into the folder. Raises CellExecutionError."""
    text = source.read_text(encoding="utf-8")
    solved = jupytext.reads(text, fmt="py:percent")
    given = jupytext.reads(markers.stub(text, source.name), fmt="py:percent")
    nbclient.NotebookClient(solved, timeout=600, resources={"metadata": {"path": str(source.parent)}}).execute()
    parts, opening = list[str](), list[str]()
    begun = False  # the first section has
    for number, (student, run) in enumerate(zip(given.cells, solved.cells, strict=True)):
        if not begun and student.source.startswith("## "):
            begun, parts = True, [*parts, folded(opening)]
        before = student.cell_type == "code" and not begun
        (opening if before else parts).extend(cell(student, run, folder, f"{source.stem}-{number}"))
    parts.insert(1, NOTE)  # below the title
    (folder / f"{source.stem}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def folded(opening: list[str]) -> str:
    """The cells that every notebook begins with, for a reader to open: what finds the package, and imports."""
    return '??? abstract "What the notebook begins with: imports"\n\n' + textwrap.indent("\n\n".join(opening), "    ")


def cell(student: Any, run: Any, folder: Path, name: str) -> Iterator[str]:
    """The student's cell, and below it what the solved one gave. name: what its pictures are called."""
    if student.cell_type != "code":
        yield student.source
        return
    code = DIRECTIVE.sub("", student.source).strip()
    if code:
        if student.source != run.source and (exercise := EXERCISE.search(student.source)):
            yield f"*You write `{exercise[1]}`:*"
        yield f"````python\n{code}\n````"
        yield from outputs(run.outputs, folder, name)


def outputs(found: list[Any], folder: Path, name: str) -> Iterator[str]:
    """A cell's outputs as Markdown; a slider, which only a notebook moves, is left out."""
    for number, output in enumerate(found):
        data = output.get("data", {})
        if "image/png" in data:
            picture = folder / f"{name}-{number}.png"
            picture.write_bytes(base64.b64decode(data["image/png"]))
            yield f"![A plot that the cell above draws]({picture.name})"
        elif "application/vnd.jupyter.widget-view+json" not in data:
            text = COLOUR.sub("", output.get("text") or data.get("text/plain", "")).rstrip()
            if text:
                yield f"````text\n{text}\n````"
