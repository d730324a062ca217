"""Of several files of one notebook the one that is graded: the most work, then the newest, then the name.

What dates mean after a zip or a learning platform nobody knows: they may be those of the upload, one second apart, or
of the year 1980. So work counts before them, and dates within a minute of each other count for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from tito.grading.intake.aligning import Aligner
from tito.grading.intake.reading import Page
from tito.grading.intake.unpacking import Entry

VERSION = re.compile(r"(?:[-_ ]|\()(\d{1,4})\)?$")  # what Canvas and browsers add: quantization_dev-1, ... (2)
ASIDE = re.compile(r"copy|copie|kopie|backup|\bbak\b|\bold\b|archive|draft|previous|original", re.IGNORECASE)
AT_ONCE = timedelta(minutes=1)
REASONS = ("in which more is written", "the newer", "by its name the one that is meant")  # in the order of a rank

Cells = Mapping[str, tuple[str, ...]]  # exercise id -> its sources


@dataclass(frozen=True)
class Sheet:
    """A notebook file of a submission that could be read."""

    entry: Entry
    page: Page
    aligner: Aligner

    @property
    def by_name(self) -> tuple[bool, int, int, str]:
        """The larger, the more its name says that it is the one that is meant."""
        path = PurePosixPath(self.entry.path)
        match = VERSION.search(path.stem)
        aside = bool(ASIDE.search(self.entry.path.replace("_", " ")))
        return not aside, int(match[1]) if match else 0, -len(path.parts), path.suffix.lower()


def best(sheets: Sequence[Sheet], work: Callable[[Sheet], Cells]) -> tuple[Sheet, list[tuple[Sheet, str]]]:
    """The one that is graded, and the others, each with the reason why it is not.

    work: the exercises that are written in a file.
    """
    dated = _dates_decide(sheets)
    ranks = [(len(work(sheet)), sheet.entry.when if dated else (), sheet.by_name) for sheet in sheets]
    first = max(range(len(sheets)), key=ranks.__getitem__)
    others = [(sheet, _reason(ranks[first], rank)) for sheet, rank in zip(sheets, ranks, strict=True)]
    return sheets[first], others[:first] + others[first + 1 :]


def _reason(chosen: tuple[object, ...], other: tuple[object, ...]) -> str:
    """By which of its parts one rank is above another."""
    pairs = zip(REASONS, chosen, other, strict=True)
    return next((why for why, a, b in pairs if a != b), REASONS[-1])


def _dates_decide(sheets: Sequence[Sheet]) -> bool:
    """Do the files' dates say which is newer? What is no date, such as Canvas' count of attachments, does."""
    try:
        dates = [datetime(*sheet.entry.when[:6]) for sheet in sheets]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True
    return max(dates) - min(dates) > AT_ONCE
