"""A percent .py as cells, split by jupytext's own reader of cells: what JupyterLab shows as a cell is one here too.

jupytext tells what a cell holds, but not where; here each cell also knows its lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tito.errors import TitoError

PERCENT = {"extension": ".py", "format_name": "percent"}
READ = ("percent", "hydrogen")  # jupytext's formats with `# %%` between cells

# A line that may be a magic; jupytext, whose import takes its time and memory, says whether it is one.
COMMANDS = "cat|cd|cp|mv|rm|rmdir|mkdir|copy|ddir|echo|ls|ldir|ren"
MAGIC = re.compile(rf"^[^\S\n]*(?:[%!?]|\S*\?[^\S\n]*$|\w+[^\S\n]*=[^\S\n]*[%!]|(?:{COMMANDS})(?:\s|$))", re.MULTILINE)

# A line that Python cannot read and a notebook runs: a magic, a command of the system, a question to the help.
IPYTHON = re.compile(
    r"\s*(%{1,2}\w|!|\?{1,2}\w|\w[\w.]*\?{1,2}\s*$|[\w., ]+=\s*[%!]\w"
    r"|(?:pip|conda|mamba|cd|ls|cat|cp|mv|rm|mkdir|pwd)\s+[\w./~-])"
)


@dataclass(frozen=True)
class Piece:
    """A cell of a percent .py. Its text begins on the line `first_line`, from 1; its marker, if it has one, above."""

    kind: str  # "code", "markdown" or "raw"
    source: str
    begin: int  # the line of its marker
    first_line: int


@lru_cache(maxsize=1000)  # texts: `tito watch` reads all notebooks at every save, of which one has changed
def split(text: str) -> tuple[str, tuple[Piece, ...]]:
    """What stands in the file's header as a raw cell, and the cells in order.

    Code is taken as it is written: `# %timeit` is a comment, and every line keeps its place. A triple quote that is
    never closed ends with its cell, and does not swallow those below. Raises TitoError for another of jupytext's
    formats, and ValueError or what YAML raises for a header that cannot be read.
    """
    from jupytext.formats import get_format_implementation, read_format_from_metadata
    from jupytext.header import header_to_metadata_and_cell

    found = read_format_from_metadata(text, ".py") or "percent"
    if found not in READ:
        raise TitoError(
            f"it is in jupytext's format '{found}', and only 'percent' is read: in JupyterLab choose "
            "Pair Notebook with percent Script"
        )
    lines = text.removesuffix("\n").split("\n")
    *_, header, position = header_to_metadata_and_cell(lines, "#", "", ".py")
    reader_class = get_format_implementation(".py", "percent").cell_reader_class
    pieces = list[Piece]()
    while position < len(lines):
        reader = reader_class(PERCENT | {"comment_magics": False}, "python")
        piece, length = _read(reader, lines[position:], position + 1)
        pieces.append(piece)
        position += length
    return (header.source if header else ""), tuple(pieces)


def why_no_python(line: str) -> str:
    """A sentence about a line that only a notebook can run; empty for a line that it would not run either.

    >>> why_no_python("%%capture")
    '`%%capture` is an IPython command, which can be neither exported nor graded: delete this line'
    """
    text = line.strip()
    return (
        f"`{text[:100]}` is an IPython command, which can be neither exported nor graded: delete this line"
        if IPYTHON.match(text)
        else ""
    )


def commented(source: str) -> str:
    """Code with Jupyter's magics as comments, line by line, as jupytext writes the code of an .ipynb into a .py."""
    if not MAGIC.search(source):
        return source
    from jupytext.magics import comment_magic

    return "\n".join(comment_magic(source.split("\n")))


def _read(reader: Any, lines: list[str], begin: int) -> tuple[Piece, int]:
    """The first cell of these lines, and how many of them it takes."""

    def is_marker(line: str) -> bool:
        return bool(reader.start_code_re.match(line) or reader.alternative_start_code_re.match(line))

    cell, length = reader.read(lines)
    if length == len(lines) and _is_open(lines):
        below = (number for number, line in enumerate(lines) if number and is_marker(line))
        cell, length = reader.read(lines[: next(below, length)])
    above = int(is_marker(lines[0]))
    written = "\n".join(lines[above : above + len(reader.content)])
    source = written if cell.cell_type == "code" else str(cell.source)
    return Piece(cell.cell_type, source, begin, begin + above), length


def _is_open(lines: list[str]) -> bool:
    """Is a quote of three still open behind these lines?"""
    from jupytext.stringparser import StringParser

    parser = StringParser("python")
    for line in lines:
        parser.read_line(line)
    return bool(parser.is_quoted())
