"""Of several files of one notebook the one that is graded: the most work, then the newest, then the name; or, if the
instructor wants it so, of those in which something is written the newest.

What dates mean after a zip or a learning platform nobody knows: they may be those of the upload, one second apart, or
of the year 1980. So work counts before them, and dates within a minute of each other count for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from tito.grading.intake.aligning import Aligner
from tito.grading.intake.reading import Page
from tito.grading.intake.unpacking import Entry
from tito.grading.options import Several

VERSION = re.compile(r"(?:[-_ ]|\()(\d{1,4})\)?$")  # what Canvas and browsers add: quantization_dev-1, ... (2)
ASIDE = re.compile(r"copy|copie|kopie|backup|\bbak\b|\bold\b|archive|draft|previous|original", re.IGNORECASE)
AT_ONCE = timedelta(minutes=1)
WRITTEN, MORE, NEWER = "written", "in which more is written", "the newer"
MEANT = "by its name the one that is meant"

Cells = Mapping[str, tuple[str, ...]]  # exercise id -> its sources


@dataclass(frozen=True)
class Sheet:
    """A notebook file of a submission that could be read."""

    entry: Entry
    page: Page
    aligner: Aligner

    @property
    def by_name(self) -> tuple[bool, int, int, int, str]:
        """The larger, the more its name, and that of its zip, says that it is the one that is meant."""
        path, outer = PurePosixPath(self.entry.path), PurePosixPath(next(iter(self.entry.outer), ""))
        aside = bool(ASIDE.search("/".join((*self.entry.outer, self.entry.path)).replace("_", " ")))
        return not aside, _version(outer), _version(path), -len(path.parts), path.suffix.lower()


def _version(path: PurePosixPath) -> int:
    match = VERSION.search(path.stem)
    return int(match[1]) if match else 0


def best(
    sheets: Sequence[Sheet], work: Callable[[Sheet], Cells], several: Several = "best"
) -> tuple[Sheet, list[tuple[Sheet, str]]]:
    """The one that is graded, and the others, each with the reason why it is not.

    work: the exercises that are written in a file.
    """
    dated = _dates_decide(sheets)
    ranks = list[tuple[tuple[str, Any], ...]]()  # the reasons, in the order in which they decide
    for sheet in sheets:
        more, newer = (MORE, len(work(sheet))), (NEWER, sheet.entry.when if dated else ())
        first = (WRITTEN, bool(work(sheet)))
        ranks.append((first, *((more, newer) if several == "best" else (newer, more)), (MEANT, sheet.by_name)))
    chosen = max(range(len(sheets)), key=ranks.__getitem__)
    others = [(sheet, _reason(ranks[chosen], rank)) for sheet, rank in zip(sheets, ranks, strict=True)]
    return sheets[chosen], others[:chosen] + others[chosen + 1 :]


def _reason(chosen: Sequence[tuple[str, Any]], other: Sequence[tuple[str, Any]]) -> str:
    """By which of its parts one rank is above another."""
    pairs = zip(chosen, other, strict=True)
    why = next((why for (why, mine), (_, others) in pairs if mine != others), MEANT)
    return MORE if why == WRITTEN else why


def _dates_decide(sheets: Sequence[Sheet]) -> bool:
    """Do the files' dates say which is newer? What is no date, such as Canvas' count of attachments, does."""
    try:
        dates = [datetime(*sheet.entry.when[:6]) for sheet in sheets]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True
    return max(dates) - min(dates) > AT_ONCE
