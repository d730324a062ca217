"""What changed, as a page and a table: whoever is in it, and whatever the grades.csv of before holds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tito.course.module import Module
from tito.grading.changes import Change
from tito.grading.reports import history, writing

from .reported import ABOUT, HOSTILE, Page, grade, rows, slip

CHANGE = Change("2026-11-29 18:53:00", "jane", "double", 0, 2, "two is doubled", "tests of double changed")


def written(out: Path, module: Module, *changes: Change) -> dict[str, bytes]:
    writing.write(out, module, [grade(module, "jane")], (), ABOUT, changes=changes)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_latest_report_comes_first_on_the_page_and_last_in_the_table(tmp_path: Path, module: Module) -> None:
    later = replace(CHANGE, when="2026-11-30 08:00:00", old=None, new=1)
    files = written(tmp_path, module, CHANGE, later)
    page = Page(files["changes.html"])
    assert page.text.index("2026-11-30") < page.text.index("2026-11-29")
    assert page.links.count("students/jane.html") == 2
    told = [["jane", "double", old, new, "two is doubled", "tests of double changed"] for old, new in ("02", ("", "1"))]
    assert [row[1:] for row in rows(files["changes.csv"])[1:]] == told


def test_without_changes_there_is_a_table_and_no_page(tmp_path: Path, module: Module) -> None:
    files = written(tmp_path, module)
    assert rows(files["changes.csv"]) == [list(history.COLUMNS)]
    assert "changes.html" not in files and "changes.html" not in Page(files["index.html"]).links


@pytest.mark.parametrize("text", HOSTILE)
def test_what_strangers_wrote_is_harmless_in_both(tmp_path: Path, module: Module, text: str) -> None:
    files = written(tmp_path, module, replace(CHANGE, submission=text, test=text))
    plain = written(
        tmp_path / "plain", module, replace(CHANGE, submission="jane" if text == "jane" else "x", test=text and "x")
    )
    tags = [[tag for tag, _ in Page(files_of["changes.html"]).tags] for files_of in (files, plain)]
    assert tags[0] == tags[1], "a text became an element of the page"
    assert not any(cell[:1] in tuple("=+-@\t\r") and cell for cell in rows(files["changes.csv"])[1][1:])


def test_every_grades_csv_that_is_replaced_is_kept_by_its_date(tmp_path: Path, module: Module) -> None:
    table, seen = tmp_path / "grades.csv", list[bytes]()
    for number in range(3):
        told = slip("two is doubled", f"wanted 2, got {number}")
        writing.write(tmp_path, module, [grade(module, "jane", told)], (), ABOUT)
        os.utime(table, (1_000_000_000, 1_000_000_000))  # two may be written in one second
        seen.append(table.read_bytes())
        writing.write(tmp_path, module, [grade(module, "jane", told)], (), ABOUT)
    kept = sorted((tmp_path / "earlier").iterdir())
    assert sorted(path.read_bytes() for path in kept) == sorted(seen[:2])
    assert all(path.name.startswith("grades_2001-09-09T01-46-40Z_") for path in kept)
