"""Tables: what an instructor writes in a spreadsheet is read with the number of each line, so that a mistake is named;
what strangers wrote is written so that no spreadsheet takes it for a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from markupsafe import Markup

from tito.errors import TitoError
from tito.grading.reports import escaping


def rows(
    path: Path, columns: Sequence[str], others: Sequence[str] = (), optional: Sequence[str] = ()
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The number of each line, and its cells in the order of `columns`. Spreadsheets write commas, semicolons or tabs.

    others: columns that may be there too, and are not read. optional: of these some may be missing, whose cells are
    empty; they come after `columns`. Raises TitoError, one sentence that names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise TitoError(f"{path} is not UTF-8: in the spreadsheet, save it as 'CSV UTF-8'") from None
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        found = [column for cell in next(reader, []) if (column := cell.strip().casefold())]
        known = [*columns, *(column for column in optional if column in found)]
        if sorted(column for column in found if column not in others) != sorted(known) or not found:
            wanted = f"{','.join(columns)}" if columns else f"some of {','.join(optional)}"
            raise TitoError(f"{path}, line 1: the columns must be {wanted}; got '{head.strip()}'")
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) < len(found) or any(cells[len(found) :]):
                fix = 'a text with a comma in it stands in quotes: "late, but ill"'
                raise TitoError(f"{path}, line {reader.line_num}: wanted {len(found)} cells, got {len(cells)}; {fix}")
            by_name = dict(zip(found, cells, strict=False))
            yield reader.line_num, tuple(by_name.get(column, "") for column in (*columns, *optional))
    except csv.Error as error:
        raise TitoError(f"{path}, line {reader.line_num}: not a table ({error}); is a quote left open?") from None


def as_csv(rows: Iterable[Iterable[object]]) -> str:
    """As CSV: no cell of it is a formula."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    """Our own numbers as they are, so that a spreadsheet can add them; every text made harmless."""
    if isinstance(value, Decimal | None):
        return number(value)
    if isinstance(value, Markup):  # its words were made harmless one by one
        return escaping.cell(str(value))
    return escaping.cell(escaping.one_line(value)) if isinstance(value, str) else str(value)


def number(points: Decimal | None) -> str:
    """Points as people write them.

    >>> number(Decimal("2.50")), number(Decimal(10)), number(None)
    ('2.5', '10', '')
    """
    if points is None:
        return ""
    return f"{points:f}".rstrip("0").rstrip(".") if "." in f"{points:f}" else f"{points:f}"
