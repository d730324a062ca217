"""A dev notebook as cells, read by jupytext: a percent .py and an .ipynb look alike from here on."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tito import pairing
from tito.errors import TitoError
from tito.project import Project

# `#| export`, `#| exercise: quantize`. No two parts of a pattern may match the same blanks: a million of them would do.
DIRECTIVE = re.compile(r"#\s*\|\s*([A-Za-z_]\w*)(?:\s*:)?(.*)")
DEFAULT_EXP = re.compile(r"^#[ \t]*\|[ \t]*default_exp(?:[ \t]*:)?[ \t]+(\S+)[ \t]*$", re.MULTILINE)
PERCENT = {"extension": ".py", "format_name": "percent", "comment_magics": False}
CELL_MARKER = re.compile(r"\s*#\s*%%")


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its number from 1, and in a .py the file's line on which its text begins."""

    kind: str  # "code", "markdown" or "raw"
    source: str
    number: int
    first_line: int | None

    @cached_property
    def directives(self) -> dict[str, str]:
        """The `#|` lines at the top of a code cell: {"export": "", "exercise": "quantize"}."""
        return {match[1]: match[2].strip() for _, match in self._directive_lines()}

    @property
    def exported(self) -> bool:
        return "export" in self.directives

    @property
    def exercise(self) -> str | None:
        return self.directives.get("exercise")

    @cached_property
    def body(self) -> tuple[tuple[int, str], ...]:
        """The cell's lines without directives, each with its number in the cell, from 1."""
        last = max((number for number, _ in self._directive_lines()), default=0)
        return tuple(enumerate(self.source.split("\n"), 1))[last:]

    def line_of(self, directive: str) -> int:
        """The line in the cell on which a directive stands."""
        return next(number for number, match in self._directive_lines() if match[1] == directive)

    def _directive_lines(self) -> Iterator[tuple[int, re.Match[str]]]:
        if self.kind != "code":
            return
        for number, line in enumerate(self.source.split("\n"), 1):
            match = DIRECTIVE.match(line)
            if match:
                yield number, match
            elif line.strip():
                return


@dataclass(frozen=True)
class Document:
    """A notebook file that was read. `name` is its path as messages show it."""

    path: Path
    name: str
    cells: tuple[Cell, ...]
    paired: bool = False  # there is an .ipynb of it too, in which lines are counted by cell

    @property
    def code(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.kind == "code")

    @cached_property
    def essence(self) -> tuple[tuple[str, str, Cell], ...]:
        """Kind and text of every cell that is not empty, magics and blank edges made equal; and the cell."""
        texts = ["\n".join(map(_uncommented, cell.source.split("\n"))).strip() for cell in self.cells]
        return tuple((cell.kind, text, cell) for cell, text in zip(self.cells, texts, strict=True) if text)

    @cached_property
    def digest(self) -> str:
        """A hash of what must agree between two forms of a notebook: kinds and texts, not ids, outputs, blank edges."""
        essence = [(kind, text) for kind, text, _ in self.essence]
        return hashlib.sha256(json.dumps(essence).encode()).hexdigest()

    def at(self, cell: Cell, line: int = 1) -> str:
        """Where a cell's line stands, as a person finds it: FILE:LINE, in an .ipynb cell and line, or both."""
        if cell.first_line is None:
            return f"{self.name}: cell {cell.number}, line {line}"
        in_page = f" (cell {cell.number}, line {line})" if self.paired else ""
        return f"{self.name}:{cell.first_line + line - 1}{in_page}"


def read(project: Project, path: Path) -> Document:
    """The notebook whose .py is `path`: the .py, the .ipynb, or of both the one that was changed.

    Raises TitoError where the file is missing, cannot be read, or both forms were changed: one would silently win.
    """
    twin = path.with_suffix(".ipynb")
    if not path.is_file():
        if not twin.is_file():
            raise TitoError(f"{project.shown(path)} is missing, and so is {twin.name}: restore one of them")
        return load(project, twin)
    document = load(project, path)
    return _changed(project, document, load(project, twin)) if twin.is_file() else document


