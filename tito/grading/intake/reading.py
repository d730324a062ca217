"""A notebook's bytes as cells, .py and .ipynb alike: read as `tito.course.notebook` does, and safe with any file.

jupytext and nbformat are not asked: they are slow, and were not made for files that are meant to break them. Only of
an exercise's magics in an .ipynb jupytext says how it would write them.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tito import files
from tito.course import percent
from tito.course.notebook import Cell
from tito.grading.intake import pruning
from tito.grading.intake.unpacking import MIB, Refused

MOST_TEXT = 80 * MIB  # bytes as Python holds it: one character beyond the first 65 536 makes all four bytes
CONTINUING = bytes(range(0x80, 0xC0))
FOUR_BYTES = re.compile(rb"[\xf0-\xff]")  # in UTF-8 the first byte of such a character
MOST_SOURCE = 32 * MIB  # characters of a .py: text cells may hold pictures
MOST_VALUES = 1_000_000  # in JSON: an empty list takes 3 bytes of a file, and 64 of memory
MOST_CELLS = 5_000
LONGEST_CELL = 100_000  # characters; the longest of this course has 3 000
MOST_WORDS = 400_000  # characters of text cells; the longest notebook of this course has 60 000
LONGEST_LINE = 2_000  # in which a magic is looked for
LONGEST_DIRECTIVE = 200
MOST_OPEN = 20  # quotes of three that are never closed
MARKER = re.compile(r"\s*#\s*(?:%%(?:%*\s(?P<text>.*))?|<codecell>\s*|In\[[0-9 ]*\]:?\s*)$")
TEXT_CELL = re.compile(r"\[(markdown|md|raw)\]")
QUOTE = re.compile(r"""\#|(?P<triple>'''|\""")|'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?""")
TEXT_QUOTES = ('"""', "'''")
HEADER = re.compile(r"\s*#\s*---\s*")


