"""deadlines.toml: what may stand in it, and that a slip is one sentence which names the line."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tito.course.module import Module
from tito.errors import TitoError
from tito.grading.handed_in import HandedIn
from tito.grading.reports import deadlines_toml, standing
from tito.grading.reports.deadlines import Deadlines

from ...toy_course import ROOT

BERLIN = ZoneInfo("Europe/Berlin")
DUE = 'timezone = "Europe/Berlin"\ndue = 2026-03-06T23:59:00\n'
WHOLE = (
    DUE
    + """
cutoff = 2026-03-13 23:59:00+01:00
grace_minutes = 15
late_days = 2
file_dates = true

[penalty]
percent_a_day = 12.5
at_most = 50

[student.jane]
due = 2026-03-10T23:59:00
reason = "ill"

[student."Müller, Zoë"]
handed_in = 2026-03-06T12:00:00Z
late_days = 0
reason = "sent by e-mail"
"""
)


def read(out: Path, text: str, *names: str) -> Deadlines:
    (out / deadlines_toml.FILE).write_bytes(text.encode())
    found, warnings = deadlines_toml.read(out, names or ("jane", "Müller, Zoë"))
    assert found and not warnings
    return found


def test_everything_that_the_file_may_say_is_read(tmp_path: Path) -> None:
    rules = read(tmp_path, WHOLE)
    due = datetime(2026, 3, 6, 23, 59, tzinfo=BERLIN)
    assert (rules.everybody.due, rules.everybody.cutoff) == (due, due + timedelta(days=7))
    assert (rules.everybody.late_days, rules.grace, rules.file_dates) == (2, timedelta(minutes=15), True)
    assert rules.penalty and (rules.penalty.a_day, rules.penalty.at_most) == (Decimal("12.5"), Decimal(50))
    own = rules.own or {}
    assert (own["jane"].due, own["jane"].late_days, own["jane"].reason) == (due + timedelta(days=4), 2, "ill")
    assert own["jane"].cutoff == due + timedelta(days=11), "an extension moves the cut-off"
    zoe = own["Müller, Zoë"]
    assert zoe.handed_in == datetime(2026, 3, 6, 13, tzinfo=BERLIN) and (zoe.due, zoe.late_days) == (due, 0)


@pytest.mark.parametrize("text", [WHOLE.replace("\n", "\r\n"), "\ufeff" + WHOLE], ids=["CRLF", "byte order mark"])
def test_what_editors_make_of_the_file_is_read(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == read(tmp_path, WHOLE)


def test_an_offset_does_in_the_place_of_a_time_zone(tmp_path: Path) -> None:
    rules = read(tmp_path, "due = 2026-03-06T23:59:00+01:00\n")
    told = HandedIn(datetime(2026, 3, 7, 0, 1), "nbgrader")
    assert rules.lateness("jane", told).received == "2026-03-07 00:01 UTC+01:00"


def test_without_a_file_nothing_is_due(tmp_path: Path, module: Module) -> None:
    assert standing.read(tmp_path, module, ["jane"]).deadlines is None


@pytest.mark.parametrize(
    ("name", "told"), [("jnae", "'jnae' (the nearest is 'jane'), so"), ("withdrawn", "'withdrawn', so")]
)
def test_a_student_who_is_not_there_is_a_warning(tmp_path: Path, module: Module, name: str, told: str) -> None:
    text = DUE + f'[student.{name}]\nlate_days = 3\nreason = "ill"\n'
    (tmp_path / deadlines_toml.FILE).write_text(text, encoding="utf-8")
    (warning,) = standing.read(tmp_path, module, ["jane"]).warnings
    assert warning == f"deadlines.toml, line 3: there is no submission {told} its table changes nothing"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("due = 7 7\n", ["not valid TOML", "line 1"]),
        ("", ["due is missing", "2026-03-06T23:59:00"]),
        (DUE.split("\n")[1], ["line 1: due has no time zone", "timezone = "]),
        (DUE.replace("Berlin", "Berln"), ["line 1: timezone names no time zone", "the nearest is 'Europe/Berlin'"]),
        (DUE.replace('"Europe/Berlin"', '"../../etc/passwd"'), ["line 1: timezone names no time zone"]),
        (DUE.replace('"Europe/Berlin"', '"Europe"'), ["line 1: timezone names no time zone"]),
        (DUE.replace('"Europe/Berlin"', "1"), ["line 1: timezone must be a text"]),
        ("due = 2026-03-06\n", ["line 1: due must be a day and an hour", "got 2026-03-06"]),
        ('due = "2026-03-06T23:59:00"\n', ["without quotes"]),
        ("due = 9999-03-06T23:59:00Z\n", ["line 1: due must lie in the years 2000 to 2099"]),
        (DUE + "deu = 1\n", ["line 3: deu is no key here (the nearest is 'due')", "known are due, timezone"]),
        (DUE + "late_days = -1\n", ["line 3: late_days must be a whole number from 0 to 365, got -1"]),
        (DUE + "late_days = true\n", ["late_days must be a whole number"]),
        (DUE + "late_days = 1.5\n", ["late_days must be a whole number", "got 1.5"]),
        (DUE + "grace_minutes = 99999\n", ["line 3: grace_minutes", "1440"]),
        (DUE + 'file_dates = "yes"\n', ["line 3: file_dates must be true or false, got yes"]),
        (DUE + "cutoff = 2026-03-06T23:59:00\n", ["line 3: cutoff must lie after due"]),
        (DUE + "penalty = 10\n", ["line 3: penalty must be a table"]),
        (DUE + "[penalty]\nat_most = 3\n", ["line 3: penalty wants one of percent_a_day and points_a_day"]),
        (DUE + "[penalty]\npercent_a_day = 1\npoints_a_day = 1\n", ["penalty wants one of"]),
        (DUE + "[penalty]\npercent_a_day = 110\n", ["line 4: penalty percent_a_day must be", "at most 100"]),
        (DUE + "[penalty]\npoints_a_day = nan\n", ["line 4: penalty points_a_day must be a number"]),
        (DUE + "[penalty]\npoints_a_day = -2\n", ["got -2"]),
        (DUE + "[penalty]\npoints_a_day = true\n", ["got True"]),
        (DUE + "student = 1\n", ['line 3: student must be tables, each begun with [student."NAME"]']),
        (DUE + "[student.jane]\ndue = 2026-03-09T23:59:00\n", ["line 3: student jane reason is missing"]),
        (DUE + '[student.jane]\nreason = " "\n', ["line 4: student jane reason is missing"]),
        (DUE + '[student.jane]\nreason = "x"\nextra = 1\n', ["line 5: student jane extra is no key here"]),
        (DUE + '[student.jane]\nreason = "x"\ndue = 7\n', ["line 5: student jane due must be a day and an hour"]),
        (DUE + '[student."a.b"]\nreason = "x"\nlate_days = -2\n', ["line 5: student a.b late_days"]),
        (DUE + '[student."\\u001b[2J\\u202e"]\nlate_days = 1\n', ["␛[2J⟨U+202E⟩"]),
    ],
)  # fmt: skip
def test_a_slip_is_one_sentence_that_names_the_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / deadlines_toml.FILE).write_text(text, encoding="utf-8")
    with pytest.raises(TitoError) as caught:
        deadlines_toml.read(tmp_path, ["jane", "a.b"])
    said = str(caught.value)
    assert "\n" not in said
    for part in (deadlines_toml.FILE, *parts):
        assert part in said, f"expected {part!r} in: {said}"


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / deadlines_toml.FILE).write_bytes(WHOLE.encode("latin-1"))
    with pytest.raises(TitoError, match="is not UTF-8"):
        deadlines_toml.read(tmp_path, [])


def test_the_example_in_the_documentation_is_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
    (example,) = (block for block in text.split("```toml\n")[1:] if block.startswith("timezone"))
    rules = read(tmp_path, example.partition("```")[0], "curiemarie_47110", "Euler, Leonhard")
    assert rules.penalty and rules.everybody.cutoff and len(rules.own or {}) == 2


@pytest.mark.parametrize(
    "header", ['[student."a.b"]', "[student.'a.b']", '[ student . "a.b" ]', '[student."a.b"] # ill']
)
def test_a_student_s_table_is_found_however_its_header_is_written(tmp_path: Path, header: str) -> None:
    assert "a.b" in (read(tmp_path, f'{DUE}{header}\nreason = "x"\n', "a.b").own or {})
    (tmp_path / deadlines_toml.FILE).write_text(f"{DUE}{header}\nlate_days = 1\n", encoding="utf-8")
    with pytest.raises(TitoError, match=r"line 3: student a\.b reason is missing"):
        deadlines_toml.read(tmp_path, ["a.b"])