def _changed(project: Project, text: Document, page: Document) -> Document:
    """Of a .py and its .ipynb, the one that was changed since they agreed; the .py where they still do."""
    if text.digest == page.digest:
        pairing.remember(project, text.path, text.digest)
        return replace(text, paired=True)
    released = project.released(text.path)
    base = pairing.agreed(project, text.path) or (load(project, released).digest if released.is_file() else "")
    if base in (text.digest, page.digest):
        return page if base == text.digest else text  # a cell may have moved: its number would mislead
    newer, older = sorted((text.path, page.path), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    raise TitoError(
        f"{text.name} and {page.path.name} hold different cells{_first_difference(text, page)}; {newer.name} was saved "
        f"last, {_between(newer, older)} after the other. Keep one: move "
        f"{older.name} away (or the other, if that is the one you want), then run the command again."
    )


def _first_difference(text: Document, page: Document) -> str:
    pairs = zip(text.essence, page.essence, strict=False)
    cell = next((own[2] for own, other in pairs if own[:2] != other[:2]), None)
    if cell is None or cell.first_line is None:
        return ""
    return f", first {f'in exercise {cell.exercise}' if cell.exercise else 'in the cell'} at line {cell.first_line}"


def _between(newer: Path, older: Path) -> str:
    seconds = round((newer.stat().st_mtime_ns - older.stat().st_mtime_ns) / 1e9)
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60} minutes"


def percent_text(document: Document) -> str:
    """The notebook as the text of a percent .py: the file itself, or what jupytext makes of an .ipynb."""
    text = document.path.read_text(encoding="utf-8-sig")
    if document.path.suffix == ".py":
        return text
    import jupytext  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(jupytext.writes(jupytext.reads(text, fmt="ipynb"), fmt=PERCENT))


def default_exp(path: Path) -> str | None:
    """The target that a notebook names, found without jupytext: the door to the student's code must open quickly."""
    file = path if path.is_file() else path.with_suffix(".ipynb")
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    match = DEFAULT_EXP.search(text)
    return match[1] if match else None


def load(project: Project, path: Path) -> Document:
    """One file, .py or .ipynb, as cells. Raises TitoError where it cannot be read as a notebook."""
    import jupytext

    name = project.shown(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise TitoError(f"{name}:{line}: this line is not UTF-8; save the file as UTF-8") from None
    # Magics stay as they are written: `# %timeit` in a .py is a comment, and every line keeps its place.
    fmt = PERCENT if path.suffix == ".py" else {"extension": path.suffix}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbformat's advice about cell ids is not for students
            cells = jupytext.reads(text, fmt=fmt).cells
    except Exception as error:  # jupytext and nbformat raise many kinds; to a person they are one
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise TitoError(f"{name} cannot be read as a notebook ({reason}); restore it, or save it again") from None
    sources = [(cell.cell_type, cell.source) for cell in cells]
    lines = _first_lines(text, sources) if path.suffix == ".py" else [None] * len(sources)
    placed = enumerate(zip(sources, lines, strict=True), 1)
    return Document(path, name, tuple(Cell(kind, source, number, line) for number, ((kind, source), line) in placed))


def _first_lines(text: str, cells: list[tuple[str, str]]) -> list[int | None]:
    """The line of a percent .py on which each cell's text begins: it follows a `# %%` line, verbatim."""
    file, position, found = text.split("\n"), 0, list[int | None]()
    after_marker = [True] + [bool(CELL_MARKER.match(line)) for line in file]
    for kind, source in cells:
        lines = source.split("\n")
        matches = (
            start
            for start in range(position, len(file))
            if kind == "code" and after_marker[start] and file[start : start + len(lines)] == lines
        )
        start = next(matches, None)
        found.append(None if start is None else start + 1)
        position = position if start is None else start + len(lines)
    return found


def _uncommented(line: str) -> str:
    """A magic is written `# %timeit` in a .py and `%timeit` in an .ipynb: both are one line."""
    return re.sub(r"^(\s*)#\s*(?=[%!])", r"\1", line).rstrip()