@dataclass(frozen=True)
class Page:
    """The code cells of a notebook, nbgrader's names for cells by their numbers, what was odd about the file, and the
    text cells, where questions are answered."""

    cells: tuple[Cell, ...]
    grade_ids: dict[int, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    texts: tuple[Cell, ...] = ()

    @property
    def in_order(self) -> list[Cell]:
        return sorted((*self.cells, *self.texts), key=lambda cell: cell.number)


def page(data: bytearray, name: str) -> Page:
    """Read a notebook. Raises Refused, in one sentence that begins with its name."""
    is_json = pruning.is_json(data)
    needed = pruning.pruned(data, name) if is_json else data
    del data  # it may be large
    text, remarks = _text(needed, name)
    if is_json or name.lower().endswith(".ipynb") or text.lstrip()[:1] == "{":
        return _from_json(text, name, remarks)
    if len(text) > MOST_SOURCE:
        raise Refused(f"{name} is longer than {MOST_SOURCE // MIB} million characters")
    code, texts = _percent(text, name)
    cells = tuple(Cell("code", source, number, line) for number, source, line in _kept(code, name, remarks))
    return Page(cells, {}, tuple(remarks), tuple(_words(texts)))


def _text(data: bytes | bytearray, name: str) -> tuple[str, list[str]]:
    remarks = list[str]()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if len(data) * 4 > MOST_TEXT and FOUR_BYTES.search(data) and 4 * _length(data) > MOST_TEXT:  # before it is taken
        raise Refused(f"{name} holds more text than {MOST_TEXT // MIB} MiB")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        text = data.decode("utf-16" if wide else "utf-8-sig", "replace")
        line = data[: error.start].count(b"\n") + 1
        remarks.append(f"{name}, line {line}: not UTF-8; what could not be read became �: save the file as UTF-8")
    if sys.getsizeof(text) > MOST_TEXT:
        raise Refused(f"{name} holds more text than {MOST_TEXT // MIB} MiB")
    return text.replace("\r\n", "\n").replace("\r", "\n"), remarks


def _length(data: bytes | bytearray) -> int:
    """How many characters UTF-8 has: as many as bytes that continue none."""
    return len(data.translate(None, CONTINUING))


def _from_json(text: str, name: str, remarks: list[str]) -> Page:
    cells = _json_cells(text, name)
    _check_count(len(cells), name)
    code, texts = list[tuple[int, str, int | None]](), list[tuple[int, str]]()
    grade_ids = dict[int, str]()
    for number, cell in enumerate(cells, 1):
        kind, source = (cell.get("cell_type"), cell.get("source")) if isinstance(cell, dict) else ("code", None)
        if isinstance(source, list) and all(isinstance(part, str) for part in source):
            source = "".join(source)
        if kind in ("markdown", "raw"):
            texts += [(number, source.replace("\r\n", "\n"))] if isinstance(source, str) else []
            grade_ids[number] = _grade_id(cell.get("metadata"))
            continue
        if not isinstance(source, str):
            remarks.append(f"{name}: cell {number} has no text and was not read")
        elif kind == "code":
            code.append((number, source.replace("\r\n", "\n"), None))
            grade_ids[number] = _grade_id(cell.get("metadata"))
    kept = _kept(code, name, remarks)
    cells_read = tuple(_page_cell(number, source) for number, source, _ in kept)
    return Page(cells_read, grade_ids, tuple(remarks), tuple(_words(texts)))


def _words(texts: list[tuple[int, str]]) -> Iterator[Cell]:
    """Text cells, as much of them as somebody could have written; a picture may stand in one."""
    left = MOST_WORDS
    for number, source in texts:
        if len(source) <= min(left, LONGEST_CELL):
            left -= len(source)
            yield Cell("markdown", source.encode("utf-8", "replace").decode("utf-8"), number, None)


def _page_cell(number: int, source: str) -> Cell:
    """A code cell of an .ipynb; of an exercise's, magics are comments, as they are in a .py."""
    cell = Cell("code", source, number, None)
    if cell.exercise is None or max(map(len, source.split("\n"))) > LONGEST_LINE:
        return cell
    return replace(cell, source=percent.commented(source))


def _json_cells(text: str, name: str) -> list[Any]:
    if sum(map(text.count, "[{,")) > MOST_VALUES:
        raise Refused(f"{name} holds more than {MOST_VALUES} values in its code")
    try:  # as for Jupyter, of two equal keys the last counts; numbers are needed for nothing
        loaded = files.parsed(text, parse_int=_number, parse_float=_number, parse_constant=_number)
    except json.JSONDecodeError as error:
        broken = f"its JSON breaks off at line {error.lineno} (hand in the file as Jupyter saves it)"
        raise Refused(f"{name} is not a notebook: {broken}") from None
    except ValueError:
        raise Refused(f"{name} is not a notebook: its JSON is nested too deeply") from None
    cells = loaded.get("cells") if isinstance(loaded, dict) else None
    if not isinstance(cells, list):
        raise Refused(f"{name} is not a notebook: it has no list of cells (a very old one must be saved again)")
    return cells


def _check_count(cells: int, name: str) -> None:
    if cells > MOST_CELLS:
        raise Refused(f"{name} has {cells} cells; up to {MOST_CELLS} are read")


def _number(_: str) -> int:
    return 0


def _grade_id(metadata: Any) -> str:
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return grade_id if isinstance(grade_id, str) and len(grade_id) < LONGEST_DIRECTIVE else ""


def _kept(
    cells: list[tuple[int, str, int | None]], name: str, remarks: list[str]
) -> Iterator[tuple[int, str, int | None]]:
    """Code cells of a length that someone could have written, as text that can be written down."""
    for number, source, line in cells:
        source = source.rstrip("\n")
        if len(source) > LONGEST_CELL:
            remarks.append(
                f"{name}: cell {number} has {len(source)} characters, more than {LONGEST_CELL}: it was not read"
            )
            continue
        clean = source.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        if clean != source:
            remarks.append(f"{name}: cell {number} holds broken characters; they became ?")
        yield number, _tamed(clean), line


def _tamed(source: str) -> str:
    """Cut comment lines at the top: looking for a directive takes the square of a line's length."""
    lines = source.split("\n")
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            break
        lines[number] = line[:LONGEST_DIRECTIVE]
    return "\n".join(lines)


def _percent(text: str, name: str) -> tuple[list[tuple[int, str, int | None]], list[tuple[int, str]]]:
    """Number, text and first line of each code cell of a percent .py; number and text of each text cell."""
    lines = text.split("\n")
    starts = _starts(lines)
    _check_count(len(starts), name)
    begin = _header(lines)
    bounds = [*([begin - 1] if any(lines[begin : (starts or [len(lines)])[0]]) else []), *starts, len(lines)]
    code, texts = list[tuple[int, str, int | None]](), list[tuple[int, str]]()
    for number, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False), 1):
        marker = MARKER.match(lines[start]) if start >= begin else None
        if marker and TEXT_CELL.search((marker["text"] or "")[:LONGEST_DIRECTIVE]):
            short = end - start <= LONGEST_CELL  # a longer one is left out in any case, and takes its time
            texts += [(number, _uncommented(lines[start + 1 : end]))] if short else []
        else:
            code.append((number, "\n".join(lines[start + 1 : end]), start + 2))
    return code, texts


