"""A dev notebook as cells, read by jupytext: a percent .py and an .ipynb look alike from here on."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tito import files
from tito.course import pairing, percent
from tito.course.project import Project
from tito.errors import TitoError

# `#| export`, `#| exercise: quantize`. No two parts of a pattern may match the same blanks: a million of them would do.
DIRECTIVE = re.compile(r"#\s*\|\s*([A-Za-z_]\w*)(?:\s*:)?(.*)")
DEFAULT_EXP = re.compile(r"^#[ \t]*\|[ \t]*default_exp(?:[ \t]*:)?[ \t]+(\S+)[ \t]*$", re.MULTILINE)
COMMENT = re.compile(r"#|%%\w")  # may stand above a directive, as may `%%time`, which Jupyter runs and no export holds
PERCENT = percent.PERCENT
PYTHON = {  # a page's metadata: what runs it, and by which names other tools know the language
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}
T = TypeVar("T")
KINDS = ("code", "markdown", "raw")

# Where JupyterLab is installed, jsonschema, which jupytext imports, builds grammars of web addresses at its import: for
# six seconds, at every command. It does without them where this module cannot be imported; a notebook needs none.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its number from 1, and in a .py the file's line on which its text begins."""

    kind: str  # "code", "markdown" or "raw"
    source: str
    number: int
    first_line: int | None

    @cached_property
    def directives(self) -> dict[str, str]:
        """The `#|` lines above a code cell's code: {"export": "", "exercise": "quantize"}."""
        return {match[1]: match[2].strip() for _, match in self._directive_lines()}

    @property
    def exported(self) -> bool:
        return "export" in self.directives

    @property
    def exercise(self) -> str | None:
        return self.directives.get("exercise")

    @property
    def height(self) -> int:
        """How many lines of the file its text takes."""
        return self.source.count("\n") + 1 if self.source else 0

    @cached_property
    def body(self) -> tuple[tuple[int, str], ...]:
        """The cell's lines without directives, each with its number in the cell, from 1."""
        last = max((number for number, _ in self._directive_lines()), default=0)
        return tuple(enumerate(self.source.split("\n"), 1))[last:]

    @property
    def code(self) -> str:
        """The cell's text without directives."""
        return "\n".join(line for _, line in self.body)

    def line(self, number: int) -> str:
        """The text of a line, from 1, without blanks around it."""
        return self.source.split("\n")[number - 1].strip()

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
            elif line.strip() and not COMMENT.match(line):
                return


@dataclass(frozen=True)
class Document:
    """A notebook file that was read. `name` is its path as messages show it, `text` what the file holds."""

    path: Path
    name: str
    text: str = field(repr=False)
    cells: tuple[Cell, ...]
    paired: bool = False  # there is an .ipynb of it too, in which lines are counted by cell

    @property
    def code(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.kind == "code")

    @cached_property
    def essence(self) -> tuple[tuple[str, str], ...]:
        """Kind and text, blank edges aside, of every cell of the .py, as jupytext reads it; of an .ipynb, of the .py
        that JupyterLab writes beside it: what the two forms can hold alike, however magics and text are commented.
        """
        try:
            text = percent_text(self)
            cells = _quietly(lambda jupytext: jupytext.reads(text, fmt=PERCENT).cells)
        except Exception as error:  # jupytext raises many kinds
            raise _unreadable(self.name, error) from None
        return tuple((cell.cell_type, cell.source.strip()) for cell in cells if cell.source.strip())

    @cached_property
    def digest(self) -> str:
        """A hash of what must agree between two forms of a notebook: kinds and texts, not ids, outputs, blank edges."""
        return hashlib.sha256(json.dumps(self.essence).encode()).hexdigest()

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
    forms = [form for form in (path, twin) if form.is_file()]
    if len(forms) == 2:
        return _changed(project, load(project, path), load(project, twin))
    if not forms:
        released = project.released(path)
        back = f"`tito reset {path.name}` puts it back as it was given, from {project.shown(released)}"
        mend = back if released.is_file() else "restore one of them"
        raise TitoError(f"{project.shown(path)} is missing, and so is {twin.name}: {mend}")
    pairing.note_single(project, path)
    return load(project, forms[0])


