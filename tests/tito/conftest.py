"""The toy course: a whole course, copied for each test to a folder with spaces and an umlaut in its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tito.course import notebook, replacing
from tito.course.module import load_module

from .toy_course import NOTEBOOK, Course, Solve, copy_toy

collect_ignore = ["toy"]  # its tests belong to the toy course, not to this one


@pytest.fixture
def course(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Course]:
    monkeypatch.delenv("TITO_PROJECT", raising=False)
    yield Course(copy_toy(tmp_path), capsys)


@pytest.fixture
def edition(course: Course, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Course:
    """The toy course as a student has it: what `tito release` made."""
    folder = tmp_path / "für die Schüler"
    assert course.tito("release", "01", "--to", str(folder)).status == 0
    return Course(folder, capsys)


@pytest.fixture
def solve(course: Course) -> Solve:
    """Put the reference's cells of an exercise into a student's notebook, as a student would write them."""

    def solve(edition: Course, exercise: str) -> None:
        given, reference = (notebook.load(p, p.root / NOTEBOOK) for p in (edition.project, course.project))
        chosen = tuple(item for item in load_module(course.project, "01_toy").exercises if item.id == exercise)
        text = replacing.graft(given, reference, chosen)
        edition.write(NOTEBOOK, "\n".join(line for line in text.split("\n") if "SOLUTION" not in line))

    return solve
