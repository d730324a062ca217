"""Is a submission late, and what does that cost? The rules of `deadlines.toml`, applied to when it was handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from decimal import ROUND_DOWN, Decimal
from typing import Final

from tito.grading.handed_in import HandedIn
from tito.grading.reports.adjustments import Adjustment
from tito.grading.reports.tables import number

DAY = timedelta(days=1)
CENT = Decimal("0.01")
FILE_DATE: Final = "the file's date"


@dataclass(frozen=True)
class Penalty:
    """What each day takes off: per cent of the points that the submission would have had, or points."""

    a_day: Decimal
    at_most: Decimal | None
    in_percent: bool

    def words(self, days: int) -> str:
        """`-20 %`."""
        return f"-{number(self._total(days))} {'%' if self.in_percent else 'points'}"

    def points(self, days: int, earned: Decimal) -> Decimal:
        """What is taken off, never more than there is; parts of a hundredth of a point are left to the student."""
        total = self._total(days)
        return min(earned, (earned * total / 100).quantize(CENT, ROUND_DOWN) if self.in_percent else total)

    def _total(self, days: int) -> Decimal:
        total = self.a_day * days
        return total if self.at_most is None else min(total, self.at_most)


@dataclass(frozen=True)
class Terms:
    """What holds for one student. All times have a time zone."""

    due: datetime
    cutoff: datetime | None = None  # what comes later earns nothing
    late_days: int = 0  # days that cost nothing
    handed_in: datetime | None = None  # where the instructor says so
    reason: str = ""  # of an extension; empty: what holds for everybody holds

    def days_late(self, when: datetime, grace: timedelta) -> int:
        """Days begun since the deadline. Each ends at the deadline's hour by the clock, even where clocks change."""
        days = max(0, (when - self.due - grace) // DAY)
        while when.timestamp() > (self.due + days * DAY + grace).timestamp():
            days += 1
        return days


@dataclass(frozen=True)
class Lateness:
    """How late a submission is. `days` is None where nobody knows; `costs` tells how many of them take points off."""

    terms: Terms
    handed_in: HandedIn | None  # `when` has a time zone here
    days: int | None = 0
    costs: int = 0
    after_cutoff: bool = False
    note: str = ""  # what the instructor should look at

    @property
    def words(self) -> str:
        """For a table: `2 days`; empty where it is in time."""
        if self.after_cutoff:
            return "after the cut-off"
        if self.days is None:
            return "unknown"
        return f"{self.days} day{'' if self.days == 1 else 's'}" if self.days else ""

    @property
    def received(self) -> str:
        return shown(self.handed_in.when) if self.handed_in and self.handed_in.when else ""

    @property
    def source(self) -> str:
        return self.handed_in.source if self.handed_in else ""

    @property
    def free(self) -> int:
        """How many of the late days cost nothing."""
        return min(self.days or 0, self.terms.late_days)

    @property
    def told(self) -> str:
        """For the student: when it came, by whose word, and what was asked for."""
        came = f"Handed in {self.received} ({self.source})" if self.received else "When it was handed in is not known"
        if self.handed_in and not self.handed_in.when:
            came = f"Marked as {'late' if self.handed_in.late_mark else 'in time'} by {self.source}"
        late = f": {self.words}{'' if self.after_cutoff else ' late'}" if self.words and self.days is not None else ""
        used = f", {self.free} of {self.terms.late_days} late days used" if self.days and self.terms.late_days else ""
        return f"{came}; due {shown(self.terms.due)}{late}{used}."


@dataclass(frozen=True)
class Deadlines:
    """What `deadlines.toml` says. `own`: the terms of those who have an extension, by the submission's name."""

    everybody: Terms
    zone: tzinfo  # of times that have none
    grace: timedelta = timedelta()
    penalty: Penalty | None = None
    file_dates: bool = False  # does a file's date take points off?
    own: Mapping[str, Terms] | None = None

    def lateness(self, name: str, told: HandedIn | None) -> Lateness:
        """told: by whoever received the submission; the instructor's own word stands above it."""
        terms = (self.own or {}).get(name, self.everybody)
        handed_in = HandedIn(terms.handed_in, "the instructor") if terms.handed_in else told
        if handed_in is None:
            return Lateness(terms, None, None, note="Nobody knows when it was handed in")
        if handed_in.when is None:
            return self._marked(terms, handed_in)
        when = handed_in.when if handed_in.when.tzinfo else handed_in.when.replace(tzinfo=self.zone)
        handed_in = replace(handed_in, when=when.astimezone(self.zone))
        days, over = terms.days_late(when, self.grace), terms.cutoff is not None and when > terms.cutoff
        if (days or over) and handed_in.source == FILE_DATE and not self.file_dates:
            note = "Late by its file's date alone, which costs nothing unless file_dates = true"
            return Lateness(terms, handed_in, days, note=note)
        return Lateness(terms, handed_in, days, max(0, days - terms.late_days), over)

    def _marked(self, terms: Terms, told: HandedIn) -> Lateness:
        """By a mark that says late, and not by how much."""
        if not told.late_mark:
            return Lateness(terms, told)
        if terms.due != self.everybody.due:
            note = f"{told.source} marks it as late, and knows nothing of its extension: write handed_in = ... for it"
            return Lateness(terms, told, None, note=note)
        note = f"{told.source} marks it as late, and not by how much: counted as 1 day"
        return Lateness(terms, told, 1, max(0, 1 - terms.late_days), note=note)

    def adjustment(self, name: str, late: Lateness, earned: Decimal) -> Adjustment | None:
        """What lateness takes off of the points that the submission would have had; None where that is nothing."""
        if late.after_cutoff and late.terms.cutoff and earned:
            return Adjustment(name, "", -earned, f"handed in after {shown(late.terms.cutoff)}: no points")
        if not (self.penalty and late.costs):
            return None
        lost = self.penalty.points(late.costs, earned)
        return Adjustment(name, "", -lost, f"{_why(late)}: {self.penalty.words(late.costs)}") if lost else None


def _why(late: Lateness) -> str:
    """`3 days late, 1 of them free`."""
    marked = late.handed_in is not None and late.handed_in.when is None
    by = f", marked so by {late.source}" if marked else f", by {FILE_DATE}" if late.source == FILE_DATE else ""
    return f"{late.words} late{f', {late.free} of them free' if late.free else ''}{by}"


def shown(when: datetime) -> str:
    """`2026-03-06 23:59 CET`."""
    return f"{when:%Y-%m-%d %H:%M} {when.tzname()}"