def _changed(project: Project, text: Document, page: Document) -> Document:
    """Of a .py and its .ipynb, the one that was changed since they agreed; the .py where they still do."""
    if text.digest == page.digest:
        pairing.note_agreed(project, text.path, text.digest)
        pairing.remember(project, text.path, text.digest)
        return replace(text, paired=len(text.cells) == len(page.cells))
    released = project.released(text.path)
    base = pairing.agreed(project, text.path) or (load(project, released).digest if released.is_file() else "")
    if base in (text.digest, page.digest):
        ahead = page if base == text.digest else text  # a cell may have moved: its number would mislead
        pairing.note_ahead(project, ahead.path, ahead.text, ahead.digest)
        return ahead
    for form in (text, page):
        pairing.note_ahead(project, form.path, form.text, form.digest)
    newer, older = sorted((text.path, page.path), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    raise TitoError(
        f"{text.name} and {page.path.name} hold different cells{_first_difference(text, page)}; {newer.name} was saved "
        f"last, {_between(newer, older)} after the other. Keep one: move "
        f"{older.name} away (or the other, if that is the one you want), then run the command again."
    )


def _first_difference(text: Document, page: Document) -> str:
    """The line of the .py on which the first cell that differs begins, and the exercise that it is of."""
    pairs = zip(text.essence, page.essence, strict=False)
    kind, source = next((own for own, other in pairs if own != other), ("", ""))
    exercise = Cell(kind, source, 0, None).exercise
    same = [cell for cell in text.cells if cell.source.strip() == source]
    alike = [cell for cell in text.cells if exercise and cell.exercise == exercise]  # jupytext has read a magic in it
    cell = next(iter(same or alike), None)
    if not source or cell is None or cell.first_line is None:
        return ""
    return f", first {f'in exercise {exercise}' if exercise else 'in the cell'} at line {cell.first_line}"


def _between(newer: Path, older: Path) -> str:
    seconds = round((newer.stat().st_mtime_ns - older.stat().st_mtime_ns) / 1e9)
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60} minutes"


def percent_text(document: Document) -> str:
    """The notebook as the text of a percent .py: the file itself, or what JupyterLab writes beside an .ipynb."""
    if document.path.suffix == ".py":
        return document.text
    page = json.loads(document.text)

    def writes(jupytext: Any) -> str:
        import nbformat

        v4: Any = nbformat.v4
        new = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}
        about = [_table(cell.get("metadata")) for cell in page["cells"]]
        cells = [new[cell.kind](cell.source, metadata=data) for cell, data in zip(document.cells, about, strict=True)]
        book = _as_pair(v4.new_notebook(cells=cells, metadata=_table(page.get("metadata"))))
        return str(jupytext.writes(book, fmt=PERCENT))

    return writable(_quietly(writes))


def page_text(document: Document) -> str:
    """A .py as the text of the .ipynb that JupyterLab makes of it."""
    return _quietly(lambda jupytext: str(jupytext.writes(_as_pair(jupytext.reads(document.text, PERCENT)), "ipynb")))


def _as_pair(book: Any) -> Any:
    """Note in a notebook, as JupyterLab does, that it has two forms, and what runs it."""
    book.metadata["jupytext"] = _table(book.metadata.get("jupytext")) | {"formats": "ipynb,py:percent"}
    for key, value in PYTHON.items():
        book.metadata.setdefault(key, dict(value))
    return book


def default_exp(path: Path) -> str | None:
    """The target that a notebook names, found without jupytext: the door to the student's code must open quickly."""
    file = path if path.is_file() else path.with_suffix(".ipynb")
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".ipynb":
        text = "\n".join(cell.source for cell in _page_cells(text) if cell.kind == "code")
    match = DEFAULT_EXP.search(text)
    return match[1] if match else None


def load(project: Project, path: Path) -> Document:
    """One file, .py or .ipynb, as cells. Raises TitoError where it cannot be read as a notebook."""
    name = project.shown(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        cells = _text_cells(text) if path.suffix == ".py" else _page_cells(text)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise TitoError(f"{name}:{line}: this line is not UTF-8; save the file as UTF-8") from None
    except OSError:
        raise
    except Exception as error:  # of damaged JSON, or of a header that is no YAML
        raise _unreadable(name, error) from None
    return Document(path, name, text, cells)


def _unreadable(name: str, error: Exception) -> TitoError:
    reason = str(error).split("\n")[0][:200] or type(error).__name__
    return TitoError(f"{name} cannot be read as a notebook ({reason}); restore it, or save it again")


def _text_cells(text: str) -> tuple[Cell, ...]:
    header, pieces = percent.split(text)
    cells = [Cell("raw", header, 1, None)] if header else []
    cells += [
        Cell(piece.kind, piece.source, number, piece.first_line if piece.kind == "code" else None)
        for number, piece in enumerate(pieces, len(cells) + 1)
    ]
    return tuple(cells)


def _page_cells(text: str) -> tuple[Cell, ...]:
    """The cells of an .ipynb, whose JSON need hold no more than them. Raises ValueError where it does not."""
    page = files.parsed(text)
    if isinstance(page, dict) and "worksheets" in page:
        raise ValueError("it is of a format before 2015: open it in JupyterLab and save it there")
    cells = page.get("cells") if isinstance(page, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise ValueError("it has no list of cells")
    return tuple(_page_cell(cell, number) for number, cell in enumerate(cells, 1))


def _page_cell(cell: dict[str, Any], number: int) -> Cell:
    source, kind = cell.get("source", ""), cell.get("cell_type")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    if not isinstance(source, str):
        raise ValueError(f"cell {number} has no text")
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    return Cell(kind if kind in KINDS else "raw", writable(source), number, None)


def _table(metadata: Any) -> dict[str, Any]:
    return metadata if isinstance(metadata, dict) else {}


def writable(text: str) -> str:
    """The text with `?` for half a surrogate pair, which JSON can hold and no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _quietly(use: Callable[[Any], T]) -> T:
    """Call a function with jupytext; its advice, and nbformat's, is not for students."""
    import jupytext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return use(jupytext)
