"""`deadlines.toml` in --out, the instructor's: when a module is due, what lateness costs, and who has longer."""

from __future__ import annotations

import difflib
import re
import tomllib
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from tito.errors import TitoError
from tito.grading.reports import escaping
from tito.grading.reports.adjustments import known_names, quoted
from tito.grading.reports.deadlines import Deadlines, Penalty, Terms

FILE = "deadlines.toml"
KEYS = ("due", "timezone", "cutoff", "grace_minutes", "late_days", "file_dates", "penalty", "student")
OF_STUDENT = ("due", "cutoff", "late_days", "handed_in", "reason")
OF_PENALTY = ("percent_a_day", "points_a_day", "at_most")
YEARS = range(2000, 2100)
LONGEST_GRACE, MOST_DAYS, MOST_POINTS = 1_440, 365, 9999  # minutes; days; points


def read(out: Path, names: Iterable[str]) -> tuple[Deadlines | None, tuple[str, ...]]:
    """What the file says, and what in it names nobody: None where there is no file.

    Raises TitoError, one sentence that names the file, the line and the key.
    """
    path = out / FILE
    if not path.is_file():
        return None, ()
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text, parse_float=Decimal)
    except UnicodeDecodeError:
        raise TitoError(f"{path} is not UTF-8: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise TitoError(f"{path} is not valid TOML: {error}") from None
    return _Table(path, text, (), values).deadlines(known_names(names))


@dataclass(frozen=True)
class _Table:
    """A table of the file, which knows where it stands, so that every complaint names the line and the key."""

    path: Path
    text: str
    header: tuple[str, ...]  # `("student", "jane")` of [student.jane]
    values: Mapping[str, Any]
    zone: tzinfo | None = None

    def deadlines(self, known: Mapping[str, str]) -> tuple[Deadlines, tuple[str, ...]]:
        self._allow(KEYS)
        zone = self._zone()
        here = _Table(self.path, self.text, self.header, self.values, zone)
        due = here._moment("due")
        if due is None:
            self._fail("due", "is missing: write due = 2026-03-06T23:59:00 and timezone, or an offset such as +01:00")
        everybody = Terms(due, here._cutoff(due, None), here._whole("late_days", MOST_DAYS))
        own, warnings = dict[str, Terms](), list[str]()
        for name, table in here._students().items():
            terms = table._terms(everybody)
            if name in known:
                own[known[name]] = terms
            else:
                nobody = f"there is no submission {quoted(name, known)}, so its table changes nothing"
                warnings.append(f"{FILE}{table._line('')}: {nobody}")
        grace, file_dates = timedelta(minutes=here._whole("grace_minutes", LONGEST_GRACE)), here._flag("file_dates")
        local = zone or due.tzinfo
        assert local is not None
        return Deadlines(everybody, local, grace, here._penalty(), file_dates, own), tuple(warnings)

    def _students(self) -> dict[str, _Table]:
        tables = self.values.get("student", {})
        if not (isinstance(tables, dict) and all(isinstance(table, dict) for table in tables.values())):
            self._fail("student", 'must be tables, each begun with [student."NAME"]')
        return {name: self._below("student", name, table) for name, table in tables.items()}

    def _terms(self, everybody: Terms) -> Terms:
        """What holds for one student: what the table does not name, as for everybody."""
        self._allow(OF_STUDENT)
        reason = self.values.get("reason")
        if not (isinstance(reason, str) and reason.strip()):
            self._fail("reason", "is missing: the student will read it, so write one as a text")
        due = self._moment("due") or everybody.due
        cutoff = self._cutoff(due, everybody)
        days = self._whole("late_days", MOST_DAYS) if "late_days" in self.values else everybody.late_days
        return Terms(due, cutoff, days, self._moment("handed_in"), reason.strip())

    def _cutoff(self, due: datetime, everybody: Terms | None) -> datetime | None:
        """An own one, or everybody's, which an extension moves by as much as the deadline."""
        cutoff = self._moment("cutoff")
        if cutoff is None and everybody and everybody.cutoff:
            cutoff = everybody.cutoff + max(timedelta(), due - everybody.due)
        if cutoff is not None and cutoff <= due:
            self._fail("cutoff", f"must lie after due, which is {due.isoformat()}; got {cutoff.isoformat()}")
        return cutoff

    def _penalty(self) -> Penalty | None:
        if "penalty" not in self.values:
            return None
        if not isinstance(self.values["penalty"], dict):
            self._fail("penalty", "must be a table, such as { percent_a_day = 10, at_most = 50 }")
        table = self._below("penalty", "", self.values["penalty"])
        table._allow(OF_PENALTY)
        units = [unit for unit in OF_PENALTY[:2] if unit in table.values]
        if len(units) != 1:
            table._fail("", "wants one of percent_a_day and points_a_day")
        most = 100 if units[0] == "percent_a_day" else MOST_POINTS
        a_day, at_most = table._amount(units[0], most), table._amount("at_most", most)
        assert a_day is not None
        return Penalty(a_day, at_most, units[0] == "percent_a_day")

    def _zone(self) -> tzinfo | None:
        name = self.values.get("timezone")
        if name is None:
            return None
        if not isinstance(name, str):
            self._fail("timezone", f'must be a text such as "Europe/Berlin", got {name!r}')
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            known = zoneinfo.available_timezones()
            fix = "" if known else "; this machine has no list of time zones: `pip install tzdata`"
            self._fail("timezone", f"names no time zone: there is no {quoted(name, sorted(known))}{fix}")

    def _moment(self, key: str) -> datetime | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, datetime):
            self._fail(key, f"must be a day and an hour such as 2026-03-06T23:59:00, without quotes; got {value!s}")
        if value.year not in YEARS:
            self._fail(key, f"must lie in the years {YEARS.start} to {YEARS.stop - 1}, got {value.isoformat()}")
        if value.tzinfo is None and self.zone is None:
            fix = 'write timezone = "Europe/Berlin" at the top, or an offset such as +01:00 behind it'
            self._fail(key, f"has no time zone: {fix}")
        if value.tzinfo is None:
            return value.replace(tzinfo=self.zone)
        return value.astimezone(self.zone) if self.zone else value

    def _whole(self, key: str, most: int) -> int:
        value = self.values.get(key, 0)
        if type(value) is not int or not 0 <= value <= most:
            self._fail(key, f"must be a whole number from 0 to {most}, got {value!s}")
        return int(value)

    def _amount(self, key: str, most: int) -> Decimal | None:
        value = self.values.get(key)
        if value is None:
            return None
        amount = Decimal(value) if type(value) in (int, Decimal) else Decimal("nan")
        if not (amount.is_finite() and 0 < amount <= most):
            self._fail(key, f"must be a number above 0, and at most {most}; got {value!s}")
        return amount

    def _flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self._fail(key, f"must be true or false, got {value!s}")
        return value

    def _below(self, key: str, name: str, values: Mapping[str, Any]) -> _Table:
        return _Table(self.path, self.text, (key, name) if name else (key,), values, self.zone)

    def _allow(self, keys: tuple[str, ...]) -> None:
        for key in self.values.keys() - set(keys):
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.4)
            hint = f" (the nearest is '{near[0]}')" if near else ""
            self._fail(key, f"is no key here{hint}; known are {', '.join(keys)}")

    def _fail(self, key: str, message: str) -> NoReturn:
        named = " ".join([*map(escaping.one_line, self.header), escaping.one_line(key)]).strip()
        raise TitoError(f"{self.path}{self._line(key)}: {named} {escaping.one_line(message)}")

    def _line(self, key: str) -> str:
        """`, line 3`: where the key stands, else its table; empty where neither is written on a line of its own."""
        wanted, inside, found = self.header, not self.header, 0
        for number, line in enumerate(self.text.split("\n"), 1):
            if match := re.match(r"\s*\[([^\[\]]+)\]", line):
                parts = tuple(part.strip("\"' ") for part in match[1].split(".", 1))
                inside = parts == wanted
                found = number if inside else found
            elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
                return f", line {number}"
        return f", line {found}" if found else ""