def _uncommented(lines: list[str]) -> str:
    """The text of a text cell, whose lines are comments, or stand between triple quotes."""
    text = "\n".join(lines).strip("\n")
    for quote in TEXT_QUOTES:
        if text.startswith(quote) and text.rstrip().endswith(quote) and len(text) >= 2 * len(quote):
            return text.rstrip()[len(quote) : -len(quote)].strip("\n")
    return "\n".join(line.removeprefix("#").removeprefix(" ") if line[:1] == "#" else line for line in text.split("\n"))


def _header(lines: list[str]) -> int:
    """Where the cells begin: after jupytext's `# ---` ... `# ---`, if the file begins with it."""
    if lines and HEADER.fullmatch(lines[0]):
        return next((number + 1 for number, line in enumerate(lines[1:200], 1) if HEADER.fullmatch(line)), 0)
    return 0


def _starts(lines: list[str]) -> list[int]:
    """The marker lines. One inside a triple quote is none; but a quote that is never closed ends with its cell."""
    starts, first = list[int](), 0
    for _ in range(MOST_OPEN):
        found, is_open = _starts_from(lines, first)
        if not is_open:
            return starts + found
        begin = found[-1] if found else first  # of the cell in which the quote is open
        starts += found
        first = next((at for at in range(begin + 1, len(lines)) if _is_marker(lines[at])), len(lines))
    return starts + [at for at in range(first, len(lines)) if _is_marker(lines[at])]


def _starts_from(lines: list[str], first: int) -> tuple[list[int], bool]:
    """The marker lines from one line on, and whether a triple quote is still open at the end."""
    starts, inside = list[int](), ""
    for number in range(first, len(lines)):
        line = lines[number]
        if not inside and _is_marker(line):
            starts.append(number)
        elif "'''" in line or '"""' in line:
            inside = _quote_after(line, inside)
    return starts, bool(inside)


def _is_marker(line: str) -> bool:
    return "#" in line and bool(MARKER.match(line[:LONGEST_DIRECTIVE]))


def _quote_after(line: str, inside: str) -> str:
    """The triple quote that is open after a line, if one was, or was not, open before it."""
    place = 0
    while True:
        if inside:
            end = re.compile(rf"(?:[^\\]|\\.)*?{inside}").match(line, place)
            if end is None:
                return inside
            inside, place = "", end.end()
        found = next((match for match in QUOTE.finditer(line, place) if match["triple"] or match[0] == "#"), None)
        if found is None or found[0] == "#":
            return ""
        inside, place = found["triple"], found.end()
