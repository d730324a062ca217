"""When something was handed in: by the timestamp.txt of nbgrader, the metadata of Gradescope, or the dates of files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

from tito.grading.handed_in import HandedIn
from tito.grading.intake import unpacking
from tito.grading.intake.unpacking import Budget, Entry, Refused

NBGRADER = "timestamp.txt"  # in a student's folder of an assignment
GRADESCOPE = "submission_metadata.yml"  # at the top of an export, for all its folders
EARLIEST, LATEST = 2000, 2100  # years; a date outside of them is no clock's
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? *(.{0,40})")
OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
FOLDER = re.compile(r"([\w.-]+):\s*")  # of Gradescope's metadata: what begins a submission, and its own time
CREATED = re.compile(r" {2}:created_at: *['\"]?(.+?)['\"]?\s*")


def moment(text: str) -> datetime | None:
    """A platform's date and time, to the second; without a zone where its zone is not known; None where it is none.

    >>> moment("2026-03-06 22:59:58.948203 UTC"), moment("2026-03-06 22:59:58 EDT")
    (datetime.datetime(2026, 3, 6, 22, 59, 58, tzinfo=datetime.timezone.utc), datetime.datetime(2026, 3, 6, 22, 59, 58))
    """
    match = MOMENT.fullmatch(text.strip())
    if not match:
        return None
    day, hour, zone = match.groups()
    with suppress(ValueError):
        when = datetime.fromisoformat(f"{day}T{hour}")
        if EARLIEST <= when.year < LATEST:
            return when.replace(tzinfo=_zone(zone))
    return None


def _zone(text: str) -> timezone | None:
    if text in ("", "Z", "UTC", "GMT"):  # nbgrader takes a time without a zone for UTC's
        return UTC
    if match := OFFSET.fullmatch(text):
        sign, hours, minutes = match.groups()
        return timezone((-1 if sign == "-" else 1) * timedelta(hours=int(hours), minutes=int(minutes)))
    return None


def of_nbgrader(entries: Iterable[Entry], graded: Iterable[Entry], budget: Budget) -> HandedIn | None:
    """By the timestamps that nbgrader put into the folders of what is graded, ASSIGNMENT/timestamp.txt; the latest."""
    stamps = {f"{entry.path.partition('/')[0]}/{NBGRADER}" for entry in graded}
    found = list[datetime]()
    for entry in entries:
        if entry.path in stamps and not entry.packed:
            with suppress(Refused):
                when = moment(unpacking.read(entry, budget)[:200].decode("utf-8", "replace"))
                found += [when] if when else []
    return HandedIn(_latest(found), "nbgrader") if found else None


def of_gradescope(entries: Iterable[Entry], budget: Budget) -> dict[str, HandedIn]:
    """The folders of an export, each with its own time: not those of the earlier attempts, which stand deeper."""
    found, folder, text = dict[str, HandedIn](), "", ""
    for entry in entries:
        if entry.path == GRADESCOPE:
            with suppress(Refused):
                text = unpacking.read(entry, budget).decode("utf-8", "replace")
    for line in text.split("\n"):
        if match := FOLDER.fullmatch(line):
            folder = match[1]
        elif folder and folder not in found and (match := CREATED.fullmatch(line)) and (when := moment(match[1])):
            found[folder] = HandedIn(when, "Gradescope")
    return found


def of_files(entries: Iterable[Entry]) -> HandedIn | None:
    """By the newest of the files that are graded."""
    dates = [entry.dated for entry in entries if entry.dated and EARLIEST <= entry.dated.year < LATEST]
    return HandedIn(_latest(dates), "the file's date") if dates else None


def _latest(moments: Iterable[datetime]) -> datetime:
    """Where some have a time zone and others none, the latter are taken as UTC's to be compared."""
    return max(moments, key=lambda when: when if when.tzinfo else when.replace(tzinfo=UTC))
