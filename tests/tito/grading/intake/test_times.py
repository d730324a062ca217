"""When something was handed in: the platform's word before the date of a file, and never a student's own."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tito.course.edition import Edition
from tito.course.module import Module
from tito.grading.batch import refusal
from tito.grading.conditions import Conditions
from tito.grading.handed_in import HandedIn
from tito.grading.intake import collecting, times
from tito.grading.options import Options
from tito.grading.submission import Submission

from ..conftest import HandIn
from .handed import TEXT, solved
from .malformed_zips import zipped

NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)
METADATA = """---
submission_11:
  :submitters:
  - :name: 'submission_22:'
    :email: ada@example.org
  :created_at: 2026-03-06 12:00:00.321000000 Z
  :score: 3.0
  :results:
    tests:
    - output: "text of a student\\n  :created_at: 2020-01-01 00:00:00 Z"
  :history:
  - :id: 10
    :created_at: 2026-03-01 09:00:00.000000000 Z
  :created_at: 2019-03-01 09:00:00.000000000 Z
submission_22:
  :created_at: 2026-03-06 07:00:00.000000000 -05:00
submission_33:
  :history:
  - :created_at: 2026-03-01 09:00:00.000000000 Z
"""


def handed_in(found: list[Submission]) -> dict[str, HandedIn | None]:
    return {one.name: one.handed_in for one in found}


def dated(folder: Path, when: datetime) -> None:
    """Give all files below a folder the date of `when`."""
    for path in folder.rglob("*"):
        os.utime(path, (when.timestamp(), when.timestamp()))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-03-06 12:00:00.948203 UTC\n", NOON),
        ("2026-03-06 12:00:00", NOON),
        ("2026-03-06T12:00:00Z", NOON),
        ("2026-03-06 07:00:00.5 -05:00", NOON),
        ("2026-03-06 13:00:00 +0100", NOON),
        ("2026-03-06 12:00:00 CET", NOON.replace(tzinfo=None)),
        ("2026-02-30 12:00:00 UTC", None),
        ("1970-01-01 00:00:00 UTC", None),
        ("tomorrow", None),
        ("", None),
        ("2026-03-06 12:00:00 " + "x" * 50, None),
    ],
)
def test_a_moment_keeps_the_zone_that_it_names_and_has_none_where_that_is_unknown(
    text: str, wanted: datetime | None
) -> None:
    assert times.moment(text) == wanted


def test_canvas_tells_who_was_late_and_nothing_of_when(hand_in: HandIn) -> None:
    found = hand_in(
        {
            "ada_LATE_101_5001_toy_dev.py": solved("return x + x"),
            "bob_102_5002_toy_dev.py": TEXT,
            "cem_LATE_103_5003_toy_dev.py": TEXT,
            "cem_103_5004_notes.txt": "of the same attempt",
        }
    )
    assert handed_in(found) == {
        "ada_101": HandedIn(None, "Canvas", True),
        "bob_102": HandedIn(None, "Canvas", False),
        "cem_103": HandedIn(None, "Canvas", True),
    }


def test_nbgrader_s_timestamp_of_the_graded_assignment_counts(hand_in: HandIn) -> None:
    found = hand_in(
        {
            "submitted/ada/ps1/toy_dev.py": solved("return x + x"),
            "submitted/ada/ps1/timestamp.txt": "2026-03-06 12:00:00.000001 UTC",
            "submitted/ada/ps2/timestamp.txt": "2026-05-01 12:00:00.000001 UTC",
            "submitted/bob/ps1/toy_dev.py": TEXT,
            "submitted/bob/ps1/timestamp.txt": "soon",
        }
    )
    by_name = handed_in(found)
    assert by_name["ada"] == HandedIn(NOON, "nbgrader")
    bob = by_name["bob"]
    assert bob and bob.source == "the file's date", "a stamp that cannot be read says nothing"


def test_a_timestamp_of_the_student_s_own_is_not_believed(hand_in: HandIn) -> None:
    stamp = "2026-03-06 12:00:00.000001 UTC"
    found = hand_in(
        {
            "ada/hw/toy_dev.py": TEXT,
            "ada/hw/timestamp.txt": stamp,
            "bob.zip": zipped({"hw/toy_dev.py": TEXT.encode(), "hw/timestamp.txt": stamp.encode()}),
        }
    )
    assert {one.handed_in.source for one in found if one.handed_in} == {"the file's date"}


def test_a_timestamp_in_a_student_s_zip_is_not_nbgrader_s(tmp_path: Path, toy_edition: Edition) -> None:
    stamp = b"2026-03-06 12:00:00.000001 UTC"
    folder = tmp_path / "submitted" / "ada" / "ps1"
    folder.mkdir(parents=True)
    (folder / "hw.zip").write_bytes(zipped({"ps1/toy_dev.py": TEXT.encode(), "ps1/timestamp.txt": stamp}))
    (one,) = collecting.collect(toy_edition, tmp_path / "submitted")
    assert one.handed_in and one.handed_in.source == "the file's date"


def test_gradescope_s_metadata_gives_each_folder_its_last_attempt(hand_in: HandIn) -> None:
    files: dict[str, str | bytes] = {f"submission_{number}/toy_dev.py": TEXT for number in (11, 22, 33)}
    by_name = handed_in(hand_in({**files, "submission_metadata.yml": METADATA}))
    found = sorted((one.source, one.when.isoformat()) for one in by_name.values() if one and one.when)
    assert found[:2] == [("Gradescope", "2026-03-06T07:00:00-05:00"), ("Gradescope", "2026-03-06T12:00:00+00:00")]
    assert found[2][0] == "the file's date" and len(found) == 3, "the metadata itself is no submission"


def test_a_file_on_disk_is_dated_in_utc_and_the_newest_of_what_is_graded_counts(
    tmp_path: Path, toy_edition: Edition
) -> None:
    for name in ("ada/toy_dev.py", "ada/notes.txt"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_text(TEXT, encoding="utf-8")
    dated(tmp_path / "all", NOON)
    os.utime(tmp_path / "all" / "ada" / "notes.txt", (2e9, 2e9))
    (one,) = collecting.collect(toy_edition, tmp_path / "all")
    assert one.handed_in == HandedIn(NOON, "the file's date")


def test_of_a_zip_the_outermost_date_counts(tmp_path: Path, toy_edition: Edition) -> None:
    """On disk that is the archive's; in the one zip of a class that of its member, which has no time zone."""
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "ada.zip").write_bytes(zipped({"toy_dev.py": TEXT.encode()}))
    dated(tmp_path / "all", NOON)
    (ada,) = collecting.collect(toy_edition, tmp_path / "all")
    assert ada.handed_in == HandedIn(NOON, "the file's date")
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        for name, date in (("ada.zip", (2026, 3, 6, 12, 0, 0)), ("bob.zip", (1980, 1, 1, 0, 0, 0))):
            archive.writestr(zipfile.ZipInfo(name, date), zipped({"toy_dev.py": TEXT.encode()}))
    ada, bob = collecting.collect(toy_edition, tmp_path / "class.zip")
    assert ada.handed_in == HandedIn(NOON.replace(tzinfo=None), "the file's date")
    assert bob.handed_in is None or bob.handed_in.when != datetime(1980, 1, 1), "1980 stands for no date"


def test_what_cannot_be_read_has_the_platform_s_word_too(hand_in: HandIn) -> None:
    (one,) = hand_in({"ada_LATE_101_5001_toy.rar": b"x"})
    assert one.refused and one.handed_in == HandedIn(None, "Canvas", True)


def test_the_time_decides_no_grade_and_goes_along(module: Module) -> None:
    late = HandedIn(NOON.astimezone(timezone(timedelta(hours=1))), "Gradescope")
    early, one = Submission("ada", {"double": ("x",)}), Submission("ada", {"double": ("x",)}, handed_in=late)
    conditions = Conditions("01_toy", Options(), {}, {}, {"double": {}})
    assert conditions.keys(early) == conditions.keys(one)
    assert Submission.from_json(json.loads(json.dumps(one.as_json()))) == one
    old = {key: value for key, value in early.as_json().items() if key != "handed_in"}
    assert Submission.from_json(old) == early, "what an earlier journal kept is read"
    refused = refusal(module, None, dataclasses.replace(one, refused="no"))
    assert refused.handed_in == late and type(refused).from_json(json.loads(json.dumps(refused.as_json()))) == refused
